/**
 * Which voters an operation is made under, and the few changes of them that happen by themselves.
 *
 * Voters are those of the record; the configuration only proposes the first ones. The first record
 * needs every configured voter once. A voter that lost its state comes back with another id and has
 * no vote until a majority of the others put that id into the record: copying state is not
 * enough, since promises it forgot still live in other proposers.
 */

import { createHash } from "node:crypto";
import { acceptedCluster, isListed } from "./accepted.ts";
import { decidesAlone } from "./alone.ts";
import { nextDropped } from "./era.ts";
import { hasLentVote } from "./fencing.ts";
import { isAlive } from "./membership.ts";
import { raiseProtocol } from "./upgrade.ts";
import { nextVoters } from "./push.ts";
import { countVotes, majorityOf } from "./quorum.ts";
import { isFree, needsRead, startChange, startRead } from "./register.ts";
import { formerOf } from "./swap.ts";
import type { Change, Electorate, Register } from "./register_state.ts";
import { type ClusterState, knownCluster, note } from "./state.ts";
import type { ClusterRecord, RegisterName, Voter } from "./types.ts";

/** How far a repair goes beyond the highest ballot number that is known here. */
const REPAIR_LEAP = 1000;

/** The voters for an operation in a register now; null: they are not known. */
export function electorateFor(state: ClusterState, register: RegisterName): Electorate | null {
  const known = knownCluster(state);
  if (register !== "cluster") return known && votersOf(state, known);
  // What the own voter accepted may not be chosen. Its voters will do: ids only ever leave the list
  // for good, so its majorities meet those of the list before in a voter that remembers.
  const accepted = acceptedCluster(state.acceptor);
  if (known !== null) {
    // A voter that is being added may not be able to answer before it has accepted the record that
    // adds it; once that is known to be chosen, nobody answers those of the list before.
    const newer = accepted !== null && accepted.votersVersion > known.votersVersion &&
      (accepted.voters.length <= known.voters.length || state.voters.alternate);
    return votersOf(state, newer ? accepted : known, hasLentVote(state));
  }
  const all = everybody(state);
  if (accepted === null) return all;
  // Not at any price: with one node down, or in a large cluster, there may never be everybody.
  const half = accepted.version === 1 && state.voters.alternate && all !== null && isMyTurn(state);
  return half ? all : votersOf(state, accepted, hasLentVote(state));
}

/** A majority of the record's voters; the own vote, where it is a quorum. */
function votersOf(
  state: ClusterState,
  { voters, votersVersion, era }: ClusterRecord,
  lent = false,
): Electorate {
  const alone = lent || decidesAlone(state);
  const own = voters.filter(({ node }) => node === state.self.node);
  return {
    voters: alone ? own : voters,
    votersVersion,
    needed: alone ? 1 : majorityOf(voters.length),
    ...(alone ? { alone: true as const } : {}),
    ...(era === undefined ? {} : { era }),
  };
}

/** All configured nodes with the ids they say; null while one of them has not been heard. */
function everybody(state: ClusterState): Electorate | null {
  const voters: Voter[] = [];
  for (const { name } of state.config.nodes) {
    const voterId = saidVoterId(state, name);
    if (voterId === null) return null;
    voters.push({ node: name, voterId });
  }
  return { voters, votersVersion: 0, needed: voters.length };
}

/** The voter id that a node says; null: it is not heard. */
export function saidVoterId(state: ClusterState, node: string): string | null {
  if (node === state.self.node) return state.acceptor.voterId;
  const peer = state.membership.peers.get(node);
  return peer && isAlive(peer) ? peer.heartbeat?.voterId ?? null : null;
}

/** Whether enough of the voters are heard for an operation to have a chance. */
export function canReach(state: ClusterState, { voters, needed }: Electorate): boolean {
  let heard = 0;
  for (const { node, voterId } of voters) if (saidVoterId(state, node) === voterId) heard++;
  return heard >= needed;
}

