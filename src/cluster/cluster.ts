/**
 * The cluster core: who is alive, what is agreed, who owns which group.
 *
 * A pure state machine. The agent (or the simulator) calls {@linkcode step} for every event and carries
 * out the effects it gives, in order. Nothing here looks at a clock or a disk: the same events give
 * the same effects, so a failing run can be replayed from its seed.
 *
 * - `membership.ts`: who is heard; sequence windows, runs, links;
 * - `acceptor.ts`, `register.ts`: one CASPaxos register per group and one for the cluster, with the
 *   voter's side and the proposer's, with `attempts.ts`; `learner.ts`: how others learn what is chosen;
 *   `voters.ts`: under which voters; `swap.ts`: when one takes another's place; `quorum.ts`: what a
 *   quorum is;
 * - `lease.ts`: until when an owner may serve; `heartbeat.ts`: how it asks and is granted;
 * - `ownership.ts` (with `candidates.ts`, `fitness.ts`, `first_take.ts`, `facts.ts`): who shall own
 *   a group, and why;
 * - `group.ts`: the life of a group on this node; `drafts.ts`, `members.ts`: the records it goes through;
 * - `wake.ts`: when the core wants to be woken next;
 * - `failures.ts`, `watch.ts`: what has failed here, and how long things have been as they are;
 * - `operator.ts`: standby, move, cleanup; `maintenance.ts`, `push.ts`: maintenance and another
 *   configuration; `protocol.ts`, `upgrade.ts`: rolling upgrades; `view.ts`: all of it as plain data;
 * - `alone.ts`, `pair.ts`: when one node of a pair decides alone; `fencing.ts`: by having the other
 *   switched off; `reunion.ts`: what follows when both did; `era.ts`, `by_hand.ts`: what a person forces.
 *
 * The rules that all of it serves: only a known-chosen record changes who may do what; a voter makes
 * durable what it answers before it answers; a lease is counted from sending and granted by a majority
 * that refuses to take the group away meanwhile; no run continues an earlier run's epoch.
 *
 * @module
 */

import { acceptedCluster } from "./accepted.ts";
import { createAcceptor, handleAccept, handlePrepare } from "./acceptor.ts";
import { createPair } from "./alone.ts";
import { createFencing, driveFencing, takeFenced } from "./fencing.ts";
import { driveGroup, groupOutcome, runnerAnswered } from "./group.ts";
import { createGroup, type Group, volumesOf } from "./group_state.ts";
import { handleHeartbeat, heartbeatDue, sendHeartbeat } from "./heartbeat.ts";
import { updateLease } from "./lease.ts";
import { requestMember } from "./members.ts";
import { createMembership, receiveFrame, tickMembership } from "./membership.ts";
import { driveCommands, takeCommand } from "./operator.ts";
import { drivePair } from "./pair.ts";
import { handlePause } from "./pause.ts";
import { followMaintenance } from "./maintenance.ts";
import { SPOKEN, unfitFor, UnfitProgram } from "./protocol.ts";
import { followPush } from "./push.ts";
import { countVotes } from "./quorum.ts";
import { createRandom, nextBetween } from "./random.ts";
import {
  handleAccepted,
  handleMinted,
  handlePromise,
  handleRefused,
  tickRegister,
} from "./register.ts";
import { createRegister, type Outcome, type Register } from "./register_state.ts";
import { beginShutdown, driveShutdown } from "./shutdown.ts";
import {
  type ClusterInit,
  type ClusterState,
  emit,
  forgetSendingTimes,
  groupRegister,
} from "./state.ts";
import type { ClusterEffect, ClusterEvent, Frame, Message, RegisterName } from "./types.ts";
import { driveRead, driveVoters } from "./voters.ts";

export type { ClusterInit, ClusterState } from "./state.ts";
export { wakeAt } from "./wake.ts";

/** Rounds of local messages within one step; more would be a loop. */
const MAX_ROUNDS = 1000;

