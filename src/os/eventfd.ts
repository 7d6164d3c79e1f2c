/**
 * Wake a thread that is blocked in an engine: an eventfd(2) counter that it polls.
 *
 * The descriptor is a plain number, good in every Worker of this process:
 *
 * 1. the worker keeps `engine.pollIn(fd, TAG)` pending;
 * 2. another thread writes to shared memory, then calls {@link signalEvent};
 * 3. the worker's `wait` reports TAG: it calls {@link drainEvent}, polls again, then reads the memory.
 *
 * @module
 */
import { ERRNO } from "./errno.ts";
import { check, lastErrno, libc, throwErrno } from "./libc.ts";

const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;

const one = new Uint32Array([1, 0]);
const counter = new Uint32Array(2);

/** Make an eventfd with count 0; close it with the engine that polls it. */
export function createEvent(): number {
  return check(libc.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
}

/** Wake whoever polls the event. Signals add up; a signal before the poll is not lost. */
export function signalEvent(fd: number): void {
  // EAGAIN: the counter is at its top, so the reader is awake already.
  if (libc.write(fd, one, 8) < 0 && lastErrno() !== ERRNO.EAGAIN) throwErrno("write", "eventfd");
}

/** Reset the event; true if it had been signalled since the last time. */
export function drainEvent(fd: number): boolean {
  if (libc.read(fd, counter, 8) >= 0) return true;
  if (lastErrno() !== ERRNO.EAGAIN) throwErrno("read", "eventfd");
  return false;
}
