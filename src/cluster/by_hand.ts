/**
 * What only a person may decide: that a machine is off, and that the data of one replica are to be
 * the ones that count, whatever others may hold.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { sameRun } from "./ballot.ts";
import { highestEpoch, takeChange } from "./drafts.ts";
import { beginEra, ownEra } from "./era.ts";
import { knownGroup, ownReplicas } from "./facts.ts";
import { lend } from "./fencing.ts";
import { endByForce } from "./group.ts";
import { type Group, isServing } from "./group_state.ts";
import { isSole } from "./lease.ts";
import { isAlive } from "./membership.ts";
import { isCurrent, type PendingCommand, type Progress } from "./pending_command.ts";
import { countVotes } from "./quorum.ts";
import { type ClusterState, knownCluster, note } from "./state.ts";
import type { GroupRecord, Heartbeat } from "./types.ts";

/** A person states that a node is off: in a pair this is worth as much as a confirmed fence. */
export function confirmOff(state: ClusterState, node: string): Progress {
  const { config: { cluster: { quorum }, volumes }, pair, membership } = state;
  const peer = membership.peers.get(node);
  if (peer === undefined) {
    const names = [...membership.peers.keys()].join(", ");
    return refuse(`${node} is none of the other nodes; the configuration has ${names}`);
  }
  if (quorum === "majority") {
    return refuse(
      `with quorum = "majority" nobody has to be off: a majority goes on by itself, and without one ` +
        `"bascule volume promote" is the way on`,
    );
  }
  if (isAlive(peer)) return refuse(`${node} is heard, so it is not off`);
  const record = knownCluster(state);
  if (!pair.joint && volumes.length > 0) {
    return refuse(
      `this node has not read the records together with ${node} since its own start, and ` +
        `${node} may have gone on alone and written before it went off. Start ${node}; if it is lost ` +
        `for good, "bascule volume promote" goes on with what this node has`,
    );
  }
  const lends = quorum === "fencing" && (record === null || record.solo !== state.self.node);
  if (lends) {
    lend(
      state,
      peer,
      `A person states that ${node} is off: its vote counts here until it votes again`,
      {
        joint: pair.joint,
      },
    );
  } else if (quorum === "survivor") {
    pair.confirmedOff = Math.max(1, peer.incarnation);
    const text = `A person states that ${node} is off: this node goes on alone`;
    note(state, "warning", "confirmed-off", text, { joint: pair.joint }, { node });
  }
  return { done: true };
}

/**
 * A promotion that a person forces. With a quorum the record says so, in the voters' own order of
 * things; without one a new era begins. In both cases the data get a lineage of their own: a
 * replica of another one is not written to until a person discards it.
 */
export function promote(state: ClusterState, pending: PendingCommand, group: Group): Progress {
  const { name } = group.config;
  const record = knownGroup(state, group);
  if (pending.forced !== null && record?.lineage === pending.forced.lineage) {
    return record.owner?.node === state.self.node && group.phase === "running"
      ? { done: true }
      : group.failed !== null
      ? refuse(`${name} was promoted here but failed: ${group.failed.reason}`)
      : "waiting";
  }
  const unfit = whyUnfit(state, group);
  if (unfit !== null) return refuse(unfit);
  const cluster = knownCluster(state);
  if (pending.forced === null) {
    const lineage = createHash("sha256")
      .update(JSON.stringify([cluster?.lineage ?? "", name, state.self, state.now, pending.id]))
      .digest("hex").slice(0, 16);
    pending.forced = { lineage, above: highestEpoch(state, group, record) };
  }
  if (group.phase !== "idle") {
    // A frozen life of it, in an epoch that is given up.
    endByForce(state, group);
    return "waiting";
  }
  if (!countVotes(state).have) {
    // Whoever is silent gets the time to be heard: it may only just have been started.
    if (state.now - state.startedAt < 2 * state.timing.deadtime) return "waiting";
    // Somebody has been there before, and is heard: this node is admitted there in a moment.
    if (isLedPast(state)) return "waiting";
    if (!pending.eraBegun) beginEra(state, soleGroups(state, group));
    pending.eraBegun = true;
    return "waiting";
  }
  if (!isCurrent(state, group.register, pending)) return "waiting";
  group.failed = null;
  return {
    register: group.register,
    change: takeChange(state, group, record, { forced: pending.forced }),
  };
}

/** Whether a node of a newer era is heard now. */
function isLedPast(state: ClusterState): boolean {
  return [...state.membership.peers.values()].some((peer) =>
    isAlive(peer) && (peer.heartbeat?.era ?? 0) > ownEra(state)
  );
}

/** Groups other than the promoted one that this run serves as the only one that could. */
function soleGroups(state: ClusterState, promoted: Group): Group[] {
  return [...state.groups.values()].filter((group) => {
    const record = knownGroup(state, group);
    return group !== promoted && isServing(group) && isSole(state, group) && !group.underMark &&
      record?.epoch === group.epoch && sameRun(record.owner, state.self);
  });
}

/** Why this node cannot be the one; null: it can. */
function whyUnfit(state: ClusterState, group: Group): string | null {
  const { name } = group.config;
  if (!group.config.candidates.includes(state.self.node)) {
    return `${state.self.node} cannot run ${name}; ask one of ${
      group.config.candidates.join(", ")
    }`;
  }
  if (isServing(group) && group.frozenSince === null && group.part === null) {
    return `${name} runs here already`;
  }
  const own = ownReplicas(state);
  for (const volume of group.volumes) {
    const replica = own[volume.name];
    if (replica === undefined || replica.replicaId === "") {
      return `the replica of ${volume.name} here cannot be read`;
    }
    if (replica.disk === "Diskless") return `the disk of ${volume.name} here has failed`;
    if (replica.disk === "Inconsistent") {
      return `the replica of ${volume.name} here is a mixture that an unfinished resync left: no ` +
        `promotion makes it whole; restore a backup into a new replica`;
    }
  }
  const record = knownGroup(state, group);
  const owner = record?.owner;
  if (owner && owner.node !== state.self.node) {
    const peer = state.membership.peers.get(owner.node);
    const asking = peer && isAlive(peer) ? peer.heartbeat : null;
    const isDiskless = group.volumes.some(({ name: volume }) =>
      asking?.replicas[volume]?.disk === "Diskless"
    );
    if (asking && asking.asks[name] === record.epoch && !isDiskless) {
      return holdsAll(asking, record)
        ? `${owner.node} is heard and runs ${name}; move it with "bascule move ${name}"`
        : `${owner.node} has ${name} to synchronize some of its volumes and keeps its lease; say ` +
          `"bascule standby ${owner.node}" first`;
    }
  }
  return null;
}

/** Whether the owner took the group for all of its volumes, and not to synchronize some of them. */
function holdsAll({ replicas }: Heartbeat, record: GroupRecord): boolean {
  return Object.entries(record.volumes).every(([volume, { upToDate }]) =>
    upToDate.includes(replicas[volume]?.replicaId ?? "")
  );
}

function refuse(error: string): Progress {
  return { done: true, error };
}
