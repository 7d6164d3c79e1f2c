/** Who could run a group, in which order, and what speaks against each. */

import type { GroupConfig } from "../config/types.ts";
import { replicaFitness } from "./fitness.ts";
import type { NodeFacts, OwnershipInput } from "./ownership.ts";
import type { GroupRecord } from "./types.ts";

/** A candidate and what speaks against it now; null: nothing. */
export interface Ranked {
  readonly node: string;
  readonly against: string | null;
  /** How many of the group's ping targets it reaches; null: not known. */
  readonly reaches: number | null;
}

/**
 * Nodes that could run the group, most wanted first, each with what speaks against it now. Whoever
 * reaches more ping targets is more wanted, whatever is preferred; what is not known counts as well.
 */
export function rankCandidates(
  input: OwnershipInput,
): Ranked[] {
  const ranked = candidateOrder(input.group, input.record).map((node) => {
    const facts = factsOf(input, node);
    return {
      node,
      against: facts ? objection(input, facts) : "is not in the configuration",
      reaches: facts?.reaches ?? null,
    };
  });
  return byReach(input, ranked);
}

/** The same order, but those that reach fewer targets after those that reach more. */
export function byReach(input: OwnershipInput, ranked: readonly Ranked[]): Ranked[] {
  const score = ({ reaches }: Ranked) => reaches ?? input.group.ping.length;
  return ranked.toSorted((a, b) => score(b) - score(a));
}

/** The operator's choice, then `prefer`, then the other candidates in file order. */
function candidateOrder(group: GroupConfig, record: GroupRecord | null): string[] {
  const wanted = record?.wanted === undefined ? [] : [record.wanted];
  const all = [...wanted, ...group.prefer, ...group.candidates];
  return all.filter((node, index) =>
    group.candidates.includes(node) && all.indexOf(node) === index
  );
}

/** What is known about a node; undefined: it is not in the configuration. */
export function factsOf({ nodes }: OwnershipInput, node: string): NodeFacts | undefined {
  return nodes.find((each) => each.node === node);
}

/** What keeps a node from taking the group now, as the end of a sentence about it; null: nothing. */
export function objection(input: OwnershipInput, facts: NodeFacts): string | null {
  const against = nodeObjection(facts);
  if (against !== null || input.record === null) return against;
  for (const volume of input.volumes) {
    const unfit = replicaFitness(input, input.record, volume, facts);
    if (unfit !== null) return unfit;
  }
  return null;
}

/** The same, whatever its replicas hold. */
export function nodeObjection(facts: NodeFacts): string | null {
  if (!facts.alive) return "is not heard";
  if (facts.phase === null) return "has not said how it is";
  if (facts.phase === "stopping") return "is stopping";
  if (facts.standby) return "is in standby";
  if (facts.failed !== null) {
    const { reason, count, againIn } = facts.failed;
    const times = count > 1 ? ` ${count} times` : "";
    const again = againIn === undefined ? "" : `; again in ${Math.ceil(againIn / 1000)} s`;
    return `failed the group${times} (${reason}${again})`;
  }
  return null;
}
