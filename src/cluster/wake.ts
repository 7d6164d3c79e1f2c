/**
 * When something will be due by itself. A tick that comes earlier does nothing, one that comes later
 * only delays; so the few things that cannot wait for the next ordinary tick are named here.
 */

import { refusalEnds } from "./acceptor.ts";
import { knownGroup } from "./facts.ts";
import { PREPARE_AHEAD } from "./group.ts";
import type { Group } from "./group_state.ts";
import { urgentSpacing } from "./heartbeat.ts";
import { ownerLostAt } from "./lease.ts";
import { isAlive } from "./membership.ts";
import type { ClusterState } from "./state.ts";

/** The next time, of the clock of the steps, at which the core wants a tick; Infinity: never. */
export function wakeAt(state: ClusterState): number {
  const { timing, lastHeartbeat, urgent } = state;
  let at = lastHeartbeat + (urgent ? urgentSpacing(timing.keepalive) : timing.keepalive);
  const due = (time: number) => {
    if (time > state.now && time < at) at = time;
  };
  for (const peer of state.membership.peers.values()) {
    if (peer.lastHeard === null || !isAlive(peer)) continue;
    due(peer.lastHeard + timing.warntime);
    due(peer.lastHeard + timing.deadtime - PREPARE_AHEAD);
    due(peer.lastHeard + timing.deadtime);
  }
  for (const { attempt, notBefore } of state.registers.values()) {
    due(notBefore);
    if (attempt !== null) due(attempt.sentAt + timing.keepalive);
  }
  for (const group of state.groups.values()) groupDue(state, group, due);
  return at;
}

function groupDue(state: ClusterState, group: Group, due: (time: number) => void): void {
  const { keepalive } = state.timing;
  if (group.leaseUntil !== 0 && group.frozenSince === null) due(group.leaseUntil);
  const record = knownGroup(state, group);
  if (record === null || group.phase !== "idle") return;
  if (record.owner !== null && record.owner.node !== state.self.node) {
    due(ownerLostAt(state, group, record));
    due(
      state.now + refusalEnds(state, group.config.name, { ...record.owner, epoch: record.epoch }),
    );
  }
  if (state.quorumSince !== null) due(state.quorumSince + 2 * keepalive);
  if (group.waiting === null) return;
  for (let rank = 1; rank < group.config.candidates.length; rank++) {
    due(group.waiting.since + rank * 2 * keepalive);
  }
}
