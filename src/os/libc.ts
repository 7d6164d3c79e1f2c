/**
 * The C library, as far as this program calls it: glibc's `libc.so.6` on x86_64 and aarch64 Linux.
 *
 * Rules of the house:
 * - Calls are synchronous; a `nonblocking` call would cost a thread hand-over of about 100 µs.
 * - Addresses and lengths are plain numbers (user-space addresses stay below 2^48). V8's direct calls
 *   take 64-bit arguments as BigInts only: see {@link wide}. Parameters typed `buffer` take a typed
 *   array that the call uses and forgets.
 * - Results are 32-bit: transfers are limited to 2^31 - 4096 bytes anyway, and -1 stays -1.
 * - A negative result is not an exception. {@link negErrno} turns it into `-errno` without
 *   allocating; {@link throwErrno} makes the {@link OsError} where failing is exceptional.
 *
 * @module
 */
import { errnoName, errnoText } from "./errno.ts";

if (Deno.build.os !== "linux" || !["x86_64", "aarch64"].includes(Deno.build.arch)) {
  throw new Error(
    `this part runs on Linux on x86_64 or aarch64, not ${Deno.build.os} on ${Deno.build.arch}`,
  );
}

/** True on x86_64, whose system call numbers and `struct epoll_event` differ from aarch64's. */
export const IS_X86_64 = Deno.build.arch === "x86_64";

