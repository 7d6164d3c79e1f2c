/**
 * Who shall own a group: a pure function of record, membership, health and configuration, which also
 * says why. Every node computes it for itself and acts only on its own part of the answer; whoever is
 * first in the order takes at once, the others a little later, so that two candidates do not duel.
 */

import type { GroupConfig, VolumeConfig } from "../config/types.ts";
import { sameRun } from "./ballot.ts";
import { byReach, rankCandidates, type Ranked } from "./candidates.ts";
import { firstTake } from "./first_take.ts";
import { type Decision, none, type Reason, release, wait } from "./decision.ts";
import { keepPart, resyncsFirst } from "./resync_first.ts";
import type { AgentPhase, GroupFailure, GroupRecord, NodeRun, ReplicaHealth } from "./types.ts";

/** What is known about one configured node, this one included. */
export interface NodeFacts {
  readonly node: string;
  readonly incarnation: number;
  readonly alive: boolean;
  /** null: alive but its first heartbeat is still to come, or never heard. */
  readonly phase: AgentPhase | null;
  /** Milliseconds since it came alive; Infinity for this node. */
  readonly aliveFor: number;
  readonly standby: boolean;
  /** Milliseconds since when it has been alive, unfailed, on all its links and connected no worse. */
  readonly calmFor: number;
  /** Why the group may not run there for now. */
  readonly failed: GroupFailure | null;
  /** How many of the group's ping targets it reaches; null: not measured yet. */
  readonly reaches: number | null;
  /** Milliseconds since when it has reached more of them than this node. */
  readonly betterFor: number;
  /** It runs the same configuration as this node, or has not said which. */
  readonly sameConfig: boolean;
  /** By volume. */
  readonly replicas: Readonly<Record<string, ReplicaHealth>>;
}

/** Everything the decision rests on. */
export interface OwnershipInput {
  readonly group: GroupConfig;
  readonly volumes: readonly VolumeConfig[];
  readonly self: NodeRun;
  /** All configured nodes in file order. */
  readonly nodes: readonly NodeFacts[];
  /** Known chosen; null: the register is empty. */
  readonly record: GroupRecord | null;
  readonly quorum: boolean;
  /** Milliseconds for which a quorum has been heard without a break. */
  readonly quorumFor: number;
  readonly maintenance: boolean;
  /** The recorded owner is this run and it has not begun to stop. */
  readonly serving: boolean;
  /** The volumes that it took the group for; null: all. See `resync_first.ts`. */
  readonly part: readonly string[] | null;
  /** Only replicas here are up to date, durably so: nobody else can take the group. */
  readonly sole: boolean;
  /** Milliseconds for which the group has had no owner that may still hold a lease; null: it has. */
  readonly freeFor: number | null;
  /** Milliseconds since this node began to wait for the candidate that is first now. */
  readonly waitedFor: number;
  /** Not all nodes were heard yet and initdead has not passed. */
  readonly booting: boolean;
  readonly initdeadPassed: boolean;
  /** Extra delay per place in the order, milliseconds. */
  readonly delayPerRank: number;
  /** How long a node must have been alive before the group goes back to it, milliseconds. */
  readonly settleTime: number;
  /** How long it must have reached more ping targets before the group goes there, milliseconds. */
  readonly pingSettle: number;
}

/** Decides for this node. */
export function decide(input: OwnershipInput): Decision {
  const { record, self } = input;
  if (!input.quorum && input.sole) {
    return none("sole", "No majority of voters is heard, but only the data here are up to date");
  }
  if (!input.quorum) {
    return wait("no-quorum", "No majority of voters is heard: nothing is taken or moved");
  }
  if (input.maintenance) {
    return none("maintenance", "The cluster is in maintenance: groups stay where they are");
  }
  if (record !== null && sameRun(record.owner, self) && input.serving) return decideAsOwner(input);
  if (input.freeFor === null) {
    const owner = record?.owner?.node ?? "nobody";
    return none("owned", `${owner} owns the group and may hold its lease`, { owner });
  }
  if (record === null) return firstTake(input);
  return decideAsCandidate(input, record);
}

