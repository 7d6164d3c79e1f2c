/**
 * Quorum mode `fencing`: a joint node whose peer is silent has it switched off, and only when that is
 * *confirmed* does the peer's vote count for it, until the peer has copied every register and votes
 * again. An unconfirmed fence changes nothing: it is shown and tried again.
 *
 * The answer says that the peer was off at some moment since it was asked for. So whatever run of it
 * was heard before has ended; a later run is not joint and can decide nothing without this node. Two
 * nodes that fence each other cannot both be confirmed and alive: each would have been off before the
 * other was told so.
 *
 * @module
 */

import { acceptedCluster } from "./accepted.ts";
import { lostItsState, otherVoter } from "./alone.ts";
import { isPast } from "./era.ts";
import { gatherFacts, knownGroup } from "./facts.ts";
import { type Group, isServing } from "./group_state.ts";
import { endRun, isAlive, type Peer } from "./membership.ts";
import { decide } from "./ownership.ts";
import { abandonJoint, isFree, needsRead, startChange } from "./register.ts";
import type { Change, Electorate } from "./register_state.ts";
import { type ClusterState, emit, knownCluster, note } from "./state.ts";
import type { ClusterEvent, ClusterRecord } from "./types.ts";

/** A fence that is not answered yet. */
export interface PendingFence {
  readonly node: string;
  readonly attempt: number;
  /** The newest run of the peer that was heard of when it was asked for. */
  readonly incarnation: number;
  readonly at: number;
}

/** Memory of `fencing.ts`. */
export interface Fencing {
  attempt: number;
  pending: PendingFence | null;
  /** Unconfirmed ones in a row, what the last of them said, and when the next is due. */
  failures: number;
  detail: string;
  retryAt: number;
  /** The peer is certainly off and its vote not taken yet. */
  lent: boolean;
}

/** Nothing is fenced. */
export function createFencing(): Fencing {
  return { attempt: 0, pending: null, failures: 0, detail: "", retryAt: 0, lent: false };
}

/** Longest pause between attempts, milliseconds. */
const RETRY_MOST = 60_000;
/** An answer that is so late is lost: methods end by their time-outs. */
const ANSWER_GRACE = 60_000;

/** Fences when something waits for it, takes the vote of a peer that is off, and gives it back. */
export function driveFencing(state: ClusterState): void {
  // In a past era nothing is decided, and the ballots would get in the way of who admits this node.
  if (state.config.cluster.quorum !== "fencing" || isPast(state)) return;
  const record = knownCluster(state);
  const peer = record && otherVoter(state, record);
  if (record === null || peer === null) return;
  const { fencing } = state;
  if (acceptedCluster(state.acceptor)?.solo === state.self.node) {
    fencing.lent = false;
    return endSolo(state, record, peer);
  }
  if (fencing.pending !== null) return watchPending(state, fencing.pending);
  if (isLent(state, record, peer)) return becomeSolo(state, record, peer);
  if (isAlive(peer)) {
    fencing.failures = 0;
    fencing.detail = "";
    return;
  }
  if (!state.pair.joint || state.shutdown || peer.lastHeard === null) return;
  const delay = fenceDelay(state, peer);
  if (delay === null || state.now < peer.lastHeard + state.timing.deadtime + delay) return;
  if (state.now >= fencing.retryAt) order(state, peer);
}

function isLent(state: ClusterState, record: ClusterRecord, peer: Peer): boolean {
  return state.fencing.lent || (state.pair.joint && lostItsState(state, record, peer));
}

/** Whether the peer's vote in the cluster's register is this node's, so that it can make itself `solo`. */
export function hasLentVote(state: ClusterState): boolean {
  if (state.config.cluster.quorum !== "fencing") return false;
  const record = acceptedCluster(state.acceptor);
  const peer = record && otherVoter(state, record);
  return record !== null && peer !== null && isLent(state, record, peer);
}

