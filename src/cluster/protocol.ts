/**
 * Versions of the cluster protocol: what an agent can speak, and what all speak now.
 *
 * Each agent says in its heartbeats which versions it speaks. The version in force stands in the
 * cluster's record; once every configured node says that it speaks a newer one, the leader raises it.
 * It is never lowered, since what was recorded under a newer version may be unreadable to an older
 * program. So nodes are upgraded one after the other, and the new version begins when the last one
 * has been.
 */

import { isAlive } from "./membership.ts";
import type { Change } from "./register_state.ts";
import { type ClusterState, knownCluster, note } from "./state.ts";
import type { ClusterRecord, ProtocolRange } from "./types.ts";

/** What this program speaks. */
export const SPOKEN: ProtocolRange = { least: 1, newest: 1 };

/** The version of a record: those of the first version do not say it. */
export function protocolOf(record: ClusterRecord | null): number {
  return record?.protocol ?? 1;
}

/** The version in which this node writes its messages. */
export function protocolInForce(state: ClusterState): number {
  return Math.max(protocolOf(knownCluster(state)), state.speaks.least);
}

/**
 * The error for a program that is too old, or too new, for a cluster whose record this voter has
 * accepted; null: it fits.
 */
export function unfitFor(record: ClusterRecord | null, speaks: ProtocolRange): string | null {
  const inForce = protocolOf(record);
  if (record === null || (speaks.least <= inForce && inForce <= speaks.newest)) return null;
  const spoken = speaks.least === speaks.newest
    ? `version ${speaks.newest}`
    : `versions ${speaks.least} to ${speaks.newest}`;
  return `the cluster speaks version ${inForce} of its protocol and this program ${spoken}; ` +
    (inForce > speaks.newest
      ? "install the newer program again"
      : "install a version in between on every node first");
}

/** The change that raises the version in force; null: not everybody speaks a newer one. */
export function raiseProtocol(state: ClusterState, record: ClusterRecord): Change | null {
  const inForce = protocolOf(record);
  let { newest } = state.speaks;
  for (const { node } of record.voters) {
    if (node !== state.self.node && !state.membership.peers.has(node)) return null;
  }
  for (const peer of state.membership.peers.values()) {
    if (!isAlive(peer) || peer.heartbeat === null) return null;
    newest = Math.min(newest, peer.heartbeat.speaks.newest);
  }
  if (newest <= inForce) return null;
  const text =
    `Every node speaks version ${newest} of the cluster protocol: it is in force from now`;
  note(state, "info", "protocol-raised", text, { before: inForce, now: newest });
  const value: ClusterRecord = { ...record, version: record.version + 1, protocol: newest };
  const draft = () => ({ proposal: { value }, mints: [] });
  return { purpose: "raise-protocol", baseVersion: record.version, draft };
}
