/**
 * Simulation: whole clusters in simulated time, all from one seed.
 *
 * Runs the production cluster core and the production volume together, on machines whose clocks
 * drift, over a network that loses, doubles, delays and cuts, with disks that forget. Clients
 * write and read all the while. `options.ts` says what kind of world a seed makes, `adversary.ts` what
 * goes wrong in it; `agent.ts`, `volume_shell.ts`, `data_plane.ts` and `group_shell.ts` tie the cores
 * together as the daemon does. The promises are checked by code that knows nothing of the code that
 * keeps them: `history.ts` (what clients saw), `register_watch.ts` (what was agreed), `world.ts` (one
 * owner), `health.ts` (all becomes well again).
 *
 * A run has two phases: one in which things go wrong, then one in which everything is mended and must
 * become well within a bound.
 *
 * @module
 */

import { Adversary, MENDING } from "./adversary.ts";
import { Chance } from "./chance.ts";
import { Client } from "./client.ts";
import { GROUP, simulatedConfig } from "./configuration.ts";
import { createReplica } from "./replica.ts";
import { checkIdentical, complaint, ownerOf, planesOf } from "./health.ts";
import { History } from "./history.ts";
import { Machine } from "./machine.ts";
import { Network } from "./network.ts";
import type { Options } from "./options.ts";
import { RegisterWatch } from "./register_watch.ts";
import { type Trace, Violation, World } from "./world.ts";

/** How a run ended. */
export interface Outcome {
  readonly seed: number;
  /** Simulated milliseconds. */
  readonly simulated: number;
  /** Events that happened. */
  readonly events: number;
  /** Requests of clients that were answered. */
  readonly answered: number;
  /** Simulated milliseconds until all was well after everything was mended. */
  readonly recovery: number;
  /** The broken promise; null: all were kept. */
  readonly violation: string | null;
}

/** After everything is mended all must be well within so many times deadtime. */
const RECOVERY = 60;
/** A takeover may take so many times keepalive longer than the death is noticed. */
const TAKEOVER = 1;

/** Runs one world. The same options give the same run. */
export function simulate(options: Options, trace: Trace | null = null): Outcome {
  const chance = new Chance(options.seed);
  const world = buildWorld(options, chance, trace);
  const { schedule, history } = world;
  let recovery = 0;
  let violation: string | null = null;
  try {
    recovery = live(world, chance);
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    violation = error.message;
  }
  if (violation === null) {
    try {
      history.check();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      violation = error.message;
    }
  }
  if (violation !== null) world.say("sim", () => `!!! ${violation}`);
  return {
    seed: options.seed,
    simulated: schedule.now,
    events: schedule.done,
    answered: history.answered,
    recovery,
    violation,
  };
}

function buildWorld(options: Options, chance: Chance, trace: Trace | null): World {
  const config = simulatedConfig(options);
  const world = new World(options, config, chance.fork(), trace);
  world.network = new Network(world, chance.fork());
  world.history = new History(
    options.protocol === "A" ? "takeover" : options.power === "many" ? "power" : "nothing",
  );
  world.registers = new RegisterWatch(config.nodes.length);
  config.nodes.forEach(({ name }, index) => {
    const replica = config.volumes[0]!.replicas.some(({ node }) => node === name);
    const drift = options.drift * (chance.is(0.5) ? chance.pick([-1, 1]) : chance.between(-1, 1));
    const disk = replica ? createReplica(options, name, 1, chance.fork()) : null;
    world.machines.push(new Machine(world, index, 1 + drift, disk));
  });
  return world;
}

/** Blocks that clients touch: neighbours, and some far away. */
function hotBlocks(options: Options, chance: Chance): number[] {
  const blocks = new Set<number>();
  while (blocks.size < Math.min(options.hotBlocks, options.blocks)) {
    blocks.add(chance.below(options.blocks));
  }
  return [...blocks];
}

/** Both phases. Gives how long it took until all was well. */
function live(world: World, chance: Chance): number {
  const { schedule, machines, options } = world;
  const adversary = new Adversary(world, chance.fork());
  const blocks = hotBlocks(options, chance);
  const clients = Array.from(
    { length: options.clients },
    (_, i) => new Client(world, chance.fork(), `c${i + 1}`, blocks),
  );
  for (const machine of machines) {
    schedule.after(chance.between(0, options.deadtime), () => machine.start());
  }
  for (const client of clients) client.start();
  schedule.after(chance.between(0, 10 * options.deadtime), () => adversary.start());
  schedule.run(options.duration);
  adversary.stop();
  const mended = schedule.now;
  const limit = mended + RECOVERY * options.deadtime;
  waitUntilWell(world, limit, () => complaint(world));
  const recovery = schedule.now - mended;
  // It stays so, while clients go on; then they end.
  schedule.run(Math.max(schedule.now, mended + MENDING * options.deadtime) + 2 * options.deadtime);
  for (const client of clients) client.stop();
  waitUntilWell(world, schedule.now + 10 * options.deadtime, () => {
    const waiting = planesOf(world).reduce((sum, plane) => sum + plane.waiting, 0);
    return waiting > 0 ? `${waiting} requests are not answered` : complaint(world);
  });
  readAll(world, clients[0]!, blocks);
  checkIdentical(world);
  takeOver(world);
  return recovery;
}

/** All is well, and the owner dies: the other goes on in time. */
function takeOver(world: World): void {
  const { schedule, options: { deadtime, keepalive } } = world;
  const began = schedule.now;
  ownerOf(world)!.kill(false);
  const limit = began + deadtime / (1 - world.options.drift) + TAKEOVER * keepalive;
  schedule.run(limit, () => ownerOf(world) !== null);
  if (ownerOf(world) === null) {
    throw new Violation(
      "P4",
      `nobody runs ${GROUP} ${(schedule.now - began).toFixed(0)} ms after its owner died`,
    );
  }
}

function waitUntilWell(world: World, limit: number, what: () => string | null): void {
  const { schedule, options } = world;
  for (let why = what(); why !== null; why = what()) {
    if (schedule.now >= limit) {
      throw new Violation(
        "P4",
        `at ${schedule.now.toFixed(0)} ms, long after all was mended: ${why}`,
      );
    }
    schedule.run(Math.min(limit, schedule.now + options.deadtime / 10));
  }
}

/** The last word of every block. */
function readAll(world: World, client: Client, blocks: readonly number[]): void {
  const { schedule, options } = world;
  for (const block of blocks) {
    let state: boolean | null = null;
    client.read(block, (answered) => state = answered);
    schedule.run(schedule.now + 3 * options.deadtime, () => state !== null);
    if (state !== true) {
      throw new Violation("P4", `block ${block} cannot be read at ${schedule.now.toFixed(0)} ms`);
    }
  }
}
