/**
 * The way on where no node holds the newest data of every volume of a group: each of two holds those of
 * some, after failures of disks or losses of power that hit different volumes. One of them takes the
 * group for its part alone and starts nothing but these volumes; their replicas on the other are
 * synchronized; then that one holds everything, is released to, and runs the group.
 *
 * The set of a volume that is left to the other keeps its generation and loses the taker's own replica:
 * nothing writes to that volume before the other takes it, as a member and from `released`.
 */

import { factsOf, nodeObjection } from "./candidates.ts";
import { type Decision, none, release } from "./decision.ts";
import { replicaFitness } from "./fitness.ts";
import type { NodeFacts, OwnershipInput } from "./ownership.ts";
import type { GroupRecord } from "./types.ts";

/** Who may take a part of a group, and whom that makes able to run all of it. */
export interface ResyncFirst {
  readonly source: string;
  /** Names of the volumes whose newest data the source holds. */
  readonly volumes: readonly string[];
  /** It holds the newest data of all the others. */
  readonly target: string;
  /** By name of the other volumes: the target's replica. */
  readonly leaves: Readonly<Record<string, string>>;
}

/** All ways, the sources in the given order. */
export function resyncsFirst(
  input: OwnershipInput,
  record: GroupRecord,
  order: readonly string[],
): ResyncFirst[] {
  const waits = input.volumes.some(({ afterPowerLoss }) => afterPowerLoss === "go");
  // Then one that may miss writes is let go, and may be able to run all.
  if (waits && !input.initdeadPassed) return [];
  const ready = order.flatMap((node) => {
    const facts = factsOf(input, node);
    if (facts === undefined || nodeObjection(facts) !== null) return [];
    // One that has not told of all its replicas yet may be able to run all.
    const isHeard = input.volumes.every(({ name }) =>
      (facts.replicas[name]?.replicaId ?? "") !== ""
    );
    return isHeard ? [facts] : [];
  });
  return ready.flatMap((source) => {
    const volumes = fitFor(input, record, source);
    if (volumes.length === 0 || volumes.length === input.volumes.length) return [];
    const target = ready.find((each) => each !== source && completes(input, record, each, volumes));
    if (target === undefined) return [];
    const left = input.volumes.map(({ name }) => name).filter((name) => !volumes.includes(name));
    const leaves = Object.fromEntries(left.map((name) => [name, target.replicas[name]!.replicaId]));
    return [{ source: source.node, volumes, target: target.node, leaves }];
  });
}

/** The owner of a part keeps it until `best`, a node that may run the group, has all the newest data. */
export function keepPart(
  input: OwnershipInput,
  record: GroupRecord,
  part: readonly string[],
  best: string | undefined,
): Decision {
  const { self: { node: self }, group: { candidates }, nodes } = input;
  const names = part.join(", ");
  if (best !== undefined) {
    const text = `${best} has the newest data of all volumes now: it runs the group`;
    return release("resynced", text, best);
  }
  const leads = resyncsFirst(input, record, candidates).some(({ source }) => source === self);
  const others = nodes.filter(({ node }) => node !== self && candidates.includes(node));
  if (!leads && others.every(({ alive, phase }) => alive && phase === "running")) {
    const text = `No node can become able to run the group by a resync of ${names} from here`;
    return release("resync-first-ends", text, undefined);
  }
  return none(
    "resync-first",
    `${self} has the newest data of ${names}, but not of the group's other volumes: another node ` +
      `that has those runs the group when ${names} ${part.length > 1 ? "are" : "is"} in sync there`,
    { volumes: names },
  );
}

/** Volumes of which the node's replica may become Primary. */
function fitFor(
  input: OwnershipInput,
  record: GroupRecord,
  facts: NodeFacts,
): string[] {
  return input.volumes.filter((volume) => replicaFitness(input, record, volume, facts) === null)
    .map(({ name }) => name);
}

/** Whether the node can receive these volumes and then holds the newest data of all. */
function completes(
  input: OwnershipInput,
  record: GroupRecord,
  facts: NodeFacts,
  volumes: readonly string[],
): boolean {
  const fit = fitFor(input, record, facts);
  return input.volumes.every(({ name }) => {
    if (!volumes.includes(name)) return fit.includes(name);
    return facts.replicas[name]!.disk !== "Diskless";
  });
}