const SYMBOLS = {
  __errno_location: { parameters: [], result: "pointer" },
  accept4: { parameters: ["i32", "usize", "usize", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  chmod: { parameters: ["buffer", "u32"], result: "i32" },
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "usize"], result: "i32" },
  epoll_wait: { parameters: ["i32", "usize", "i32", "i32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  fallocate: { parameters: ["i32", "i32", "i64", "i64"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i64"], result: "i32" },
  fdatasync: { parameters: ["i32"], result: "i32" },
  flock: { parameters: ["i32", "i32"], result: "i32" },
  fsync: { parameters: ["i32"], result: "i32" },
  ftruncate: { parameters: ["i32", "i64"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  if_nametoindex: { parameters: ["buffer"], result: "u32" },
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  kill: { parameters: ["i32", "i32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
  mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  munmap: { parameters: ["usize", "usize"], result: "i32" },
  open: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32" },
  pread64: { parameters: ["i32", "usize", "usize", "i64"], result: "i32" },
  preadv2: { parameters: ["i32", "usize", "i32", "i64", "i32"], result: "i32" },
  pwrite64: { parameters: ["i32", "usize", "usize", "i64"], result: "i32" },
  pwritev2: { parameters: ["i32", "usize", "i32", "i64", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  recv: { parameters: ["i32", "usize", "usize", "i32"], result: "i32" },
  recvfrom: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "buffer"], result: "i32" },
  sched_setscheduler: { parameters: ["i32", "i32", "buffer"], result: "i32" },
  send: { parameters: ["i32", "usize", "usize", "i32"], result: "i32" },
  sendmsg: { parameters: ["i32", "usize", "i32"], result: "i32" },
  sendto: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "u32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  statx: { parameters: ["i32", "buffer", "i32", "u32", "buffer"], result: "i32" },
  syscall: { parameters: ["i64", "i64", "i64", "i64", "i64", "i64", "i64"], result: "i32" },
  sysconf: { parameters: ["i32"], result: "i64" },
  umask: { parameters: ["u32"], result: "u32" },
  unlink: { parameters: ["buffer"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "i32" },
} as const;

/** What a parameter takes: Deno's own types ask for a BigInt where its runtime takes a number. */
type Parameter<T> = T extends "buffer" ? ArrayBufferView<ArrayBuffer> | null
  : T extends "pointer" ? Deno.PointerValue
  : number;

type Result<T> = T extends "pointer" ? Deno.PointerValue : T extends "i64" ? bigint : number;

type Parameters<P extends readonly unknown[]> = { -readonly [K in keyof P]: Parameter<P[K]> };

/** The functions of the C library, with numbers for all integers and addresses. */
export type Libc = {
  readonly [K in keyof typeof SYMBOLS]: (
    ...parameters: Parameters<(typeof SYMBOLS)[K]["parameters"]>
  ) => Result<(typeof SYMBOLS)[K]["result"]>;
};

/** The functions as the runtime takes them: 64-bit integers are BigInts. */
type Raw = {
  readonly [K in keyof typeof SYMBOLS]: (
    ...parameters: RawParameters<(typeof SYMBOLS)[K]["parameters"]>
  ) => Result<(typeof SYMBOLS)[K]["result"]>;
};
type RawParameters<P extends readonly unknown[]> = {
  -readonly [K in keyof P]: P[K] extends "i64" | "u64" | "usize" ? bigint : Parameter<P[K]>;
};

const raw = Deno.dlopen("libc.so.6", SYMBOLS).symbols as unknown as Raw;

const words = new BigInt64Array(7);
const halves = new Uint32Array(words.buffer);

/**
 * A whole number as the 64-bit argument `index` of a call. Optimized code passes the word on and makes
 * no BigInt of it. A plain number instead would be taken, too, but by code that is thrown away at every
 * call and compiled again.
 */
function wide(index: number, value: number): bigint {
  halves[2 * index] = value;
  halves[2 * index + 1] = Math.floor(value / 4294967296);
  return words[index]!;
}

/** The functions themselves, named and with parameters ordered as in their manual pages. */
export const libc: Libc = {
  ...raw,
  accept4: (fd, address, length, flags) =>
    raw.accept4(fd, wide(0, address), wide(1, length), flags),
  epoll_ctl: (epoll, what, fd, event) => raw.epoll_ctl(epoll, what, fd, wide(0, event)),
  epoll_wait: (epoll, events, most, timeout) =>
    raw.epoll_wait(epoll, wide(0, events), most, timeout),
  fallocate: (fd, mode, offset, length) =>
    raw.fallocate(fd, mode, wide(0, offset), wide(1, length)),
  fcntl: (fd, what, argument) => raw.fcntl(fd, what, wide(0, argument)),
  ftruncate: (fd, length) => raw.ftruncate(fd, wide(0, length)),
  ioctl: (fd, what, argument) => raw.ioctl(fd, wide(0, what), argument),
  lseek: (fd, offset, whence) => raw.lseek(fd, wide(0, offset), whence),
  mmap: (address, length, protection, flags, fd, offset) =>
    raw.mmap(address, wide(0, length), protection, flags, fd, wide(1, offset)),
  munmap: (address, length) => raw.munmap(wide(0, address), wide(1, length)),
  poll: (polled, count, timeout) => raw.poll(polled, wide(0, count), timeout),
  pread64: (fd, address, length, position) =>
    raw.pread64(fd, wide(0, address), wide(1, length), wide(2, position)),
  preadv2: (fd, pieces, count, position, flags) =>
    raw.preadv2(fd, wide(0, pieces), count, wide(1, position), flags),
  pwrite64: (fd, address, length, position) =>
    raw.pwrite64(fd, wide(0, address), wide(1, length), wide(2, position)),
  pwritev2: (fd, pieces, count, position, flags) =>
    raw.pwritev2(fd, wide(0, pieces), count, wide(1, position), flags),
  read: (fd, buffer, length) => raw.read(fd, buffer, wide(0, length)),
  recv: (fd, address, length, flags) => raw.recv(fd, wide(0, address), wide(1, length), flags),
  recvfrom: (fd, buffer, length, flags, from, fromLength) =>
    raw.recvfrom(fd, buffer, wide(0, length), flags, from, fromLength),
  send: (fd, address, length, flags) => raw.send(fd, wide(0, address), wide(1, length), flags),
  sendmsg: (fd, message, flags) => raw.sendmsg(fd, wide(0, message), flags),
  sendto: (fd, buffer, length, flags, to, toLength) =>
    raw.sendto(fd, buffer, wide(0, length), flags, to, toLength),
  syscall: (number, a, b, c, d, e, f) =>
    raw.syscall(
      wide(0, number),
      wide(1, a),
      wide(2, b),
      wide(3, c),
      wide(4, d),
      wide(5, e),
      wide(6, f),
    ),
  write: (fd, buffer, length) => raw.write(fd, buffer, wide(0, length)),
};

/** Size of a memory page, bytes: 4096, or up to 65536 on some aarch64 kernels. */
export const PAGE_SIZE = Number(libc.sysconf(30 /* _SC_PAGESIZE */));

/**
 * `errno` of this thread, read straight from memory: a JavaScript isolate (the program, or one
 * Worker) stays on one thread, and a plain load leaves the garbage collector no occasion to
 * make system calls of its own in between.
 */
const errnoCell = new Int32Array(
  Deno.UnsafePointerView.getArrayBuffer(libc.__errno_location()!, 4),
);

/** `errno` of the last failed call of this thread. Only meaningful right after a failure. */
export function lastErrno(): number {
  return errnoCell[0]!;
}

/** Pass a result of 0 or more on; turn -1 into `-errno`. Allocates nothing. */
export function negErrno(result: number): number {
  return result < 0 ? -errnoCell[0]! : result;
}

/** A system call that failed: what was called on what, and the kernel's reason. */
export class OsError extends Error {
  override readonly name = "OsError";
  /** Error number, positive. */
  readonly errno: number;
  /** Its name, as `EADDRINUSE`. */
  readonly code: string;
  /** The call, as `bind`. */
  readonly syscall: string;

  /** `errno` may be given negated, as results are. `subject` is the path, address or device. */
  constructor(syscall: string, errno: number, subject = "") {
    super(`${syscall}${subject === "" ? "" : ` ${subject}`}: ${errnoText(errno)}`);
    this.errno = Math.abs(errno);
    this.code = errnoName(errno);
    this.syscall = syscall;
  }
}

/** Throw the {@link OsError} for the call that has just failed. */
export function throwErrno(syscall: string, subject = ""): never {
  throw new OsError(syscall, errnoCell[0]!, subject);
}

/** Pass a result of 0 or more on; throw for a negative one. */
export function check(result: number, syscall: string, subject = ""): number {
  if (result < 0) throwErrno(syscall, subject);
  return result;
}

/** Close a descriptor whose state no longer matters. Linux frees it whatever close(2) says. */
export function closeQuietly(fd: number): void {
  libc.close(fd);
}

const encoder = new TextEncoder();

/** A zero-terminated UTF-8 string; a path with a zero byte inside is refused, not cut. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) throw new RangeError("a path or name must not contain a zero byte");
  return encoder.encode(`${text}\0`);
}
