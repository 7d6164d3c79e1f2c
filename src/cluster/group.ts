/**
 * The life of one group on this node, driven by its known-chosen record and nothing else: heartbeats
 * and requests only say when to look.
 */

import { refusalEnds } from "./acceptor.ts";
import { formatRun, sameRun } from "./ballot.ts";
import { releaseChange, takeChange } from "./drafts.ts";
import { gatherFacts, knownGroup } from "./facts.ts";
import { clearFailure, markFailed } from "./failures.ts";
import { holdFailure } from "./maintenance.ts";
import { watchNodes } from "./watch.ts";
import { type Group, isServing, markedRecord } from "./group_state.ts";
import { addVote, dropLease, holdsLease, updateLease } from "./lease.ts";
import { nextMemberChange } from "./members.ts";
import type { Decision } from "./decision.ts";
import { decide } from "./ownership.ts";
import { countVotes } from "./quorum.ts";
import { dropGathering, goOn, isFree, needsRead, startChange } from "./register.ts";
import type { Change, Outcome, Register } from "./register_state.ts";
import { type ClusterState, emit, note } from "./state.ts";
import type { ClusterEvent, GroupRecord } from "./types.ts";
import { electorateFor } from "./voters.ts";

/** Brings a group forward as far as what is known allows. */
export function driveGroup(state: ClusterState, group: Group): void {
  followRecord(state, group);
  clearFailure(state, group);
  prepareAhead(state, group);
  endHold(state, group);
  watchNodes(state, group);
  updateLease(state, group);
  if (group.phase === "taken" && holdsLease(state, group)) beginStart(state, group);
  if (state.shutdown) stopForShutdown(state, group);
  const register = state.registers.get(group.register)!;
  if (group.frozenSince !== null && readAgain(state, group)) register.wantRead = true;
  if (startUnderMark(state, group)) return;
  // What others must see of the decision does not wait for the register to be free.
  const decision = needsRead(register) ? null : decideNow(state, group);
  if (group.phase === "stopping") gatherForRelease(state, group, register);
  if (group.phase === "releasing") goOn(state, register);
  if (decision === null || !isFree(state, register)) return;
  const change = nextChange(state, group, decision);
  const electorate = change && electorateFor(state, group.register);
  if (!change || !electorate) return;
  startChange(state, register, electorate, change);
  if (change.purpose === "take") prepare(state, group);
}

/** How long before a silent owner's lease is surely over what can be prepared is, milliseconds. */
export const PREPARE_AHEAD = 50;

/** Asks for what a start will need, once for each time that it comes near. */
function prepare(state: ClusterState, group: Group): void {
  if (state.now - group.preparedAt < state.timing.deadtime / 2) return;
  group.preparedAt = state.now;
  emit(state, { type: "prepare", group: group.config.name });
}

/** The owner is silent and the group may have to be taken in a moment: nothing is decided by that. */
function prepareAhead(state: ClusterState, group: Group): void {
  const owner = knownGroup(state, group)?.owner ?? null;
  if (owner === null || group.phase !== "idle") return;
  if (!group.config.candidates.includes(state.self.node)) return;
  const peer = state.membership.peers.get(owner.node);
  if (peer?.liveness !== "late" || peer.lastHeard === null) return;
  const silence = state.now - peer.lastHeard;
  if (silence >= state.timing.deadtime - PREPARE_AHEAD) prepare(state, group);
}

function decideNow(state: ClusterState, group: Group): Decision {
  // Until the stop has come to its end the group's way is settled.
  if (group.phase === "stopping" || group.phase === "releasing") return group.decision;
  const decision = decide(gatherFacts(state, group));
  group.decision = decision;
  const first = decision.waitsFor;
  if (first === undefined) {
    // Once the wait is over the take must not begin it anew.
    if (decision.action !== "take") group.waiting = null;
  } else if (group.waiting?.on !== first) group.waiting = { on: first, since: state.now };
  const { action, why } = decision;
  const key = `${action} ${why.rule} ${decision.to ?? ""}`;
  if (key !== group.notedDecision) {
    group.notedDecision = key;
    const level = why.rule === "first-take-conflict"
      ? "error"
      : action === "take" || action === "release"
      ? "info"
      : why.rule === "no-candidate" || why.rule === "config-differs"
      ? "warning"
      : "debug";
    note(state, level, why.rule, why.text, why.known, { group: group.config.name });
    if (action === "take") warnOfLoss(state, group);
  }
  if (action === "release" && group.phase === "running" && holdsLease(state, group)) {
    beginStop(state, group, why.text);
  }
  return decision;
}

