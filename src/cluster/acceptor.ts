/**
 * The voter: a CASPaxos acceptor (Rystsov 2018) for every register, which also refuses to take a
 * group from an owner whose heartbeat it granted less than deadtime ago.
 *
 * Whatever it answers is durable first: the `persist` effect stands before the answer. The refusal is
 * judged on what the message states (`takes`), not on this voter's older record, and at every ACCEPT,
 * also when a reader completes somebody else's value.
 */

import { acceptedCluster, isListed } from "./accepted.ts";
import { compareBallots, sameRun } from "./ballot.ts";
import { noteAccepted } from "./learner.ts";
import { forgetEra, isPast, ownEra } from "./era.ts";
import {
  type ClusterState,
  emit,
  groupRegister,
  isClusterRecord,
  knownCluster,
  sendingTime,
  sendTo,
} from "./state.ts";
import type {
  Accept,
  Ballot,
  Grant,
  GroupRecord,
  Heartbeat,
  NodeRun,
  Prepare,
  Proposal,
  Refused,
  RegisterName,
  Takes,
  VoterLogRecord,
} from "./types.ts";

/** The newest grant for a group and when it was given, by the own clock. */
export interface Granted {
  readonly grant: Grant;
  readonly at: number;
}

/** State of the voter: the first three are durable, the rest is lost in a restart. */
export interface Acceptor {
  readonly voterId: string;
  readonly promised: Map<RegisterName, Ballot>;
  readonly accepted: Map<RegisterName, { readonly ballot: Ballot; readonly proposal: Proposal }>;
  /** The id of a new voter still has to be made durable. */
  identityPending: boolean;
  /** Until then it does not know whom it granted what, and takes nothing from anybody. */
  restartedUntil: number;
  readonly granted: Map<string, Granted>;
}

/** The voter as its log left it. An empty log makes a new voter with the given id. */
export function createAcceptor(
  log: readonly VoterLogRecord[],
  freshId: string,
  restartedUntil: number,
): Acceptor {
  let voterId: string | null = null;
  const promised: Acceptor["promised"] = new Map();
  const accepted: Acceptor["accepted"] = new Map();
  const eras = new Map<RegisterName, number | undefined>();
  for (const record of log) {
    if (record.kind === "identity") {
      voterId = record.voterId;
      continue;
    }
    const { register, ballot } = record;
    const before = promised.get(register);
    if (before && compareBallots(ballot, before) < 0) {
      throw new Error(
        `the voter's log of ${register} goes backwards (n ${ballot.n} after ${before.n}); ` +
          `move the voter's state away, the others will admit this voter anew`,
      );
    }
    promised.set(register, ballot);
    if (record.kind !== "accept") continue;
    accepted.set(register, { ballot, proposal: record.proposal });
    eras.set(register, record.era);
  }
  const cluster = accepted.get("cluster")?.proposal.value;
  const era = cluster !== undefined && isClusterRecord(cluster) ? cluster.era : undefined;
  for (const [register, its] of eras) {
    if (register !== "cluster" && its !== era) accepted.delete(register);
  }
  if (voterId === null && log.length > 0) {
    throw new Error(
      "the voter's log holds no identity; move the voter's state away, " +
        "the others will admit this voter anew",
    );
  }
  const identityPending = voterId === null;
  voterId ??= freshId;
  return {
    voterId,
    promised,
    accepted,
    identityPending,
    restartedUntil,
    granted: new Map(),
  };
}

/**
 * Whether this voter answers requests made under these voters. Those of the groups must name the
 * version that it holds. The `cluster` register itself carries the change: a request under a newer
 * version teaches it, and one under the version before may still have to complete the change, as
 * long as nobody can know that it is complete. Version 0 is the first record, which needs everybody.
 */
function mayAnswer(
  state: ClusterState,
  register: RegisterName,
  { votersVersion, era = 0 }: Under,
): boolean {
  const record = acceptedCluster(state.acceptor);
  const own = record?.votersVersion ?? 0;
  const ownEra = record?.era ?? 0;
  // A newer era teaches, too, and what was promised in this one binds nobody in that one.
  if (era !== ownEra) return register === "cluster" && era > ownEra;
  if (register !== "cluster") return votersVersion === own && isListed(state);
  if (votersVersion === 0) return record === null || record.version === 1;
  const chosen = knownCluster(state)?.votersVersion ?? 0;
  return votersVersion >= Math.max(chosen, own - 1);
}

