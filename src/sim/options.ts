/**
 * What kind of world a seed makes. Each seed leaves some faults out altogether and draws the rest with
 * weights of its own ("swarm testing", Groce et al. 2012): a world in which everything happens all
 * the time never gets far enough for the rare things.
 */

import type { QuorumMode, ReplicationProtocol } from "../config/types.ts";
import { Chance } from "./chance.ts";

/** Everything that may go wrong. */
export const FAULTS = [
  "kill",
  "fuse",
  "power",
  "blackout",
  "stopAll",
  "shutdown",
  "isolate",
  "pairCut",
  "split",
  "oneWay",
  "linkCut",
  "replicationCut",
  "sessionReset",
  "weather",
  "linkWeather",
  "pause",
  "pauseMain",
  "pauseWorker",
  "freeze",
  "slowDisk",
  "diskError",
  "diskFull",
  "diskUnreadable",
  "move",
  "standby",
  "maintenance",
  "configure",
  "upgrade",
  "wallJump",
  "serviceDies",
  "serviceFails",
  "serviceHangs",
  "serviceLies",
  "voterLoss",
  "diskLoss",
  "heal",
] as const;

/** One of {@linkcode FAULTS}. */
export type FaultName = typeof FAULTS[number];

/** A world, as its seed draws it. Durations in milliseconds. */
export interface Options {
  readonly seed: number;
  /** How long things go wrong, before everything is mended. */
  readonly duration: number;
  readonly keepalive: number;
  readonly deadtime: number;
  readonly mode: QuorumMode;
  /** Share of fences that fail, take long, or lose their answer. */
  readonly fenceTrouble: number;
  /** Probability with which a person who looks in states that a machine is off. */
  readonly operator: number;
  /** The same for a promotion that they force. */
  readonly promotes: number;
  /** Machines with a replica come first: always two; then others that may run groups, then witnesses. */
  readonly runners: number;
  readonly witnesses: number;
  /** One more witness waits outside, for an operator to put it in the place of the last one. */
  readonly spare: boolean;
  readonly links: number;
  readonly volumes: number;
  /** Whether all volumes are in one group. */
  readonly together: boolean;
  /** Of each volume. */
  readonly blocks: number;
  readonly protocol: ReplicationProtocol;
  readonly volatileCache: boolean;
  readonly soleBoot: boolean;
  /** Share of the starts of an agent at which a disk comes late. */
  readonly lateDisks: number;
  readonly onIoError: "detach" | "hand-over";
  readonly afterPowerLoss: "wait" | "go";
  readonly failback: "never" | "now";
  /** Clocks run by up to this share fast or slow. */
  readonly drift: number;
  /** `none`: machines keep power; `single`: one at a time, when all is well; `many`: at any time. */
  readonly power: "none" | "single" | "many";
  readonly faultInterval: number;
  /** Probability of a fault at each moment at which something is decided. */
  readonly ambush: number;
  readonly weights: Readonly<Record<FaultName, number>>;
  /** Of each volume. */
  readonly clients: number;
  /** Requests that a client has under way at most. */
  readonly depth: number;
  readonly think: number;
  /** Blocks that clients touch. */
  readonly hotBlocks: number;
  /** Share of requests that write: where it is small, what one Primary left behind is read by the next. */
  readonly writes: number;
  /** Messages pass through the codecs of the wire. */
  readonly codecs: boolean;
}

/** A world in which nothing goes wrong: what a saved world leaves out is as here. */
export const PLAIN: Options = {
  seed: 1,
  duration: 120_000,
  keepalive: 1000,
  deadtime: 5000,
  mode: "majority",
  fenceTrouble: 0,
  operator: 0,
  promotes: 0,
  runners: 2,
  witnesses: 1,
  spare: false,
  links: 1,
  volumes: 1,
  together: false,
  blocks: 64,
  protocol: "C",
  volatileCache: true,
  soleBoot: false,
  lateDisks: 0,
  onIoError: "detach",
  afterPowerLoss: "wait",
  failback: "never",
  drift: 0,
  power: "none",
  faultInterval: 5000,
  ambush: 0,
  weights: Object.fromEntries(FAULTS.map((name) => [name, 0])) as Record<FaultName, number>,
  clients: 2,
  depth: 1,
  think: 500,
  hotBlocks: 4,
  writes: 0.5,
  codecs: false,
};