/** A take on data that a loss of power may have cut short is allowed here, and said. */
function warnOfLoss(state: ClusterState, group: Group): void {
  const members = knownGroup(state, group)?.volumes ?? {};
  for (const { name } of group.volumes) {
    if (!state.replicas.get(name)?.unclean || (members[name]?.upToDate.length ?? 1) < 2) continue;
    const text = `This machine lost its power: unflushed writes of the last moments to volume ` +
      `${name} may be missing`;
    note(state, "warning", "unflushed", text, { volume: name }, { group: group.config.name });
  }
}

/**
 * While the group stops, promises for its release are gathered once; the ACCEPT leaves when it has
 * stopped. A stop that takes long, or needs a change of members, is not held up by that.
 */
function gatherForRelease(state: ClusterState, group: Group, register: Register): void {
  const record = knownGroup(state, group);
  if (group.forced || group.afterStop !== "releasing" || record === null) return;
  const { attempt } = register;
  // The command that made it stop waits for the successor, not for the register.
  const wanted = group.requests.length > 0 ||
    state.commands.some(({ wants }) => wants === group.register);
  const late = attempt !== null && state.now - attempt.startedAt >= state.timing.keepalive;
  if (wanted || late) return dropGathering(register);
  if (group.gathered || needsRead(register) || !isFree(state, register)) return;
  const electorate = electorateFor(state, group.register);
  if (electorate === null) return;
  group.gathered = true;
  const change = releaseChange(record);
  const { epoch } = group;
  const mayAccept = () => group.phase === "releasing" && group.epoch === epoch;
  startChange(state, register, electorate, { ...change, mayAccept });
}

/** What to propose next in the group's register, if anything. */
function nextChange(state: ClusterState, group: Group, decision: Decision): Change | null {
  const record = knownGroup(state, group);
  const { phase } = group;
  if (group.outdated && phase !== "idle" && record === null && decision.action === "take") {
    // A life of a past era, which nobody else may end: the first one of this era begins after it.
    endByForce(state, group);
    return null;
  }
  if (phase === "releasing") {
    return record === null ? null : releaseChange(record);
  }
  if (isServing(group) && !group.underMark) {
    return record === null ? null : nextMemberChange(state, group, record);
  }
  const retake = group.underMark && (phase === "running" || phase === "starting");
  if ((phase !== "idle" && !retake) || decision.action !== "take" || state.shutdown) return null;
  // A person who promotes by force wants something else.
  if (decision.leaves && isPromoted(state, group)) return null;
  const change = takeChange(state, group, record, { leaves: decision.leaves });
  // The own voter would refuse: asking the others now would only be noise.
  if (change.takes && refusalEnds(state, group.config.name, change.takes) > 0) return null;
  return change;
}

/** Compares the life of the group here with its known-chosen record. */
function followRecord(state: ClusterState, group: Group): void {
  const record = knownGroup(state, group);
  if (record === null) return;
  const mine = sameRun(record.owner, state.self);
  const fresh = record.version > group.emittedVersion;
  group.emittedVersion = Math.max(group.emittedVersion, record.version);
  if (mine && record.epoch > group.epoch) {
    if (fresh) emit(state, { type: "record", group: group.config.name, record });
    if (group.phase === "idle") beginLife(state, group, record);
    else if (group.underMark && group.phase !== "stopping" && !state.shutdown) {
      adopt(state, group, record);
    }
    return;
  }
  const ownEpoch = record.epoch === group.epoch;
  if (group.phase === "releasing" && ownEpoch && record.owner === null) {
    endLife(state, group, "released", `${group.config.name} is released: anybody may take it`);
  } else if (group.phase !== "idle" && !(ownEpoch && (mine || markHolds(state, group, record)))) {
    depose(state, group, record);
  }
  if (fresh) emit(state, { type: "record", group: group.config.name, record });
}

/** The marked epoch is an earlier run's: its record names that run and is to be taken again. */
function markHolds(state: ClusterState, group: Group, record: GroupRecord): boolean {
  return group.underMark && record.owner?.node === state.self.node;
}

function beginLife(state: ClusterState, group: Group, record: GroupRecord): void {
  group.epoch = record.epoch;
  group.since = state.now;
  group.underMark = false;
  group.part = partOf(state, group, record);
  group.forced = false;
  group.outdated = false;
  group.requests.length = 0;
  group.phase = "taken";
  state.urgent = true;
  if (state.shutdown) group.phase = "releasing";
}

function isPromoted(state: ClusterState, { config: { name } }: Group): boolean {
  return state.commands.some(({ command }) => command.type === "promote" && command.group === name);
}

