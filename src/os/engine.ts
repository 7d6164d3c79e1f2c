/**
 * One interface for asynchronous disk and socket I/O, over io_uring or over epoll.
 *
 * The data plane starts operations by calling methods; nothing is returned and nothing is awaited.
 * Each operation carries a *tag*, a whole number from 0 to 2^31 - 1 chosen by the caller, and
 * {@link Engine.wait} later reports `(tag, result)` for it: **every tag exactly once**, never from
 * inside the method that started it. `result` is at least 0 (bytes, or a file descriptor) or a
 * negated errno (`-ERRNO.ECANCELED`, …). Two operations under way may carry the same tag.
 *
 * What both engines promise:
 * - Memory is named by a {@link Slab} and an offset in it. It belongs to the engine from the call
 *   until the tag is reported, and is neither read nor written by the kernel after that.
 * - Sends on one descriptor leave in the order of the calls, and never interleave; several that
 *   wait behind each other may leave in one system call. Receives on one descriptor fill in the
 *   order of the calls. Disk operations are not ordered among each other: a flush covers the
 *   writes that were *reported* before it was asked for.
 * - Disk reads and writes are carried through: the result is less than the length only at the end
 *   of the file (or device). EINTR and short transfers never reach the caller.
 * - A descriptor that was once given to a socket operation (or to {@link Engine.pollIn}) belongs to
 *   the engine, which sets O_NONBLOCK as it needs: end it with {@link Engine.close}. Descriptors
 *   that saw disk operations only may also be closed by the caller once nothing is pending.
 * - Operations may reach the kernel only at the next `wait`: this is what makes batches.
 * - What is a mistake of the caller throws at once and starts nothing: memory outside the slab, a bad
 *   tag, a socket operation on a number that is no open descriptor.
 *
 * An engine belongs to the thread that made it. `wait` blocks this thread inside the kernel; to
 * wake it from another one, keep a `pollIn` on an eventfd (see eventfd.ts).
 *
 * @module
 */
import type { Slab } from "./memory.ts";
import { createEpollEngine } from "./epoll_engine.ts";
import { IoUring } from "./io_uring.ts";
import { createIoUringEngine } from "./io_uring_engine.ts";

/** The two ways to wait for the kernel. */
export type EngineName = "io_uring" | "epoll";

/** Called once per finished operation; it may start new ones, but must not call `wait`. */
export type OnDone = (tag: number, result: number) => void;

/** See the module comment for what holds for all operations. */
export interface Engine {
  /** Which facility of the kernel carries the operations. */
  readonly name: EngineName;

  /** Operations started and not yet reported. */
  readonly pending: number;

  /**
   * Read `length` bytes at byte `position` of the file or device into the slab. Result: bytes read,
   * short only at the end of the file.
   */
  read(
    fd: number,
    slab: Slab,
    offset: number,
    length: number,
    position: number,
    tag: number,
  ): void;

  /**
   * Write `length` bytes to byte `position`. With `dsync` the data, and what is needed to find
   * it, is on stable storage before the result (RWF_DSYNC: NBD's FUA). Result: bytes written.
   */
  write(
    fd: number,
    slab: Slab,
    offset: number,
    length: number,
    position: number,
    dsync: boolean,
    tag: number,
  ): void;

  /** fdatasync(2): all writes reported so far are on stable storage. Result: 0. */
  flush(fd: number, tag: number): void;

  /**
   * Punch a hole: the range reads as zeroes and its blocks are given back. Result: 0, or
   * -EOPNOTSUPP where the file system or device cannot.
   */
  discard(fd: number, position: number, length: number, tag: number): void;

  /**
   * Make the range read as zeroes without sending them: with `keepAllocated` the blocks stay
   * (FALLOC_FL_ZERO_RANGE), otherwise as `discard`. Result: 0, or -EOPNOTSUPP where this cannot
   * be done faster than by writing zeroes; then the caller writes them.
   */
  zero(
    fd: number,
    position: number,
    length: number,
    keepAllocated: boolean,
    tag: number,
  ): void;