/**
 * The core at the start of an agent.
 *
 * @throws {UnfitProgram} if the program does not speak the version that the cluster's record says
 * @throws if the configuration does not name the node
 */
export function createCluster(init: ClusterInit): ClusterState {
  const { config, node, incarnation, now } = init;
  const { keepalive, warntime, deadtime, initdead, shrinkAfter } = config.cluster;
  if (!config.nodes.some(({ name }) => name === node)) {
    throw new Error(`${config.file}: no node is called ${node}; name it with --node`);
  }
  const random = createRandom(init.seed);
  const speaks = init.speaks ?? SPOKEN;
  const acceptor = createAcceptor(init.log, init.voterId, now + deadtime);
  const unfit = unfitFor(acceptedCluster(acceptor), speaks);
  if (unfit !== null) throw new UnfitProgram(`${node}: ${unfit}`);
  const registers = new Map<RegisterName, Register>([["cluster", createRegister("cluster")]]);
  const groups = new Map<string, Group>();
  for (const group of config.groups) {
    const name = groupRegister(group.name);
    registers.set(name, createRegister(name));
    groups.set(group.name, createGroup(group, volumesOf(group, config.volumes), name));
  }
  // Nodes that start together shall not read all at the same time.
  registers.get("cluster")!.notBefore = now + nextBetween(random, 0, keepalive / 2);
  return {
    config,
    self: { node, incarnation },
    speaks,
    timing: { keepalive, warntime, deadtime, initdead, shrinkAfter, lease: 0.8 * deadtime },
    startedAt: now,
    now,
    random,
    phase: "starting",
    seq: 0,
    sentFrom: 1,
    sentAt: [],
    lastHeartbeat: -Infinity,
    urgent: true,
    membership: createMembership(config.nodes, node, now),
    acceptor,
    pair: createPair(),
    fencing: createFencing(),
    registers,
    outcomes: [],
    groups,
    replicas: new Map(),
    commands: [],
    quorumSince: null,
    allHeardAt: null,
    shutdown: null,
    maintenance: false,
    pushed: config,
    leaving: [],
    file: null,
    reach: {},
    voters: { alternate: false, laggardSince: null, repairedAt: -Infinity, replacing: null },
    inbox: [],
    effects: [],
  };
}

/**
 * Takes one event at time `now` (monotonic milliseconds, read afresh for each step) and gives what is
 * to be done, in order. Whatever stands behind a `persist` may only happen once that is durable.
 */
export function step(state: ClusterState, now: number, event: ClusterEvent): ClusterEffect[] {
  const gap = now - state.now;
  state.now = Math.max(now, state.now);
  const { acceptor } = state;
  if (acceptor.identityPending) {
    acceptor.identityPending = false;
    emit(state, { type: "persist", record: { kind: "identity", voterId: acceptor.voterId } });
  }
  if (gap > state.timing.lease) handlePause(state, gap);
  takeEvent(state, event);
  tickMembership(state);
  settle(state);
  if (heartbeatDue(state)) {
    sendHeartbeat(state);
    for (const group of state.groups.values()) updateLease(state, group);
    settle(state);
  }
  forgetSendingTimes(state);
  const { effects } = state;
  state.effects = [];
  return effects;
}

function takeEvent(state: ClusterState, event: ClusterEvent): void {
  switch (event.type) {
    case "tick":
      return;
    case "frame":
      return takeFrame(state, event.link, event.frame);
    case "replica":
      state.replicas.set(event.volume, event.report);
      state.urgent = true;
      return;
    case "minted":
      return handleMinted(state, event.volume, event.generation);
    case "shrink":
    case "grow":
      return requestMember(state, event);
    case "started":
    case "startFailed":
    case "stopped":
    case "failed":
      return runnerAnswered(state, event);
    case "fenced":
      return takeFenced(state, event);
    case "command":
      return takeCommand(state, event.id, event.command);
    case "reach":
      state.reach = event.targets;
      state.urgent = true;
      return;
    case "file":
      state.file = event.found;
      state.urgent = true;
      return;
    case "shutdown":
      return beginShutdown(state);
  }
}

