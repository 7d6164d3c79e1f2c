/**
 * When one node of a pair decides alone. Two voters make a quorum only together; what the modes for
 * pairs add to it stands here.
 *
 * `fencing`: alone decides whom the record names `solo`, because its peer was off, or stopped and left
 * it its vote. Only a node that may be behind nothing can become that: it is **joint**, which means
 * that this very run has read every register together with its peer, while nobody was `solo`. So a
 * node that was fenced or has just booted never is, and a node that is joint can lose that only to a
 * peer that had it switched off.
 *
 * `survivor`: a joint node takes a peer that falls silent for dead. Both may do so at once.
 *
 * How a node becomes joint is in `pair.ts`.
 *
 * @module
 */

import { acceptedCluster, isListed } from "./accepted.ts";
import type { Group } from "./group_state.ts";
import { isAlive, type Peer } from "./membership.ts";
import { type ClusterState, knownCluster } from "./state.ts";
import type { ClusterRecord } from "./types.ts";

/** So many times deadtime a peer that is back may take to copy the records and to grant. */
const RETURN_PATIENCE = 5;

/** What this run knows of the pair. Volatile: it is worth nothing after a restart. */
export interface Pair {
  joint: boolean;
  /** Since when it is known, by both votes, that nobody is `solo`; null: it is not. */
  togetherSince: number | null;
  /** The run of the peer that a person states to be over; 0: none. */
  confirmedOff: number;
  /** As of the last look: what was begun together is given up when it becomes so. */
  alone: boolean;
  /** As last noted. */
  behind: boolean;
}

/** Nothing is known. */
export function createPair(): Pair {
  return { joint: false, togetherSince: null, confirmedOff: 0, alone: false, behind: false };
}

/** The other voter of a pair; null where the record does not name exactly two, this node one of them. */
export function otherVoter(state: ClusterState, record: ClusterRecord): Peer | null {
  if (record.voters.length !== 2) return null;
  const other = record.voters.find(({ node }) => node !== state.self.node);
  return record.voters.some(({ node }) => node === state.self.node) && other !== undefined
    ? state.membership.peers.get(other.node) ?? null
    : null;
}

/** Whether the peer is heard with another voter id than the record's: its old run and votes are gone. */
export function lostItsState(state: ClusterState, record: ClusterRecord, peer: Peer): boolean {
  const listed = record.voters.find(({ node }) => node === peer.node)?.voterId;
  return isAlive(peer) && peer.heartbeat !== null && peer.heartbeat.voterId !== listed &&
    state.now - peer.aliveSince >= state.timing.deadtime;
}

/**
 * Whether the peer is known to have decided something alone that this node never saw: its silence is no
 * reason to go on with what was before.
 */
export function isBehind(state: ClusterState): boolean {
  for (const { name, told, known } of state.registers.values()) {
    const own = state.acceptor.accepted.get(name)?.proposal.value.version ?? 0;
    if (told > Math.max(own, known?.record?.version ?? 0)) return true;
  }
  return false;
}

/** Whether a survivor hears that its peer serves the group, too: then not even a `sole` mark is enough. */
export function peerServes(state: ClusterState, group: Group): boolean {
  const record = knownCluster(state);
  const peer = record && otherVoter(state, record);
  return peer !== null && isAlive(peer) &&
    peer.heartbeat?.asks[group.config.name] !== undefined;
}

/** Whether the own vote is a quorum now. */
export function decidesAlone(state: ClusterState): boolean {
  const { config: { cluster: { quorum, bootAlone } }, acceptor, pair, timing } = state;
  if (quorum === "majority") return false;
  const record = acceptedCluster(acceptor);
  const peer = record && isListed(state) ? otherVoter(state, record) : null;
  if (record === null || peer === null) return false;
  if (quorum === "fencing") return record.solo === state.self.node;
  if (isAlive(peer) && !lostItsState(state, record, peer)) return false;
  // After an own pause the peer gets the time to be heard that it gets after a start.
  if (state.now < acceptor.restartedUntil) return false;
  if (pair.joint && !isBehind(state)) return true;
  if (pair.confirmedOff > 0 && pair.confirmedOff >= peer.incarnation) return true;
  return bootAlone && state.now - state.startedAt >= timing.initdead;
}

/**
 * Whether the lease of a group rests on the own vote. A survivor's does as soon as its peer is late: the
 * peer's grants would run out shortly before it counts as dead, and nothing is gained by a pause in
 * between; and on, after the peer is heard again, until that grants, unless it serves the group itself.
 */
export function leasesAlone(state: ClusterState, group: Group): boolean {
  if (decidesAlone(state)) return true;
  if (state.config.cluster.quorum !== "survivor" || !state.pair.joint) return false;
  const record = knownCluster(state);
  const peer = record && otherVoter(state, record);
  if (peer === null) return false;
  if (isBehind(state)) return false;
  if (peer.liveness === "late" || peer.liveness === "dead") return true;
  if (!isAlive(peer) || peer.heartbeat?.asks[group.config.name] !== undefined) return false;
  const grant = group.votes.get(peer.node) ?? -Infinity;
  return grant < peer.aliveSince &&
    state.now - peer.aliveSince < RETURN_PATIENCE * state.timing.deadtime;
}