/** Under which voters a request is made. */
interface Under {
  readonly votersVersion: number;
  readonly era?: number;
}

/** A promise in the `cluster` register counts only from a listed voter, except at the first record. */
function mayPromise(state: ClusterState, register: RegisterName, under: Under): boolean {
  return mayAnswer(state, register, under) &&
    (register !== "cluster" || under.votersVersion === 0 || isNews(state, under) ||
      isListed(state));
}

/** Whether a request comes from a newer era than the own one. */
function isNews(state: ClusterState, { era = 0 }: Under): boolean {
  return era > (acceptedCluster(state.acceptor)?.era ?? 0);
}

/** Answers a PREPARE. */
export function handlePrepare(state: ClusterState, from: string, message: Prepare): void {
  const { acceptor } = state;
  const { register, ballot } = message;
  const refuse = refuser(state, from, register, ballot, "PREPARE");
  if (!mayPromise(state, register, message)) return refuse("votersVersion");
  const promised = acceptor.promised.get(register);
  const order = promised ? compareBallots(ballot, promised) : 1;
  if (order < 0) return refuse("ballot", promised);
  if (message.takes) {
    const why = refusesTakes(state, register, message.takes, ballot.node);
    if (why) return refuse(why, undefined, message.takes);
  }
  if (order > 0) {
    emit(state, { type: "persist", record: { kind: "promise", register, ballot } });
    acceptor.promised.set(register, ballot);
  }
  // Of a newer era this voter holds nothing, and knows that it does not.
  const news = isNews(state, message);
  const accepted = news ? undefined : acceptor.accepted.get(register);
  if (!accepted && !news && message.votersVersion > 1) return refuse("noState");
  sendTo(state, from, {
    type: "PROMISE",
    register,
    ballot,
    voterId: acceptor.voterId,
    ...(accepted ? { accepted } : {}),
  });
}

/** Answers an ACCEPT. */
export function handleAccept(state: ClusterState, from: string, message: Accept): void {
  const { acceptor } = state;
  const { register, ballot, proposal } = message;
  const refuse = refuser(state, from, register, ballot, "ACCEPT");
  if (!mayAnswer(state, register, message)) return refuse("votersVersion");
  const promised = acceptor.promised.get(register);
  if (promised && compareBallots(ballot, promised) < 0) return refuse("ballot", promised);
  const before = acceptor.accepted.get(register);
  if (!before || compareBallots(ballot, before.ballot) !== 0) {
    const { value, takes } = proposal;
    if (takes && !isClusterRecord(value)) {
      const why = refusesTakes(state, register, takes, value.owner?.node ?? "");
      if (why) return refuse(why, undefined, takes);
    }
    const era = acceptedCluster(acceptor)?.era;
    const record = { kind: "accept", register, ballot, proposal } as const;
    const tagged = isClusterRecord(value) || era === undefined ? record : { ...record, era };
    emit(state, { type: "persist", record: tagged });
    acceptor.promised.set(register, ballot);
    acceptor.accepted.set(register, { ballot, proposal });
    if (!isClusterRecord(value)) afterAccept(state, register, ballot, value);
    else if (value.era !== era) forgetEra(state);
  }
  const accepted = { type: "ACCEPTED", register, ballot, voterId: acceptor.voterId } as const;
  sendTo(state, from, accepted);
  for (const node of learners(state, register)) if (node !== from) sendTo(state, node, accepted);
  noteAccepted(state, message);
}

/** Who may run the group of a register: they learn what is chosen as soon as the proposer does. */
function learners(state: ClusterState, register: RegisterName): readonly string[] {
  if (register === "cluster") return [];
  return state.groups.get(register.slice("group:".length))?.config.candidates ?? [];
}

/** An accepted take grants, and starts the refusal window; any other owner's grant is void. */
function afterAccept(
  state: ClusterState,
  register: RegisterName,
  ballot: Ballot,
  value: GroupRecord,
): void {
  const group = register.slice("group:".length);
  const { granted } = state.acceptor;
  const { owner, epoch } = value;
  const grant = granted.get(group)?.grant;
  if (grant && !(owner && sameRun(grant, owner) && grant.epoch === epoch)) {
    // The window itself must outlive the grant: who was granted may still hold its lease.
    if (owner === null || owner.node === grant.node) granted.delete(group);
  }
  if (owner && sameRun(ballot, owner)) {
    const same = grant && sameRun(grant, owner) && grant.epoch === epoch;
    granted.set(group, { grant: same ? grant : { ...owner, epoch, seq: 0 }, at: state.now });
  }
}

