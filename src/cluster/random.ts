/**
 * The core's own small generator (mulberry32, Tommy Ettinger 2017, public domain): random back-off
 * must be replayable from a seed. Not for anything secret.
 */

/** State of the generator: one 32-bit word. */
export interface Random {
  word: number;
}

/** A generator from a seed; any finite number will do. */
export function createRandom(seed: number): Random {
  return { word: seed >>> 0 };
}

/** Next value in [0, 1). */
export function nextRandom(random: Random): number {
  random.word = (random.word + 0x6d2b79f5) >>> 0;
  let t = random.word;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

/** Uniform in [low, high). */
export function nextBetween(random: Random, low: number, high: number): number {
  return low + nextRandom(random) * (high - low);
}
