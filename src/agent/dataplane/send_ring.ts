/** Short records for one socket, gathered so that many leave in one send. */
import type { Slab } from "../../os/memory.ts";

/** Starts a send; its end is to be told to {@linkcode SendRing.release} with `freed`. */
export type StartSend = (slab: Slab, offset: number, length: number, freed: number) => void;

/**
 * A ring of bytes in a slab. Records are appended whole (never split at the end of the ring), and
 * leave in batches by {@linkcode SendRing.flush}. Sends on one descriptor end in order, so bytes
 * become free in order.
 */
export class SendRing {
  readonly slab: Slab;
  readonly #base: number;
  readonly #size: number;
  readonly #start: StartSend;
  #tail = 0;
  /** Where what was not yet handed to the engine begins. */
  #unsent = 0;
  /** Bytes that are not free, what is lost at the end of the ring included. */
  #used = 0;
  /** Lost at the end of the ring, to be freed by the next send. */
  #lost = 0;

  /** The bytes `[base, base + size)` of the slab. */
  constructor(slab: Slab, base: number, size: number, start: StartSend) {
    this.slab = slab;
    this.#base = base;
    this.#size = size;
    this.#start = start;
  }

  /** Is there room for `bytes` in records of at most `longest` each? */
  hasRoom(bytes: number, longest: number): boolean {
    return this.#used + bytes + longest <= this.#size;
  }

  /** Room for one record of up to `longest` bytes: its offset in the slab, until `commit`. */
  reserve(longest: number): number {
    if (!this.hasRoom(longest, this.#tail + longest > this.#size ? this.#size - this.#tail : 0)) {
      throw new Error(`no room for ${longest} bytes in a send ring of ${this.#size}`);
    }
    if (this.#tail + longest > this.#size) {
      this.flush();
      this.#lost += this.#size - this.#tail;
      this.#used += this.#size - this.#tail;
      this.#tail = 0;
      this.#unsent = 0;
    }
    return this.#base + this.#tail;
  }

  /** The record at the reserved offset has so many bytes. */
  commit(length: number): void {
    this.#tail += length;
    this.#used += length;
  }

  /** Sends what was gathered, if anything. */
  flush(): void {
    const length = this.#tail - this.#unsent;
    if (length === 0) return;
    const from = this.#base + this.#unsent;
    const freed = length + this.#lost;
    this.#unsent = this.#tail;
    this.#lost = 0;
    this.#start(this.slab, from, length, freed);
  }

  /** A send has ended. */
  release(freed: number): void {
    this.#used -= freed;
  }
}
