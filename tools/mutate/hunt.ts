/**
 * Runs worlds until one breaks a promise: `hunt.ts FROM SEEDS MINUTES`. Prints one line of JSON, a
 * {@linkcode Hunt}. It is started within a mutated copy of the tree.
 */

import { drawOptions } from "../../src/sim/options.ts";
import { simulate } from "../../src/sim/simulation.ts";

/** What came of it. */
export interface Hunt {
  /** Worlds that were run. */
  readonly tried: number;
  /** The one that broke a promise; null: none did. */
  readonly seed: number | null;
  readonly violation: string | null;
}

/** Runs up to `seeds` worlds of so many simulated minutes of trouble. */
export function hunt(from: number, seeds: number, minutes: number): Hunt {
  for (let tried = 1; tried <= seeds; tried++) {
    const seed = from + tried - 1;
    const violation = runWorld(seed, minutes);
    if (violation !== null) return { tried, seed, violation };
  }
  return { tried: seeds, seed: null, violation: null };
}

/** A mutation may also make the simulation itself stumble. */
function runWorld(seed: number, minutes: number): string | null {
  try {
    return simulate(drawOptions(seed, minutes * 60_000)).violation;
  } catch (error) {
    return `exception: ${error instanceof Error ? error.message : String(error)}`;
  }
}

if (import.meta.main) {
  const [from = NaN, seeds = NaN, minutes = NaN] = Deno.args.map(Number);
  const found = hunt(from, seeds, minutes);
  const short = { ...found, violation: found.violation?.slice(0, 400) ?? null };
  await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(short) + "\n"));
}
