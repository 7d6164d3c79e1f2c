/**
 * The in-sync set: the owner alone shrinks and grows it, within its epoch, one change at a time.
 *
 * A member leaves when the volume says that it missed a write, when its node announced a planned stop,
 * or when it was not heard of for `shrinkAfter`: otherwise an idle pair would freeze at the witness's
 * next reboot. A change is settled by a record of a higher version and by nothing else.
 */

import { growChange, plainChange, shrinkChange } from "./drafts.ts";
import { type Group, isServing, type MemberRequest } from "./group_state.ts";
import { isAlive, type Peer } from "./membership.ts";
import type { Change } from "./register_state.ts";
import { type ClusterState, note } from "./state.ts";
import type { ClusterEvent, GroupRecord, Heartbeat } from "./types.ts";

/** Takes a volume's request. Those of another epoch, or of a volume of no group, are dropped. */
export function requestMember(
  state: ClusterState,
  event: Extract<ClusterEvent, { type: "shrink" | "grow" }>,
): void {
  const { type, volume, replicaId, reason, epoch } = event;
  const group = [...state.groups.values()].find(({ volumes }) =>
    volumes.some(({ name }) => name === volume)
  );
  if (!group || !isServing(group) || group.epoch !== epoch) return;
  const version = event.version ?? state.registers.get(group.register)?.known?.record?.version ?? 0;
  push(group, { kind: type, volume, replicaId, reason, version, at: state.now });
}

function push(group: Group, request: MemberRequest): void {
  const { requests } = group;
  if (request.kind === "shrink") {
    // A grow that was not proposed yet is overtaken; one that was is settled first.
    const waiting = requests.findIndex((each) =>
      each.kind === "grow" && each.volume === request.volume &&
      each.replicaId === request.replicaId
    );
    if (waiting >= 0) requests.splice(waiting, 1);
  }
  const same = requests.some((each) =>
    each.kind === request.kind && each.volume === request.volume &&
    each.replicaId === request.replicaId
  );
  if (!same) requests.push(request);
}

/** The next change of the in-sync set that the group's record needs; null: none. */
export function nextMemberChange(
  state: ClusterState,
  group: Group,
  record: GroupRecord,
): Change | null {
  watchMembers(state, group, record);
  for (let i = 0; i < group.requests.length;) {
    const change = changeFor(state, group, record, group.requests[i]!);
    if (change === "wait") i++;
    else if (change !== null) return change;
    else group.requests.splice(i, 1);
  }
  return null;
}

function changeFor(
  state: ClusterState,
  group: Group,
  record: GroupRecord,
  request: MemberRequest,
): Change | "wait" | null {
  const { kind, volume, replicaId, version, reason } = request;
  const members = record.volumes[volume];
  if (members === undefined) return null;
  const isMember = members.upToDate.includes(replicaId);
  const say = (text: string) =>
    note(state, "info", kind, text, { replicaId, reason, epoch: record.epoch }, {
      group: group.config.name,
    });
  if (kind === "grow") {
    if (isMember || record.version !== version) return null;
    if (state.replicas.get(volume)?.sole === group.epoch) return "wait";
    const phase = holderOf(state, volume, replicaId)?.heartbeat?.phase;
    if (phase === undefined || phase === "stopping") {
      // It would be shrunk away again at once, or is gone: after a while a newer record says to the
      // volume that it has not become a member, so that nothing stays in doubt.
      const waited = state.now - request.at >= state.timing.deadtime / 2;
      return waited ? plainChange("confirm", record, {}) : "wait";
    }
    say(`A replica of ${volume} is synchronized and joins the in-sync set`);
    return growChange(record, volume, replicaId);
  }
  if (!isMember) {
    // Already out, but the volume waits for a newer record that says so.
    return record.version > version ? null : plainChange("confirm", record, {});
  }
  if (members.upToDate.length === 1) {
    const text = `The last up-to-date replica of ${volume} cannot leave the in-sync set`;
    note(state, "error", "shrink", text, { replicaId, reason }, { group: group.config.name });
    return null;
  }
  say(`A replica of ${volume} leaves the in-sync set: ${reason}`);
  return shrinkChange(state, group, record, volume, replicaId);
}

function memberKey(volume: string, replicaId: string): string {
  return `${volume}/${replicaId}`;
}

/** Notes which replicas a live node shows. */
export function seeMembers(state: ClusterState, heartbeat: Heartbeat): void {
  for (const group of state.groups.values()) {
    for (const { name } of group.volumes) {
      const replica = heartbeat.replicas[name];
      if (replica) group.memberSeen.set(memberKey(name, replica.replicaId), state.now);
    }
  }
}

/** Asks for the members to leave that announced a stop or were not heard of for `shrinkAfter`. */
function watchMembers(state: ClusterState, group: Group, record: GroupRecord): void {
  for (const { name } of group.volumes) {
    const own = state.replicas.get(name)?.replicaId;
    const upToDate = record.volumes[name]?.upToDate ?? [];
    // The last one cannot leave, and where it is another node's, its return is waited for.
    if (upToDate.length < 2) continue;
    for (const replicaId of upToDate) {
      if (replicaId === own) continue;
      const holder = holderOf(state, name, replicaId);
      const seen = Math.max(group.since, group.memberSeen.get(memberKey(name, replicaId)) ?? 0);
      const reason = holder?.heartbeat?.phase === "stopping"
        ? `${holder.node} announced a planned stop`
        : state.now - seen >= state.timing.shrinkAfter
        ? `not heard for ${Math.round(state.now - seen)} ms`
        : null;
      if (reason === null) continue;
      const { version } = record;
      push(group, { kind: "shrink", volume: name, replicaId, reason, version, at: state.now });
    }
  }
}

function holderOf(state: ClusterState, volume: string, replicaId: string): Peer | undefined {
  for (const peer of state.membership.peers.values()) {
    if (isAlive(peer) && peer.heartbeat?.replicas[volume]?.replicaId === replicaId) return peer;
  }
  return undefined;
}
