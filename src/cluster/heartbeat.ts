/** HEARTBEAT: what this node tells all others every keepalive, and what it learns from theirs. */

import { grantAsked, statedGrants } from "./acceptor.ts";
import { ownEra } from "./era.ts";
import { ownReplicas, statedFailures } from "./facts.ts";
import { noteParted } from "./reunion.ts";
import { leaseAsks, takeGrants, voteForOwn } from "./lease.ts";
import { seeMembers } from "./members.ts";
import type { Peer } from "./membership.ts";
import { nextBetween } from "./random.ts";
import { broadcast, type ClusterState } from "./state.ts";
import type { Register } from "./register_state.ts";
import type { Ballot, Heartbeat, NodeRun, RegisterName } from "./types.ts";

/** Milliseconds between two heartbeats about changes: what changes at once is told in one. */
export function urgentSpacing(keepalive: number): number {
  return keepalive / 40;
}

/** Whether a heartbeat is due: each keepalive, or at once when something changed. */
export function heartbeatDue(state: ClusterState): boolean {
  const since = state.now - state.lastHeartbeat;
  const { keepalive } = state.timing;
  return since >= keepalive || (state.urgent && since >= urgentSpacing(keepalive));
}

/** Sends a heartbeat; the own voter grants what it asks in the same moment. */
export function sendHeartbeat(state: ClusterState): void {
  const asks = leaseAsks(state);
  const heartbeat: Heartbeat = {
    type: "HEARTBEAT",
    heard: heardFrames(state),
    asks,
    grants: statedGrants(state),
    known: knownVersions(state),
    configHash: state.config.hash,
    ...(state.file === null ? {} : { fileHash: state.file.config.hash }),
    deadtime: state.timing.deadtime,
    voterId: state.acceptor.voterId,
    lacks: lackedRegisters(state),
    holds: [...state.acceptor.accepted.keys()].filter((name) => name !== "cluster").length,
    speaks: state.speaks,
    ...(ownEra(state) > 0 ? { era: ownEra(state) } : {}),
    phase: state.phase,
    replicas: ownReplicas(state),
    failed: statedFailures(state),
    reach: state.reach,
  };
  const seq = broadcast(state, heartbeat);
  voteForOwn(state, asks, seq);
  state.lastHeartbeat = state.now;
  state.urgent = false;
}

function heardFrames(state: ClusterState): Heartbeat["heard"] {
  const heard: Record<string, { incarnation: number; seq: number }> = {};
  for (const { node, incarnation, highest } of state.membership.peers.values()) {
    if (incarnation > 0) heard[node] = { incarnation, seq: highest };
  }
  return heard;
}

function knownVersions(state: ClusterState): Heartbeat["known"] {
  const versions: Record<string, { version: number; ballot: Ballot }> = {};
  for (const [name, { known }] of state.registers) {
    if (known?.record && known.ballot) {
      versions[name] = { version: known.record.version, ballot: known.ballot };
    }
  }
  return versions;
}

/** Registers of which the own voter holds nothing, though they have a record or may have one. */
function lackedRegisters(state: ClusterState): number {
  let lacked = 0;
  for (const { name, known } of state.registers.values()) {
    const isEmpty = known !== null && known.record === null;
    if (!isEmpty && !state.acceptor.accepted.has(name)) lacked++;
  }
  return lacked;
}

/** Takes a fresh heartbeat of a confirmed run. Older ones than the newest say nothing new. */
export function handleHeartbeat(
  state: ClusterState,
  peer: Peer,
  seq: number,
  heartbeat: Heartbeat,
): void {
  if (seq !== peer.heartbeatSeq) return;
  const run: NodeRun = { node: peer.node, incarnation: peer.incarnation };
  seeMembers(state, heartbeat);
  if ((heartbeat.era ?? 0) !== ownEra(state)) return;
  noteParted(state, peer, heartbeat);
  grantAsked(state, run, seq, heartbeat);
  takeGrants(state, peer, heartbeat);
  for (const [name, { version }] of Object.entries(heartbeat.known)) {
    hearVersion(state, name as RegisterName, version);
  }
}

/** A peer says that a newer version is chosen: a quorum read will tell. */
function hearVersion(state: ClusterState, name: RegisterName, version: number): void {
  const register = state.registers.get(name);
  if (register) register.told = Math.max(register.told, version);
  if (!register || version <= register.heardVersion) return;
  register.heardVersion = version;
  if (version <= (register.known?.record?.version ?? 0)) return;
  register.notBefore = Math.max(register.notBefore, state.now + readDelay(state, register));
}

/**
 * Not all at once: each read costs every voter a promise, and rivals refuse each other. Who runs the
 * group, or may run it next, goes first.
 */
function readDelay(state: ClusterState, register: Register): number {
  const { keepalive } = state.timing;
  const group = [...state.groups.values()].find((each) => each.register === register.name);
  if (group && group.phase !== "idle") return 0;
  const { prefer, candidates } = group?.config ?? { prefer: [], candidates: [] };
  const order = [...new Set([...prefer, ...candidates])];
  const place = order.indexOf(state.self.node);
  const rank = place < 0 ? order.length : place;
  return (keepalive / 8) * (rank + nextBetween(state.random, 0, 1));
}
