/** Which voters the own voter believes in: by the cluster's record that it accepted last. */

import type { Acceptor } from "./acceptor.ts";
import { type ClusterState, isClusterRecord } from "./state.ts";
import type { ClusterRecord } from "./types.ts";

/** The cluster's record as this voter accepted it last: which voters it believes in. */
export function acceptedCluster(acceptor: Acceptor): ClusterRecord | null {
  const value = acceptor.accepted.get("cluster")?.proposal.value;
  return value !== undefined && isClusterRecord(value) ? value : null;
}

/** Whether the record that this voter accepted lists it under its present id. */
export function isListed(state: ClusterState): boolean {
  const { voterId } = state.acceptor;
  return acceptedCluster(state.acceptor)?.voters.some((voter) =>
    voter.node === state.self.node && voter.voterId === voterId
  ) ?? false;
}
