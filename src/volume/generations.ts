/**
 * How a replica's generation tuple moves on. Pure.
 */

import type { Generations } from "./types.ts";

/**
 * Past generations that are remembered. Each takeover of a lone replica adds one, and a peer whose
 * generation is forgotten passes for a split brain when it comes back.
 */
export const HISTORY_LENGTH = 24;

/**
 * A new present generation. Bits are kept since `bitmap`: the generation that the peer last shared,
 * so an older one stays until the peer has joined again.
 */
export function adopt(tuple: Generations, current: string): Generations {
  if (tuple.current === current) return tuple;
  return {
    current,
    bitmap: tuple.bitmap === "" ? tuple.current : tuple.bitmap,
    history: remember(tuple.history, tuple.current),
  };
}

/** The tuple once every peer shares the present generation: what a joining target adopts whole. */
export function shared(tuple: Generations): Generations {
  if (tuple.bitmap === "") return tuple;
  return {
    current: tuple.current,
    bitmap: "",
    history: tuple.history.includes(tuple.bitmap)
      ? tuple.history
      : remember(tuple.history, tuple.bitmap),
  };
}

/** Bits are complete with regard to a peer that has this generation: all of them have been set. */
export function trackedFrom(tuple: Generations, peerCurrent: string): Generations {
  return { ...tuple, bitmap: peerCurrent };
}

function remember(history: readonly string[], generation: string): readonly string[] {
  return [generation, ...history.filter((one) => one !== generation)].slice(0, HISTORY_LENGTH);
}