function decideAsOwner(input: OwnershipInput): Decision {
  const { record, self } = input;
  const own = input.nodes.find((facts) => facts.node === self.node)!;
  const ranked = rankCandidates(input);
  const ownRank = ranked.findIndex(({ node }) => node === self.node);
  const others = ranked.filter(({ node, against }) => node !== self.node && against === null);
  const best = others[0]?.node;
  if (own.standby) {
    const text = best === undefined
      ? `${self.node} is in standby, and no other node can run the group: it stops`
      : `${self.node} is in standby: the group goes to ${best}`;
    return release("standby", text, best);
  }
  if (input.part !== null) return keepPart(input, record!, input.part, best);
  const wanted = record?.wanted;
  if (wanted !== undefined && wanted !== self.node && best === wanted) {
    return release("moved", `An operator moved the group to ${wanted}`, wanted);
  }
  const better = connectivity(input, own, others);
  if (better !== null) return better;
  const bestRank = ranked.findIndex(({ node }) => node === best);
  if (wanted !== self.node && best !== undefined && bestRank < ownRank) {
    const back = failback(input, best);
    if (back !== null) return back;
  }
  return none("serving", `${self.node} owns and serves the group`, { epoch: record?.epoch ?? 0 });
}

/** Whether the group goes to a node that has reached more ping targets for long enough. */
function connectivity(
  input: OwnershipInput,
  own: NodeFacts,
  others: readonly Ranked[],
): Decision | null {
  const { group: { ping }, pingSettle } = input;
  const [first] = others;
  if (first === undefined || own.reaches === null || first.reaches === null) return null;
  if (first.reaches <= own.reaches) return null;
  const { node, reaches } = first;
  const betterFor = input.nodes.find((each) => each.node === node)!.betterFor;
  const known = { to: node, reaches, own: own.reaches, of: ping.length, betterForMs: betterFor };
  const text = `${node} reaches ${reaches} of ${ping.length} ping targets, ` +
    `${own.node} ${own.reaches}`;
  if (betterFor < pingSettle) {
    return none("connectivity-soon", `${text}: the group goes there if that lasts`, known);
  }
  return release(
    "connectivity",
    `${text}, for ${pingSettle} ms: the group goes there`,
    node,
    known,
  );
}

/** Whether the group goes back to a preferred node now; null: it is not to go there. */
function failback({ group, nodes, settleTime }: OwnershipInput, best: string): Decision | null {
  if (group.failback === "never" || !group.prefer.includes(best)) return null;
  const { aliveFor, calmFor, sameConfig } = nodes.find(({ node }) => node === best)!;
  if (!sameConfig) {
    // It may prefer this node, and give the group back at once, for ever.
    return none("failback-config", `${best} is preferred here but runs another configuration`, {
      to: best,
    });
  }
  if (group.failback === "now") {
    return aliveFor >= settleTime
      ? release("failback", `${best} is preferred and able again: the group goes back`, best)
      : none("failback-soon", `${best} is preferred and has just come back`, { to: best });
  }
  const { after } = group.failback;
  const known = { to: best, calmForMs: calmFor, afterMs: after };
  const text = `${best} is preferred and has been without trouble for ${
    Math.floor(calmFor / 1000)
  } s`;
  return calmFor >= after
    ? release("failback", `${text}: the group goes back`, best, known)
    : none("failback-soon", `${text}: the group goes back after ${after / 1000} s`, known);
}

