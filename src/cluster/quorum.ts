/**
 * What a quorum is. Everything that counts votes asks here, so that another quorum mode changes one
 * place: two quorums of any mode must share a voter that remembers.
 */

import { decidesAlone } from "./alone.ts";
import { isPast, ownEra } from "./era.ts";
import { isAlive } from "./membership.ts";
import { type ClusterState, knownCluster } from "./state.ts";
import type { Voter } from "./types.ts";

/** Votes that make a majority of so many voters. */
export function majorityOf(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/** The vote of a node under its present id, or undefined when the list does not name it. */
export function voteOf(
  voters: readonly Voter[],
  node: string,
  voterId: string,
): Voter | undefined {
  return voters.find((voter) => voter.node === node && voter.voterId === voterId);
}

/** Who of the listed voters can be heard now. */
export interface Votes {
  /** Whether those heard make a quorum. */
  readonly have: boolean;
  readonly votes: number;
  readonly needed: number;
  readonly expected: number;
  /** Listed voters that are not counted, and why. */
  readonly missing: readonly { readonly node: string; readonly why: string }[];
}

/** Counts the voters that are heard now. Before the first record: those the configuration names. */
export function countVotes(state: ClusterState): Votes {
  const record = knownCluster(state);
  const alone = decidesAlone(state);
  const missing: { node: string; why: string }[] = [];
  let votes = 0;
  const voters: readonly { node: string; voterId?: string }[] = record?.voters ??
    state.config.nodes.map((node) => ({ node: node.name }));
  for (const { node, voterId } of voters) {
    const why = absence(state, node, voterId);
    if (why === null) votes++;
    else missing.push({ node, why });
  }
  const needed = alone ? 1 : majorityOf(voters.length);
  return {
    have: record !== null && votes >= needed && !isPast(state),
    votes,
    needed,
    expected: voters.length,
    missing,
  };
}

function absence(state: ClusterState, node: string, voterId: string | undefined): string | null {
  if (node === state.self.node) {
    return voterId === undefined || voterId === state.acceptor.voterId ? null : "lost its state";
  }
  const peer = state.membership.peers.get(node);
  if (peer === undefined) return "not in the configuration";
  if (!isAlive(peer)) return peer.liveness === "dead" ? "dead" : "not heard yet";
  if (peer.heartbeat === null) return "starting";
  if ((peer.heartbeat.era ?? 0) !== ownEra(state)) return "in another era";
  return voterId === undefined || voterId === peer.heartbeat.voterId ? null : "lost its state";
}
