/**
 * The proposer of one CASPaxos register: reads, changes, one operation at a time.
 *
 * A change is a compare-and-set on a **known-chosen** version: its PREPARE finds that version at a
 * majority, or something newer, which it then completes instead. So no value is ever built on one that
 * was not chosen. A read writes the highest accepted value back unless all of the majority name the
 * same ballot. An operation whose ACCEPT left and whose outcome is unknown may take effect later: the
 * register is in doubt, and nothing is decided before a quorum read.
 */

import { backOff, canStillCount, commonReason, isHopeless, isImpossible } from "./attempts.ts";
import { decidesAlone } from "./alone.ts";
import { compareBallots, formatBallot, sameBallot } from "./ballot.ts";
import { hearAccepted } from "./learner.ts";
import { isAlive } from "./membership.ts";
import { emptyVersion } from "./era.ts";
import { majorityOf, voteOf } from "./quorum.ts";
import type { Attempt, Change, Electorate, Found, Outcome, Register } from "./register_state.ts";
import { reunite } from "./reunion.ts";
import { countFormer, formerVoters, withoutFormer } from "./swap.ts";
import { type ClusterState, emit, isClusterRecord, note, sendTo } from "./state.ts";
import type {
  Accepted,
  Ballot,
  ClusterRecord,
  GroupRecord,
  PromiseMessage,
  Proposal,
  Refused,
  RegisterName,
} from "./types.ts";

/** Whether a read has to come before any decision. */
export function needsRead(register: Register): boolean {
  return register.known === null || register.doubt || register.wantRead ||
    register.heardVersion > (register.known.record?.version ?? 0);
}

/** Whether an operation may start now. */
export function isFree(state: ClusterState, register: Register): boolean {
  return register.attempt === null && state.now >= register.notBefore;
}

/** Starts a read. The register must be free. */
export function startRead(state: ClusterState, register: Register, electorate: Electorate): void {
  start(state, register, electorate, null);
}

/** Starts a change. The register must be free, known and without doubt. */
export function startChange(
  state: ClusterState,
  register: Register,
  electorate: Electorate,
  change: Change,
): void {
  if (register.doubt || register.known === null) {
    throw new Error(`${register.name}: a change (${change.purpose}) before a quorum read`);
  }
  start(state, register, electorate, change);
}

function start(
  state: ClusterState,
  register: Register,
  electorate: Electorate,
  change: Change | null,
): void {
  if (register.attempt !== null) throw new Error(`${register.name}: two operations at a time`);
  const promised = state.acceptor.promised.get(register.name)?.n ?? 0;
  register.maxN = Math.max(register.maxN, promised) + 1;
  const attempt: Attempt = {
    change,
    ballot: { n: register.maxN, ...state.self },
    electorate,
    startedAt: state.now,
    phase: "prepare",
    sentAt: state.now,
    acceptSentAt: 0,
    promises: new Map(),
    blank: new Set(),
    refused: new Map(),
    refusedFor: null,
    accepted: new Set(),
    acceptedNew: new Set(),
    acceptedFormer: new Set(),
    proposal: null,
    own: false,
    minting: new Set(),
  };
  register.attempt = attempt;
  transmit(state, register, attempt);
}

/** Sends the message of the present phase to every voter that has not answered it. */
function transmit(state: ClusterState, each: Register, attempt: Attempt): void {
  const { name: register } = each;
  const { ballot, electorate: { voters, votersVersion, era }, change, proposal } = attempt;
  const under = era === undefined ? { votersVersion } : { votersVersion, era };
  attempt.sentAt = state.now;
  if (attempt.phase === "prepare") {
    for (const { node } of voters) {
      if (attempt.promises.has(node) || attempt.blank.has(node)) continue;
      if (attempt.refused.has(node)) continue;
      const takes = change?.takes;
      const body = { type: "PREPARE", register, ...under, ballot } as const;
      sendTo(state, node, takes ? { ...body, takes } : body);
    }
  } else if (attempt.phase === "accept" && proposal !== null) {
    for (const node of recipients(state, each, attempt, proposal)) {
      if (attempt.accepted.has(node) || attempt.refused.has(node)) continue;
      sendTo(state, node, { type: "ACCEPT", register, ...under, ballot, proposal });
    }
  }
}

