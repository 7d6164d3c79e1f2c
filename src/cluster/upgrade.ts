/** The step to the next version of the cluster protocol, once every node speaks it. */

import { isAlive } from "./membership.ts";
import { protocolOf } from "./protocol.ts";
import type { Change } from "./register_state.ts";
import { type ClusterState, note } from "./state.ts";
import type { ClusterRecord } from "./types.ts";

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
