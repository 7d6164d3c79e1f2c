/**
 * The {@link Engine} over io_uring: one system call per `wait` submits everything that was started
 * and collects everything that is finished.
 *
 * A slot of the operation table is the tag that the kernel sees. A slot is given back only when its
 * completion has come, so the kernel never names a wrong one.
 *
 * @module
 */
import type { Descriptor } from "./descriptor.ts";
import type { Engine } from "./engine.ts";
import { BaseEngine } from "./engine_base.ts";
import { ERRNO } from "./errno.ts";
import { isCached } from "./files.ts";
import { IoUring } from "./io_uring.ts";
import { FSYNC_DATASYNC, OP } from "./io_uring_abi.ts";
import { libc, negErrno, OsError } from "./libc.ts";
import { Slab } from "./memory.ts";
import { KIND, NO_SLOT } from "./op_table.ts";
import { SpinWait } from "./spin_wait.ts";

const TWO_32 = 4294967296;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_WAITALL = 0x100;
const RWF_NOWAIT = 8;
const MSG_NOSIGNAL = 0x4000;
const POLLIN = 1;
/** Tag of cancel requests, whose own completions mean nothing. */
const CANCEL_TAG = 0xffffffff;
/**
 * A write into the page cache of up to so many bytes is done at once: most file systems refuse it
 * without blocking, so the kernel would pass it to a thread of its own, which costs more than the copy.
 */
const CACHED_WRITE_MAX = 256 * 1024;
/** A read of up to so many bytes that the page cache holds is done at once: one system call less. */
const CACHED_READ_MAX = 256 * 1024;
/** Turns in which what is done already is reported before the kernel is asked for more. */
const TURNS_WITHOUT_KERNEL = 4;
/** An operation that is interrupted so often without progress reports the interruption. */
const MAX_RETRIES = 100;