/** Starts the read that a register needs, if it may. */
export function driveRead(state: ClusterState, register: Register): void {
  if (isBlankVoter(state, register)) {
    register.forceWriteBack = true;
    register.wantRead = true;
  }
  if (!needsRead(register) || !isFree(state, register)) return;
  const electorate = electorateFor(state, register.name);
  if (!electorate || !canReach(state, electorate)) return;
  if (electorate.votersVersion === 0 && !isMyTurn(state)) return;
  startRead(state, register, electorate);
}

/**
 * Whether the own voter was admitted anew and holds nothing yet of a register that has a record. Until
 * it does it is no use to a quorum: the loss of one voter more would stop the register for good.
 */
function isBlankVoter(state: ClusterState, register: Register): boolean {
  return (register.known?.record ?? null) !== null &&
    !state.acceptor.accepted.has(register.name) && isListed(state) &&
    state.now - register.confirmedAt >= state.timing.deadtime;
}

/** Among nodes that all need everybody, the first in file order goes first. */
function isMyTurn(state: ClusterState): boolean {
  const rank = state.config.nodes.findIndex(({ name }) => name === state.self.node);
  const since = state.now - (state.allHeardAt ?? state.now);
  return since >= rank * state.timing.deadtime;
}

/**
 * A node that leads in what any one node has to do: the first listed voter in file order, of those that
 * know the newest record. Who missed more than one change of the voters cannot even read it by itself.
 */
function isLeader(state: ClusterState): boolean {
  const record = knownCluster(state);
  if (!isListed(state) || !record) return false;
  for (const { name } of state.config.nodes) {
    if (name === state.self.node) return true;
    const voterId = saidVoterId(state, name);
    const known = state.membership.peers.get(name)?.heartbeat?.known["cluster"]?.version ?? 0;
    if (known < record.version) continue;
    if (record.voters.some((voter) => voter.node === name && voter.voterId === voterId)) {
      return false;
    }
  }
  return false;
}

/** Makes the first record, admits voters with a new id, brings the record to who lacks it. */
export function driveVoters(state: ClusterState): void {
  const register = state.registers.get("cluster")!;
  driveRead(state, register);
  if (needsRead(register) || !isFree(state, register)) return;
  if (register.known?.record === null) makeFirstRecord(state, register);
  else if (isLeader(state)) {
    admitDropped(state, register);
    if (isFree(state, register)) admitVoter(state, register);
    repairLaggard(state, register);
    raise(state, register);
  }
  if (register.known?.record) changeVoters(state, register);
}

function makeFirstRecord(state: ClusterState, register: Register): void {
  const electorate = everybody(state);
  if (!electorate || !isMyTurn(state)) return;
  const { voters } = electorate;
  const lineage = createHash("sha256")
    .update(JSON.stringify([state.config.cluster.name, voters])).digest("hex").slice(0, 16);
  const value: ClusterRecord = {
    version: 1,
    voters,
    votersVersion: 1,
    lineage,
    standby: [],
    maintenance: false,
  };
  const change: Change = {
    purpose: "first-record",
    baseVersion: 0,
    draft: () => ({ proposal: { value }, mints: [] }),
  };
  const text = "Every configured voter is heard: the cluster's first record is proposed";
  note(state, "info", "first-record", text, { voters: voters.length, lineage });
  startChange(state, register, electorate, change);
}

/**
 * One voter at a time, after every group's register has been read: so that what the lost voter held
 * of it lies with a majority of the others, which alone count until the new voter has been written to.
 */
function admitVoter(state: ClusterState, register: Register): void {
  const record = knownCluster(state)!;
  const lost = record.voters.find(({ node, voterId }) => {
    const peer = state.membership.peers.get(node);
    const said = saidVoterId(state, node);
    return peer && said !== null && said !== voterId &&
      state.now - peer.aliveSince >= state.timing.deadtime;
  });
  if (!lost || !countVotes(state).have) return;
  const voterId = saidVoterId(state, lost.node)!;
  if (!groupsRead(state, `${lost.node} ${voterId}`)) return;
  const text = `The voter on ${lost.node} lost its state and is admitted anew`;
  const known = { before: lost.voterId, now: voterId, votersVersion: record.votersVersion + 1 };
  note(state, "warning", "admit-voter", text, known, { node: lost.node });
  const value: ClusterRecord = {
    ...record,
    version: record.version + 1,
    votersVersion: record.votersVersion + 1,
    voters: record.voters.map((voter) => voter === lost ? { node: lost.node, voterId } : voter),
  };
  const draft = () => ({ proposal: { value }, mints: [] });
  const change: Change = { purpose: "admit-voter", baseVersion: record.version, draft };
  startChange(state, register, electorateFor(state, "cluster")!, change);
}

