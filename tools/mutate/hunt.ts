/**
 * Runs worlds until one breaks a promise: `hunt.ts FROM WORLDS MINUTES [MODE]`. Prints one line of JSON,
 * a {@linkcode Hunt}. It is started within a mutated copy of the tree.
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

/** Runs up to `worlds` worlds, of this quorum mode if it is given, of so many minutes of trouble. */
export function hunt(from: number, worlds: number, minutes: number, mode?: string): Hunt {
  let tried = 0;
  for (let seed = from; tried < worlds; seed++) {
    const options = drawOptions(seed, minutes * 60_000);
    if (mode !== undefined && options.mode !== mode) continue;
    tried++;
    const violation = violationOf(options);
    if (violation !== null) return { tried, seed, violation };
  }
  return { tried, seed: null, violation: null };
}

/** A mutation may also make the simulation itself stumble. */
function violationOf(options: ReturnType<typeof drawOptions>): string | null {
  try {
    return simulate(options).violation;
  } catch (error) {
    return `exception: ${error instanceof Error ? error.message : String(error)}`;
  }
}

if (import.meta.main) {
  const [from = NaN, worlds = NaN, minutes = NaN] = Deno.args.map(Number);
  const found = hunt(from, worlds, minutes, Deno.args[3]);
  const short = { ...found, violation: found.violation?.slice(0, 400) ?? null };
  await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(short) + "\n"));
}
