/** Whether a simulated cluster is well, as somebody sees who can look everywhere at once. */

import { GROUP } from "./configuration.ts";
import type { DataPlane } from "./data_plane.ts";
import type { Machine } from "./machine.ts";
import { Violation, type World } from "./world.ts";
import type { ClusterRecord, GroupRecord } from "../cluster/types.ts";

/** The machine that runs a group, in its core's opinion and with its address up; null: none. */
export function ownerOf(world: World, group: string = GROUP): Machine | null {
  for (const machine of world.machines) {
    const state = machine.agent?.state.groups.get(group);
    if (state?.phase === "running" && state.frozenSince === null && machine.holdsAddress(group)) {
      return machine;
    }
  }
  return null;
}

/** What keeps the cluster from being well, in words; null: nothing. */
export function complaint(world: World): string | null {
  for (const machine of world.machines) {
    if (machine.agent === null) return `${machine.name} is down`;
  }
  const cluster = world.registers.newest("cluster") as ClusterRecord | undefined;
  if (cluster !== undefined && cluster.standby.length > 0) return "somebody is in standby";
  for (const { name } of world.config.groups) {
    for (const { agent, name: node } of world.machines) {
      if (agent!.state.groups.get(name)!.failed) return `${name} failed on ${node}`;
    }
    if (ownerOf(world, name) === null) return `nobody runs ${name}`;
    for (const { agent, name: voter } of world.machines) {
      if (agent!.state.acceptor.accepted.has(`group:${name}`)) continue;
      return `the voter of ${voter} holds nothing about ${name}`;
    }
  }
  const record = world.registers.newest(`group:${GROUP}`) as GroupRecord | undefined;
  const members = Object.values(record?.volumes ?? {})[0]?.upToDate.length ?? 0;
  if (members !== 2) return `${members} of 2 replicas are in the in-sync set`;
  for (const plane of planesOf(world)) {
    const { name } = plane.machine;
    const { role, disk, unclean, peers } = plane.state;
    if (disk !== "UpToDate") return `the replica of ${name} is ${disk}`;
    if (unclean) return `the replica of ${name} may miss writes`;
    if (role !== "Primary") continue;
    const { connection, outOfSyncBytes } = peers[0]!;
    if (connection !== "Connected") return `${name} is ${connection}`;
    if (outOfSyncBytes > 0) return `${outOfSyncBytes} bytes of ${name} are dirty`;
  }
  return null;
}

/** All volumes that are open. */
export function planesOf(world: World): DataPlane[] {
  return world.machines.flatMap(({ agent }) => agent?.volume?.plane ?? []);
}

/**
 * Every member of the in-sync set holds what was acknowledged in a block. While machines may lose
 * power, what a member holds shows only when it comes back.
 */
export function checkMembers(world: World, block: number): void {
  if (world.options.power !== "none") return;
  const record = world.registers.newest(`group:${GROUP}`) as GroupRecord | undefined;
  for (const id of Object.values(record?.volumes ?? {})[0]?.upToDate ?? []) {
    const machine = world.machines.find(({ disk }) => disk?.replicaId === id);
    if (machine === undefined) continue;
    const where = `member ${machine.name}`;
    world.history.checkHeld(block, machine.disk!.cache[block]!, where);
  }
}

/**
 * A new Primary holds everything that was acknowledged. One that comes late, when a newer epoch is
 * chosen, will never be thawed: it need not.
 */
export function checkPromoted({ world, disk, name }: Machine, epoch: number): void {
  const record = world.registers.newest(`group:${GROUP}`) as GroupRecord | undefined;
  if (record !== undefined && record.epoch > epoch) return;
  for (const block of world.history.written) {
    world.history.checkHeld(block, disk!.cache[block]!, `the new Primary on ${name}`);
  }
}

/** Both replicas are the same. Only when all is well and nothing is under way. */
export function checkIdentical(world: World): void {
  const [one, other] = world.machines.flatMap(({ disk }) => disk ?? []);
  for (let block = 0; block < one!.cache.length; block++) {
    if (one!.cache[block] === other!.cache[block]) continue;
    throw new Violation(
      "replicas",
      `block ${block} is ${one!.cache[block]} on one replica and ${other!.cache[block]} on the ` +
        `other, though both are up to date and nothing is dirty`,
    );
  }
}
