/**
 * What operators ask for: standby, move, cleanup, maintenance, push. Each is a change of a record, so it may be asked of
 * any node, survives restarts, and the node that it concerns acts on what was chosen.
 */

import { confirmOff, promote } from "./by_hand.ts";
import { plainChange } from "./drafts.ts";
import { gatherFacts, knownGroup } from "./facts.ts";
import type { Group } from "./group_state.ts";
import { rankCandidates } from "./candidates.ts";
import { lacksFile, objectionToPush, pushWaitsFor } from "./push.ts";
import { isCurrent, type PendingCommand, type Progress } from "./pending_command.ts";
import { countVotes } from "./quorum.ts";
import { isFree, needsRead, startChange } from "./register.ts";
import { type ClusterState, emit, knownCluster, note } from "./state.ts";
import type { ClusterRecord, OperatorCommand } from "./types.ts";
import { electorateFor } from "./voters.ts";

/** A file that was copied just before a push is seen within this time, in milliseconds. */
const COPY_PATIENCE = 3000;

/** Takes a command. `commandDone` answers it. */
export function takeCommand(state: ClusterState, id: number, command: OperatorCommand): void {
  const { deadtime } = state.timing;
  let patience = 10 * deadtime + 5000;
  if (command.type === "move" || command.type === "promote") {
    const group = state.groups.get(command.group);
    for (const each of group?.config.resources ?? []) {
      patience += each.stopTimeout + each.startTimeout;
    }
  }
  const known = Object.fromEntries(
    Object.entries(command).map(([key, value]) => [key, `${value}`]),
  );
  note(state, "info", "command", `An operator asks: ${command.type}`, known);
  const deadline = state.now + patience;
  state.commands.push({
    id,
    command,
    at: state.now,
    deadline,
    target: null,
    cleanups: null,
    wants: null,
    waitsFor: null,
    forced: null,
    eraBegun: false,
  });
}

/** Brings every pending command forward. */
export function driveCommands(state: ClusterState): void {
  for (let i = 0; i < state.commands.length;) {
    const pending = state.commands[i]!;
    if (advance(state, pending)) state.commands.splice(i, 1);
    else i++;
  }
}

/** Whether the command is answered. */
function advance(state: ClusterState, pending: PendingCommand): boolean {
  const progress = progressOf(state, pending);
  if (progress !== "waiting" && "done" in progress) {
    const { id } = pending;
    const { error } = progress;
    emit(state, error ? { type: "commandDone", id, error } : { type: "commandDone", id });
    return true;
  }
  pending.wants = progress === "waiting" ? null : progress.register;
  if (progress !== "waiting") {
    const register = state.registers.get(progress.register)!;
    const electorate = electorateFor(state, progress.register);
    if (electorate && isFree(state, register) && !needsRead(register)) {
      startChange(state, register, electorate, progress.change);
    }
  }
  if (state.now < pending.deadline) return false;
  const { votes, needed, expected } = countVotes(state);
  const error = votes >= needed && pending.waitsFor !== null
    ? `${pending.command.type} is recorded and waits for ${pending.waitsFor}; it goes on by itself, ` +
      `see "bascule status"`
    : votes < needed
    ? `no majority of voters answers (${votes} of ${expected}, ${needed} needed); ` +
      `ask again when more nodes are up`
    : `${pending.command.type} is recorded or under way but was not finished in time; ` +
      `see "bascule status"`;
  emit(state, { type: "commandDone", id: pending.id, error });
  return true;
}

function progressOf(state: ClusterState, pending: PendingCommand): Progress {
  const { command } = pending;
  switch (command.type) {
    case "standby":
      return standby(state, pending, command);
    case "move":
      return withGroup(state, command.group, (group) => move(state, pending, group, command.to));
    case "maintenance":
      return maintenance(state, pending, command.on);
    case "push":
      return push(state, pending, command.hash);
    case "cleanup":
      return withGroup(state, command.group, (group) => cleanup(state, pending, group));
    case "confirmOff":
      return confirmOff(state, command.node);
    case "promote":
      return withGroup(state, command.group, (group) => promote(state, pending, group));
  }
}

function withGroup(state: ClusterState, name: string, then: (group: Group) => Progress): Progress {
  const group = state.groups.get(name);
  if (group) return then(group);
  const names = [...state.groups.keys()].join(", ");
  return { done: true, error: `there is no group ${name}; the configuration has ${names}` };
}

