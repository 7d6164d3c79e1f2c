/**
 * The lease: until when this node may serve addresses, processes and reads of a group it owns.
 *
 * It lasts 0.8 × deadtime from the **sending** of the newest own heartbeat that a majority of voters
 * granted, the own vote included. An ACCEPTED TAKE is a grant, dated at the ACCEPT's sending. A group
 * whose every volume bears the `sole` mark of the epoch needs none: nobody else could take over.
 */

import { sameRun } from "./ballot.ts";
import { grant } from "./acceptor.ts";
import { leasesAlone, peerServes } from "./alone.ts";
import { isPast } from "./era.ts";
import { type Group, isServing } from "./group_state.ts";
import { newerSince } from "./learner.ts";
import type { Peer } from "./membership.ts";
import { majorityOf, voteOf } from "./quorum.ts";
import { type ClusterState, emit, knownCluster, note, sendingTime } from "./state.ts";
import type { GroupRecord, Heartbeat, Voter } from "./types.ts";

/** Groups and epochs to ask the lease for in the next heartbeat. */
export function leaseAsks(state: ClusterState): Record<string, number> {
  const asks: Record<string, number> = {};
  for (const group of state.groups.values()) {
    if (isServing(group) && state.now >= group.yieldUntil) asks[group.config.name] = group.epoch;
  }
  return asks;
}

/** The own vote for what the own heartbeat asks; it passes the own voter as any other's does. */
export function voteForOwn(state: ClusterState, asks: Heartbeat["asks"], seq: number): void {
  for (const [name, epoch] of Object.entries(asks)) {
    if (!grant(state, name, state.self, epoch, seq)) continue;
    addVote(state.groups.get(name)!, state.self.node, state.now);
  }
}

/** Takes the grants that a peer states, to this node and to others. */
export function takeGrants(state: ClusterState, peer: Peer, heartbeat: Heartbeat): void {
  const voters = knownCluster(state)?.voters;
  if (!voters || !voteOf(voters, peer.node, heartbeat.voterId)) return;
  for (const [name, given] of Object.entries(heartbeat.grants)) {
    const group = state.groups.get(name);
    if (!group) continue;
    const { node, incarnation, epoch, seq } = given;
    const seen = group.seenGrants.get(peer.node);
    if (!seen || !sameRun(seen.run, given) || seen.epoch !== epoch || seen.seq < seq) {
      const run = { node, incarnation };
      group.seenGrants.set(peer.node, { run, epoch, seq, at: state.now });
    }
    if (!sameRun(given, state.self) || epoch !== group.epoch || !isServing(group)) continue;
    const sent = sendingTime(state, seq);
    if (sent !== null) addVote(group, peer.node, sent);
  }
}

/** Counts a grant dated `sent` for the present epoch of a group. */
export function addVote(group: Group, voter: string, sent: number): void {
  group.votes.set(voter, Math.max(group.votes.get(voter) ?? -Infinity, sent));
}

/** The newest time that a majority of voters has reached; null: no majority has. */
export function majorityTime(
  voters: readonly Voter[],
  times: (node: string) => number | undefined,
): number | null {
  // Newest first, by insertion: there are few, and this is asked at every event.
  const known: number[] = [];
  for (const { node } of voters) {
    const time = times(node);
    if (time === undefined) continue;
    let at = known.length;
    while (at > 0 && known[at - 1]! < time) {
      known[at] = known[at - 1]!;
      at--;
    }
    known[at] = time;
  }
  return known[majorityOf(voters.length) - 1] ?? null;
}

/** Whether every volume of the group bears the mark of this epoch, and nothing is about to end it. */
export function isSole(state: ClusterState, group: Group): boolean {
  return group.volumes.length > 0 && group.epoch > 0 &&
    !group.requests.some(({ kind }) => kind === "grow") &&
    group.volumes.every(({ name }) => state.replicas.get(name)?.sole === group.epoch);
}

/** In `survivor` mode a sole member may have a rival that is one, too. */
function isDoubled(state: ClusterState, group: Group): boolean {
  return state.config.cluster.quorum === "survivor" &&
    (group.awaitingRead || peerServes(state, group));
}

/** Until when the group may be served now. 0: not at all. */
function heldUntil(state: ClusterState, group: Group): number {
  if (!isServing(group) || group.outdated || isPast(state)) return 0;
  if (isSole(state, group) && !isDoubled(state, group)) return Infinity;
  const voters = knownCluster(state)?.voters;
  if (!voters || group.awaitingRead || group.underMark || state.fencing.pending) return 0;
  const base = leasesAlone(state, group)
    ? group.votes.get(state.self.node) ?? null
    : majorityTime(voters, (node) => group.votes.get(node));
  return base === null ? 0 : Math.max(0, base + state.timing.lease);
}

