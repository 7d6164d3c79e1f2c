/**
 * The lease of a volume, in memory that the main thread writes and the Worker reads.
 *
 * It needs no message: when the main thread hangs, the time written last runs out by itself and the
 * Worker freezes I/O. Two 64-bit words: epoch, and the end of the lease in microseconds of
 * CLOCK_MONOTONIC. The end is set to 0 before the epoch changes, and a reader that sees the epoch
 * change while it reads takes the lease for ended; so an end is never paired with another epoch.
 *
 * @module
 */

const EPOCH = 0;
const UNTIL = 1;
/** Stands for Infinity (a sole up-to-date replica): no clock gets there. */
const FOREVER = 2n ** 62n;

/** What a reader found: the epoch and the end of the lease, milliseconds of the monotonic clock. */
export interface Lease {
  readonly epoch: number;
  /** 0: none. Infinity: without end. */
  readonly until: number;
}

/** One side's view of the shared memory; both sides make one over the same buffer. */
export class LeaseCell {
  readonly buffer: SharedArrayBuffer;
  readonly #words: BigInt64Array;

  /** Over the other side's buffer, or over a new one. */
  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(16)) {
    this.buffer = buffer;
    this.#words = new BigInt64Array(buffer);
  }

  /**
   * Only one thread may write. `until` in milliseconds; rounded down, so that the lease never gets
   * longer. Returns true if a reader that slept on an ended lease should be woken.
   */
  write(epoch: number, until: number, now: number): boolean {
    const before = this.read();
    if (before.epoch !== epoch) {
      Atomics.store(this.#words, UNTIL, 0n);
      Atomics.store(this.#words, EPOCH, BigInt(epoch));
    }
    Atomics.store(this.#words, UNTIL, toMicroseconds(until));
    return before.epoch !== epoch || before.until <= now || until <= now;
  }

  /** The lease at this moment. */
  read(): Lease {
    const epoch = Atomics.load(this.#words, EPOCH);
    const until = Atomics.load(this.#words, UNTIL);
    const same = Atomics.load(this.#words, EPOCH) === epoch;
    if (!same) return { epoch: Number(epoch), until: 0 };
    return {
      epoch: Number(epoch),
      until: until === FOREVER ? Infinity : Number(until) / 1000,
    };
  }
}

function toMicroseconds(milliseconds: number): bigint {
  if (milliseconds === Infinity) return FOREVER;
  if (!(milliseconds >= 0)) throw new RangeError(`a lease until ${milliseconds} ms`);
  return BigInt(Math.floor(milliseconds * 1000));
}