/**
 * A take for all volumes names own replicas of all: what its record leaves to another's is not this
 * life's. Of a replica that tells nothing now that cannot be said, and its start fails by itself.
 */
function partOf(state: ClusterState, group: Group, record: GroupRecord): readonly string[] | null {
  const part = group.volumes.map(({ name }) => name).filter((name) => {
    const own = state.replicas.get(name)?.replicaId ?? "";
    return own === "" || record.volumes[name]?.upToDate.includes(own);
  });
  return part.length === 0 || part.length === group.volumes.length ? null : part;
}

/** The take under a standing mark is chosen: the group goes on, in the new epoch. */
function adopt(state: ClusterState, group: Group, record: GroupRecord): void {
  group.votes.clear();
  beginLife(state, group, record);
  // It runs already: without a lease it is suspended, not held back.
  beginStart(state, group);
}

function beginStart(state: ClusterState, group: Group): void {
  const record = knownGroup(state, group)!;
  group.phase = "starting";
  const { part } = group;
  const what = part === null ? "starts here" : `is here for a resync of ${part.join(", ")} only,`;
  const text = `${group.config.name} ${what} in epoch ${group.epoch}`;
  note(state, "info", "start", text, { epoch: group.epoch, version: record.version }, {
    group: group.config.name,
  });
  const start = { type: "start", group: group.config.name, record } as const;
  emit(state, part === null ? start : { ...start, part });
}

/**
 * No quorum answers, but the superblocks say that nobody else could have taken the group since an
 * earlier run of this agent served it alone: it is served on, in the marked epoch.
 */
function startUnderMark(state: ClusterState, group: Group): boolean {
  const { self, now, startedAt, timing } = state;
  const [first] = group.volumes;
  const epoch = first && state.replicas.get(first.name)?.sole;
  if (group.phase !== "idle" || !epoch || epoch <= group.epoch) return false;
  if (state.shutdown || state.maintenance || group.failed || now - startedAt < timing.deadtime) {
    return false;
  }
  const register = state.registers.get(group.register)!;
  const record = knownGroup(state, group);
  if (register.doubt || register.attempt || countVotes(state).have) return false;
  if (record && (record.epoch !== epoch || record.owner?.node !== self.node)) return false;
  if (group.volumes.some(({ name }) => state.replicas.get(name)?.sole !== epoch)) return false;
  group.epoch = epoch;
  group.since = now;
  group.underMark = true;
  group.forced = false;
  group.phase = "starting";
  const reports = Object.fromEntries(
    group.volumes.map(({ name }) => [name, state.replicas.get(name)!]),
  );
  const text = `No quorum answers, but only the replicas here can be up to date: ` +
    `${group.config.name} is served on in epoch ${epoch}`;
  note(state, "warning", "sole", text, { epoch, votes: countVotes(state).votes }, {
    group: group.config.name,
  });
  updateLease(state, group);
  const started = record ?? markedRecord(self, epoch, reports);
  emit(state, { type: "start", group: group.config.name, record: started });
  return true;
}

/** Stops the group in order; the release follows when it stopped clean. */
function beginStop(state: ClusterState, group: Group, reason: string): void {
  const { name } = group.config;
  if (group.phase === "taken") {
    group.phase = "releasing";
    return dropLease(state, group);
  }
  group.gathered = false;
  group.phase = "stopping";
  group.forced = false;
  group.afterStop = group.underMark ? "idle" : "releasing";
  state.urgent = true;
  note(state, "info", "stop", `${name} stops here: ${reason}`, { epoch: group.epoch }, {
    group: name,
  });
  emit(state, { type: "stop", group: name, epoch: group.epoch, forced: false });
}

function stopForShutdown(state: ClusterState, group: Group): void {
  if (group.phase === "taken" || group.phase === "starting" || group.phase === "running") {
    beginStop(state, group, "the agent shuts down");
  }
}

/** A newer epoch is known chosen, or the own one ended: nothing of it may go on. */
function depose(state: ClusterState, group: Group, record: GroupRecord): void {
  if (group.forced) return;
  const { name } = group.config;
  const text = `${formatRun(record.owner)} owns ${name} in epoch ${record.epoch}: it ends here`;
  const known = { epoch: record.epoch, own: group.epoch, version: record.version };
  note(state, "warning", "deposed", text, known, { group: name });
  endByForce(state, group);
}