/** Draws a world. */
export function drawOptions(seed: number, duration: number): Options {
  const chance = Chance.named(seed, "options");
  const keepalive = chance.pick([1000, 2000, 2000]);
  const deadtime = keepalive * chance.pick([4, 5, 5, 8]);
  const power = chance.pick(["none", "none", "single", "many"] as const);
  const protocol = chance.is(0.85) ? "C" : chance.pick(["A", "B"] as const);
  const big = chance.is(0.04);
  const weights = Object.fromEntries(
    FAULTS.map((name) => [name, chance.is(0.45) ? chance.between(0.2, 1) : 0]),
  ) as Record<FaultName, number>;
  if (power === "none") weights.power = 0;
  if (power !== "many") weights.blackout = 0;
  weights.voterLoss *= 0.3;
  weights.diskLoss *= 0.3;
  weights.stopAll *= 0.3;
  weights.maintenance *= 0.5;
  // Whose state is lost with its disk takes the wall clock's word for how often it was started.
  if (weights.voterLoss > 0) weights.wallJump = 0;
  weights.blackout *= 0.3;
  const together = chance.is(0.5);
  const volumes = chance.is(0.15) ? 2 : 1;
  const large = chance.is(0.03);
  return ofMode(seed, {
    mode: "majority",
    fenceTrouble: 0,
    operator: 0,
    promotes: 0,
    seed,
    duration,
    keepalive,
    deadtime,
    runners: large ? 2 + chance.below(6) : chance.is(0.1) ? 3 : 2,
    witnesses: large ? 1 + chance.below(8) : chance.is(0.1) ? 3 : 1,
    spare: false,
    links: chance.pick([1, 1, 2, 2, 3]),
    volumes,
    together,
    blocks: big ? 14 * 1024 : chance.pick([32, 64, 64, 1100]),
    protocol,
    volatileCache: power !== "none" || chance.is(0.5),
    soleBoot: chance.is(0.2),
    lateDisks: Chance.named(seed, "late disks").is(0.3) ? 0.2 : 0,
    onIoError: chance.is(0.7) ? "detach" : "hand-over",
    afterPowerLoss: power === "many" && chance.is(0.2) ? "go" : "wait",
    failback: chance.is(0.3) ? "now" : "never",
    drift: chance.is(0.6) ? 0.1 : chance.is(0.5) ? 0.01 : 0,
    power,
    faultInterval: deadtime * chance.pick([0.3, 1, 1, 2, 4]),
    ambush: chance.pick([0, 0, 0.05, 0.2, 0.5]),
    weights,
    clients: 1 + chance.below(3),
    depth: chance.pick([1, 1, 2, 4]),
    think: deadtime * chance.pick([0.05, 0.1, 0.2, 0.5]),
    hotBlocks: chance.pick([1, 2, 4, 8, 16]),
    // This program's codecs write no version but its own.
    codecs: chance.is(0.03) && weights.upgrade === 0,
    writes: chance.pick([0.5, 0.5, 0.05]),
  });
}

/** Draws the quorum mode, and what a pair has instead of other witnesses and runners. */
function ofMode(seed: number, options: Options): Options {
  const chance = Chance.named(seed, "mode");
  const mode: QuorumMode = chance.is(0.12) ? "fencing" : chance.is(0.07) ? "survivor" : "majority";
  // Several groups may need a promotion each, in an era: one group, then.
  const promotes = chance.is(0.04) && (options.volumes === 1 || options.together)
    ? chance.pick([0.1, 0.4])
    : 0;
  if (mode === "majority") {
    if (promotes > 0) return { ...options, promotes, runners: 2 };
    // An agent that is started with a file that leaves a voter out does not hear that one any more: then
    // no other may be lost before the file is pushed.
    const spare = options.weights.configure > 0 && options.weights.voterLoss === 0;
    return { ...options, spare: spare && chance.is(0.7) };
  }
  const fenceTrouble = chance.pick([0, 0.2, 0.5]);
  const operator = chance.pick([0, 0, 0.3]);
  const pair: Options = {
    ...options,
    mode,
    fenceTrouble,
    operator,
    promotes,
    runners: 2,
    witnesses: 0,
  };
  if (mode === "survivor") return pair;
  // To be switched off is to lose power, at any time.
  return { ...pair, power: "many", volatileCache: true };
}

/** The options in one line, for a failure. */
export function describeOptions(options: Options): string {
  const { weights, ...rest } = options;
  const faults = FAULTS.filter((name) => weights[name] > 0)
    .map((name) => `${name}:${weights[name].toFixed(2)}`).join(" ");
  const plain = Object.entries(rest).map(([key, value]) => `${key}=${value}`).join(" ");
  return `${plain} faults=[${faults}]`;
}