/** Whom a forced promotion left behind votes again once it is heard, one at a time. */
function admitDropped(state: ClusterState, register: Register): void {
  const record = knownCluster(state)!;
  const found = nextDropped(state, record);
  if (found === null || !countVotes(state).have) return;
  if ([...state.groups.values()].some((group) => needsRead(state.registers.get(group.register)!))) {
    return;
  }
  const { dropped = [], ...rest } = record;
  const left = dropped.filter((node) => node !== found.node);
  const value: ClusterRecord = {
    ...rest,
    version: record.version + 1,
    votersVersion: record.votersVersion + 1,
    voters: [...record.voters, found],
    ...(left.length > 0 ? { dropped: left } : {}),
  };
  const text = `${found.node} is heard again and joins the era as a voter`;
  note(state, "warning", "admit-voter", text, { votersVersion: value.votersVersion }, {
    node: found.node,
  });
  const draft = () => ({ proposal: { value }, mints: [] });
  const change: Change = { purpose: "admit-voter", baseVersion: record.version, draft };
  startChange(state, register, electorateFor(state, "cluster")!, change);
}

/** The next version of the protocol, once all speak it. */
function raise(state: ClusterState, register: Register): void {
  if (!isFree(state, register) || needsRead(register)) return;
  const record = knownCluster(state)!;
  const change = raiseProtocol(state, record);
  if (change !== null) startChange(state, register, electorateFor(state, "cluster")!, change);
}

/** One step towards the voters that the pushed configuration names. */
function changeVoters(state: ClusterState, register: Register): void {
  if (!isFree(state, register) || needsRead(register)) return;
  const record = knownCluster(state)!;
  const next = nextVoters(state, record);
  if (next === null || !countVotes(state).have) return;
  if (!groupsRead(state, next.text)) return;
  const votersVersion = record.votersVersion + 1;
  note(state, "info", "change-voter", next.text, { votersVersion });
  const { former: _before, ...rest } = record;
  const former = formerOf(record, next.voters);
  const value: ClusterRecord = {
    ...rest,
    version: record.version + 1,
    votersVersion,
    voters: next.voters,
    ...(former === undefined ? {} : { former }),
  };
  const draft = () => ({ proposal: { value }, mints: [] });
  const change: Change = { purpose: "change-voter", baseVersion: record.version, draft };
  startChange(state, register, electorateFor(state, "cluster")!, change);
}

/**
 * Whether every group's register has been read since this change was first wanted: so that what a
 * voter that goes held of it lies with a majority of those that stay.
 */
function groupsRead(state: ClusterState, change: string): boolean {
  const groups = [...state.groups.values()].map((group) => state.registers.get(group.register)!);
  if (state.voters.replacing !== change) {
    state.voters.replacing = change;
    for (const each of groups) each.wantRead = true;
    return false;
  }
  return !groups.some(needsRead);
}

/** A live node that keeps knowing less of the cluster's record cannot read it: it is written there. */
function repairLaggard(state: ClusterState, register: Register): void {
  const { now, timing, voters } = state;
  const version = knownCluster(state)?.version ?? 0;
  const lags = [...state.membership.peers.values()].some((peer) =>
    isAlive(peer) && peer.heartbeat !== null &&
    (peer.heartbeat.known["cluster"]?.version ?? 0) < version
  );
  if (!lags) voters.laggardSince = null;
  else voters.laggardSince ??= now;
  if (voters.laggardSince === null || now - voters.laggardSince < 2 * timing.deadtime) return;
  if (register.attempt || now - voters.repairedAt < 4 * timing.deadtime) return;
  voters.repairedAt = now;
  // Its own reads, refused by all for their old voters, may be many promises ahead at its own voter.
  register.maxN += REPAIR_LEAP;
  register.forceWriteBack = true;
  register.wantRead = true;
}
