/** Seeded randomness: everything that a run draws comes from one seed. */

import { createRandom, nextRandom } from "../cluster/random.ts";

/** A stream of random draws. */
export class Chance {
  readonly #random;

  /** The same seed gives the same stream. */
  constructor(seed: number) {
    this.#random = createRandom(seed);
  }

  /** In [0, 1). */
  next(): number {
    return nextRandom(this.#random);
  }

  /** A whole number in [0, n). */
  below(n: number): number {
    return Math.floor(this.next() * n);
  }

  /** True with probability `p`. */
  is(p: number): boolean {
    return this.next() < p;
  }

  /** In [low, high). */
  between(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  /** Exponentially distributed with this mean, at most ten times it. */
  around(mean: number): number {
    return Math.min(10 * mean, -mean * Math.log(1 - this.next()));
  }

  /** One item of a list that is not empty. */
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  /** The stream of this name under a seed: others may come and go without changing it. */
  static named(seed: number, name: string): Chance {
    let hash = seed >>> 0;
    for (let i = 0; i < name.length; i++) {
      hash = Math.imul(hash ^ name.charCodeAt(i), 0x0100_0193) >>> 0;
    }
    return new Chance(hash).fork();
  }

  /** A stream of its own, so that draws of one part do not shift those of another. */
  fork(): Chance {
    return new Chance(this.below(2 ** 32));
  }
}
