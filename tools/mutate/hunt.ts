/**
 * Runs worlds until one breaks a promise: `hunt.ts FROM WORLDS MINUTES MODE FAULT,FAULT… WORLD`, where
 * `any` is any mode and WORLD the JSON of a {@linkcode DirectedWorld} or `null`. Prints one line of JSON, a
 * {@linkcode Hunt}. It is started within a mutated copy of the tree.
 */

import type { TimedFault } from "../../src/sim/faults.ts";
import { drawOptions, type FaultName, FAULTS, type Options, PLAIN } from "../../src/sim/options.ts";
import { simulate } from "../../src/sim/simulation.ts";
import type { DirectedWorld } from "./mutation.ts";

/** What came of it. */
export interface Hunt {
  /** Worlds that were run. */
  readonly tried: number;
  /** The one that broke a promise; null: none did. */
  readonly seed: number | null;
  readonly violation: string | null;
}

/** Runs up to `worlds` worlds of this quorum mode, of so many minutes of trouble. */
export function hunt(
  from: number,
  worlds: number,
  minutes: number,
  mode: string,
  focus: readonly string[],
  world: DirectedWorld | null,
): Hunt {
  let tried = 0;
  for (let seed = from; tried < worlds; seed++) {
    const options = world === null
      ? focused(drawOptions(seed, minutes * 60_000), focus)
      : { ...PLAIN, ...world.options, seed };
    if (mode !== "any" && options.mode !== mode) continue;
    tried++;
    const violation = violationOf(options, world?.faults ?? null);
    if (violation !== null) return { tried, seed, violation };
  }
  return { tried, seed: null, violation: null };
}

/** The world with these faults alone, one after the other. */
function focused(options: Options, focus: readonly string[]): Options {
  if (focus.length === 0) return options;
  const weights = Object.fromEntries(
    FAULTS.map((name) => [name, focus.includes(name) ? 1 : 0]),
  ) as Record<FaultName, number>;
  return { ...options, weights, faultInterval: 0.3 * options.deadtime, ambush: 0.5 };
}

/** A mutation may also make the simulation itself stumble. */
function violationOf(options: Options, faults: readonly TimedFault[] | null): string | null {
  try {
    return simulate(options, { faults }).violation;
  } catch (error) {
    return `exception: ${error instanceof Error ? error.message : String(error)}`;
  }
}

if (import.meta.main) {
  const [from = NaN, worlds = NaN, minutes = NaN] = Deno.args.map(Number);
  const [, , , mode = "any", focus = "", world = "null"] = Deno.args;
  const faults = focus === "" ? [] : focus.split(",");
  const found = hunt(from, worlds, minutes, mode, faults, JSON.parse(world));
  const short = { ...found, violation: found.violation?.slice(0, 400) ?? null };
  await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(short) + "\n"));
}