function takeFrame(state: ClusterState, link: number, frame: Frame): void {
  const peer = receiveFrame(state, link, frame);
  if (peer === null) return;
  if (frame.body.type === "HEARTBEAT") handleHeartbeat(state, peer, frame.seq, frame.body);
  else takeMessage(state, frame.node, frame.body);
}

function takeMessage(state: ClusterState, from: string, message: Message): void {
  switch (message.type) {
    case "PREPARE":
      return handlePrepare(state, from, message);
    case "ACCEPT":
      return handleAccept(state, from, message);
    case "PROMISE":
      return handlePromise(state, from, message);
    case "ACCEPTED":
      return handleAccepted(state, from, message);
    case "REFUSED":
      return handleRefused(state, from, message);
    case "HEARTBEAT":
      throw new Error("a heartbeat is never sent to the own node");
  }
}

/** Lets everything follow from what is known now, the own voter's answers included. */
function settle(state: ClusterState): void {
  for (let round = 0; round < MAX_ROUNDS; round++) {
    for (let next = state.inbox.shift(); next; next = state.inbox.shift()) {
      takeMessage(state, state.self.node, next);
    }
    for (const register of state.registers.values()) tickRegister(state, register);
    for (let next = state.outcomes.shift(); next; next = state.outcomes.shift()) {
      takeOutcome(state, next);
    }
    drive(state);
    if (state.inbox.length === 0 && state.outcomes.length === 0) return;
  }
  throw new Error(`the core did not come to rest within ${MAX_ROUNDS} rounds of one step`);
}

function takeOutcome(state: ClusterState, outcome: Outcome): void {
  if (outcome.register === "cluster") {
    const { purpose } = outcome;
    if (outcome.result === "chosen" && (purpose === "admit-voter" || purpose === "change-voter")) {
      fillVoters(state);
    }
    if (outcome.result !== "failed") return spreadFirstReads(state);
    if (outcome.why === "votersVersion") state.voters.alternate = !state.voters.alternate;
    return;
  }
  for (const group of state.groups.values()) {
    if (group.register === outcome.register) groupOutcome(state, group, outcome);
  }
}

/** Whoever admitted a voter brings it what the groups' registers hold: it grants nothing before. */
function fillVoters(state: ClusterState): void {
  for (const { register } of state.groups.values()) {
    const each = state.registers.get(register)!;
    if (each.known?.record === null) continue;
    each.forceWriteBack = true;
    each.wantRead = true;
  }
}

/** When the voters become known everybody wants to read every group: likely owners go first. */
function spreadFirstReads(state: ClusterState): void {
  for (const { config, register } of state.groups.values()) {
    const each = state.registers.get(register)!;
    if (each.known !== null || each.failures > 0 || each.attempt) continue;
    const order = [...new Set([...config.prefer, ...config.candidates])];
    const place = order.indexOf(state.self.node);
    const rank = place < 0 ? order.length : place;
    const pause = state.timing.keepalive / 4;
    each.notBefore = state.now + rank * pause + nextBetween(state.random, 0, pause / 2);
  }
}

function drive(state: ClusterState): void {
  drivePair(state);
  driveVoters(state);
  followPush(state);
  followMaintenance(state);
  const { have } = countVotes(state);
  state.quorumSince = have ? state.quorumSince ?? state.now : null;
  if (state.phase === "starting" && have) {
    state.phase = "running";
    state.urgent = true;
  }
  for (const group of state.groups.values()) {
    driveRead(state, state.registers.get(group.register)!);
    driveGroup(state, group);
  }
  driveFencing(state);
  driveCommands(state);
  driveShutdown(state);
}
