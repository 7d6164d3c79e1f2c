/**
 * Every world that once broke a promise, and what it showed. They are run each time. What happened in
 * them stands here itself: seeds draw otherwise when the simulator learns something new.
 */

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
function weights(some: Partial<Options["weights"]>): Options["weights"] {
  return { ...PLAIN.weights, ...some };
}

/** See the module comment. */
export const KNOWN_WORLDS: readonly KnownWorld[] = [
  {
    found: "an address whose stop hung was not taken away when the lease was lost",
    options: { seed: 1181 },
    faults: [
      { at: 40_000, fault: "ail", node: "n1", how: "hangs", share: 1, for: 60_000 },
      { at: 41_000, fault: "ail", node: "n2", how: "hangs", share: 0, for: null },
      {
        at: 50_000,
        fault: "command",
        node: "w1",
        command: { type: "standby", node: "n1", on: true },
      },
      { at: 51_000, fault: "cut", routes: ["n1-*"], for: 40_000 },
    ],
  },
  {
    found: "checker: records that differ in the order of their keys alone were called different",
    options: {
      seed: 1176,
      codecs: true,
      failback: "now",
      weights: weights({ oneWay: 1, move: 1 }),
    },
  },
  {
    found: "checker: a machine held up until the end of trouble was believed before it looked up",
    options: { seed: 1154, weights: weights({ pauseMain: 1, isolate: 1 }), faultInterval: 2000 },
  },
  {
    found: "checker: a replica promoted too late to serve was taken for the new Primary",
    options: {
      seed: 5601,
      failback: "now",
      weights: weights({ pause: 1, freeze: 1, sessionReset: 1 }),
    },
  },
];