class IoUringEngine extends BaseEngine {
  readonly name = "io_uring";
  protected readonly nonBlocking = false;
  readonly #ring: IoUring;
  /** Slots to be handed to the kernel again at the next wait: what is left of a short transfer. */
  #again: number[] = [];
  readonly #spin = new SpinWait();
  readonly #iovec = Slab.allocate(16);
  #turnsWithoutKernel = 0;
  readonly #hasWork = () => this.#ring.hasWork;
  readonly #onCompletion = (tag: number, result: number) => {
    if (tag !== CANCEL_TAG) this.#completed(tag, result);
  };

  constructor(entries: number, ladder?: readonly number[]) {
    super();
    this.#ring = new IoUring(entries, ladder);
  }

  protected startDisk(descriptor: Descriptor, slot: number): void {
    const kind = this.ops.kind[slot];
    if (
      kind === KIND.WRITE
        ? this.#writtenAtOnce(descriptor, slot)
        : kind === KIND.READ && this.#readAtOnce(descriptor, slot)
    ) return;
    descriptor.inFlight++;
    this.#issue(slot);
  }

  protected startIncoming(descriptor: Descriptor): void {
    if (descriptor.receiving) return;
    descriptor.receiving = true;
    descriptor.inFlight++;
    this.#issue(descriptor.incoming.head);
  }

  protected startAccept(descriptor: Descriptor, slot: number): void {
    descriptor.inFlight++;
    this.#issue(slot);
  }

  protected startConnect(descriptor: Descriptor, slot: number): void {
    descriptor.inFlight++;
    this.ops.address[slot] = descriptor.sockaddrAddress;
    this.#issue(slot);
  }

  protected startPoll(descriptor: Descriptor, slot: number): void {
    descriptor.inFlight++;
    this.#issue(slot);
  }

  protected startSends(descriptor: Descriptor): void {
    if (descriptor.lastSending !== NO_SLOT) return;
    let pieces = descriptor.gather(this.ops);
    while (pieces > 0 && this.#sentAtOnce(descriptor, pieces)) pieces = descriptor.gather(this.ops);
    if (pieces === 0) {
      descriptor.lastSending = NO_SLOT;
      this.settleSends(descriptor, 0);
      return;
    }
    descriptor.inFlight++;
    const { fd, outgoing } = descriptor;
    // Without MSG_WAITALL a stream send completes with what fits into the socket buffer.
    const flags = MSG_NOSIGNAL | MSG_WAITALL;
    if (pieces === 1) {
      const { firstPieceAddress, firstPieceLength } = descriptor;
      this.#prepare(OP.SEND, fd, 0, firstPieceAddress, firstPieceLength, flags, outgoing.head);
    } else {
      this.#prepare(OP.SENDMSG, fd, 0, descriptor.messageAddress, 1, flags, outgoing.head);
    }
  }

  protected cancelAll(descriptor: Descriptor): void {
    const ops = this.ops;
    const { incoming, outgoing, lastSending } = descriptor;
    // What only waits its turn ends here; the kernel never saw it.
    const firstIncoming = descriptor.receiving ? incoming.head : NO_SLOT;
    this.finishChain(incoming.cutAfter(ops, firstIncoming), -ERRNO.ECANCELED);
    this.finishChain(outgoing.cutAfter(ops, lastSending), -ERRNO.ECANCELED);
    if (descriptor.inFlight === 0) return;
    for (let slot = 0; slot < ops.capacity; slot++) {
      if (ops.kind[slot] === 0 || ops.fd[slot] !== descriptor.fd) continue;
      if (ops.canceled[slot] === 1) continue;
      ops.canceled[slot] = 1;
      // Of the sends that share a message, the kernel knows the first.
      if (ops.kind[slot] === KIND.SEND && slot !== outgoing.head) continue;
      // The entry stands in the ring before any later use of this slot, so it cannot hit that.
      this.#prepare(OP.ASYNC_CANCEL, -1, 0, slot, 0, 0, CANCEL_TAG);
    }
  }

  protected collect(timeoutMs: number): void {
    const ring = this.#ring;
    this.#startAgain();
    if (this.done.length > 0) {
      // What follows from these may be done without the kernel as well.
      if (++this.#turnsWithoutKernel <= TURNS_WITHOUT_KERNEL) return;
      this.#enter(0, 0);
    } else if (ring.ready > 0 || timeoutMs === 0) {
      this.#enter(0, 0);
    } else {
      this.#sleep(timeoutMs);
    }
    this.#turnsWithoutKernel = 0;
    ring.forEachCompletion(this.#onCompletion);
  }

  protected forget(_descriptor: Descriptor): void {
    // The ring knows operations only, and there are none.
  }

  #sleep(timeoutMs: number): void {
    const ring = this.#ring;
    if (!ring.saysWork) return this.#enter(1, timeoutMs);
    if (ring.unsubmitted > 0) {
      this.#enter(0, 0);
      if (ring.ready > 0) return;
    }
    if (this.#spin.spin(this.#hasWork)) return this.#enter(0, 0);
    this.#enter(1, timeoutMs);
    this.#spin.slept();
  }

  protected release(): void {
    this.#ring.close();
    this.#iovec.free();
  }

  /** See CACHED_WRITE_MAX. Whatever is out of the ordinary is left to the ring. */
  #writtenAtOnce(descriptor: Descriptor, slot: number): boolean {
    const ops = this.ops;
    const length = ops.length[slot]!;
    if (ops.flags[slot] !== 0 || length > CACHED_WRITE_MAX) return false;
    descriptor.cached ??= isCached(descriptor.fd);
    if (!descriptor.cached) return false;
    const written = negErrno(
      libc.pwrite64(descriptor.fd, ops.address[slot]!, length, ops.position[slot]!),
    );
    if (written === length) {
      this.finish(slot, written);
      return true;
    }
    if (written > 0) ops.done[slot] = written;
    return false;
  }

  /** See CACHED_READ_MAX. What would have to wait for the disk is left to the ring. */
  #readAtOnce(descriptor: Descriptor, slot: number): boolean {
    const ops = this.ops;
    const length = ops.length[slot]!;
    if (length > CACHED_READ_MAX) return false;
    descriptor.cached ??= isCached(descriptor.fd);
    if (!descriptor.cached) return false;
    const address = ops.address[slot]!;
    const words = this.#iovec.view;
    words.setUint32(0, address % TWO_32, true);
    words.setUint32(4, address / TWO_32, true);
    words.setUint32(8, length, true);
    const { address: iovec } = this.#iovec;
    const position = ops.position[slot]!;
    const count = negErrno(libc.preadv2(descriptor.fd, iovec, 1, position, RWF_NOWAIT));
    if (count === length) {
      this.finish(slot, count);
      return true;
    }
    if (count > 0) ops.done[slot] = count;
    return false;
  }

  /** Sends what the socket takes now. False: nothing. */
  #sentAtOnce(descriptor: Descriptor, pieces: number): boolean {
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    const { fd } = descriptor;
    const sent = negErrno(
      pieces === 1
        ? libc.send(fd, descriptor.firstPieceAddress, descriptor.firstPieceLength, flags)
        : libc.sendmsg(fd, descriptor.messageAddress, flags),
    );
    if (sent <= 0) return false;
    this.settleSends(descriptor, sent);
    return true;
  }

  #enter(minComplete: number, timeoutMs: number): void {
    const result = this.#ring.submitAndWait(minComplete, timeoutMs);
    if (result >= 0) return;
    // Time is up, a signal came, or completions must be read before more can be submitted.
    const { ETIME, EINTR, EBUSY, EAGAIN } = ERRNO;
    if (result === -ETIME || result === -EINTR || result === -EBUSY || result === -EAGAIN) return;
    throw new OsError("io_uring_enter", result);
  }

  #prepare(
    opcode: number,
    fd: number,
    position: number,
    address: number,
    length: number,
    opFlags: number,
    tag: number,
  ): void {
    for (let attempt = 0; attempt < 1000; attempt++) {
      if (this.#ring.prepare(opcode, fd, position, address, length, opFlags, tag)) return;
      // The kernel wants its completions read first. They go to the queue of results; nothing is
      // started from there, so this does not come back here.
      this.#ring.forEachCompletion(this.#onCompletion);
    }
    throw new Error("io_uring: the kernel takes no submissions although completions were read");
  }

  #issue(slot: number): void {
    const ops = this.ops;
    const fd = ops.fd[slot]!;
    const done = ops.done[slot]!;
    const address = ops.address[slot]! + done;
    const length = ops.length[slot]! - done;
    const position = ops.position[slot]! + done;
    const flags = ops.flags[slot]!;
    switch (ops.kind[slot]) {
      case KIND.READ:
        return this.#prepare(OP.READ, fd, position, address, length, 0, slot);
      case KIND.WRITE:
        return this.#prepare(OP.WRITE, fd, position, address, length, flags, slot);
      case KIND.FLUSH:
        return this.#prepare(OP.FSYNC, fd, 0, 0, 0, FSYNC_DATASYNC, slot);
      case KIND.FALLOCATE: // the range's length stands in the address field, the mode in the length
        return this.#prepare(OP.FALLOCATE, fd, position, length, flags, 0, slot);
      case KIND.RECV:
        return this.#prepare(OP.RECV, fd, 0, address, length, 0, slot);
      case KIND.RECV_ALL:
        return this.#prepare(OP.RECV, fd, 0, address, length, MSG_WAITALL, slot);
      case KIND.ACCEPT:
        return this.#prepare(OP.ACCEPT, fd, 0, 0, 0, SOCK_CLOEXEC, slot);
      case KIND.CONNECT: // `position` is the length of the address, in the field of the offset
        return this.#prepare(OP.CONNECT, fd, position, address, 0, 0, slot);
      case KIND.POLL:
        return this.#prepare(OP.POLL_ADD, fd, 0, 0, 0, POLLIN, slot);
      default:
        throw new Error(`operation slot ${slot} has no kind to issue`);
    }
  }

  #startAgain(): void {
    if (this.#again.length === 0) return;
    const slots = this.#again;
    this.#again = [];
    for (const slot of slots) {
      if (this.ops.canceled[slot] === 0) this.#issue(slot);
      else this.#ended(slot, -ERRNO.ECANCELED);
    }
  }

  /** The kernel is done with a slot, perhaps only with a part of its work. */
  #completed(slot: number, result: number): void {
    const ops = this.ops;
    const kind = ops.kind[slot]!;
    if (kind === KIND.SEND) return this.#sendCompleted(slot, result);
    if (result === -ERRNO.EINTR || result === -ERRNO.EAGAIN) {
      if (this.#mayRetry(slot)) this.#again.push(slot);
      else this.#ended(slot, ops.canceled[slot] === 1 ? -ERRNO.ECANCELED : result);
      return;
    }
    const carriesOn = kind === KIND.READ || kind === KIND.WRITE || kind === KIND.RECV_ALL;
    if (!carriesOn || result < 0) return this.#ended(slot, result);
    const done = ops.done[slot]! + result;
    ops.done[slot] = done;
    if (result === 0 || done >= ops.length[slot]!) return this.#ended(slot, done);
    ops.retries[slot] = 0;
    this.#again.push(slot);
  }

  #sendCompleted(slot: number, result: number): void {
    const ops = this.ops;
    const descriptor = this.#descriptorOf(slot);
    descriptor.inFlight--;
    descriptor.lastSending = NO_SLOT;
    if (result > 0) {
      this.settleSends(descriptor, result);
      const head = descriptor.outgoing.head;
      if (head !== NO_SLOT && ops.canceled[head] === 1) {
        this.failSends(descriptor, -ERRNO.ECANCELED);
      }
    } else if (result < 0 && result !== -ERRNO.EINTR && result !== -ERRNO.EAGAIN) {
      this.failSends(descriptor, result);
    } else if (!this.#mayRetry(slot)) {
      const failure = ops.canceled[slot] === 1 ? -ERRNO.ECANCELED : result || -ERRNO.EIO;
      this.failSends(descriptor, failure);
    }
    if (descriptor.outgoing.head !== NO_SLOT) this.listForSending(descriptor);
    this.closeIfIdle(descriptor);
  }

  #mayRetry(slot: number): boolean {
    const ops = this.ops;
    return ops.canceled[slot] === 0 && ++ops.retries[slot]! < MAX_RETRIES;
  }

  /** The operation in this slot is over. */
  #ended(slot: number, result: number): void {
    const ops = this.ops;
    const kind = ops.kind[slot]!;
    const descriptor = this.#descriptorOf(slot);
    descriptor.inFlight--;
    if (kind === KIND.RECV || kind === KIND.RECV_ALL) {
      descriptor.incoming.shift(ops);
      const next = descriptor.incoming.head;
      descriptor.receiving = next !== NO_SLOT;
      if (next !== NO_SLOT) {
        descriptor.inFlight++;
        this.#again.push(next);
      }
    }
    this.finish(slot, result);
    this.closeIfIdle(descriptor);
  }

  #descriptorOf(slot: number): Descriptor {
    const descriptor = this.descriptors[this.ops.fd[slot]!];
    if (this.ops.kind[slot] === 0 || descriptor === undefined) {
      throw new Error(`io_uring completed slot ${slot}, which nobody started`);
    }
    return descriptor;
  }
}

/**
 * Make an engine over io_uring; throws an OsError where the kernel has or allows none. `ladder`: see
 * the constructor of {@link IoUring}.
 */
export function createIoUringEngine(entries = 256, ladder?: readonly number[]): Engine {
  return new IoUringEngine(entries, ladder);
}
