/**
 * Simulation: whole clusters in simulated time, all from one seed.
 *
 * Runs the production cluster core and the production volume together, on machines whose clocks
 * drift, over a network that loses, doubles, delays and cuts, with disks that forget. Clients
 * write and read all the while. `options.ts` says what kind of world a seed makes, `adversary.ts` draws
 * what goes wrong in it and `injector.ts` does it; `agent.ts`, `volume_shell.ts`, `data_plane.ts` and
 * `group_shell.ts` tie the cores together as the daemon does. The promises are checked by code that
 * knows nothing of the code that keeps them: `history.ts` (what clients saw), `register_watch.ts` and
 * `register_clients.ts` (what was agreed), `world.ts` (one owner; notes mean something), `durable.ts`
 * (what a stop at any moment leaves), `health.ts` and `ending.ts` (all becomes well again).
 *
 * A run has two phases: one in which things go wrong, then one in which everything is mended and must
 * become well within a bound. Then one thing goes wrong for good, and who is left has to go on in time.
 *
 * What is promised less of while something lasts: a machine that stood still with its clock (`freeze`)
 * may answer for its address, and answer reads, for one lease more; its writes are checked as all are.
 * Where scripts lie, a group may be said to run whose process does not, and a process may be left over
 * on another node; addresses and volumes are the agent's own work and are checked as ever. A disk that
 * is replaced, power where only one machine may lose it, and a voter's lost state are let happen only
 * while the others could make it good. A group of two volumes may have to wait for a person once each
 * node has the newest data of another of them: such worlds keep their disks.
 *
 * A run is replayed from its seed, or from the list of what went wrong in it (`world_file.ts`), which
 * `shrink.ts` makes minimal; `what_if.ts` plays a user's own list on a user's own configuration.
 *
 * @module
 */

import type { Config } from "../config/types.ts";
import { Adversary } from "./adversary.ts";
import { Chance } from "./chance.ts";
import { Client } from "./client.ts";
import { simulatedConfig } from "./configuration.ts";
import type { Disk } from "./disk.ts";
import type { TimedFault } from "./faults.ts";
import { checkDurable } from "./durable.ts";
import { Injector, MENDING } from "./injector.ts";
import { createReplica } from "./replica.ts";
import { endWorld } from "./ending.ts";
import { Fences } from "./fences.ts";
import { checkIdentical, complaint, planesOf } from "./health.ts";
import { History } from "./history.ts";
import { Machine } from "./machine.ts";
import { Network } from "./network.ts";
import type { Options } from "./options.ts";
import { Person } from "./person.ts";
import { RegisterWatch } from "./register_watch.ts";
import { Survivors } from "./survivors.ts";
import { Violation } from "./violation.ts";
import { type Trace, World } from "./world.ts";

/** How a run ended. */
export interface Outcome {
  readonly seed: number;
  /** Simulated milliseconds. */
  readonly simulated: number;
  /** Events that happened. */
  readonly events: number;
  /** Requests of clients that were answered. */
  readonly answered: number;
  /** Times that a group was started somewhere. */
  readonly starts: number;
  readonly faultCount: number;
  /** What was done to the world, in order. */
  readonly faults: readonly TimedFault[];
  /** Simulated milliseconds until all was well after everything was mended. */
  readonly recovery: number;
  /** The broken promise; null: all were kept. */
  readonly violation: string | null;
}

/** After everything is mended all must be well within so many times deadtime. */
const RECOVERY = 60;
/** So often in a world it is asked what would be found if everything stopped. */
const LOOKS = 8;

/** What a run is given besides its options. */
export interface Run {
  /** Receives the timeline. */
  readonly trace?: Trace | null;
  /** What goes wrong; null: it is drawn. What was drawn in a run gives that run again. */
  readonly faults?: readonly TimedFault[] | null;
  /** Called with the world before anything happens in it. */
  readonly prepare?: (world: World) => void;
}

/** Runs one world. The same options give the same run. */
export function simulate(
  options: Options,
  { trace = null, faults = null, prepare }: Run = {},
): Outcome {
  const world = buildWorld(options, simulatedConfig(options), trace);
  prepare?.(world);
  const { schedule } = world;
  const injector = new Injector(world);
  let recovery = 0;
  let violation: string | null = null;
  try {
    recovery = live(world, injector, faults);
    // What was written and read while two served is no one history.
    for (const [volume, history] of world.histories) {
      if (!world.survivors?.isApart(volume)) history.check();
    }
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    violation = error.message;
  }
  if (violation !== null) world.say("sim", () => `!!! ${violation}`);
  let answered = 0;
  for (const history of world.histories.values()) answered += history.answered;
  return {
    seed: options.seed,
    simulated: schedule.now,
    events: schedule.done,
    answered,
    starts: world.starts,
    faultCount: injector.done.length,
    faults: injector.done,
    recovery,
    violation,
  };
}

