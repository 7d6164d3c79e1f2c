/**
 * io_uring: operations are written into a ring of submission entries, results are read from a ring
 * of completions, and one system call, io_uring_enter(2), submits and waits.
 *
 * Both rings are memory shared with the kernel, seen as typed arrays. Nothing is allocated per
 * operation and no BigInt is made: 64-bit fields are written as two 32-bit halves (both supported
 * architectures are little-endian).
 *
 * Memory order: the kernel's release stores of the completion tail must be paired with an acquire
 * load here, and the head must be released only after the entries are read. `Atomics.load` and
 * `Atomics.store` are sequentially consistent machine operations in V8, on x86_64 and aarch64
 * alike and for every kind of buffer; the language promises it for shared buffers only, which
 * cannot wrap foreign memory. Little rests on it: without a submission thread (SQPOLL) the kernel
 * reads submissions only inside our own io_uring_enter call, and with DEFER_TASKRUN it also
 * writes completions only there.
 *
 * @module
 */
import { ERRNO } from "./errno.ts";
import { ENTER, MAP_OFFSET, OP, PARAMS, SETUP, SQ_FLAG, SQE, SYS } from "./io_uring_abi.ts";
import { type IoUringProbe, probeIoUring } from "./io_uring_probe.ts";
import { check, closeQuietly, libc, negErrno, OsError } from "./libc.ts";
import { type Mapping, mapShared, Slab, unmap } from "./memory.ts";

const TWO_32 = 4294967296;
/** A longer wait (31 years; Infinity, say) is one without end. */
const FOREVER_MS = 1e12;

/** Byte offsets in the control slab. */
const CONTROL = { PARAMS: 0, ARG: 128, TIMESPEC: 160, SIZE: 192 } as const;
const ARG_SIZE = 24; // struct io_uring_getevents_arg

/** Strongest first; a kernel that does not know a flag answers EINVAL and gets the next. */
const BASE_FLAGS = SETUP.CQSIZE | SETUP.CLAMP;
const COOP_FLAGS = BASE_FLAGS | SETUP.SUBMIT_ALL | SETUP.COOP_TASKRUN | SETUP.TASKRUN_FLAG; // 5.19
const FLAG_LADDER = [
  COOP_FLAGS | SETUP.SINGLE_ISSUER | SETUP.DEFER_TASKRUN, // Linux 6.1
  COOP_FLAGS | SETUP.SINGLE_ISSUER, // Linux 6.0
  COOP_FLAGS,
  BASE_FLAGS | SETUP.SUBMIT_ALL, // Linux 5.18
  BASE_FLAGS, // Linux 5.6
] as const;

/** One ring, to be used on the thread that made it only. */
export class IoUring {
  /** The ring's descriptor. */
  readonly fd: number;
  /** IORING_FEAT_* bits of the kernel. */
  readonly features: number;
  /** IORING_SETUP_* bits in use. */
  readonly setupFlags: number;
  /** Submission entries; completions have four times as many. */
  readonly entries: number;

  readonly #control = Slab.allocate(CONTROL.SIZE);
  readonly #ringsAddress: number;
  readonly #ringsLength: number;
  readonly #sqesAddress: number;
  readonly #sqesLength: number;
  readonly #rings: Int32Array;
  readonly #sqes: Uint32Array;
  readonly #sqHead: number;
  readonly #sqTail: number;
  readonly #sqMask: number;
  readonly #sqFlags: number;
  readonly #cqHead: number;
  readonly #cqTail: number;
  readonly #cqMask: number;
  readonly #cqes: number;
  readonly #argAddress: number;
  #tail = 0;
  #closed = false;

  /** Does this kernel offer what the engine needs? Makes and closes a small ring to find out. */
  static probe(): IoUringProbe {
    let ring: IoUring;
    try {
      ring = new IoUring(8);
    } catch (error) {
      if (!(error instanceof OsError)) throw error;
      return { usable: false, reason: error.message, features: 0, setupFlags: 0 };
    }
    try {
      return probeIoUring(ring.fd, ring.features, ring.setupFlags);
    } finally {
      ring.close();
    }
  }

