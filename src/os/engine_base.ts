/**
 * What the io_uring and the epoll engine have in common: the table of operations, the queues per
 * descriptor, the bookkeeping that reports every tag exactly once, and the checks of arguments.
 *
 * @module
 */
import { monotonicMs } from "./clock.ts";
import { BlockPool, Descriptor } from "./descriptor.ts";
import type { Engine, EngineName, OnDone } from "./engine.ts";
import { ERRNO } from "./errno.ts";
import { check, lastErrno, libc, OsError } from "./libc.ts";
import { MAX_IO_LENGTH, type Slab } from "./memory.ts";
import { DoneQueue, KIND, NO_SLOT, OpTable } from "./op_table.ts";

const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const FALLOC_FL_ZERO_RANGE = 16;
/** Write flag: complete only when the data is on stable storage. */
export const RWF_DSYNC = 2;

/** The part of an engine that does not depend on the kernel facility. */
export abstract class BaseEngine implements Engine {
  abstract readonly name: EngineName;
  /** All operations that were started and are not finished. */
  protected readonly ops = new OpTable();
  /** Finished and not yet reported. */
  protected readonly done = new DoneQueue();
  /** By file descriptor. */
  protected readonly descriptors: (Descriptor | undefined)[] = [];
  readonly #blocks = new BlockPool();
  #toSend: Descriptor[] = [];
  #sending: Descriptor[] = [];
  #waiting = false;
  #ended = false;

  /** Sockets are non-blocking for epoll; io_uring waits by itself only on blocking ones. */
  protected abstract readonly nonBlocking: boolean;
  /** Start a disk operation. */
  protected abstract startDisk(descriptor: Descriptor, slot: number): void;
  /** Something was appended to `incoming`. */
  protected abstract startIncoming(descriptor: Descriptor): void;
  protected abstract startAccept(descriptor: Descriptor, slot: number): void;
  /** The address is in the descriptor's block; `position` of the slot is its length. */
  protected abstract startConnect(descriptor: Descriptor, slot: number): void;
  protected abstract startPoll(descriptor: Descriptor, slot: number): void;
  /** Send what is in `outgoing`, as far as possible. */
  protected abstract startSends(descriptor: Descriptor): void;
  /** Finish with -ECANCELED, or see to it that it soon is, everything of this descriptor. */
  protected abstract cancelAll(descriptor: Descriptor): void;
  /** Take completions from the kernel, waiting at most so long for the first. */
  protected abstract collect(timeoutMs: number): void;
  /** Nothing is pending on the descriptor, and nothing of it is to be reported any more. */
  protected abstract forget(descriptor: Descriptor): void;
  /** Give the kernel facility back. */
  protected abstract release(): void;

  get pending(): number {
    return this.ops.inUse + this.done.length;
  }

  read(
    fd: number,
    slab: Slab,
    offset: number,
    length: number,
    position: number,
    tag: number,
  ): void {
    this.#disk(KIND.READ, fd, slab.at(offset, length), length, position, 0, tag);
  }

  write(
    fd: number,
    slab: Slab,
    offset: number,
    length: number,
    position: number,
    dsync: boolean,
    tag: number,
  ): void {
    const flags = dsync ? RWF_DSYNC : 0;
    this.#disk(KIND.WRITE, fd, slab.at(offset, length), length, position, flags, tag);
  }

  flush(fd: number, tag: number): void {
    this.#disk(KIND.FLUSH, fd, 0, 0, 0, 0, tag);
  }

  discard(fd: number, position: number, length: number, tag: number): void {
    const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    this.#disk(KIND.FALLOCATE, fd, 0, length, position, mode, tag);
  }

  zero(
    fd: number,
    position: number,
    length: number,
    keepAllocated: boolean,
    tag: number,
  ): void {
    const how = keepAllocated ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;
    this.#disk(KIND.FALLOCATE, fd, 0, length, position, how | FALLOC_FL_KEEP_SIZE, tag);
  }

  recv(fd: number, slab: Slab, offset: number, length: number, tag: number): void {
    this.#receive(KIND.RECV, fd, slab.at(offset, length), length, tag);
  }

  recvAll(fd: number, slab: Slab, offset: number, length: number, tag: number): void {
    this.#receive(KIND.RECV_ALL, fd, slab.at(offset, length), length, tag);
  }

  send(fd: number, slab: Slab, offset: number, length: number, tag: number): void {
    this.#send(fd, slab.at(offset, length), length, 0, 0, tag);
  }

