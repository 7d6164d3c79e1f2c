/**
 * The operations an engine has under way, as columns of typed arrays: starting and finishing an
 * operation allocates nothing.
 *
 * @module
 */

/** What an operation does. */
export const KIND = {
  READ: 1,
  WRITE: 2,
  FLUSH: 3,
  FALLOCATE: 4,
  RECV: 5,
  RECV_ALL: 6,
  SEND: 7,
  ACCEPT: 8,
  CONNECT: 9,
  POLL: 10,
} as const;

/** Marks the end of a list of slots. */
export const NO_SLOT = -1;

/** Rows are slots, taken by {@link OpTable.take} and given back by {@link OpTable.release}. */
export class OpTable {
  /** One of KIND; 0 = free slot. */
  kind = new Uint8Array(0);
  /** 1 when the operation was canceled and must not be started again. */
  canceled = new Uint8Array(0);
  /** How often it was started again without progress. */
  retries = new Uint8Array(0);
  fd = new Int32Array(0);
  tag = new Int32Array(0);
  /** RWF_* of a write, mode of a fallocate. */
  flags = new Int32Array(0);
  /** Next slot in a FIFO or in the free list. */
  next = new Int32Array(0);
  address = new Float64Array(0);
  /** Bytes of the first piece; for a fallocate, of the range. */
  length = new Float64Array(0);
  /** The second piece of a send. */
  addressB = new Float64Array(0);
  lengthB = new Float64Array(0);
  /** Bytes carried out so far. */
  done = new Float64Array(0);
  /** Byte position in the file. */
  position = new Float64Array(0);

  /** Slots taken. */
  inUse = 0;
  #free = NO_SLOT;

  /** Number of rows. */
  get capacity(): number {
    return this.kind.length;
  }

  /** Take a free slot; the table doubles when there is none. */
  take(kind: number, fd: number, tag: number): number {
    if ((tag | 0) !== tag || tag < 0) {
      throw new RangeError(`tag ${tag} is not a whole number from 0 to 2^31 - 1`);
    }
    if (this.#free === NO_SLOT) this.#grow();
    const slot = this.#free;
    this.#free = this.next[slot]!;
    this.inUse++;
    this.kind[slot] = kind;
    this.canceled[slot] = 0;
    this.retries[slot] = 0;
    this.fd[slot] = fd;
    this.tag[slot] = tag;
    this.flags[slot] = 0;
    this.next[slot] = NO_SLOT;
    this.lengthB[slot] = 0;
    this.done[slot] = 0;
    return slot;
  }

  /** Give a slot back. */
  release(slot: number): void {
    if (this.kind[slot] === 0) throw new Error(`operation slot ${slot} was released twice`);
    this.kind[slot] = 0;
    this.inUse--;
    this.next[slot] = this.#free;
    this.#free = slot;
  }

  /** Bytes that a send still has to send. */
  remaining(slot: number): number {
    return this.length[slot]! + this.lengthB[slot]! - this.done[slot]!;
  }

  #grow(): void {
    const before = this.kind.length;
    const after = Math.max(256, before * 2);
    const bytes = (old: Uint8Array) => {
      const grown = new Uint8Array(after);
      grown.set(old);
      return grown;
    };
    const ints = (old: Int32Array) => {
      const grown = new Int32Array(after);
      grown.set(old);
      return grown;
    };
    const floats = (old: Float64Array) => {
      const grown = new Float64Array(after);
      grown.set(old);
      return grown;
    };
    this.kind = bytes(this.kind);
    this.canceled = bytes(this.canceled);
    this.retries = bytes(this.retries);
    this.fd = ints(this.fd);
    this.tag = ints(this.tag);
    this.flags = ints(this.flags);
    this.next = ints(this.next);
    this.address = floats(this.address);
    this.length = floats(this.length);
    this.addressB = floats(this.addressB);
    this.lengthB = floats(this.lengthB);
    this.done = floats(this.done);
    this.position = floats(this.position);
    for (let slot = after - 1; slot >= before; slot--) {
      this.next[slot] = this.#free;
      this.#free = slot;
    }
  }
}

/** Slots in the order they came, linked through {@link OpTable.next}. */
export class SlotFifo {
  /** First slot, or NO_SLOT. */
  head = NO_SLOT;
  #tail = NO_SLOT;

  /** Append a slot. */
  push(ops: OpTable, slot: number): void {
    ops.next[slot] = NO_SLOT;
    if (this.head === NO_SLOT) this.head = slot;
    else ops.next[this.#tail] = slot;
    this.#tail = slot;
  }

  /** Take the first slot, or NO_SLOT. */
  shift(ops: OpTable): number {
    const slot = this.head;
    if (slot !== NO_SLOT) this.head = ops.next[slot]!;
    return slot;
  }

  /** Cut everything after `slot` off and return the first of it; NO_SLOT as `slot` cuts all. */
  cutAfter(ops: OpTable, slot: number): number {
    let rest = this.head;
    if (slot === NO_SLOT) {
      this.head = NO_SLOT;
    } else {
      rest = ops.next[slot]!;
      ops.next[slot] = NO_SLOT;
      this.#tail = slot;
    }
    return rest;
  }
}

/** Finished operations that were not yet reported: pairs of tag and result. */
export class DoneQueue {
  #pairs = new Int32Array(1024);
  #first = 0;
  /** How many there are. */
  length = 0;

  /** Append a pair; the queue doubles when it is full. */
  push(tag: number, result: number): void {
    if (this.length * 2 === this.#pairs.length) {
      const grown = new Int32Array(this.#pairs.length * 2);
      grown.set(this.#pairs.subarray(this.#first * 2));
      grown.set(this.#pairs.subarray(0, this.#first * 2), this.#pairs.length - this.#first * 2);
      this.#pairs = grown;
      this.#first = 0;
    }
    const at = ((this.#first + this.length) * 2) % this.#pairs.length;
    this.#pairs[at] = tag;
    this.#pairs[at + 1] = result;
    this.length++;
  }

  /** Hand out the pairs that are there now; one whose callback throws counts as handed out. */
  drain(onDone: (tag: number, result: number) => void): number {
    const count = this.length;
    for (let i = 0; i < count; i++) {
      const at = this.#first * 2;
      const tag = this.#pairs[at]!;
      const result = this.#pairs[at + 1]!;
      this.#first = (this.#first + 1) % (this.#pairs.length / 2);
      this.length--;
      onDone(tag, result);
    }
    return count;
  }
}