/** Voters of the operation; those of the value, too, where it changes them or its proposer is `solo`. */
function recipients(
  state: ClusterState,
  register: Register,
  attempt: Attempt,
  { value }: Proposal,
): Set<string> {
  const former = formerVoters(register, attempt);
  if (former !== null) return new Set(former.map(({ node }) => node));
  const nodes = new Set(attempt.electorate.voters.map((voter) => voter.node));
  // Otherwise a node that decides alone would put its record over the one of a peer that does so too.
  if (changesVoters(attempt, value) || isSoleCopy(state, attempt, value)) {
    for (const { node } of value.voters) nodes.add(node);
  }
  return nodes;
}

/**
 * Whether the record that is written back names this node `solo`: then its peer decides nothing, and
 * one that was admitted without hearing of it can neither read nor promise before it holds the record.
 */
function isSoleCopy(
  state: ClusterState,
  { change, electorate }: Attempt,
  value: Proposal["value"],
): value is ClusterRecord {
  return state.config.cluster.quorum === "fencing" && electorate.alone === true &&
    change === null && isClusterRecord(value) && value.solo === state.self.node;
}

function changesVoters(attempt: Attempt, value: Proposal["value"]): value is ClusterRecord {
  return isClusterRecord(value) && value.votersVersion !== attempt.electorate.votersVersion;
}

/** The attempt that an answer belongs to, if it still runs. */
function attemptOf(
  state: ClusterState,
  name: RegisterName,
  ballot: Ballot,
): { register: Register; attempt: Attempt } | null {
  const register = state.registers.get(name);
  if (!register?.attempt || !sameBallot(register.attempt.ballot, ballot)) return null;
  return { register, attempt: register.attempt };
}

/** Takes a PROMISE. */
export function handlePromise(state: ClusterState, from: string, message: PromiseMessage): void {
  const found = attemptOf(state, message.register, message.ballot);
  if (!found || found.attempt.phase !== "prepare") return;
  const { register, attempt } = found;
  if (!voteOf(attempt.electorate.voters, from, message.voterId)) return;
  if (message.accepted) register.maxN = Math.max(register.maxN, message.accepted.ballot.n);
  attempt.promises.set(from, message.accepted ?? null);
  attempt.refused.delete(from);
  evaluatePromises(state, register, attempt);
}

/** Takes an ACCEPTED. */
export function handleAccepted(state: ClusterState, from: string, message: Accepted): void {
  const found = attemptOf(state, message.register, message.ballot);
  if (!found) return hearAccepted(state, from, message);
  if (found.attempt.phase !== "accept" || !found.attempt.proposal) return;
  const { register, attempt } = found;
  const { value } = attempt.proposal!;
  attempt.refused.delete(from);
  if (voteOf(attempt.electorate.voters, from, message.voterId)) attempt.accepted.add(from);
  if (isClusterRecord(value) && voteOf(value.voters, from, message.voterId)) {
    attempt.acceptedNew.add(from);
  }
  const before = countFormer(register, attempt, from, message.voterId);
  if (before === "waits") return;
  if (before === "enough") transmit(state, register, attempt);
  if (attempt.accepted.size < attempt.electorate.needed) return;
  if (changesVoters(attempt, value)) {
    if (attempt.acceptedNew.size < majorityOf(value.voters.length)) return;
  }
  finishChosen(state, register, attempt);
}

