/**
 * The learner: a record is known chosen once a majority of its voters accepted it at one ballot. The
 * proposer counts those answers; the voters tell them to everybody who may run the group, so that a
 * successor acts on a release at once, without a read of its own.
 *
 * A learned record is as good as one that was read, with two exceptions. It ends no doubt about an own
 * ACCEPT, and it is no sign of life: what an own pause or an operator asks for is a read begun later.
 */

import { sameBallot } from "./ballot.ts";
import { majorityOf, voteOf } from "./quorum.ts";
import type { Register } from "./register_state.ts";
import { type ClusterState, isClusterRecord, knownCluster } from "./state.ts";
import type { Accept, Accepted, Ballot } from "./types.ts";

/** Who accepted at one ballot. */
export interface Tally {
  readonly ballot: Ballot;
  /** When it was heard of. */
  readonly at: number;
  /** Under which voters it was proposed; null: this node's voter has not accepted it. */
  votersVersion: number | null;
  /** By node: the id of the voter that accepted. */
  readonly by: Map<string, string>;
}

/** The own voter has accepted: now its value and its voters are known here. */
export function noteAccepted(
  state: ClusterState,
  { register: name, ballot, ...rest }: Accept,
): void {
  const register = state.registers.get(name);
  if (!register || name === "cluster") return;
  const tally = tallyOf(state, register, ballot);
  tally.votersVersion = rest.votersVersion;
  tally.by.set(state.self.node, state.acceptor.voterId);
  learn(state, register, tally);
}

/** Another voter says that it accepted. */
export function hearAccepted(state: ClusterState, from: string, message: Accepted): void {
  const register = state.registers.get(message.register);
  if (!register || message.register === "cluster") return;
  const tally = tallyOf(state, register, message.ballot);
  tally.by.set(from, message.voterId);
  learn(state, register, tally);
}

/** Answers of two ballots may overtake each other; more are not worth remembering. */
function tallyOf(state: ClusterState, register: Register, ballot: Ballot): Tally {
  const found = register.tallies.find((tally) => sameBallot(tally.ballot, ballot));
  if (found) return found;
  const tally: Tally = { ballot, at: state.now, votersVersion: null, by: new Map() };
  register.tallies.unshift(tally);
  register.tallies.length = Math.min(register.tallies.length, 2);
  return tally;
}

/** Since when the own voter holds a record that is newer than what is known; -Infinity: it does not. */
export function newerSince(state: ClusterState, register: Register): number {
  const [newest] = register.tallies;
  const accepted = state.acceptor.accepted.get(register.name);
  if (!newest || !accepted || !sameBallot(accepted.ballot, newest.ballot)) return -Infinity;
  const version = register.known?.record?.version ?? 0;
  return accepted.proposal.value.version > version ? newest.at : -Infinity;
}

function learn(state: ClusterState, register: Register, tally: Tally): void {
  const { known, attempt } = register;
  // An own ACCEPT that is on its way, or in doubt, is settled by its own answers or by a read.
  if (known === null || register.doubt || (attempt !== null && attempt.phase !== "prepare")) return;
  const accepted = state.acceptor.accepted.get(register.name);
  const cluster = knownCluster(state);
  if (!accepted || !cluster || !sameBallot(accepted.ballot, tally.ballot)) return;
  if (tally.votersVersion !== cluster.votersVersion) return;
  const { value } = accepted.proposal;
  if (isClusterRecord(value) || value.version <= (known.record?.version ?? 0)) return;
  const votes = [...tally.by].filter(([node, id]) => voteOf(cluster.voters, node, id)).length;
  if (votes < majorityOf(cluster.voters.length)) return;
  // What is asked for in PREPARE was a step from an older record, and leaves nothing behind.
  register.attempt = null;
  register.known = { record: value, ballot: tally.ballot, at: state.now };
  register.failures = 0;
  register.leaveOut.clear();
  register.notBefore = state.now;
  state.urgent = true;
}