/** Whether the lease holds now. */
export function holdsLease(state: ClusterState, group: Group): boolean {
  return heldUntil(state, group) > state.now;
}

/** Computes the lease and says what changed: its end, its loss, its return. */
export function updateLease(state: ClusterState, group: Group): void {
  const until = heldUntil(state, group);
  if (until !== group.leaseUntil) sayLease(state, group, until);
  if (!isServing(group)) {
    group.frozenSince = null;
    return;
  }
  const { name } = group.config;
  if (until > state.now) {
    if (group.frozenSince === null) return;
    const known = { epoch: group.epoch, frozenForMs: state.now - group.frozenSince };
    group.frozenSince = null;
    state.urgent = true;
    if (group.phase === "taken") return;
    const text = `A majority grants the lease of ${name} again and nobody took over: it goes on`;
    note(state, "info", "lease-back", text, known, { group: name });
    emit(state, { type: "resume", group: name });
  } else if (group.frozenSince === null) {
    group.frozenSince = state.now;
    if (group.phase === "taken") return;
    const text =
      `No majority of voters granted the lease of ${name} in time: addresses go, I/O freezes`;
    const known = { epoch: group.epoch, ...voteAges(state, group) };
    note(state, "warning", "lease-lost", text, known, { group: name });
    emit(state, { type: "suspend", group: name });
  }
}

function sayLease(state: ClusterState, group: Group, until: number): void {
  group.leaseUntil = until;
  emit(state, { type: "lease", group: group.config.name, epoch: group.epoch, until });
}

/** Milliseconds since the newest granted heartbeat, by voter; -1: none. */
function voteAges(state: ClusterState, group: Group): Record<string, number> {
  const ages: Record<string, number> = {};
  for (const { node } of knownCluster(state)?.voters ?? []) {
    const vote = group.votes.get(node);
    ages[`grantAgeMs:${node}`] = vote === undefined ? -1 : state.now - vote;
  }
  return ages;
}

/** The lease ends with this life of the group. */
export function dropLease(state: ClusterState, group: Group): void {
  group.votes.clear();
  group.frozenSince = null;
  if (group.leaseUntil !== 0) sayLease(state, group, 0);
}

/**
 * Since when the recorded owner can hold no lease, as far as this node sees; null: it still may. The
 * voters judge for themselves; this only says when it is worth asking them.
 */
export function ownerLostSince(
  state: ClusterState,
  group: Group,
  record: GroupRecord,
): number | null {
  const { owner } = record;
  const { now, startedAt } = state;
  if (owner === null) return state.registers.get(group.register)?.known?.at ?? now;
  if (owner.node === state.self.node) return startedAt;
  const lost = ownerLostAt(state, group, record);
  return lost <= now ? lost : null;
}

/** When another node that owns the group will have lost its lease, if nothing new is heard. */
export function ownerLostAt(state: ClusterState, group: Group, record: GroupRecord): number {
  const owner = record.owner!;
  const { deadtime } = state.timing;
  const learned = state.registers.get(group.register)?.known?.at ?? state.now;
  const known = Math.max(state.startedAt, learned);
  const peer = state.membership.peers.get(owner.node);
  if (peer === undefined || peer.lastHeard === null) return state.startedAt + deadtime;
  if (peer.incarnation > owner.incarnation) {
    // Remembered when first seen: later runs of a crash loop must not move it on.
    if (!sameRun(group.endedRun?.run, owner)) {
      group.endedRun = { run: owner, at: peer.formerHeard ?? state.startedAt };
    }
    return group.endedRun!.at + deadtime;
  }
  if (peer.liveness === "dead") return peer.lastHeard + deadtime;
  // It is heard. It may still be unable to hear: then no majority grants.
  const voters = knownCluster(state)?.voters ?? [];
  const granted = majorityTime(voters, (node) => {
    if (node === state.self.node) {
      const own = state.acceptor.granted.get(group.config.name);
      return own && sameRun(own.grant, owner) ? own.at : undefined;
    }
    if (node === owner.node) {
      // Its vote for itself travels in no frame; whoever asks gives it.
      const asks = peer.heartbeat?.asks[group.config.name] === record.epoch;
      return asks && peer.lastHeard !== null ? peer.lastHeard : undefined;
    }
    const seen = group.seenGrants.get(node);
    return seen && sameRun(seen.run, owner) && seen.epoch === record.epoch ? seen.at : undefined;
  });
  const lost = Math.max(known, granted ?? 0) + 1.25 * deadtime;
  // A newer record was accepted here, so grants ended: what it says will be known in a moment.
  const register = state.registers.get(group.register)!;
  return Math.max(lost, newerSince(state, register) + state.timing.keepalive);
}