/** Takes a REFUSED. */
export function handleRefused(state: ClusterState, from: string, message: Refused): void {
  const found = attemptOf(state, message.register, message.ballot);
  if (!found) return;
  const { register, attempt } = found;
  if (message.promised) register.maxN = Math.max(register.maxN, message.promised.n);
  if (message.votersVersion > attempt.electorate.votersVersion) {
    state.registers.get("cluster")!.wantRead = true;
  }
  const wanted = attempt.phase === "accept" ? "ACCEPT" : "PREPARE";
  if (message.phase !== wanted || attempt.phase === "mint") return;
  if (attempt.phase === "prepare" ? attempt.promises.has(from) : attempt.accepted.has(from)) return;
  if (!attempt.electorate.voters.some((voter) => voter.node === from)) {
    // A voter that the value adds knows that it is chosen: it answers its own voters alone.
    const value = attempt.proposal?.value;
    const added = value !== undefined && changesVoters(attempt, value) &&
      value.voters.some(({ node }) => node === from);
    if (added && message.why === "votersVersion") fail(state, register, attempt, message.why);
    return;
  }
  if (attempt.phase === "prepare" && message.why === "noState") {
    attempt.blank.add(from);
    return evaluatePromises(state, register, attempt);
  }
  attempt.refused.set(from, message.why);
  if (message.waitMs !== undefined) {
    attempt.refusedFor = Math.max(attempt.refusedFor ?? 0, message.waitMs);
  }
  if (canStillCount(state, attempt) < attempt.electorate.needed) {
    return fail(state, register, attempt, commonReason(attempt));
  }
  // A promise that was spared may be all there is.
  if (attempt.phase === "prepare") evaluatePromises(state, register, attempt);
}

/** The generation of a draft is durable here. */
export function handleMinted(state: ClusterState, volume: string, generation: string): void {
  for (const register of state.registers.values()) {
    const { attempt } = register;
    if (!attempt || attempt.phase !== "mint") continue;
    if (attempt.minting.delete(mintKey(volume, generation)) && attempt.minting.size === 0) {
      beginAccept(state, register, attempt);
    }
  }
}

function mintKey(volume: string, generation: string): string {
  return `${volume}\n${generation}`;
}

function evaluatePromises(state: ClusterState, register: Register, attempt: Attempt): void {
  const { needed, voters } = attempt.electorate;
  const { promises, blank } = attempt;
  // Who holds nothing adds nothing: but once everybody has answered, nothing can be hidden any more.
  if (promises.size < needed && promises.size + blank.size < voters.length) {
    const answers = promises.size + blank.size + attempt.refused.size;
    if (answers === voters.length) fail(state, register, attempt, "noState");
    return;
  }
  const counted = countedPromises(state, register, attempt);
  if (counted === null) return;
  let highest: Found = null;
  for (const found of counted) {
    if (found && (!highest || compareBallots(found.ballot, highest.ballot) > 0)) highest = found;
  }
  const parted = reunite(state, register.name, counted);
  if (parted !== null) {
    attempt.proposal = parted;
    return beginAccept(state, register, attempt);
  }
  const version = highest?.proposal.value.version ?? emptyVersion(state);
  const { change } = attempt;
  if (change && version === change.baseVersion) {
    if (change.mayAccept?.() ?? true) beginDraft(state, register, attempt, change);
    return;
  }
  if (change && version < change.baseVersion) {
    const text = `A majority of voters holds an older ${register.name} than was known chosen: ` +
      `some voter's state was rolled back; nothing is decided in it`;
    note(state, "error", "voters-rolled-back", text, { version, known: change.baseVersion });
    return fail(state, register, attempt, "noState");
  }
  const agreed = counted.every((found) => sameBallot(found?.ballot, highest?.ballot));
  // A record of other voters is chosen by them, too: that these voters hold it proves nothing.
  const settled = highest === null ||
    (blank.size === 0 && !register.forceWriteBack &&
      !changesVoters(attempt, highest.proposal.value));
  if (agreed && settled) {
    return finishRead(state, register, highest);
  }
  if (highest === null) return finishRead(state, register, null);
  attempt.proposal = highest.proposal;
  beginAccept(state, register, attempt);
}

