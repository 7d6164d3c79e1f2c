/**
 * Maintenance: an operator works on the cluster, and what he does shall not be answered by anything.
 * Nothing is started, stopped or moved; all is still watched. Only safety goes on: a lost lease
 * freezes, a newer epoch ends.
 */

import type { Group } from "./group_state.ts";
import { type ClusterState, emit, knownCluster, note } from "./state.ts";

/** Follows the cluster's record, and gives the word on to those who run resources. */
export function followMaintenance(state: ClusterState): void {
  const record = knownCluster(state);
  if (record === null || record.maintenance === state.maintenance) return;
  state.maintenance = record.maintenance;
  state.urgent = true;
  const text = record.maintenance
    ? "The cluster is in maintenance: nothing is started, stopped or moved, nothing fails over"
    : "Maintenance is over: the cluster decides again";
  note(state, "info", record.maintenance ? "maintenance" : "maintenance-over", text, {
    version: record.version,
  });
  emit(state, { type: "maintenance", on: record.maintenance });
}

/** Keeps a failure of the group for the end of maintenance. */
export function holdFailure(state: ClusterState, group: Group, reason: string): void {
  group.heldFailure ??= reason;
  const { name } = group.config;
  const text = `${name} failed here and is left as it is until maintenance ends: ${reason}`;
  note(state, "error", "failed-held", text, { epoch: group.epoch, reason }, { group: name });
}