  /**
   * Set a ring up. `entries` is rounded up to a power of two and clamped by the kernel.
   * `ladder` lists the sets of IORING_SETUP_* flags to try in order. Throws an OsError.
   */
  constructor(entries: number, ladder: readonly number[] = FLAG_LADDER) {
    const control = this.#control;
    const view = control.view;
    let fd = -ERRNO.EINVAL;
    for (const flags of ladder) {
      control.bytes.fill(0, CONTROL.PARAMS, CONTROL.PARAMS + PARAMS.SIZE);
      view.setUint32(PARAMS.FLAGS, flags, true);
      view.setUint32(PARAMS.CQ_ENTRIES, entries * 4, true);
      fd = negErrno(libc.syscall(SYS.setup, entries, control.address, 0, 0, 0, 0));
      if (fd !== -ERRNO.EINVAL) break;
    }
    if (fd < 0) {
      control.free();
      throw new OsError("io_uring_setup", fd);
    }
    this.fd = fd;
    const u32 = (offset: number) => view.getUint32(offset, true);
    this.entries = u32(PARAMS.SQ_ENTRIES);
    this.features = u32(PARAMS.FEATURES);
    this.setupFlags = u32(PARAMS.FLAGS);
    // Kernels since 5.4 map both rings in one piece.
    this.#ringsLength = Math.max(
      u32(PARAMS.SQ_ARRAY) + this.entries * 4,
      u32(PARAMS.CQ_CQES) + u32(PARAMS.CQ_ENTRIES) * 16,
    );
    this.#sqesLength = this.entries * SQE.WORDS * 4;
    let rings: Mapping | undefined;
    let sqes: Mapping;
    try {
      rings = mapShared(fd, MAP_OFFSET.RINGS, this.#ringsLength, "io_uring rings");
      sqes = mapShared(fd, MAP_OFFSET.SQES, this.#sqesLength, "io_uring entries");
    } catch (error) {
      if (rings !== undefined) unmap(rings.address, this.#ringsLength);
      closeQuietly(fd);
      control.free();
      throw error;
    }
    this.#ringsAddress = rings.address;
    this.#rings = new Int32Array(rings.buffer, 0, this.#ringsLength >> 2);
    this.#sqesAddress = sqes.address;
    this.#sqes = new Uint32Array(sqes.buffer);
    this.#sqHead = u32(PARAMS.SQ_HEAD) >> 2;
    this.#sqTail = u32(PARAMS.SQ_TAIL) >> 2;
    this.#sqFlags = u32(PARAMS.SQ_FLAGS) >> 2;
    this.#cqHead = u32(PARAMS.CQ_HEAD) >> 2;
    this.#cqTail = u32(PARAMS.CQ_TAIL) >> 2;
    this.#cqes = u32(PARAMS.CQ_CQES) >> 2;
    this.#sqMask = this.#rings[u32(PARAMS.SQ_MASK) >> 2]!;
    this.#cqMask = this.#rings[u32(PARAMS.CQ_MASK) >> 2]!;
    // The indirection array maps slot to entry; the identity is all that is needed.
    const array = u32(PARAMS.SQ_ARRAY) >> 2;
    for (let i = 0; i < this.entries; i++) this.#rings[array + i] = i;
    this.#tail = this.#rings[this.#sqTail]!;
    this.#argAddress = control.at(CONTROL.ARG, ARG_SIZE);
    const timespec = control.at(CONTROL.TIMESPEC, 16);
    view.setUint32(CONTROL.ARG + 16, timespec % TWO_32, true);
    view.setUint32(CONTROL.ARG + 20, timespec / TWO_32, true);
  }

  /** Entries written and not yet taken by the kernel. */
  get unsubmitted(): number {
    return (this.#tail - Atomics.load(this.#rings, this.#sqHead)) >>> 0;
  }

  /** Completions that can be read without a system call. */
  get ready(): number {
    const rings = this.#rings;
    return (Atomics.load(rings, this.#cqTail) - rings[this.#cqHead]!) >>> 0;
  }

  /** Whether the kernel can say in memory that it has something for us: see {@link hasWork}. */
  get saysWork(): boolean {
    return (this.setupFlags & SETUP.TASKRUN_FLAG) !== 0;
  }

  /** Whether completions are there, or come with the next system call. Looks at memory only. */
  get hasWork(): boolean {
    const rings = this.#rings;
    const told = SQ_FLAG.TASKRUN | SQ_FLAG.CQ_OVERFLOW;
    return (Atomics.load(rings, this.#sqFlags) & told) !== 0 || this.ready > 0;
  }

  /**
   * Write one submission entry. `position`, `address` and `tag` are whole numbers (tag below 2^32);
   * the meaning of `position`, `address`, `length` and `opFlags` is the operation's. When the
   * ring is full, what is there is submitted first. False: the kernel took nothing, because
   * completions must be read first; read them and call again.
   */
  prepare(
    opcode: number,
    fd: number,
    position: number,
    address: number,
    length: number,
    opFlags: number,
    tag: number,
  ): boolean {
    if (this.unsubmitted >= this.entries) {
      this.submitAndWait(0, 0);
      if (this.unsubmitted >= this.entries) return false;
    }
    const sqes = this.#sqes;
    const at = (this.#tail & this.#sqMask) * SQE.WORDS;
    sqes[at] = opcode;
    sqes[at + SQE.FD] = fd;
    // A typed array store takes the value modulo 2^32, so a negative position (-1: "where the
    // file stands") comes out as two's complement.
    sqes[at + SQE.OFFSET] = position;
    sqes[at + SQE.OFFSET + 1] = Math.floor(position / TWO_32);
    sqes[at + SQE.ADDRESS] = address;
    sqes[at + SQE.ADDRESS + 1] = Math.floor(address / TWO_32);
    sqes[at + SQE.LENGTH] = length;
    sqes[at + SQE.OP_FLAGS] = opFlags;
    sqes[at + SQE.USER_DATA] = tag;
    for (let word = SQE.USER_DATA + 1; word < SQE.WORDS; word++) sqes[at + word] = 0;
    this.#tail = (this.#tail + 1) | 0;
    return true;
  }

  /** Write an entry that cancels the operation with this tag; its own completion carries `tag`. */
  prepareCancel(target: number, tag: number): boolean {
    return this.prepare(OP.ASYNC_CANCEL, -1, 0, target, 0, 0, tag);
  }

  /**
   * Submit all entries and wait for `minComplete` completions, for at most `timeoutMs`
   * (negative: without end). Returns the number submitted or a negated errno, of which these are
   * ordinary: -ETIME, -EINTR, and -EBUSY or -EAGAIN (read completions, then try again).
   */
  submitAndWait(minComplete: number, timeoutMs: number): number {
    const rings = this.#rings;
    Atomics.store(rings, this.#sqTail, this.#tail);
    let flags: number = ENTER.GETEVENTS;
    let arg = 0;
    let argSize = 0;
    if (minComplete > 0 && timeoutMs >= 0 && timeoutMs < FOREVER_MS) {
      const seconds = Math.floor(timeoutMs / 1000);
      const view = this.#control.view;
      view.setUint32(CONTROL.TIMESPEC, seconds, true);
      view.setUint32(CONTROL.TIMESPEC + 4, Math.floor(seconds / TWO_32), true);
      view.setUint32(CONTROL.TIMESPEC + 8, Math.floor((timeoutMs - seconds * 1000) * 1e6), true);
      flags |= ENTER.EXT_ARG;
      arg = this.#argAddress;
      argSize = ARG_SIZE;
    }
    return negErrno(
      libc.syscall(SYS.enter, this.fd, this.unsubmitted, minComplete, flags, arg, argSize),
    );
  }

  /**
   * Hand out all completions that are there, as `(tag, result, flags)`, and free their places.
   * The callback must not throw and may call {@link prepare}. Returns how many there were.
   */
  forEachCompletion(onCompletion: (tag: number, result: number, flags: number) => void): number {
    const rings = this.#rings;
    let count = 0;
    // The bound keeps an endless stream of completions from holding the caller here.
    const most = 2 * (this.#cqMask + 1);
    while (count < most) {
      const head = rings[this.#cqHead]!;
      if (head === Atomics.load(rings, this.#cqTail)) {
        // Completions that found no place wait in the kernel until it is asked for them.
        if ((Atomics.load(rings, this.#sqFlags) & SQ_FLAG.CQ_OVERFLOW) === 0) break;
        if (this.submitAndWait(0, 0) < 0 && this.ready === 0) break;
        if (this.ready === 0) break;
        continue;
      }
      const at = this.#cqes + (head & this.#cqMask) * 4;
      const tag = rings[at]! >>> 0;
      const result = rings[at + 2]!;
      const flags = rings[at + 3]!;
      Atomics.store(rings, this.#cqHead, (head + 1) | 0);
      count++;
      onCompletion(tag, result, flags);
    }
    return count;
  }

  /**
   * Close the ring and unmap its memory. The kernel cancels what is pending, but in its own
   * time: whoever needs to know that buffers are free waits for the completions before.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    unmap(this.#ringsAddress, this.#ringsLength);
    unmap(this.#sqesAddress, this.#sqesLength);
    this.#control.free();
    check(libc.close(this.fd), "close", "io_uring");
  }
}
