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
  {
    found: "nodes whose files prefer each other handed a group to and fro for ever",
    options: {
      seed: 136,
      duration: 300_000,
      keepalive: 2000,
      deadtime: 16_000,
      failback: "now",
      faultInterval: 8000,
      weights: weights({ configure: 1, kill: 1, upgrade: 0.4, isolate: 0.8, maintenance: 0.4 }),
    },
  },
  {
    found: "a generation chosen while its replica ended as Primary was forgotten at the next mint",
    options: {
      seed: 21376,
      duration: 300_000,
      keepalive: 1000,
      deadtime: 4000,
      drift: 0.1,
      faultInterval: 1200,
      ambush: 0.5,
      blocks: 1100,
      volatileCache: false,
      weights: weights({
        kill: 0.65,
        pairCut: 0.8,
        oneWay: 0.92,
        sessionReset: 0.6,
        freeze: 0.44,
        slowDisk: 0.9,
        diskError: 0.69,
        diskFull: 0.84,
        move: 0.66,
        voterLoss: 0.23,
      }),
    },
  },
  {
    found:
      "two volumes of one group, each newest on another node after a power loss: nobody may run it",
    options: {
      seed: 20618,
      duration: 300_000,
      volumes: 2,
      together: true,
      power: "many",
      // With "wait" this still waits for a person.
      afterPowerLoss: "go",
      faultInterval: 5000,
      ambush: 0.5,
      weights: weights({ kill: 0.3, fuse: 0.5, shutdown: 1, split: 0.4, weather: 0.6, move: 0.5 }),
    },
  },
  {
    found: "checker: what an admitted voter and one of the others hold was not called chosen",
    options: {
      seed: 50020,
      duration: 300_000,
      keepalive: 2000,
      deadtime: 8000,
      drift: 0.1,
      faultInterval: 8000,
      weights: weights({ voterLoss: 0.22, weather: 0.38, pause: 0.87, slowDisk: 0.46 }),
    },
  },
  {
    found: "checker: two that changed a record alone were asked to have one state of the data",
    options: {
      seed: 1116,
      mode: "survivor",
      witnesses: 0,
      duration: 400_000,
      keepalive: 2000,
      deadtime: 10_000,
      drift: 0.1,
      links: 2,
      volumes: 2,
      blocks: 32,
      protocol: "A",
      faultInterval: 10_000,
      weights: weights({
        shutdown: 0.86,
        isolate: 0.26,
        pairCut: 0.73,
        split: 0.38,
        pauseMain: 0.77,
      }),
    },
  },
  {
    found: "what a replica could not read when it was verified stayed dirty for ever",
    options: { seed: 7485, blocks: 1100 },
    faults: [
      {
        at: 60_000,
        fault: "diskError",
        node: "n2",
        volume: "data",
        errno: 5,
        reads: true,
        for: 59_000,
      },
    ],
  },
  {
    found: "checker: what a third voter and one of the two before hold was not called chosen",
    options: {
      seed: 25,
      promotes: 0.4,
      duration: 600_000,
      deadtime: 4000,
      links: 2,
      together: true,
      onIoError: "hand-over",
      drift: 0.1,
      faultInterval: 4000,
      ambush: 0.5,
      clients: 3,
      think: 400,
      hotBlocks: 2,
      weights: weights({
        stopAll: 0.17647635916247964,
        shutdown: 0.6321810808032751,
        pairCut: 0.8025524601340295,
        split: 0.8768860382959247,
        oneWay: 0.966050517000258,
        replicationCut: 0.6656645460054278,
        sessionReset: 0.3112136542797089,
        weather: 0.6119489934295417,
        linkWeather: 0.4197250256314874,
        pause: 0.5260665023699402,
        pauseMain: 0.7220417166128754,
        pauseWorker: 0.5343296214938165,
        move: 0.9293654022738338,
        configure: 0.9258820595219732,
        serviceFails: 0.397505396977067,
        serviceHangs: 0.21466922499239446,
        heal: 0.9514814835041763,
      }),
    },
  },
];
