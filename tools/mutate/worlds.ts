/** Worlds in which a rule matters that drawn ones seldom need. */

import { type FaultName, FAULTS, type Options } from "../../src/sim/options.ts";
import type { DirectedWorld } from "./mutation.ts";

/** Faults of these kinds alone, all the time. */
function only(...names: readonly FaultName[]): Options["weights"] {
  return Object.fromEntries(
    FAULTS.map((name) => [name, names.includes(name) ? 1 : 0]),
  ) as Options["weights"];
}

/** Agents end between two effects, while writes need new entries of the log all the time. */
export const CRASHES: DirectedWorld = {
  options: {
    duration: 200_000,
    blocks: 14_336,
    hotBlocks: 64,
    clients: 3,
    depth: 4,
    think: 100,
    faultInterval: 3000,
    ambush: 0.5,
    weights: only("kill", "fuse"),
  },
};
/** A replica loses its cache while it is brought up to date. */
export const POWER: DirectedWorld = {
  options: {
    duration: 200_000,
    power: "single",
    clients: 3,
    think: 200,
    hotBlocks: 16,
    faultInterval: 3000,
    ambush: 0.5,
    weights: only("power", "fuse", "replicationCut"),
  },
};