/** How long to let the peer fence first; null: nothing waits for a fence. */
function fenceDelay(state: ClusterState, peer: Peer): number | null {
  let owns = false;
  let needed = false;
  let peerOwns = false;
  for (const group of state.groups.values()) {
    if (knownGroup(state, group)?.owner?.node === peer.node) peerOwns = true;
    if (isServing(group)) {
      if (group.frozenSince === null) continue;
      owns = true;
    }
    needed ||= isServing(group) ? hasDisks(state, group) : wouldTake(state, group);
  }
  if (!needed) return null;
  const place = state.config.nodes.findIndex(({ name }) => name === state.self.node);
  const turns = owns ? (peerOwns ? place : 0) : 1 + (peerOwns ? 0 : place);
  return turns * state.config.cluster.fenceDelay;
}

/** An owner whose disk has failed would switch off the only one who has the data. */
function hasDisks(state: ClusterState, group: Group): boolean {
  return group.volumes.every(({ name }) => state.replicas.get(name)?.disk !== "Diskless");
}

/** Whether this node would run the group if the peer's vote were its own. */
function wouldTake(state: ClusterState, group: Group): boolean {
  return group.phase === "idle" &&
    decide({ ...gatherFacts(state, group), quorum: true, quorumFor: Infinity }).action === "take";
}

function order(state: ClusterState, peer: Peer): void {
  const { fencing, now } = state;
  const attempt = ++fencing.attempt;
  fencing.pending = { node: peer.node, attempt, incarnation: peer.incarnation, at: now };
  const text = `${peer.node} is silent and groups wait for its vote: it is switched off`;
  const known = {
    attempt,
    silentForMs: now - (peer.lastHeard ?? now),
    incarnation: peer.incarnation,
  };
  note(state, "warning", "fence", text, known, { node: peer.node });
  emit(state, { type: "fence", node: peer.node, attempt });
}

function watchPending(state: ClusterState, { node, attempt, at }: PendingFence): void {
  const methods = state.config.nodes.find(({ name }) => name === node)?.fence ?? [];
  const most = methods.reduce((sum, { timeout }) => sum + timeout, ANSWER_GRACE);
  if (state.now - at < most) return;
  takeFenced(state, { type: "fenced", node, attempt, confirmed: false, detail: "no answer came" });
}

/** Takes the answer to a `fence`. */
export function takeFenced(
  state: ClusterState,
  { node, attempt, confirmed, detail }: Extract<ClusterEvent, { type: "fenced" }>,
): void {
  const { fencing, now, timing } = state;
  const { pending } = fencing;
  const peer = state.membership.peers.get(node);
  if (pending?.attempt !== attempt || pending.node !== node || peer === undefined) return;
  fencing.pending = null;
  const known = { attempt, tookMs: now - pending.at, detail };
  if (!confirmed) {
    fencing.failures++;
    fencing.detail = detail;
    const pause = Math.max(1000, timing.deadtime) * 2 ** Math.min(fencing.failures - 1, 10);
    fencing.retryAt = now + Math.min(RETRY_MOST, pause);
    const text = `${node} could not be fenced, nothing is taken over: ${detail}`;
    return note(state, "error", "fence-failed", text, known, { node });
  }
  fencing.failures = 0;
  fencing.detail = "";
  fencing.retryAt = 0;
  if (peer.incarnation > pending.incarnation) {
    const text = `${node} was fenced and has come back already: it votes for itself`;
    return note(state, "info", "fence-over", text, known, { node });
  }
  lend(state, peer, `${node} is off for certain: its vote counts here until it votes again`, known);
}

/** The peer is off: its run has ended, and its vote is this node's. */
export function lend(
  state: ClusterState,
  peer: Peer,
  text: string,
  known: Readonly<Record<string, string | number | boolean>>,
): void {
  note(state, "warning", "fence-confirmed", text, known, { node: peer.node });
  endRun(state, peer);
  for (const register of state.registers.values()) abandonJoint(state, register);
  state.fencing.pending = null;
  state.fencing.lent = true;
  state.urgent = true;
}