  /** Receive at least one and up to `length` bytes. Result: bytes, 0 = the peer closed. */
  recv(fd: number, slab: Slab, offset: number, length: number, tag: number): void;

  /** Receive exactly `length` bytes. Result: `length`, or fewer when the peer closed before. */
  recvAll(fd: number, slab: Slab, offset: number, length: number, tag: number): void;

  /** Send all bytes. Result: `length` when the last byte is in the socket buffer. */
  send(fd: number, slab: Slab, offset: number, length: number, tag: number): void;

  /** Send two pieces back to back, as a header and its payload. Result: the sum of the lengths. */
  sendTwo(
    fd: number,
    slabA: Slab,
    offsetA: number,
    lengthA: number,
    slabB: Slab,
    offsetB: number,
    lengthB: number,
    tag: number,
  ): void;

  /**
   * Take one connection from a listening socket. Result: the new descriptor (close-on-exec, ready
   * for this engine). A canceled accept never loses a connection that it had taken: the result
   * tells.
   */
  accept(fd: number, tag: number): void;

  /** Connect to an encoded socket address (see sockets.ts), which is copied. Result: 0. */
  connect(fd: number, sockaddr: Uint8Array, tag: number): void;

  /**
   * Wait once until `fd` can be read, has an error or was hung up. Result: the poll(2) event bits
   * (POLLIN = 1, POLLERR = 8, POLLHUP = 16).
   */
  pollIn(fd: number, tag: number): void;

  /**
   * Cancel what is pending on `fd`. Each operation is still reported, with -ECANCELED or, where it
   * could not be stopped any more, with its true result. A disk operation already in the hands of
   * the device is reported when the device answers. A canceled send may have sent a part: the
   * stream is then of no more use.
   */
  cancel(fd: number): void;

  /**
   * Cancel what is pending on `fd` and close it: at once when nothing is pending, otherwise when
   * the last operation has ended, so the number cannot be reused too early. Using `fd` after
   * this call is an error, and throws while the close is under way.
   */
  close(fd: number): void;

  /**
   * Give a descriptor back to the caller, open, to be used elsewhere: by another engine, say. Throws
   * if something is pending on it.
   */
  disown(fd: number): void;

  /**
   * Hand everything started so far to the kernel, wait until at least one operation is finished
   * or `timeoutMs` has passed (fractions count; 0 looks without waiting; a negative number waits
   * without end), report what is finished, and return how many were reported. It may return 0
   * early, as when a signal came. An exception from `onDone` passes through; what was not yet
   * reported is reported by the next `wait`.
   */
  wait(timeoutMs: number, onDone: OnDone): number;

  /**
   * End the engine: cancel everything, report it, close the descriptors given to `close` before,
   * for at most `timeoutMs`. Returns the operations that did not end in time (a stuck disk): their
   * memory must never be freed. Other descriptors stay open.
   */
  destroy(timeoutMs: number, onDone: OnDone): number;
}

/** How to make an engine. */
export interface EngineOptions {
  /** `epoll` asks for the plain engine even where io_uring works. Default: io_uring. */
  readonly prefer?: EngineName;
  /** Submission queue entries of io_uring, a power of two. Default 256. */
  readonly entries?: number;
}

/** An engine, and why it is this one, for the log. */
export interface EngineChoice {
  readonly engine: Engine;
  readonly reason: string;
}

export { createEpollEngine, createIoUringEngine };

/**
 * Make the best engine that this kernel offers. io_uring may be missing, switched off by
 * `kernel.io_uring_disabled`, or forbidden by a container's seccomp filter: then epoll it is.
 */
export function createEngine(options: EngineOptions = {}): EngineChoice {
  if (options.prefer === "epoll") {
    return { engine: createEpollEngine(), reason: "epoll: asked for by the configuration" };
  }
  const probe = IoUring.probe();
  if (!probe.usable) {
    return { engine: createEpollEngine(), reason: `epoll: ${probe.reason}` };
  }
  const engine = createIoUringEngine(options.entries ?? 256);
  return { engine, reason: `io_uring: ${probe.reason}` };
}
