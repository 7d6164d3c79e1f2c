/** The values that a group's register goes through: take, release, shrink, grow. */

import { createHash } from "node:crypto";
import { emptyVersion } from "./era.ts";
import type { Group } from "./group_state.ts";
import type { Change, Draft } from "./register_state.ts";
import { type ClusterState, knownCluster } from "./state.ts";
import type { GroupRecord, Proposal, Takes, VolumeRecord } from "./types.ts";

/**
 * A generation: 16 hex digits, the same for every attempt of this replica's node, whatever its run, to
 * follow the same version. At most one of them is chosen, perhaps much later and by another node's reading,
 * and the superblock has room for one pending generation: a second id would make it forget the
 * first, and the replica could not be recognised by the record that names it.
 */
function mintGeneration(
  state: ClusterState,
  group: Group,
  base: GroupRecord | null,
  volume: string,
): string {
  const lineage = knownCluster(state)?.lineage ?? "";
  const replicaId = state.replicas.get(volume)?.replicaId ?? "";
  // Survivors that decide apart give the same version to different records.
  // The first version of a later era is not the first of all: that generation is in use.
  const version = base?.version ?? emptyVersion(state);
  const parts = [lineage, group.register, version, replicaId, volume];
  const apart = state.config.cluster.quorum === "survivor"
    ? [base?.epoch ?? 0, base?.volumes[volume]?.generation ?? ""]
    : [];
  return createHash("sha256")
    .update(JSON.stringify([...parts, ...apart])).digest("hex").slice(0, 16);
}

/**
 * The epoch of a take. Survivors may take at the same time without hearing each other: the remainder
 * names the node, so that no epoch ever has two owners.
 */
function nextEpoch(state: ClusterState, after: number): number {
  const { config: { cluster, nodes }, self } = state;
  if (cluster.quorum !== "survivor") return after + 1;
  const place = nodes.findIndex(({ name }) => name === self.node);
  const rest = (after + 1) % nodes.length;
  return after + 1 + (place - rest + nodes.length) % nodes.length;
}

/** The highest epoch that the record or any replica has seen, as far as it is known here. */
export function highestEpoch(state: ClusterState, group: Group, base: GroupRecord | null): number {
  let highest = Math.max(group.epoch, base?.epoch ?? 0);
  for (const { name } of group.volumes) {
    highest = Math.max(highest, state.replicas.get(name)?.epoch ?? 0);
    for (const { heartbeat } of state.membership.peers.values()) {
      highest = Math.max(highest, heartbeat?.replicas[name]?.epoch ?? 0);
    }
  }
  return highest;
}

/** What a forced promotion adds to a take. */
export interface Forced {
  /** Of the data from now on. */
  readonly lineage: string;
  /** Its epoch is higher than any that a replica may have seen. */
  readonly above: number;
}

/** What is not as in every take. */
export interface Unusual {
  readonly forced?: Forced;
  /** Volumes that it is not for, with the replica that keeps each, see `resync_first.ts`. */
  readonly leaves?: Readonly<Record<string, string>> | undefined;
}

/**
 * TAKE. From `released` it keeps generation and in-sync set. From anybody else, an earlier run of this
 * node included, and at the first record, the set becomes this node's replica alone, under a
 * new generation: the others may hold writes that were never acknowledged. The set of a volume that it
 * is not for keeps its generation, as when an owner's own disk fails, and names the replica that keeps it.
 */
export function takeChange(
  state: ClusterState,
  group: Group,
  base: GroupRecord | null,
  { forced, leaves }: Unusual = {},
): Change {
  const takes: Takes | undefined = base?.owner ? { ...base.owner, epoch: base.epoch } : undefined;
  const keeps = base !== null && base.owner === null && forced === undefined;
  const lineage = forced?.lineage ?? base?.lineage;
  const baseVersion = base?.version ?? emptyVersion(state);
  // Where the records were lost, or an era begins without any, replicas have seen epochs.
  const before = base?.epoch ?? highestEpoch(state, group, null);
  const draft = (): Draft => {
    const volumes: Record<string, VolumeRecord> = {};
    const mints: { volume: string; generation: string }[] = [];
    for (const { name } of group.volumes) {
      const kept = base?.volumes[name];
      const own = state.replicas.get(name)?.replicaId;
      const keeper = leaves?.[name];
      if (keeper !== undefined) {
        if (!kept?.upToDate.includes(keeper)) {
          throw new Error(`${name} cannot be left to ${keeper}, which the record does not name`);
        }
        volumes[name] = { generation: kept.generation, upToDate: [keeper] };
        continue;
      }
      if (keeps && kept !== undefined) {
        volumes[name] = kept;
        continue;
      }
      if (!own) throw new Error(`a take of ${group.config.name} without a replica of ${name}`);
      const generation = mintGeneration(state, group, base, name);
      volumes[name] = { generation, upToDate: [own] };
      mints.push({ volume: name, generation });
    }
    const value: GroupRecord = {
      version: baseVersion + 1,
      epoch: nextEpoch(state, Math.max(before, forced?.above ?? 0)),
      owner: { ...state.self },
      volumes,
      ...(base?.wanted === state.self.node ? { wanted: base.wanted } : {}),
      ...(base?.cleanups === undefined ? {} : { cleanups: base.cleanups }),
      ...(lineage === undefined ? {} : { lineage }),
    };
    const proposal: Proposal = takes ? { value, takes } : { value };
    return { proposal, mints };
  };
  const change = { purpose: "take", baseVersion, draft };
  return takes ? { ...change, takes } : change;
}

/** A change of the owner's own record, or an operator's, that takes nothing from anybody. */
export function plainChange(
  purpose: string,
  base: GroupRecord,
  changed: Partial<Omit<GroupRecord, "version">>,
): Change {
  const value: GroupRecord = { ...base, ...changed, version: base.version + 1 };
  return { purpose, baseVersion: base.version, draft: () => ({ proposal: { value }, mints: [] }) };
}

/** RELEASE, after the group was stopped, drained and flushed, and its volumes are Secondary. */
export function releaseChange(base: GroupRecord): Change {
  return plainChange("release", base, { owner: null });
}

/**
 * SHRINK. Mints a generation if this node's replica stays a member; a node that lost its own disk
 * leaves the remaining members the generation that they bear.
 */
export function shrinkChange(
  state: ClusterState,
  group: Group,
  base: GroupRecord,
  volume: string,
  replicaId: string,
): Change {
  const before = base.volumes[volume]!;
  const upToDate = before.upToDate.filter((id) => id !== replicaId);
  const mints = upToDate.length < before.upToDate.length &&
    upToDate.includes(state.replicas.get(volume)?.replicaId ?? "");
  return {
    purpose: "shrink",
    baseVersion: base.version,
    draft: () => {
      const generation = mints ? mintGeneration(state, group, base, volume) : before.generation;
      const volumes = { ...base.volumes, [volume]: { generation, upToDate } };
      const value: GroupRecord = { ...base, volumes, version: base.version + 1 };
      return { proposal: { value }, mints: mints ? [{ volume, generation }] : [] };
    },
  };
}

/** GROW: the replica has joined, bears the generation, and counts for every write already. */
export function growChange(base: GroupRecord, volume: string, replicaId: string): Change {
  const before = base.volumes[volume]!;
  const upToDate = [...before.upToDate, replicaId];
  return plainChange("grow", base, {
    volumes: { ...base.volumes, [volume]: { ...before, upToDate } },
  });
}