/** Changes `solo` in the cluster's record. The register must be free and known. */
function startSoloChange(
  state: ClusterState,
  record: ClusterRecord,
  electorate: Electorate,
  purpose: string,
  solo: string | undefined,
): void {
  const { solo: _before, ...rest } = record;
  const value: ClusterRecord = {
    ...rest,
    version: record.version + 1,
    ...(solo === undefined ? {} : { solo }),
  };
  const draft = () => ({ proposal: { value }, mints: [] });
  const change: Change = { purpose, baseVersion: record.version, draft };
  startChange(state, state.registers.get("cluster")!, electorate, change);
}

function electorate(record: ClusterRecord, alone: string | null): Electorate {
  const { votersVersion, era } = record;
  const voters = record.voters.filter(({ node }) => alone === null || node === alone);
  return { voters, votersVersion, needed: voters.length, ...(era === undefined ? {} : { era }) };
}

/**
 * Writes `solo` by the own vote and the lent one. What the peer's voter holds beyond it was not chosen,
 * as that takes this voter too; and this voter remembers whatever was.
 */
function becomeSolo(state: ClusterState, record: ClusterRecord, peer: Peer): void {
  const register = state.registers.get("cluster")!;
  if (!isFree(state, register) || needsRead(register)) return;
  const alone = electorate(record, state.self.node);
  const text = `This node decides alone from now on, until ${peer.node} votes again`;
  note(state, "warning", "solo", text, { version: record.version + 1 }, { node: state.self.node });
  startSoloChange(state, record, alone, "solo", state.self.node);
}

/** The peer is back, knows every register and grants: both votes count again. */
function endSolo(state: ClusterState, record: ClusterRecord, peer: Peer): void {
  const register = state.registers.get("cluster")!;
  const { now, timing } = state;
  const { heartbeat } = peer;
  if (record.solo !== state.self.node || !isFree(state, register) || needsRead(register)) return;
  if (!isAlive(peer) || heartbeat === null || heartbeat.phase === "stopping") return;
  if (state.shutdown || now - peer.aliveSince < timing.deadtime / 2) return;
  const listed = record.voters.find(({ node }) => node === peer.node);
  if (listed?.voterId !== heartbeat.voterId) return;
  for (const { name, known } of state.registers.values()) {
    if ((heartbeat.known[name]?.version ?? 0) < (known?.record?.version ?? 0)) return;
  }
  for (const group of state.groups.values()) {
    // Without its grants the lease would be lost in the moment in which they are needed.
    const grant = group.votes.get(peer.node) ?? -Infinity;
    if (isServing(group) && now - grant > timing.lease / 2) return;
  }
  const text = `${peer.node} has copied every register: from now on both votes are needed again`;
  note(state, "info", "solo-over", text, { version: record.version + 1 }, { node: peer.node });
  startSoloChange(state, record, electorate(record, null), "solo-over", undefined);
}

/**
 * A planned stop leaves the own vote to the peer, so that it goes on without a fence; a survivor stays
 * until the peer has taken what was released. Whether that has been done, or cannot be.
 */
export function handOver(state: ClusterState): boolean {
  const { config: { cluster: { quorum } }, shutdown, timing, now } = state;
  if (quorum === "majority" || shutdown === null || isPast(state)) return true;
  const record = knownCluster(state);
  const peer = record && otherVoter(state, record);
  if (record === null || peer === null || record.solo !== undefined) return true;
  if (!isAlive(peer) || peer.heartbeat?.phase !== "running") return true;
  if (quorum === "survivor") {
    // It needs this vote for its take as long as it hears this node.
    const released = [...state.groups.values()].some((group) =>
      knownGroup(state, group)?.owner === null
    );
    return !released || now - (shutdown.idleAt ?? now) >= timing.deadtime;
  }
  const register = state.registers.get("cluster")!;
  if (isFree(state, register) && !needsRead(register)) {
    const text = `This node stops and leaves its vote to ${peer.node}`;
    note(state, "info", "hand-over", text, { version: record.version + 1 }, { node: peer.node });
    startSoloChange(state, record, electorate(record, null), "hand-over", peer.node);
  }
  return false;
}
