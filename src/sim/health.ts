/** Whether a simulated cluster is well, as somebody sees who can look everywhere at once. */

import type { ClusterRecord, GroupRecord } from "../cluster/types.ts";
import type { GroupConfig } from "../config/types.ts";
import type { DataPlane } from "./data_plane.ts";
import type { Disk } from "./disk.ts";
import type { Machine } from "./machine.ts";
import type { VolumeReport } from "../volume/types.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";
import { names } from "./configuration.ts";

/** The machine that runs a group, in its core's opinion and with all of it up; null: none. */
export function ownerOf(world: World, group: string): Machine | null {
  for (const machine of world.machines) {
    const state = machine.agent?.state.groups.get(group);
    const serves = state?.phase === "running" && state.frozenSince === null && state.part === null;
    if (serves && machine.runs(group)) {
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
  const settled = world.variants[world.settledVariant]!;
  const resting = cluster?.standby.find((node) => names(settled, node));
  if (resting !== undefined) return `${resting} is in standby`;
  const changing = complaintAboutVoters(world, cluster);
  if (changing !== null) return changing;
  const apart = complaintAboutPair(world, cluster);
  if (apart !== null) return apart;
  if (cluster?.maintenance) return "the cluster is in maintenance";
  for (const group of world.config.groups) {
    const why = complaintAboutGroup(world, group);
    if (why !== null) return why;
  }
  for (const plane of planesOf(world)) {
    // What has parted stays so without a person's word.
    if (world.survivors?.isApart(plane.volume)) continue;
    const { name } = plane.machine;
    const { role, disk, unclean, peers } = plane.state;
    if (disk !== "UpToDate") return `the replica of ${plane.volume} on ${name} is ${disk}`;
    if (unclean) return `the replica of ${plane.volume} on ${name} may miss writes`;
    if (role !== "Primary" || peers.length === 0) continue;
    const { connection, outOfSyncBytes } = peers[0]!;
    if (connection !== "Connected") return `${plane.volume} on ${name} is ${connection}`;
    if (outOfSyncBytes > 0) return `${outOfSyncBytes} bytes of ${plane.volume} are dirty`;
  }
  return null;
}

/** The voters are those of the configuration that was pushed. */
function complaintAboutVoters(world: World, cluster: ClusterRecord | undefined): string | null {
  const pushed = world.variants.find(({ hash }) => hash === cluster?.config);
  const missing = pushed?.nodes.find(({ name }) =>
    !cluster!.voters.some(({ node }) => node === name)
  );
  return missing === undefined ? null : `${missing.name} is no voter`;
}

/** Each node of a pair can go on without the other, and neither does. */
function complaintAboutPair(world: World, cluster: ClusterRecord | undefined): string | null {
  if (world.options.mode === "majority") return null;
  if (cluster?.solo !== undefined) return `${cluster.solo} decides alone`;
  const behind = world.machines.find(({ agent }) => !agent!.state.pair.joint);
  return behind === undefined ? null : `${behind.name} is not joint`;
}

function complaintAboutGroup(world: World, { name, resources }: GroupConfig): string | null {
  for (const { agent, name: node } of world.machines) {
    if (agent!.state.groups.get(name)!.failed) return `${name} failed on ${node}`;
  }
  if (ownerOf(world, name) === null) return `nobody runs ${name}`;
  for (const { agent, name: voter } of world.machines) {
    const cluster = world.registers.newest("cluster") as ClusterRecord | undefined;
    if (!cluster?.voters.some(({ node }) => node === voter)) continue;
    if (agent!.state.acceptor.accepted.has(`group:${name}`)) continue;
    return `the voter of ${voter} holds nothing about ${name}`;
  }
  for (const resource of resources) {
    if (resource.kind !== "volume") continue;
    const { volume } = resource;
    if (world.survivors?.isApart(volume)) continue;
    const members = membersOf(world, volume).length;
    const all = world.config.volumes.find((each) => each.name === volume)!.replicas.length;
    if (members !== all) return `${members} of ${all} replicas of ${volume} are in the in-sync set`;
  }
  return null;
}

/** The newest chosen record of the group that a volume is in; undefined: none is. */
function recordOf(world: World, volume: string): GroupRecord | undefined {
  for (const { name } of world.config.groups) {
    const record = world.registers.newest(`group:${name}`) as GroupRecord | undefined;
    if (record?.volumes[volume] !== undefined) return record;
  }
  return undefined;
}

/** Ids of the replicas in the in-sync set of a volume. */
function membersOf(world: World, volume: string): readonly string[] {
  return recordOf(world, volume)?.volumes[volume]?.upToDate ?? [];
}

/** All volumes that are open. */
export function planesOf(world: World): DataPlane[] {
  const planes: DataPlane[] = [];
  for (const { agent } of world.machines) {
    for (const { plane } of agent?.volumes.values() ?? []) if (plane !== null) planes.push(plane);
  }
  return planes;
}

/**
 * Every member of the in-sync set holds what was acknowledged: in this block now, and in all blocks
 * when the set has changed. While machines may lose power, what a member holds shows only when it comes
 * back.
 */
export function checkMembers(world: World, volume: string, block: number): void {
  if (world.options.power !== "none") return;
  const members = membersOf(world, volume);
  const history = world.history(volume);
  const blocks = world.checkedMembers.get(volume) === members ? [block] : [...history.written];
  world.checkedMembers.set(volume, members);
  for (const id of members) {
    for (const { name, disks } of world.machines) {
      const disk = disks.get(volume);
      if (disk?.replicaId !== id) continue;
      for (const each of blocks) history.checkHeld(each, disk.cache[each]!, `member ${name}`);
    }
  }
}

/**
 * A new Primary holds everything that was acknowledged. One that comes late, when a newer epoch is
 * chosen, will never be thawed: it need not.
 */
export function checkPromoted(plane: DataPlane, epoch: number): void {
  const { machine: { world, name }, disk, volume } = plane;
  if ((recordOf(world, volume)?.epoch ?? 0) > epoch) return;
  const history = world.history(volume);
  for (const block of history.written) {
    history.checkHeld(block, disk.cache[block]!, `the new Primary on ${name}`);
  }
}

/** Both replicas of each volume are the same. Only when all is well and nothing is under way. */
export function checkIdentical(world: World): void {
  for (const { name } of world.config.volumes) {
    const [one, other] = world.machines.flatMap(({ disks }) => disks.get(name) ?? []);
    if (one !== undefined && other !== undefined) checkSame(name, one, other);
  }
}

function checkSame(volume: string, one: Disk, other: Disk): void {
  for (let block = 0; block < one.cache.length; block++) {
    if (one.cache[block] === other.cache[block]) continue;
    throw new Violation(
      "replicas",
      `block ${block} of ${volume} is ${one.cache[block]} on one replica and ` +
        `${other.cache[block]} on the other, though both are up to date and nothing is dirty`,
    );
  }
}

/** A verify of two replicas that are both up to date found a difference, and no disk is to blame. */
export function checkVerified(machine: Machine, { verified }: VolumeReport): void {
  const { world } = machine;
  const differing = verified?.differing ?? 0;
  if (differing === 0 || world.diskFailed || world.survivors !== null) return;
  throw new Violation(
    "replicas",
    `a verify on ${machine.name} found ${differing} blocks to differ`,
  );
}
