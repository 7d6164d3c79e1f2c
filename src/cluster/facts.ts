/** Gathers what the ownership decision rests on, from records, membership and reports. */

import { decidesAlone } from "./alone.ts";
import { type Group, isServing } from "./group_state.ts";
import { isSole, ownerLostSince } from "./lease.ts";
import { isAlive } from "./membership.ts";
import type { NodeFacts, OwnershipInput } from "./ownership.ts";
import { countVotes } from "./quorum.ts";
import { type ClusterState, knownCluster } from "./state.ts";
import type { GroupFailure, GroupRecord, ReplicaHealth, ReplicaReport } from "./types.ts";
import { heldFor, reachOf } from "./watch.ts";

/** The known-chosen record of a group; null if there is none or it is not known. */
export function knownGroup(state: ClusterState, group: Group): GroupRecord | null {
  return (state.registers.get(group.register)?.known?.record ?? null) as GroupRecord | null;
}

/**
 * Lineage of a group's data: of its last forced promotion, before one the cluster's; null: not known.
 * Replicas of another one are not written to.
 */
export function lineageOf(state: ClusterState, record: GroupRecord): string | null {
  return record.lineage ?? knownCluster(state)?.lineage ?? null;
}

/**
 * What others should see of an own replica. A pending generation that the known-chosen record names
 * is the replica's generation: only the superblock has not caught up.
 */
export function replicaHealth(
  state: ClusterState,
  volume: string,
  report: ReplicaReport,
): ReplicaHealth {
  const { replicaId, disk, epoch, unclean, blank, pending } = report;
  let { generation } = report;
  for (const group of state.groups.values()) {
    const named = knownGroup(state, group)?.volumes[volume]?.generation;
    if (pending !== null && pending === named) generation = pending;
  }
  return { replicaId, disk, generation, epoch, unclean, blank };
}

/** All own replicas as others should see them. */
export function ownReplicas(state: ClusterState): Record<string, ReplicaHealth> {
  const replicas: Record<string, ReplicaHealth> = {};
  for (const [volume, report] of state.replicas) {
    replicas[volume] = replicaHealth(state, volume, report);
  }
  return replicas;
}

/** The failures of all groups here, as the others are told. */
export function statedFailures(state: ClusterState): Record<string, GroupFailure> {
  const stated: Record<string, GroupFailure> = {};
  for (const [name, group] of state.groups) {
    const failure = statedFailure(state, group);
    if (failure !== null) stated[name] = failure;
  }
  return stated;
}

/** What keeps the group off this node; null: nothing. */
export function statedFailure(state: ClusterState, group: Group): GroupFailure | null {
  const { failed, failures } = group;
  if (failed === null) return null;
  const stated = { reason: failed.reason, count: failures };
  if (failed.until === Infinity) return stated;
  return { ...stated, againIn: Math.max(0, Math.ceil(failed.until - state.now)) };
}

/** Whether unplanned first takes still wait for nodes that were not heard since the start. */
export function isBooting(state: ClusterState): boolean {
  return state.allHeardAt === null && state.now - state.startedAt < state.timing.initdead;
}

/** The input of the decision about one group. */
export function gatherFacts(state: ClusterState, group: Group): OwnershipInput {
  const cluster = knownCluster(state);
  const record = knownGroup(state, group);
  const { now, self, timing } = state;
  const freeSince = record === null
    ? Math.max(state.registers.get(group.register)?.known?.at ?? now, state.allHeardAt ?? 0)
    : ownerLostSince(state, group, record);
  return {
    group: group.config,
    volumes: group.volumes,
    self,
    nodes: state.config.nodes.map(({ name }) =>
      nodeFacts(state, group, name, cluster?.standby.includes(name) ?? false)
    ),
    record,
    quorum: countVotes(state).have,
    quorumFor: quorumFor(state),
    maintenance: cluster?.maintenance ?? false,
    serving: isServing(group),
    part: group.part,
    sole: isSole(state, group),
    freeFor: freeSince === null ? null : now - freeSince,
    waitedFor: group.waiting === null ? 0 : now - group.waiting.since,
    booting: isBooting(state),
    initdeadPassed: now - state.startedAt >= timing.initdead,
    delayPerRank: 2 * timing.keepalive,
    settleTime: timing.deadtime,
    pingSettle: state.config.cluster.pingSettle,
  };
}

/** Who decides alone waits for nobody to be heard in a moment. */
function quorumFor(state: ClusterState): number {
  if (state.quorumSince === null) return 0;
  return decidesAlone(state) ? Infinity : state.now - state.quorumSince;
}

function nodeFacts(
  state: ClusterState,
  group: Group,
  node: string,
  standby: boolean,
): NodeFacts {
  if (node === state.self.node) {
    return {
      node,
      incarnation: state.self.incarnation,
      alive: true,
      phase: state.phase,
      aliveFor: Infinity,
      standby,
      calmFor: Infinity,
      failed: statedFailure(state, group),
      reaches: reachOf(group.config.ping, state.reach),
      betterFor: 0,
      sameConfig: true,
      replicas: ownReplicas(state),
    };
  }
  const peer = state.membership.peers.get(node)!;
  const alive = isAlive(peer);
  return {
    node,
    incarnation: peer.incarnation,
    alive,
    phase: peer.heartbeat?.phase ?? null,
    aliveFor: alive ? state.now - peer.aliveSince : 0,
    standby,
    calmFor: heldFor(group.calmSince, node, state.now),
    failed: peer.heartbeat?.failed[group.config.name] ?? null,
    reaches: alive && peer.heartbeat ? reachOf(group.config.ping, peer.heartbeat.reach) : null,
    betterFor: heldFor(group.betterSince, node, state.now),
    sameConfig: peer.heartbeat === null || peer.heartbeat.configHash === state.config.hash,
    replicas: peer.heartbeat?.replicas ?? {},
  };
}