/** Machines that are off, a whole network, empty disks. */
export function buildWorld(options: Options, config: Config, trace: Trace | null): World {
  const { seed } = options;
  const world = new World(options, config, Chance.named(seed, "world"), trace);
  world.network = new Network(world, Chance.named(seed, "network"));
  for (const { name, protocol } of config.volumes) {
    const forgives = protocol === "A" ? "takeover" : options.power === "many" ? "power" : "nothing";
    world.histories.set(name, new History(forgives));
  }
  const apart = options.mode === "survivor";
  world.registers = new RegisterWatch(config.nodes.length, apart);
  world.fences = new Fences(world);
  if (apart) world.survivors = new Survivors(world);
  // One slow clock among fast ones stretches a lease most against the refusal of the others.
  const clocks = Chance.named(seed, "clocks");
  const odd = clocks.is(0.3) ? clocks.below(Math.min(2, config.nodes.length)) : -1;
  world.nodes.forEach(({ name }, index) => {
    const chance = Chance.named(seed, `machine ${name}`);
    const drift = options.drift * (
      odd >= 0
        ? (index === odd ? -1 : 1)
        : chance.is(0.5)
        ? chance.pick([-1, 1])
        : chance.between(-1, 1)
    );
    const disks = new Map<string, Disk>();
    for (const volume of config.volumes) {
      if (!volume.replicas.some(({ node }) => node === name)) continue;
      const nth = disks.size + 1;
      const { volatileCache } = options;
      disks.set(volume.name, createReplica(volume, name, nth, false, volatileCache, chance.fork()));
    }
    world.machines.push(new Machine(world, index, 1 + drift, disks));
  });
  return world;
}

/** Blocks that clients touch: neighbours, and some far away. */
function hotBlocks(count: number, size: number, chance: Chance): number[] {
  const blocks = new Set<number>();
  while (blocks.size < Math.min(count, size / 4096)) blocks.add(chance.below(size / 4096));
  return [...blocks];
}

interface VolumeClients {
  readonly blocks: readonly number[];
  readonly clients: readonly Client[];
}

/** Clients of every volume that a group serves. */
export function buildClients(world: World): VolumeClients[] {
  const { config, options } = world;
  return config.volumes.map(({ name, size }) => {
    const chance = Chance.named(options.seed, `clients of ${name}`);
    const blocks = hotBlocks(options.hotBlocks, size, chance);
    const clients = Array.from(
      { length: options.clients },
      (_, i) => new Client(world, chance.fork(), `c${i + 1}`, name, blocks),
    );
    return { blocks, clients };
  });
}

/** Both phases. Gives how long it took until all was well. */
function live(world: World, injector: Injector, faults: readonly TimedFault[] | null): number {
  const { schedule, machines, options } = world;
  const chance = Chance.named(options.seed, "start");
  const adversary = new Adversary(world, Chance.named(options.seed, "adversary"), injector);
  const person = new Person(world, Chance.named(options.seed, "person"), injector);
  const volumes = buildClients(world);
  const clients = volumes.flatMap((each) => each.clients);
  for (const machine of machines) {
    schedule.after(chance.between(0, options.deadtime), () => machine.start());
  }
  for (const client of clients) client.start();
  const trouble = chance.between(0, 10 * options.deadtime);
  injector.start();
  if (faults === null) {
    schedule.after(trouble, () => adversary.start());
    person.start();
  } else injector.play(faults);
  lookNowAndThen(world);
  schedule.run(options.duration);
  adversary.stop();
  person.stop();
  injector.stop();
  world.fences.mended = true;
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
  for (const { clients: [client], blocks } of volumes) readAll(world, client!, blocks);
  world.survivors?.check();
  if (world.config.volumes.some(({ name }) => world.survivors?.isApart(name))) return recovery;
  checkIdentical(world);
  endWorld(world);
  return recovery;
}

/** At random moments: what if everything stopped now? */
function lookNowAndThen(world: World): void {
  const { schedule, options } = world;
  const chance = Chance.named(options.seed, "looks");
  const later = () => {
    schedule.after(chance.around(options.duration / LOOKS), () => {
      checkDurable(world);
      if (schedule.now < options.duration) later();
    });
  };
  later();
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
