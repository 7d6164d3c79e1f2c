/**
 * A record in which one voter takes the place of another names the voters before it (`former`), since
 * majorities of the two lists need not meet. Whoever proposes it, its first proposer or a reader that
 * completes it, asks the voters before first, and the new one only when a majority of those has accepted
 * it. So a new voter that holds it proves that the voters before can choose nothing else.
 *
 * Both lists are of one size, and a new voter promises nothing before it holds the record that lists it.
 * So promises of a majority of the new list either come from a majority of those before, or show the
 * record by a voter that proves it.
 */

import { majorityOf, voteOf } from "./quorum.ts";
import type { Attempt, Register } from "./register_state.ts";
import { isClusterRecord } from "./state.ts";
import type { ClusterRecord, Proposal, Voter } from "./types.ts";

/** The voters before whose majority still has to accept what the attempt proposes; null: none has to. */
export function formerVoters(register: Register, attempt: Attempt): readonly Voter[] | null {
  const value = attempt.proposal?.value;
  if (value === undefined || !isClusterRecord(value) || value.former === undefined) return null;
  const { former, version } = value;
  if (attempt.acceptedFormer.size >= majorityOf(former.length)) return null;
  if ((register.known?.record?.version ?? 0) >= version) return null;
  for (const [node, found] of attempt.promises) {
    const proves = !former.some((voter) => voter.node === node);
    if (proves && found?.proposal.value.version === version) return null;
  }
  return former;
}

/** Counts an ACCEPTED: `enough` once the voters before have settled it, `null` where they need not. */
export function countFormer(
  register: Register,
  attempt: Attempt,
  from: string,
  voterId: string,
): "waits" | "enough" | null {
  const former = formerVoters(register, attempt);
  if (former === null) return null;
  if (voteOf(former, from, voterId)) attempt.acceptedFormer.add(from);
  return formerVoters(register, attempt) === null ? "enough" : "waits";
}

/** The voters before, to be named by a change of the list to `next`; undefined: majorities meet anyway. */
export function formerOf(
  { voters }: ClusterRecord,
  next: readonly Voter[],
): readonly Voter[] | undefined {
  const comes = next.some(({ node }) => !voters.some((voter) => voter.node === node));
  const goes = voters.some(({ node }) => !next.some((voter) => voter.node === node));
  return comes && goes ? voters : undefined;
}

/** A change of a record that is known to be chosen needs the voters before that one no more. */
export function withoutFormer(register: Register, proposal: Proposal): Proposal {
  const { value } = proposal;
  const before = register.known?.record ?? null;
  if (!isClusterRecord(value) || before === null || !isClusterRecord(before)) return proposal;
  if (value.former === undefined || value.former !== before.former) return proposal;
  const { former: _settled, ...rest } = value;
  return { ...proposal, value: rest };
}