/** Nothing of this life of the group may go on: what it started is stopped without asking anybody. */
export function endByForce(state: ClusterState, group: Group): void {
  if (group.forced || group.phase === "idle") return;
  const { name } = group.config;
  const started = group.phase !== "taken" && group.phase !== "releasing";
  // Stopping takes its time; the addresses are another node's already.
  if (started && group.frozenSince === null) emit(state, { type: "suspend", group: name });
  group.forced = true;
  dropLease(state, group);
  group.requests.length = 0;
  if (!started) return endLife(state, group, "deposed-idle", `${name} was not running here`);
  group.phase = "stopping";
  emit(state, { type: "stop", group: name, epoch: group.epoch, forced: true });
}

function endLife(state: ClusterState, group: Group, rule: string, text: string): void {
  group.phase = "idle";
  group.underMark = false;
  group.part = null;
  group.forced = false;
  group.heldFailure = null;
  group.requests.length = 0;
  state.urgent = true;
  dropLease(state, group);
  note(state, "info", rule, text, { epoch: group.epoch }, { group: group.config.name });
}

/** A frozen owner reads now and then: the newer epoch it waits for may never be told to it. */
function readAgain(state: ClusterState, group: Group): boolean {
  if (group.awaitingRead) return true;
  const { now, timing } = state;
  if (now - Math.max(group.frozenSince!, group.readAt) < timing.deadtime) return false;
  group.readAt = now;
  return true;
}

/** The group failed here beyond mending: it is stopped, and others may take it. */
function failHere(state: ClusterState, group: Group, reason: string): void {
  if (state.maintenance) return holdFailure(state, group, reason);
  markFailed(state, group, reason);
  beginStop(state, group, reason);
}

/** What was held back in maintenance is acted upon when that is over. */
function endHold(state: ClusterState, group: Group): void {
  const reason = group.heldFailure;
  if (state.maintenance || reason === null) return;
  group.heldFailure = null;
  if (group.phase === "starting" || group.phase === "running") failHere(state, group, reason);
}

/** The runner's answers. Those of another epoch are of an earlier life and say nothing. */
export function runnerAnswered(
  state: ClusterState,
  event: Extract<ClusterEvent, { type: "started" | "startFailed" | "stopped" | "failed" }>,
): void {
  const group = state.groups.get(event.group);
  if (!group || ("epoch" in event && event.epoch !== group.epoch)) return;
  const { name } = group.config;
  switch (event.type) {
    case "started":
      if (group.phase !== "starting") return;
      group.phase = "running";
      if (group.part !== null) return;
      note(state, "info", "running", `${name} runs here`, { epoch: group.epoch }, { group: name });
      return;
    case "startFailed":
    case "failed":
      if (group.phase !== "starting" && group.phase !== "running") return;
      return failHere(state, group, event.reason);
    case "stopped":
      return stopped(state, group, event.clean);
  }
}

function stopped(state: ClusterState, group: Group, clean: boolean): void {
  if (group.phase !== "stopping") return;
  const { name } = group.config;
  if (group.forced) return endLife(state, group, "ended", `${name} has ended here`);
  if (!clean) {
    // Not released: the others take it when the lease has run out, as from a dead owner. Without a
    // lease a volume cannot be drained; that says nothing against this node.
    if (group.frozenSince === null) markFailed(state, group, "it did not stop in order", true);
    return endLife(state, group, "ended", `${name} was stopped by force and is not released`);
  }
  if (group.afterStop === "idle") return endLife(state, group, "ended", `${name} has stopped`);
  group.phase = "releasing";
  dropLease(state, group);
}

/** An operation in the group's register has ended. */
export function groupOutcome(state: ClusterState, group: Group, outcome: Outcome): void {
  if (outcome.result === "failed") {
    const from = outcome.refusedTakes;
    if (from && sameRun(from, state.self) && group.frozenSince !== null) {
      // A take from this run is half made and cannot be completed while the own voter holds it off;
      // without it no voter grants. Giving way ends the deadlock: the lease is lost anyway.
      group.yieldUntil = state.now + 1.5 * state.timing.deadtime;
      const text = `A half-made take of ${group.config.name} is given way to, so that it ends`;
      note(state, "warning", "yield", text, { epoch: group.epoch }, { group: group.config.name });
    }
    return;
  }
  group.awaitingRead = false;
  const record = knownGroup(state, group);
  if (outcome.result !== "chosen" || outcome.purpose !== "take" || record === null) return;
  // An ACCEPTED take is a grant, dated at the sending of the ACCEPT.
  followRecord(state, group);
  if (group.epoch !== record.epoch || !isServing(group)) return;
  for (const node of outcome.acceptedBy ?? []) addVote(group, node, outcome.acceptSentAt!);
}
