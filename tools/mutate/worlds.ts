/** Worlds in which a rule matters that drawn ones seldom need. */

import type { TimedFault } from "../../src/sim/faults.ts";
import { type FaultName, FAULTS, type Options } from "../../src/sim/options.ts";
import type { DirectedWorld } from "./mutation.ts";

/** Faults of these kinds alone, all the time. */
function only(...names: readonly FaultName[]): Options["weights"] {
  return Object.fromEntries(
    FAULTS.map((name) => [name, names.includes(name) ? 1 : 0]),
  ) as Options["weights"];
}

/** Many clients that read what few of them write. */
const READERS = { clients: 12, think: 50, writes: 0.05 } as const;

/** Half a second from one node to another, in one direction. */
const SLOW = { loss: 0, duplication: 0, delay: [400, 600], for: 60_000 } as const;

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

/** A replica with a slow disk comes back. */
export const SLOW_JOIN: DirectedWorld = {
  options: { clients: 3, think: 100 },
  faults: [
    { at: 40_000, fault: "kill", node: "n2", down: 3000 },
    { at: 43_100, fault: "slowDisk", node: "n2", volume: "data", latency: [300, 500], for: 20_000 },
  ],
};

/**
 * The owner loses everybody, the other node takes over and serves, then the replication link alone is
 * mended: the old Primary meets the new one, or the one that has just restarted.
 */
export function pastMeetsPresent(...more: readonly TimedFault[]): DirectedWorld {
  return {
    options: { clients: 3, think: 100, hotBlocks: 4 },
    faults: [
      { at: 40_000, fault: "cut", routes: ["n1-n2/0", "n1-w1/0"], for: 60_000 },
      { at: 40_000, fault: "cut", routes: ["n1-n2/r"], for: 30_000 },
      ...more,
    ],
  };
}

/** A GROW is chosen, its owner is cut off before it hears of that; `more` happens to the replica then. */
export function growInDoubt(...more: readonly TimedFault[]): DirectedWorld {
  return {
    options: { clients: 3, think: 50, writes: 0.8 },
    faults: [
      { at: 30_000, fault: "weather", routes: ["n1>w1/0", "n1>n2/0"], ...SLOW },
      { at: 40_000, fault: "kill", node: "n2", down: 3000 },
      ...more,
      { at: 44_401, fault: "cut", routes: ["n1-*"], for: 30_000 },
    ],
  };
}

/**
 * An owner is killed with a write under way that only its own disk has, comes back, shows it, and goes
 * before the other replica has left the set.
 */
export const RETAKES: DirectedWorld = {
  options: READERS,
  faults: [
    { at: 30_000, fault: "weather", routes: ["n1>w1/0", "n1>n2/0"], ...SLOW },
    { at: 40_000, fault: "cut", routes: ["n1-n2/r"], for: 60_000 },
    { at: 40_080, fault: "kill", node: "n1", down: 50 },
    { at: 42_900, fault: "kill", node: "n1", down: 60_000 },
  ],
};

/** A replica that lost its cache while it was away, and a log with room for few extents. */
export const AWAY_WITHOUT_POWER: DirectedWorld = {
  options: {
    duration: 75_000,
    power: "many",
    blocks: 14_336,
    hotBlocks: 5000,
    clients: 3,
    depth: 4,
    think: 20,
    writes: 0.99,
  },
  faults: [
    { at: 40_000, fault: "kill", node: "n2", down: 500 },
    { at: 40_050, fault: "cut", routes: ["n1-n2/r"], for: 6000 },
    { at: 44_000, fault: "power", node: "n2", down: 1000 },
  ],
};

/** The same, but another node takes over, shows that it has nothing of the write, and goes. */
export const TAKEOVER_SHOWS: DirectedWorld = {
  options: READERS,
  faults: [
    { at: 30_000, fault: "weather", routes: ["n2>w1/0"], ...SLOW },
    { at: 40_000, fault: "cut", routes: ["n1-n2/r"], for: 80_000 },
    { at: 40_080, fault: "kill", node: "n1", down: 7000 },
    { at: 46_600, fault: "kill", node: "n2", down: 65_000 },
  ],
};

/** A witness is replaced, again and again, while nodes lose each other. */
export const SWAPS: DirectedWorld = {
  options: {
    duration: 200_000,
    spare: true,
    faultInterval: 2000,
    ambush: 0.5,
    weights: only("configure", "isolate", "pairCut", "oneWay", "kill", "heal"),
  },
};

/** Much is decided, in bad weather, by voters that are killed all the time. */
export const CHURN: DirectedWorld = {
  options: {
    duration: 200_000,
    runners: 3,
    faultInterval: 1000,
    ambush: 0.5,
    clients: 1,
    weights: only("kill", "fuse", "weather", "linkWeather", "move", "standby", "oneWay", "heal"),
  },
};

/** What an owner has asked of its slow disk ends after another node has taken over and copied to it. */
export const LATE_IO: DirectedWorld = {
  options: { clients: 3, depth: 4, think: 50, writes: 0.9 },
  faults: [
    { at: 40_000, fault: "cut", routes: ["n1-n2/0", "n1-w1/0"], for: 15_000 },
    { at: 41_000, fault: "slowDisk", node: "n1", volume: "data", latency: [3000, 8000], for: 3500 },
  ],
};

/** A group is moved while a write is under way that only its owner's disk has; the new owner goes soon. */
export const MOVES: DirectedWorld = {
  options: READERS,
  faults: [
    { at: 30_000, fault: "weather", routes: ["n2>w1/0", "n2>n1/0"], ...SLOW },
    { at: 40_000, fault: "cut", routes: ["n1-n2/r"], for: 80_000 },
    { at: 40_080, fault: "command", node: "n1", command: { type: "move", group: "web" } },
    { at: 41_800, fault: "kill", node: "n2", down: 65_000 },
  ],
};
