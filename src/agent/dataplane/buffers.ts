/** Memory for payloads: one slab, cut by halves, counted by holders. */
import { Slab } from "../../os/memory.ts";

/** Smallest piece, bytes: a page, which also suits O_DIRECT. */
export const PIECE_BYTES = 4096;

const NONE = -1;
/** State of a page that is not the first of a piece. */
const INNER = -1;

/**
 * A buddy allocator (Knuth, The Art of Computer Programming, volume 1, section 2.5): pieces of
 * 4 KiB times a power of two, at multiples of their size. A handle is the number of the piece's
 * first page. Each piece has a count of holders (a request, a disk operation, a send) and is free
 * again when the last lets go. Nothing is allocated after the constructor.
 */
export class BufferPool {
  readonly slab: Slab;
  /** Bytes in all. */
  readonly capacity: number;
  /** Called when a piece became free, while somebody may be waiting. */
  onFree: () => void = () => {};

  readonly #top: number;
  /** By page: the order of the piece that begins there, or INNER. */
  readonly #order: Int8Array;
  /** By page: holders of the piece that begins there; 0: free. */
  readonly #holders: Int32Array;
  /** Doubly linked free lists, one for each order. */
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #heads: Int32Array;
  #used = 0;

  /**
   * @param capacity bytes, a multiple of `largest`
   * @param largest bytes of the largest piece: 4096 times a power of two
   */
  constructor(capacity: number, largest: number) {
    this.#top = orderOf(largest);
    if (PIECE_BYTES << this.#top !== largest || capacity % largest !== 0 || capacity < largest) {
      throw new RangeError(`a pool of ${capacity} bytes in pieces of up to ${largest}`);
    }
    const pages = capacity / PIECE_BYTES;
    this.capacity = capacity;
    this.slab = Slab.allocate(capacity);
    this.#order = new Int8Array(pages).fill(INNER);
    this.#holders = new Int32Array(pages);
    this.#next = new Int32Array(pages).fill(NONE);
    this.#previous = new Int32Array(pages).fill(NONE);
    this.#heads = new Int32Array(this.#top + 1).fill(NONE);
    // Highest first, so that low addresses are used, and touched, first.
    for (let page = pages - (1 << this.#top); page >= 0; page -= 1 << this.#top) {
      this.#push(page, this.#top);
    }
  }

  /** Bytes in pieces that somebody holds. */
  get used(): number {
    return this.#used;
  }

  /** A piece of at least `length` bytes with one holder, or -1 when none is free now. */
  acquire(length: number): number {
    const order = orderOf(length);
    if (order > this.#top) {
      throw new RangeError(`a buffer of ${length} bytes, above ${PIECE_BYTES << this.#top}`);
    }
    let found = order;
    while (found <= this.#top && this.#heads[found] === NONE) found++;
    if (found > this.#top) return NONE;
    const page = this.#heads[found]!;
    this.#unlink(page, found);
    while (found > order) {
      found--;
      this.#push(page + (1 << found), found);
    }
    this.#order[page] = order;
    this.#holders[page] = 1;
    this.#used += PIECE_BYTES << order;
    return page;
  }

  /** One holder more. */
  retain(handle: number): void {
    this.#check(handle);
    this.#holders[handle]!++;
  }

  /** One holder less; the last one frees the piece. */
  release(handle: number): void {
    this.#check(handle);
    const holders = --this.#holders[handle]!;
    if (holders > 0) return;
    let page = handle;
    let order = this.#order[handle]!;
    this.#used -= PIECE_BYTES << order;
    while (order < this.#top) {
      const buddy = page ^ (1 << order);
      if (this.#holders[buddy] !== 0 || this.#order[buddy] !== order) break;
      this.#unlink(buddy, order);
      this.#order[Math.max(page, buddy)] = INNER;
      page = Math.min(page, buddy);
      order++;
    }
    this.#push(page, order);
    this.onFree();
  }

  /** Where the piece begins in the slab. */
  offset(handle: number): number {
    this.#check(handle);
    return handle * PIECE_BYTES;
  }

  /** Bytes of the piece. */
  size(handle: number): number {
    this.#check(handle);
    return PIECE_BYTES << this.#order[handle]!;
  }

  /** Holders of the piece. */
  holders(handle: number): number {
    return this.#holders[handle] ?? 0;
  }

  /** Gives the memory back; only when the kernel has nothing of it. */
  free(): void {
    this.slab.free();
  }

  #check(handle: number): void {
    if (!(this.#holders[handle]! > 0)) throw new Error(`buffer ${handle} is held by nobody`);
  }

  #push(page: number, order: number): void {
    const head = this.#heads[order]!;
    this.#order[page] = order;
    this.#next[page] = head;
    this.#previous[page] = NONE;
    if (head !== NONE) this.#previous[head] = page;
    this.#heads[order] = page;
  }

  #unlink(page: number, order: number): void {
    const next = this.#next[page]!;
    const previous = this.#previous[page]!;
    if (next !== NONE) this.#previous[next] = previous;
    if (previous !== NONE) this.#next[previous] = next;
    else this.#heads[order] = next;
  }
}

/** The least order whose pieces hold `length` bytes. */
function orderOf(length: number): number {
  if (!(length >= 0)) throw new RangeError(`a buffer of ${length} bytes`);
  const pages = Math.ceil(length / PIECE_BYTES);
  return pages <= 1 ? 0 : 32 - Math.clz32(pages - 1);
}
