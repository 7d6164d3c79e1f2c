/**
 * What an engine keeps for one file descriptor: its queues, and for a socket a block of fixed memory
 * that holds the message header and address which the kernel reads.
 *
 * @module
 */
import { Slab } from "./memory.ts";
import { NO_SLOT, type OpTable, SlotFifo } from "./op_table.ts";

const TWO_32 = 4294967296;
const BLOCK = 1280;
const SLAB_BLOCKS = 64;
const SOCKADDR = 64;
/** Bytes of the longest socket address (struct sockaddr_storage). */
export const SOCKADDR_MAX = 128;
const IOVEC = SOCKADDR + SOCKADDR_MAX;
const MAX_PIECES = 64;
/** Later sends join a message only up to so many bytes, so that buffers come back early. */
const JOIN_LIMIT = 256 * 1024;

/** Fixed memory of one socket: `struct msghdr`, a socket address, and an array of `struct iovec`. */
export interface Block {
  readonly address: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly words: Uint32Array;
}

/** Hands blocks out of a growing number of slabs. */
export class BlockPool {
  readonly #slabs: Slab[] = [];
  readonly #free: Block[] = [];

  /** Take a block; its content is old. */
  take(): Block {
    if (this.#free.length === 0) {
      const slab = Slab.allocate(BLOCK * SLAB_BLOCKS);
      this.#slabs.push(slab);
      for (let offset = 0; offset < BLOCK * SLAB_BLOCKS; offset += BLOCK) {
        const bytes = slab.bytes.subarray(offset, offset + BLOCK);
        const words = new Uint32Array(bytes.buffer, offset, BLOCK / 4);
        this.#free.push({ address: slab.at(offset, BLOCK), bytes, words });
      }
    }
    return this.#free.pop()!;
  }

  /** Give a block back that no pending operation uses. */
  give(block: Block): void {
    this.#free.push(block);
  }

  /** Unmap everything. */
  free(): void {
    for (const slab of this.#slabs) slab.free();
  }
}

/** The state of one descriptor. */
export class Descriptor {
  readonly fd: number;
  /** Set when the descriptor was first used as a socket (or polled). */
  block: Block | undefined = undefined;
  /** Receives and (with epoll) accepts, first come first served. */
  readonly incoming = new SlotFifo();
  /** Sends. */
  readonly outgoing = new SlotFifo();
  /** Polls and a connect, which wait for no other operation. Used by epoll. */
  readonly watching = new SlotFifo();
  /** close() was asked for. */
  closing = false;
  /** Operations in the kernel's hands (io_uring). */
  inFlight = 0;
  /** io_uring: a disk behind the page cache; undefined: not looked at yet. */
  cached: boolean | undefined = undefined;
  /** io_uring: the first of `incoming` is in flight. */
  receiving = false;
  /** io_uring: last slot of the message in flight, or NO_SLOT. */
  lastSending = NO_SLOT;
  /** Is in the engine's list of descriptors with sends to start. */
  listed = false;
  /** epoll: the kernel reports events of this descriptor. */
  registered = false;
  /** epoll: no EAGAIN since the last event. */
  readable = true;
  writable = true;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Address of the socket address that {@link setSockaddr} stored. */
  get sockaddrAddress(): number {
    return this.block!.address + SOCKADDR;
  }

  /** The stored socket address. */
  sockaddr(length: number): Uint8Array<ArrayBuffer> {
    return this.block!.bytes.subarray(SOCKADDR, SOCKADDR + length);
  }

  /** Copy an encoded socket address to fixed memory. */
  setSockaddr(sockaddr: Uint8Array): void {
    if (sockaddr.length > SOCKADDR_MAX) {
      throw new RangeError(`a socket address has at most ${SOCKADDR_MAX} bytes`);
    }
    this.block!.bytes.set(sockaddr, SOCKADDR);
  }

  /** Address of the message header, after {@link gather}. */
  get messageAddress(): number {
    return this.block!.address;
  }

  /** Address of the first piece, after {@link gather}. */
  get firstPieceAddress(): number {
    const words = this.block!.words;
    return words[IOVEC / 4]! + words[IOVEC / 4 + 1]! * TWO_32;
  }

  /** Length of the first piece, after {@link gather}. */
  get firstPieceLength(): number {
    return this.block!.words[IOVEC / 4 + 2]!;
  }

  /**
   * Gather what the sends in the queue still have to send into the message header: at most 64
   * pieces. Sets `lastSending` to the last send with a part in it; returns the number of pieces.
   */
  gather(ops: OpTable): number {
    const words = this.block!.words;
    let pieces = 0;
    let total = 0;
    for (let slot = this.outgoing.head; slot !== NO_SLOT; slot = ops.next[slot]!) {
      const remaining = ops.remaining(slot);
      if (pieces > 0 && (total + remaining > JOIN_LIMIT || pieces + 2 > MAX_PIECES)) break;
      const done = ops.done[slot]!;
      const leftA = ops.length[slot]! - done;
      if (leftA > 0) this.#piece(words, pieces++, ops.address[slot]! + done, leftA);
      const skipB = leftA < 0 ? -leftA : 0;
      const leftB = ops.lengthB[slot]! - skipB;
      if (leftB > 0) this.#piece(words, pieces++, ops.addressB[slot]! + skipB, leftB);
      total += remaining;
      this.lastSending = slot;
    }
    const iovec = this.block!.address + IOVEC;
    words.fill(0, 0, 14);
    words[4] = iovec % TWO_32;
    words[5] = iovec / TWO_32;
    words[6] = pieces;
    return pieces;
  }

  #piece(words: Uint32Array, index: number, address: number, length: number): void {
    const at = IOVEC / 4 + index * 4;
    words[at] = address % TWO_32;
    words[at + 1] = address / TWO_32;
    words[at + 2] = length;
    words[at + 3] = 0;
  }
}