  sendTwo(
    fd: number,
    slabA: Slab,
    offsetA: number,
    lengthA: number,
    slabB: Slab,
    offsetB: number,
    lengthB: number,
    tag: number,
  ): void {
    this.#send(fd, slabA.at(offsetA, lengthA), lengthA, slabB.at(offsetB, lengthB), lengthB, tag);
  }

  accept(fd: number, tag: number): void {
    const descriptor = this.#socket(fd);
    this.startAccept(descriptor, this.ops.take(KIND.ACCEPT, fd, tag));
  }

  connect(fd: number, sockaddr: Uint8Array, tag: number): void {
    const descriptor = this.#socket(fd);
    descriptor.setSockaddr(sockaddr);
    const slot = this.ops.take(KIND.CONNECT, fd, tag);
    this.ops.position[slot] = sockaddr.length;
    this.startConnect(descriptor, slot);
  }

  pollIn(fd: number, tag: number): void {
    const descriptor = this.#descriptor(fd);
    this.startPoll(descriptor, this.ops.take(KIND.POLL, fd, tag));
  }

  cancel(fd: number): void {
    const descriptor = this.descriptors[fd];
    if (descriptor !== undefined && !descriptor.closing) this.cancelAll(descriptor);
  }

  close(fd: number): void {
    const descriptor = this.#descriptor(fd);
    descriptor.closing = true;
    this.cancelAll(descriptor);
    this.closeIfIdle(descriptor);
  }

  disown(fd: number): void {
    const descriptor = this.#descriptor(fd);
    const { incoming, outgoing, watching, inFlight } = descriptor;
    const idle = inFlight === 0 &&
      [incoming, outgoing, watching].every(({ head }) => head === NO_SLOT);
    if (!idle) throw new Error(`descriptor ${fd} is given away with operations under way`);
    this.forget(descriptor);
    this.descriptors[fd] = undefined;
    if (descriptor.block !== undefined) this.#blocks.give(descriptor.block);
  }

