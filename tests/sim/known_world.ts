/** A world that broke a promise once, as it is kept. */

import type { TimedFault } from "../../src/sim/faults.ts";
import { type Options, PLAIN } from "../../src/sim/options.ts";

/** One world that went wrong once. */
export interface KnownWorld {
  readonly found: string;
  /** Where it differs from a plain world. */
  readonly options: Partial<Options> & { readonly seed: number };
  /** What goes wrong in it; nothing: what the options draw. */
  readonly faults?: readonly TimedFault[];
}

/** Weights of some faults, none of the others. */
export function weights(some: Partial<Options["weights"]>): Options["weights"] {
  return { ...PLAIN.weights, ...some };
}