function standby(
  state: ClusterState,
  pending: PendingCommand,
  { node, on }: Extract<OperatorCommand, { type: "standby" }>,
): Progress {
  if (!state.config.nodes.some(({ name }) => name === node)) {
    const names = state.config.nodes.map(({ name }) => name).join(", ");
    return { done: true, error: `there is no node ${node}; the configuration has ${names}` };
  }
  const record = knownCluster(state);
  if (!isCurrent(state, "cluster", pending) || record === null) return "waiting";
  if (record.standby.includes(node) === on) return { done: true };
  const others = record.standby.filter((each) => each !== node);
  const purpose = on ? "standby" : "unstandby";
  return clusterChange(purpose, record, { standby: on ? [...others, node] : others });
}

function maintenance(state: ClusterState, pending: PendingCommand, on: boolean): Progress {
  const record = knownCluster(state);
  if (!isCurrent(state, "cluster", pending) || record === null) return "waiting";
  if (record.maintenance === on) return { done: true };
  return clusterChange("maintenance", record, { maintenance: on });
}

function push(state: ClusterState, pending: PendingCommand, hash: string): Progress {
  const config = [state.pushed, state.file?.config].find((each) => each?.hash === hash);
  if (config === undefined) {
    return {
      done: true,
      error: `the agent on ${state.self.node} has another configuration on its disk; ` +
        `write the file that it was started with`,
    };
  }
  const record = knownCluster(state);
  if (!isCurrent(state, "cluster", pending) || record === null) return "waiting";
  if (record.config !== hash) {
    const missing = lacksFile(state, config);
    // It may have been copied a moment ago, and is looked at now and then.
    if (missing !== null && state.now - pending.at < COPY_PATIENCE) return "waiting";
    const error = missing ?? objectionToPush(state, config);
    return error === null ? clusterChange("push", record, { config: hash }) : { done: true, error };
  }
  // What needs a restart cannot be waited for.
  if (state.pushed !== config) return state.file?.live ? "waiting" : { done: true };
  pending.waitsFor = pushWaitsFor(state, record);
  return pending.waitsFor === null ? { done: true } : "waiting";
}

function clusterChange(
  purpose: string,
  record: ClusterRecord,
  changed: Partial<ClusterRecord>,
): Progress {
  const value: ClusterRecord = { ...record, ...changed, version: record.version + 1 };
  const draft = () => ({ proposal: { value }, mints: [] });
  return { register: "cluster", change: { purpose, baseVersion: record.version, draft } };
}

function move(
  state: ClusterState,
  pending: PendingCommand,
  group: Group,
  to: string | undefined,
): Progress {
  const { name } = group.config;
  const record = knownGroup(state, group);
  if (!isCurrent(state, group.register, pending)) return "waiting";
  if (state.maintenance) {
    const error =
      `the cluster is in maintenance, nothing moves; end it with "bascule maintenance off"`;
    return { done: true, error };
  }
  if (record === null) {
    return { done: true, error: `${name} has never been started; it can be moved when it runs` };
  }
  if (pending.target === null) {
    const ranked = rankCandidates(gatherFacts(state, group));
    const owner = record.owner?.node;
    const chosen = to === undefined
      ? ranked.find(({ node, against }) => node !== owner && against === null)
      : ranked.find(({ node }) => node === to);
    if (chosen === undefined) {
      const reasons = ranked.map(({ node, against }) => `${node} ${against ?? "owns it now"}`);
      return {
        done: true,
        error: to === undefined
          ? `no other node can run ${name}: ${reasons.join("; ")}`
          : `${to} cannot run ${name}; its candidates are ${group.config.candidates.join(", ")}`,
      };
    }
    const now = ranked.find(({ node }) => node === owner);
    if (chosen.node !== owner && (chosen.reaches ?? 0) < (now?.reaches ?? 0)) {
      return {
        done: true,
        error: `${chosen.node} reaches ${chosen.reaches ?? 0} ping targets of ${name}, ` +
          `${owner} ${now?.reaches}: the group would come back; mend its network first`,
      };
    }
    if (chosen.node !== owner && chosen.against !== null) {
      return { done: true, error: `${chosen.node} cannot run ${name} now: it ${chosen.against}` };
    }
    pending.target = chosen.node;
  }
  const { target } = pending;
  if (record.wanted !== target) {
    const change = plainChange("move", record, { wanted: target });
    return { register: group.register, change };
  }
  return record.owner?.node === target ? { done: true } : "waiting";
}

function cleanup(state: ClusterState, pending: PendingCommand, group: Group): Progress {
  if (!isCurrent(state, group.register, pending)) return "waiting";
  const record = knownGroup(state, group);
  if (record === null) {
    group.failed = null;
    group.failures = 0;
    state.urgent = true;
    return { done: true };
  }
  const cleanups = record.cleanups ?? 0;
  pending.cleanups ??= cleanups + 1;
  if (cleanups >= pending.cleanups) return { done: true };
  const { wanted: _moved, ...rest } = record;
  const change = plainChange("cleanup", rest, { cleanups: cleanups + 1 });
  return { register: group.register, change };
}