  wait(timeoutMs: number, onDone: OnDone): number {
    if (this.#ended) throw new Error("the I/O engine was used after destroy()");
    if (this.#waiting) throw new Error("Engine.wait was called from inside its own callback");
    this.#waiting = true;
    try {
      this.#startListedSends();
      this.collect(this.done.length > 0 ? 0 : timeoutMs);
      return this.done.drain(onDone);
    } finally {
      this.#waiting = false;
    }
  }

  destroy(timeoutMs: number, onDone: OnDone): number {
    if (this.#ended) return 0;
    for (const descriptor of this.descriptors) {
      if (descriptor !== undefined && !descriptor.closing) this.cancelAll(descriptor);
    }
    const deadline = monotonicMs() + timeoutMs;
    // The callback may start new operations; they are canceled as well.
    for (;;) {
      const left = deadline - monotonicMs();
      if (this.pending === 0 || left <= 0) break;
      this.wait(Math.min(left, 100), onDone);
      for (const descriptor of this.descriptors) {
        if (descriptor !== undefined && !descriptor.closing) this.cancelAll(descriptor);
      }
    }
    this.#ended = true;
    this.release();
    const stuck = this.ops.inUse;
    if (stuck === 0) this.#blocks.free();
    return stuck;
  }

  /** An operation is finished: remember the result for the next report, free the slot. */
  protected finish(slot: number, result: number): void {
    this.done.push(this.ops.tag[slot]!, result);
    this.ops.release(slot);
  }

  /** Finish all slots linked from this one on. */
  protected finishChain(first: number, result: number): void {
    for (let slot = first; slot !== NO_SLOT;) {
      const next = this.ops.next[slot]!;
      this.finish(slot, result);
      slot = next;
    }
  }

  /** `sent` bytes of `outgoing` have left: finish what is complete. */
  protected settleSends(descriptor: Descriptor, sent: number): void {
    const ops = this.ops;
    let left = sent;
    for (;;) {
      const slot = descriptor.outgoing.head;
      if (slot === NO_SLOT) break;
      const remaining = ops.remaining(slot);
      if (left < remaining) {
        ops.done[slot]! += left;
        break;
      }
      left -= remaining;
      descriptor.outgoing.shift(ops);
      this.finish(slot, ops.length[slot]! + ops.lengthB[slot]!);
    }
  }

  /** A send failed, and with it the stream: nothing behind it can be sent in its place. */
  protected failSends(descriptor: Descriptor, result: number): void {
    this.finishChain(descriptor.outgoing.cutAfter(this.ops, NO_SLOT), result);
  }

  /** Have {@link startSends} called for this descriptor at the next wait. */
  protected listForSending(descriptor: Descriptor): void {
    if (descriptor.listed) return;
    descriptor.listed = true;
    this.#toSend.push(descriptor);
  }

  /** Close the descriptor if that was asked for and the kernel holds none of its operations. */
  protected closeIfIdle(descriptor: Descriptor): void {
    if (!descriptor.closing || descriptor.inFlight > 0) return;
    this.descriptors[descriptor.fd] = undefined;
    if (descriptor.block !== undefined) this.#blocks.give(descriptor.block);
    // Whatever else close(2) reports, the descriptor is gone; EBADF means it was never ours.
    if (libc.close(descriptor.fd) < 0 && lastErrno() === ERRNO.EBADF) {
      throw new OsError("close", ERRNO.EBADF, `descriptor ${descriptor.fd}`);
    }
  }

  #startListedSends(): void {
    const list = this.#toSend;
    if (list.length === 0) return;
    this.#toSend = this.#sending;
    this.#sending = list;
    for (const descriptor of list) {
      descriptor.listed = false;
      if (descriptor.outgoing.head !== NO_SLOT) this.startSends(descriptor);
    }
    list.length = 0;
  }

  #descriptor(fd: number): Descriptor {
    if (this.#ended) throw new Error("the I/O engine was used after destroy()");
    const known = this.descriptors[fd];
    if (known !== undefined) {
      if (known.closing) throw new Error(`descriptor ${fd} was used after close()`);
      return known;
    }
    if (!Number.isInteger(fd) || fd < 0) throw new RangeError(`${fd} is not a file descriptor`);
    const descriptor = new Descriptor(fd);
    this.descriptors[fd] = descriptor;
    return descriptor;
  }

  #socket(fd: number): Descriptor {
    const descriptor = this.#descriptor(fd);
    if (descriptor.block === undefined) {
      const flags = check(libc.fcntl(fd, F_GETFL, 0), "fcntl", `descriptor ${fd}`);
      const wanted = this.nonBlocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
      if (wanted !== flags) check(libc.fcntl(fd, F_SETFL, wanted), "fcntl", `descriptor ${fd}`);
      descriptor.block = this.#blocks.take();
    }
    return descriptor;
  }

  #disk(
    kind: number,
    fd: number,
    address: number,
    length: number,
    position: number,
    flags: number,
    tag: number,
  ): void {
    if (!Number.isSafeInteger(position + length) || position < 0 || length < 0) {
      throw new RangeError(`disk range ${position} + ${length} is not valid`);
    }
    if (kind !== KIND.FALLOCATE) this.#checkLength(length);
    const ops = this.ops;
    const descriptor = this.#descriptor(fd);
    const slot = ops.take(kind, fd, tag);
    ops.address[slot] = address;
    ops.length[slot] = length;
    ops.position[slot] = position;
    ops.flags[slot] = flags;
    this.startDisk(descriptor, slot);
  }

  #receive(kind: number, fd: number, address: number, length: number, tag: number): void {
    // A receive of no bytes could not be told from the end of the stream.
    if (length < 1) throw new RangeError("a receive needs room for at least one byte");
    this.#checkLength(length);
    const descriptor = this.#socket(fd);
    const slot = this.ops.take(kind, fd, tag);
    this.ops.address[slot] = address;
    this.ops.length[slot] = length;
    descriptor.incoming.push(this.ops, slot);
    this.startIncoming(descriptor);
  }

  #send(
    fd: number,
    addressA: number,
    lengthA: number,
    addressB: number,
    lengthB: number,
    tag: number,
  ): void {
    this.#checkLength(lengthA + lengthB);
    const ops = this.ops;
    const descriptor = this.#socket(fd);
    const slot = ops.take(KIND.SEND, fd, tag);
    ops.address[slot] = addressA;
    ops.length[slot] = lengthA;
    ops.addressB[slot] = addressB;
    ops.lengthB[slot] = lengthB;
    descriptor.outgoing.push(ops, slot);
    this.listForSending(descriptor);
  }

  #checkLength(length: number): void {
    if (length > MAX_IO_LENGTH) {
      throw new RangeError(`one operation moves at most ${MAX_IO_LENGTH} bytes, not ${length}`);
    }
  }
}
