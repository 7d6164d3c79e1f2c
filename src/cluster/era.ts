/**
 * Eras: what a promotion that was forced without a quorum does to the registers.
 *
 * A person decides that those who cannot be reached count no longer. The node begins a new era on its
 * own voter alone: the voters are this node, and every register is empty and begins anew. Messages of
 * another era are refused. Who hears of a higher era than its own freezes, and comes into it when one
 * of its nodes admits it as a voter: with that it forgets what it had accepted, and keeps its data.
 *
 * Versions of an era begin above all of the eras before, so that "newer" stays "higher" for everybody
 * who remembers one. No two nodes ever make the same era: its remainder names the node.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { acceptedCluster } from "./accepted.ts";
import { MAX_NODES } from "../config/types.ts";
import type { Group } from "./group_state.ts";
import { isAlive } from "./membership.ts";
import { createRegister } from "./register_state.ts";
import { type ClusterState, emit, knownCluster, note } from "./state.ts";
import type { Ballot, ClusterRecord, Proposal, RegisterName } from "./types.ts";

/** So many versions fit an era. */
const VERSIONS = 2 ** 32;

/** Era of the record that the own voter accepted last. */
export function ownEra(state: ClusterState): number {
  return acceptedCluster(state.acceptor)?.era ?? 0;
}

/** Version of a register in which nothing was ever chosen, in the present era. */
export function emptyVersion(state: ClusterState): number {
  return ownEra(state) * VERSIONS;
}

/** The highest era that any node was heard to be in. */
export function heardEra(state: ClusterState): number {
  let highest = 0;
  for (const { heartbeat } of state.membership.peers.values()) {
    highest = Math.max(highest, heartbeat?.era ?? 0);
  }
  return highest;
}

/** Whether a person has made a new beginning elsewhere: nothing is served or granted here any more. */
export function isPast(state: ClusterState): boolean {
  return heardEra(state) > ownEra(state);
}

/**
 * Begins an era with the own voter as the only one. The cluster's record is made durable last: either it
 * is there, and the era has begun, or nothing has happened.
 *
 * @param kept groups that go on here in their epoch: nobody else could have taken them
 */
export function beginEra(state: ClusterState, kept: readonly Group[]): void {
  const { acceptor, self, config, registers } = state;
  const before = knownCluster(state) ?? acceptedCluster(acceptor);
  const index = config.nodes.findIndex(({ name }) => name === self.node);
  const highest = Math.max(ownEra(state), heardEra(state));
  const era = (Math.floor(highest / MAX_NODES) + 1) * MAX_NODES + index;
  const { solo: _solo, former: _former, ...rest }: Partial<ClusterRecord> = before ?? {};
  const value: ClusterRecord = {
    standby: [],
    maintenance: false,
    ...rest,
    version: era * VERSIONS + 1,
    voters: [{ node: self.node, voterId: acceptor.voterId }],
    votersVersion: 1 + Math.max(
      before?.votersVersion ?? 0,
      acceptedCluster(acceptor)?.votersVersion ?? 0,
    ),
    lineage: before?.lineage ??
      createHash("sha256").update(JSON.stringify([era, self])).digest("hex").slice(0, 16),
    era,
    dropped: config.nodes.map(({ name }) => name).filter((name) => name !== self.node),
  };
  const n = 1 + Math.max(
    ...[...acceptor.promised.values()].map((promised) => promised.n),
    ...[...registers.values()].map(({ maxN }) => maxN),
  );
  const ballot: Ballot = { n, ...self };
  const records = kept.flatMap((group) => {
    const record = registers.get(group.register)?.known?.record;
    return record ? [{ group, value: { ...record, version: era * VERSIONS + 1 } }] : [];
  });
  forgetEra(state);
  const accept = (register: RegisterName, proposal: Proposal) => {
    const record = { kind: "accept", register, ballot, proposal } as const;
    const tagged = register === "cluster" ? record : { ...record, era };
    emit(state, { type: "persist", record: tagged });
    acceptor.promised.set(register, ballot);
    acceptor.accepted.set(register, { ballot, proposal });
  };
  for (const each of records) {
    accept(each.group.register, { value: each.value });
    each.group.outdated = false;
  }
  accept("cluster", { value });
  const text = "A person forced a promotion without a quorum: a new era begins with this node " +
    "alone, and the others join it when they are heard";
  note(state, "warning", "era", text, { era, before: before?.era ?? 0 }, { node: self.node });
}

/** The voter has accepted a record of another era: all that belongs to the former one is void. */
export function forgetEra(state: ClusterState): void {
  const { acceptor } = state;
  for (const name of [...acceptor.accepted.keys()]) {
    if (name !== "cluster") acceptor.accepted.delete(name);
  }
  acceptor.granted.clear();
  for (const [name, register] of state.registers) {
    const fresh = createRegister(name);
    Object.assign(register, fresh, { maxN: register.maxN, leaveOut: new Set() });
  }
  for (const group of state.groups.values()) {
    group.votes.clear();
    group.outdated = group.phase !== "idle";
  }
  state.pair.joint = false;
  state.pair.togetherSince = null;
  // What a fence of the former one says is no vote in this one.
  state.fencing.pending = null;
  state.fencing.lent = false;
  state.urgent = true;
}

/** A node that an era left behind and that is heard now: it is to be admitted as a voter. */
export function nextDropped(state: ClusterState, record: ClusterRecord): {
  readonly node: string;
  readonly voterId: string;
} | null {
  for (const node of record.dropped ?? []) {
    const peer = state.membership.peers.get(node);
    if (peer === undefined || !isAlive(peer) || peer.heartbeat === null) continue;
    if (state.now - peer.aliveSince < state.timing.deadtime) continue;
    // Who is in a higher era does not come back into this one: this one is past.
    if ((peer.heartbeat.era ?? 0) <= (record.era ?? 0)) {
      return { node, voterId: peer.heartbeat.voterId };
    }
  }
  return null;
}