/**
 * The promises to go by: without those whose value was refused, where the others suffice. null: those
 * do not suffice yet, and more may come.
 */
function countedPromises(
  state: ClusterState,
  register: Register,
  attempt: Attempt,
): Found[] | null {
  const { promises, refused, blank, electorate: { voters, needed } } = attempt;
  const spared = (node: string) => !register.leaveOut.has(node);
  const others = [...promises].filter(([node]) => spared(node));
  if (others.length >= needed) return others.map(([, found]) => found);
  const awaited = voters.filter(({ node }) => {
    const peer = state.membership.peers.get(node);
    return spared(node) && peer !== undefined && isAlive(peer) && !promises.has(node) &&
      !refused.has(node) && !blank.has(node);
  });
  if (others.length + awaited.length >= needed) return null;
  return [...promises.values()];
}

function beginDraft(
  state: ClusterState,
  register: Register,
  attempt: Attempt,
  change: Change,
): void {
  const { proposal, mints } = change.draft();
  if (proposal.value.version !== change.baseVersion + 1) {
    throw new Error(
      `${register.name}: ${change.purpose} goes from version ${change.baseVersion} to ` +
        `${proposal.value.version}`,
    );
  }
  attempt.proposal = withoutFormer(register, proposal);
  attempt.own = true;
  if (mints.length === 0) return beginAccept(state, register, attempt);
  attempt.phase = "mint";
  attempt.sentAt = state.now;
  for (const { volume, generation } of mints) {
    attempt.minting.add(mintKey(volume, generation));
    emit(state, { type: "mint", volume, generation });
  }
}

/**
 * Whether an operation in a group's register was begun on the own vote alone and that is a quorum no
 * more. One that was prepared long ahead may be, or one that is overtaken within a step.
 */
function isOutlived(state: ClusterState, { name }: Register, { electorate }: Attempt): boolean {
  return electorate.alone === true && name !== "cluster" && !decidesAlone(state);
}

function beginAccept(state: ClusterState, register: Register, attempt: Attempt): void {
  if (isOutlived(state, register, attempt)) return fail(state, register, attempt, "votersVersion");
  attempt.phase = "accept";
  attempt.acceptSentAt = state.now;
  attempt.refused.clear();
  transmit(state, register, attempt);
}

function finishChosen(state: ClusterState, register: Register, attempt: Attempt): void {
  if (isOutlived(state, register, attempt)) return fail(state, register, attempt, "votersVersion");
  const { change, own, proposal, ballot, accepted, acceptSentAt } = attempt;
  settle(state, register, attempt, proposal!.value, ballot);
  state.outcomes.push(
    own && change
      ? {
        register: register.name,
        purpose: change.purpose,
        result: "chosen",
        acceptedBy: [...accepted],
        acceptSentAt,
      }
      : { register: register.name, purpose: change?.purpose ?? null, result: "read" },
  );
}

function finishRead(state: ClusterState, register: Register, found: Found): void {
  const attempt = register.attempt!;
  if (isOutlived(state, register, attempt)) return fail(state, register, attempt, "votersVersion");
  const { change } = attempt;
  settle(state, register, attempt, found?.proposal.value ?? null, found?.ballot ?? null);
  state.outcomes.push({
    register: register.name,
    purpose: change?.purpose ?? null,
    result: "read",
  });
}

/** A record is known chosen. */
function settle(
  state: ClusterState,
  register: Register,
  attempt: Attempt,
  record: GroupRecord | ClusterRecord | null,
  ballot: Ballot | null,
): void {
  register.attempt = null;
  register.confirmedAt = attempt.startedAt;
  if (attempt.electorate.needed >= 2) {
    register.jointAt = attempt.startedAt;
    register.told = 0;
  }
  const before = register.known?.record?.version ?? 0;
  const version = record?.version ?? 0;
  register.failures = 0;
  // A half-made value stays where it is until a newer one replaces it.
  if (version > before) register.leaveOut.clear();
  register.doubt = false;
  register.wantRead = false;
  register.forceWriteBack = false;
  if (version < before) {
    const text = `A quorum read of ${register.name} gave an older record than was known chosen: ` +
      `some voter's state was rolled back; the newer one stays`;
    note(state, "error", "voters-rolled-back", text, { version, known: before });
    return;
  }
  if (register.known === null || version > before) state.urgent = true;
  const at = register.known !== null && version === before ? register.known.at : state.now;
  register.known = { record, ballot, at };
  // A peer that said more is wrong or ahead of what a quorum read just showed: ask again later.
  register.heardVersion = Math.min(register.heardVersion, version);
}

