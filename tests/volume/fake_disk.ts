/** A disk in memory with a volatile cache, and the chance that decides what a power loss takes. */

/** Bytes of a block. */
export const BLOCK = 4096;

/** A deterministic generator (mulberry32). */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
  /** A whole number below `n`. */
  below(n: number): number {
    return Math.floor(this.next() * n);
  }
  /** True with probability `p`. */
  chance(p: number): boolean {
    return this.next() < p;
  }
}

/** One value per block: that of the write that last touched it; 0: never written. */
export class FakeDisk {
  readonly cache = new Map<number, number>();
  readonly stable = new Map<number, number>();
  readonly volatileCache: boolean;
  metadata: Uint8Array;
  /** errno for every data write, and every read, from now on. */
  writeError = 0;
  readError = 0;
  /** Blocks that cannot be read until they are written anew. */
  readonly badBlocks = new Set<number>();
  /** errno for every metadata write from now on. */
  metaError = 0;
  discardError = 0;

  constructor(metadata: Uint8Array, volatileCache: boolean) {
    this.metadata = metadata;
    this.volatileCache = volatileCache;
  }
  get(block: number): number {
    return this.cache.get(block) ?? 0;
  }
  /** errno of reading so many blocks. */
  readErrno(first: number, blocks: number): number {
    if (this.readError !== 0) return this.readError;
    for (let i = 0; i < blocks; i++) if (this.badBlocks.has(first + i)) return 5;
    return 0;
  }
  write(block: number, value: number, durable: boolean): void {
    this.badBlocks.delete(block);
    this.cache.set(block, value);
    if (durable || !this.volatileCache) this.stable.set(block, value);
  }
  /** Loses some of what was not stable: true if anything was lost. */
  losePower(random: Random): boolean {
    let lost = false;
    for (const [block, value] of this.cache) {
      if ((this.stable.get(block) ?? 0) === value) continue;
      if (random.chance(0.6)) {
        lost = true;
        this.cache.set(block, this.stable.get(block) ?? 0);
      } else {
        this.stable.set(block, value);
      }
    }
    return lost;
  }
}