function decideAsCandidate(input: OwnershipInput, record: GroupRecord): Decision {
  const { self, freeFor } = input;
  if (
    record.owner !== null && record.owner.node !== self.node &&
    input.quorumFor < input.delayPerRank
  ) {
    // What mends the way to a majority mends as a rule that to the owner too, a moment earlier or later.
    const { node } = record.owner;
    const text = `A majority is heard again just now: ${node} may be heard in a moment too`;
    return wait("quorum-new", text, { owner: node, forMs: input.quorumFor });
  }
  const ranked = byReach(input, againFirst(rankCandidates(input), record));
  // An owner that lives but lost its lease cannot serve: somebody else has to.
  const others = ranked.filter(({ node }) =>
    !(record.owner?.node === node && node !== self.node && lives(input, record))
  );
  const able = others.filter(({ against }) => against === null).map(({ node }) => node);
  // What is found only where nobody is able.
  const parts = able.length > 0 ? [] : resyncsFirst(input, record, ranked.map(({ node }) => node))
    .filter(({ source }) => others.some(({ node }) => node === source));
  const takers = able.length > 0 ? able : parts.map(({ source }) => source);
  const known: Record<string, string | number | boolean> = {
    owner: record.owner?.node ?? "released",
    epoch: record.epoch,
    freeForMs: freeFor ?? 0,
  };
  for (const { node, against } of ranked) if (against !== null) known[node] = against;
  const first = takers[0];
  if (first === undefined) {
    return wait("no-candidate", noCandidate(input, ranked), known);
  }
  const rank = takers.indexOf(self.node);
  if (rank < 0) {
    return { ...wait("other-takes", `${first} shall take the group`, known), to: first };
  }
  if (input.booting && record.owner?.node !== self.node) {
    return wait("booting", "Some nodes have not been heard since the start", known);
  }
  const forPart = parts.length > 0;
  const patience = rank * input.delayPerRank + (forPart ? input.settleTime : 0);
  if (input.waitedFor < patience) {
    const waits = rank === 0
      ? wait("resync-first-soon", "No node has the newest data of all volumes, now", known)
      : wait("after-you", `${first} may take the group first`, known);
    return { ...waits, to: first, waitsFor: forPart ? `${first} for a part` : first };
  }
  const from = record.owner === null
    ? "it is released"
    : record.owner.node === self.node
    ? "its last owner was an earlier run of this node"
    : `${record.owner.node} has no lease any more`;
  const part = parts[rank];
  if (part !== undefined) {
    const names = part.volumes.join(", ");
    const text =
      `No node has the newest data of all volumes. ${self.node} takes the group to bring ` +
      `${names} to ${part.target}, which has the rest and then runs it: ${from}`;
    const why = { rule: "resync-first", text, known: { ...known, for: part.target } };
    return { action: "take", to: self.node, leaves: part.leaves, why };
  }
  const why: Reason = { rule: "take", text: `${self.node} takes the group: ${from}`, known };
  return { action: "take", to: self.node, why };
}

/** Says what keeps each candidate from running the group, and the way out where there is one. */
function noCandidate({ group, nodes }: OwnershipInput, ranked: readonly Ranked[]): string {
  const against = ranked.map(({ node, against }) => `${node} ${against ?? "cannot take it yet"}`);
  const failed = nodes.some(({ node, failed }) =>
    failed !== null && group.candidates.includes(node)
  );
  const way = failed
    ? `; mend it, then "bascule cleanup ${group.name}" lets it be tried at once`
    : "";
  return `No node can run the group now: ${against.join("; ")}${way}`;
}

/** The last owner comes before all but the operator's choice: its new run may take at once. */
function againFirst(ranked: Ranked[], record: GroupRecord): Ranked[] {
  const place = (node: string) => node === record.wanted ? 0 : node === record.owner?.node ? 1 : 2;
  return ranked.map((each, index) => ({ each, index }))
    .sort((a, b) => place(a.each.node) - place(b.each.node) || a.index - b.index)
    .map(({ each }) => each);
}

function lives(input: OwnershipInput, record: GroupRecord): boolean {
  return input.nodes.some((facts) =>
    facts.alive && record.owner !== null && facts.node === record.owner.node &&
    facts.incarnation === record.owner.incarnation
  );
}
