/**
 * How a world ends: all is well, and then one thing goes wrong for good. Who is left has to go on in time.
 */

import type { Config } from "../config/types.ts";
import { Chance } from "./chance.ts";
import { ownerOf } from "./health.ts";
import type { Machine } from "./machine.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";

/** A takeover may take so many times keepalive longer than the death is noticed. */
const TAKEOVER = 1;
/** And so many more where voters have to be asked again. */
const ASKED_AGAIN = 4;

type Ending = (world: World, owner: Machine) => void;

const ENDINGS: readonly Ending[] = [dies, dies, isIsolated, isDeaf, losesAllOthers];
/** A pair without a witness has nobody who could tell an isolated node from a dead one. */
const ENDINGS_OF_PAIRS: readonly Ending[] = [dies, losesAllOthers];

/** Something ends for the owner of the first group. */
export function endWorld(world: World): void {
  const endings = world.options.mode === "majority" ? ENDINGS : ENDINGS_OF_PAIRS;
  const ending = Chance.named(world.options.seed, "ending").pick(endings);
  ending(world, ownerOf(world, world.config.groups[0]!.name)!);
}

function dies(world: World, owner: Machine): void {
  const { deadtime, keepalive } = world.options;
  owner.kill(false);
  const limit = slow(world, deadtime) + fencing(world) + TAKEOVER * keepalive;
  others(world, null, "it died", limit);
}

function isIsolated(world: World, owner: Machine): void {
  const { deadtime, keepalive } = world.options;
  world.network.cut(world.network.routes([`${owner.name}-*`]));
  others(world, owner, "it was isolated", slow(world, deadtime) + TAKEOVER * keepalive);
}

/** It hears nobody, and only the witnesses hear it: who cannot hear must not hold others off. */
function isDeaf(world: World, owner: Machine): void {
  const { deadtime, keepalive } = world.options;
  const data = world.machines.filter((each) => each !== owner && !each.witness);
  world.network.cut(
    world.network.routes([
      ...world.machines.filter((each) => each !== owner).map(({ name }) => `${name}>${owner.name}`),
      ...data.map(({ name }) => `${owner.name}>${name}`),
    ]),
  );
  const { warntime } = world.config.cluster;
  const limit = slow(world, warntime) + slow(world, deadtime) + ASKED_AGAIN * keepalive;
  others(world, owner, "it heard nobody any more", limit);
}

/**
 * The other replica's machine is stopped for repair, then all the others fail: nobody wrote meanwhile, and yet it has to go on,
 * as the only one that is up to date.
 */
function losesAllOthers(world: World, owner: Machine): void {
  const { schedule, options: { deadtime } } = world;
  const peers = world.machines.filter((each) => each !== owner && each.disks.size > 0);
  for (const peer of peers) {
    peer.onMain(() => peer.agent?.dispatch({ type: "shutdown" }));
  }
  schedule.run(schedule.now + 6 * deadtime, () => peers.every(({ agent }) => agent === null));
  schedule.run(schedule.now + 2 * deadtime);
  for (const each of world.machines) {
    if (each !== owner && each.agent !== null) each.kill(false);
  }
  schedule.run(schedule.now + 3 * deadtime);
  for (const name of groupsWithVolume(world.config)) {
    if (ownerOf(world, name) === owner) continue;
    throw new Violation("P4", `${owner.name} alone is up to date and does not serve ${name}`);
  }
}

function groupsWithVolume(config: Config): string[] {
  return config.groups.filter(({ resources }) => resources.some(({ kind }) => kind === "volume"))
    .map(({ name }) => name);
}

/** Until its peer is off, a node of a fencing pair takes nothing: its turn, and the device's time. */
function fencing(world: World): number {
  const { options: { mode, deadtime }, config } = world;
  return mode === "fencing" ? slow(world, config.cluster.fenceDelay) + 0.5 * deadtime : 0;
}

/** By the slowest clock. */
function slow({ options: { drift } }: World, milliseconds: number): number {
  return milliseconds / (1 - drift);
}

/** Every group has to run on another node in time. */
function others(world: World, but: Machine | null, what: string, limit: number): void {
  const { schedule } = world;
  const began = schedule.now;
  const names = world.config.groups.map(({ name }) => name);
  const dark = () =>
    names.find((name) => {
      const owner = ownerOf(world, name);
      return owner === null || owner === but;
    });
  schedule.run(began + limit, () => dark() === undefined);
  const left = dark();
  if (left === undefined) return;
  const time = (schedule.now - began).toFixed(0);
  throw new Violation("P4", `nobody else runs ${left} ${time} ms after its owner failed: ${what}`);
}