/**
 * Why this voter may not let anybody take a group from that run now; null if it may. `taker` may be
 * the same node: a newer run of a node proves that the older one ended.
 */
export function refusesTakes(
  state: ClusterState,
  register: RegisterName,
  takes: Takes,
  taker: string,
): "granted" | "restarted" | null {
  if (taker === takes.node) return null;
  const { acceptor, now, timing } = state;
  if (now < acceptor.restartedUntil) return "restarted";
  const granted = acceptor.granted.get(register.slice("group:".length));
  return granted && sameRun(granted.grant, takes) && now - granted.at < timing.deadtime
    ? "granted"
    : null;
}

/** Milliseconds until {@linkcode refusesTakes} lets this take pass, if nothing is granted meanwhile. */
export function refusalEnds(state: ClusterState, group: string, takes: Takes): number {
  const { acceptor, timing } = state;
  if (takes.node === state.self.node) return 0;
  const granted = acceptor.granted.get(group);
  const window = granted && sameRun(granted.grant, takes) ? granted.at + timing.deadtime : 0;
  return Math.max(0, Math.max(window, acceptor.restartedUntil) - state.now);
}

function refuser(
  state: ClusterState,
  to: string,
  register: RegisterName,
  ballot: Ballot,
  phase: Refused["phase"],
): (why: Refused["why"], promised?: Ballot, takes?: Takes) => void {
  return (why, promised, takes) => {
    const votersVersion = acceptedCluster(state.acceptor)?.votersVersion ?? 0;
    const group = register.slice("group:".length);
    sendTo(state, to, {
      type: "REFUSED",
      register,
      ballot,
      phase,
      why,
      votersVersion,
      ...(promised ? { promised } : {}),
      ...(takes ? { waitMs: Math.ceil(refusalEnds(state, group, takes)) } : {}),
    });
  };
}

/**
 * Grants what an owner asks for in its heartbeat, if it is the owner and epoch of the newest record
 * accepted here and its frame shows that it heard this voter within warntime: an owner that cannot
 * hear must not hold others off.
 */
export function grantAsked(
  state: ClusterState,
  owner: NodeRun,
  seq: number,
  heartbeat: Heartbeat,
): void {
  if ((heartbeat.era ?? 0) !== ownEra(state) || isPast(state)) return;
  const echo = heartbeat.heard[state.self.node];
  const sent = echo?.incarnation === state.self.incarnation ? sendingTime(state, echo.seq) : null;
  if (sent === null || state.now - sent > state.timing.warntime) return;
  for (const [group, epoch] of Object.entries(heartbeat.asks)) {
    grant(state, group, owner, epoch, seq);
  }
}

/** One grant; the own vote passes here too. Gives whether it was granted. */
export function grant(
  state: ClusterState,
  group: string,
  owner: NodeRun,
  epoch: number,
  seq: number,
): boolean {
  const { acceptor, now } = state;
  const value = acceptor.accepted.get(groupRegister(group))?.proposal.value;
  if (value === undefined || isClusterRecord(value) || !isListed(state)) return false;
  if (!sameRun(value.owner, owner) || value.epoch !== epoch) return false;
  const { node, incarnation } = owner;
  // An owner that had none for so long waits for this one with its addresses down.
  const before = acceptor.granted.get(group);
  if (!before || now - before.at >= state.timing.warntime) state.urgent = true;
  acceptor.granted.set(group, { grant: { node, incarnation, epoch, seq }, at: now });
  return true;
}

/** The grants to state in a heartbeat: those that still can matter to their owner. */
export function statedGrants(state: ClusterState): Record<string, Grant> {
  const grants: Record<string, Grant> = {};
  for (const [group, { grant, at }] of state.acceptor.granted) {
    if (grant.seq === 0 || state.now - at >= state.timing.deadtime) continue;
    if (grant.node === state.self.node) continue;
    const value = state.acceptor.accepted.get(groupRegister(group))?.proposal.value;
    if (value === undefined || isClusterRecord(value)) continue;
    // An acknowledgement after the vote for another would give a lease back that is taken.
    if (sameRun(value.owner, grant) && value.epoch === grant.epoch) grants[group] = grant;
  }
  return grants;
}