/** Ends an attempt without knowing what is chosen, and sets when to try again. */
function fail(
  state: ClusterState,
  register: Register,
  attempt: Attempt,
  why: NonNullable<Outcome["why"]>,
): void {
  register.attempt = null;
  register.failures += 1;
  const { change, own, proposal, phase } = attempt;
  const accepting = phase === "accept";
  if (accepting && !isImpossible(attempt)) register.doubt = true;
  const granted = why === "granted" || why === "restarted";
  if (granted && accepting && !own) {
    for (const [node, found] of attempt.promises) {
      if (found && found.proposal.value.version === proposal!.value.version) {
        register.leaveOut.add(node);
      }
    }
  } else if (why !== "ballot") register.leaveOut.clear();
  register.notBefore = state.now + backOff(state, register, attempt, granted);
  note(state, "debug", "register-retry", `An operation on ${register.name} did not succeed`, {
    purpose: change?.purpose ?? "read",
    why,
    ballot: formatBallot(attempt.ballot),
    inDoubt: register.doubt,
  });
  const takes = accepting && granted ? proposal?.takes : undefined;
  state.outcomes.push({
    register: register.name,
    purpose: change?.purpose ?? null,
    result: "failed",
    why,
    ...(takes ? { refusedTakes: takes } : {}),
  });
}

/** Goes on with an operation that only gathered promises so far, if it may now. */
export function goOn(state: ClusterState, register: Register): void {
  const { attempt } = register;
  if (attempt?.phase === "prepare" && attempt.change?.mayAccept?.()) {
    evaluatePromises(state, register, attempt);
  }
}

/** Drops an operation that only gathers promises: they leave nothing behind. */
export function dropGathering(register: Register): void {
  const { attempt } = register;
  if (attempt?.phase !== "prepare" || !attempt.change?.mayAccept) return;
  if (!attempt.change.mayAccept()) register.attempt = null;
}

/** Gives up the running attempt, whose answers can no longer be trusted to be in time. */
export function abandonAttempt(state: ClusterState, register: Register): void {
  if (register.attempt) fail(state, register, register.attempt, "timeout");
}

/** Gives up what was begun under two votes by a node whose own vote is a quorum now. */
export function abandonJoint(state: ClusterState, register: Register): void {
  if (register.attempt === null || register.attempt.electorate.needed < 2) return;
  abandonAttempt(state, register);
  register.notBefore = state.now;
}

/** Lets time pass for the running attempt: retransmission each keepalive, time-out. */
export function tickRegister(state: ClusterState, register: Register): void {
  const { attempt } = register;
  if (attempt === null) return;
  const { deadtime, keepalive } = state.timing;
  const limit = attempt.phase === "mint" ? 4 * deadtime : Math.max(deadtime, 3 * keepalive);
  const since = attempt.phase === "prepare"
    ? attempt.startedAt
    : attempt.phase === "accept"
    ? attempt.acceptSentAt
    : attempt.sentAt;
  if (state.now - since >= limit) return fail(state, register, attempt, "timeout");
  if (attempt.refused.size > 0 && isHopeless(state, attempt, keepalive)) {
    return fail(state, register, attempt, commonReason(attempt));
  }
  if (attempt.phase !== "mint" && state.now - attempt.sentAt >= keepalive) {
    transmit(state, register, attempt);
  }
}
