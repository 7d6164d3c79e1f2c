/**
 * Clocks that no one can set: for intervals, leases and deadlines.
 *
 * @module
 */
import { check, libc } from "./libc.ts";

const CLOCK_MONOTONIC = 1;
const CLOCK_BOOTTIME = 7;

/** struct timespec, as 32-bit halves: no BigInt per reading. */
const timespec = new Uint32Array(4);

function read(clock: number): number {
  check(libc.clock_gettime(clock, timespec), "clock_gettime");
  return (timespec[1]! * 4294967296 + timespec[0]!) * 1000 + timespec[2]! / 1e6;
}

/**
 * Milliseconds, with fractions, since some moment before the boot. Stands still while the machine
 * is suspended; the same in all processes of this machine.
 */
export function monotonicMs(): number {
  return read(CLOCK_MONOTONIC);
}

/** Milliseconds, with fractions, since the boot, the time spent suspended included. */
export function boottimeMs(): number {
  return read(CLOCK_BOOTTIME);
}

/** The kernel's name for this boot, a UUID: another one means that the machine was restarted. */
export function bootId(): string {
  return Deno.readTextFileSync("/proc/sys/kernel/random/boot_id").trim();
}
