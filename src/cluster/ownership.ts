/**
 * Who shall own a group: a pure function of record, membership, health and configuration, which also
 * says why. Every node computes it for itself and acts only on its own part of the answer; whoever is
 * first in the order takes at once, the others a little later, so that two candidates do not duel.
 */

import type { GroupConfig, VolumeConfig } from "../config/types.ts";
import { sameRun } from "./ballot.ts";
import { rankCandidates, type Ranked } from "./candidates.ts";
import { firstTake } from "./first_take.ts";
import type { AgentPhase, GroupRecord, NodeRun, ReplicaHealth } from "./types.ts";

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
  /** Why the group may not run there until it is cleaned up. */
  readonly failed: string | null;
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
}

/** Why something is, or is not, done. */
export interface Reason {
  readonly rule: string;
  readonly text: string;
  readonly known: Readonly<Record<string, string | number | boolean>>;
}

/** What this node shall do about the group now. */
export interface Decision {
  readonly action: "none" | "take" | "release" | "wait";
  /** Who is expected to own it next. */
  readonly to?: string;
  readonly why: Reason;
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

function none(rule: string, text: string, known: Reason["known"] = {}): Decision {
  return { action: "none", why: { rule, text, known } };
}

function wait(rule: string, text: string, known: Reason["known"] = {}): Decision {
  return { action: "wait", why: { rule, text, known } };
}

function decideAsOwner(input: OwnershipInput): Decision {
  const { record, self, group } = input;
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
  const wanted = record?.wanted;
  if (wanted !== undefined && wanted !== self.node && best === wanted) {
    return release("moved", `An operator moved the group to ${wanted}`, wanted);
  }
  if (group.failback === "now" && wanted !== self.node && best !== undefined) {
    const settled = input.nodes.find(({ node }) => node === best)!.aliveFor >= input.settleTime;
    const bestRank = ranked.findIndex(({ node }) => node === best);
    if (group.prefer.includes(best) && bestRank < ownRank) {
      if (settled) {
        return release(
          "failback",
          `${best} is preferred and able again: the group goes back`,
          best,
        );
      }
      return none("failback-soon", `${best} is preferred and has just come back`, { to: best });
    }
  }
  return none("serving", `${self.node} owns and serves the group`, { epoch: record?.epoch ?? 0 });
}

function release(rule: string, text: string, to: string | undefined): Decision {
  const why = { rule, text, known: { to: to ?? "nobody" } };
  return to === undefined ? { action: "release", why } : { action: "release", to, why };
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
  const ranked = againFirst(rankCandidates(input), record);
  // An owner that lives but lost its lease cannot serve: somebody else has to.
  const able = ranked.filter(({ node, against }) =>
    against === null && !(record.owner?.node === node && node !== self.node && lives(input, record))
  );
  const known: Record<string, string | number | boolean> = {
    owner: record.owner?.node ?? "released",
    epoch: record.epoch,
    freeForMs: freeFor ?? 0,
  };
  for (const { node, against } of ranked) if (against !== null) known[node] = against;
  const first = able[0]?.node;
  if (first === undefined) {
    return wait("no-candidate", "No node can run the group now", known);
  }
  const rank = able.findIndex(({ node }) => node === self.node);
  if (rank < 0) {
    return { ...wait("other-takes", `${first} shall take the group`, known), to: first };
  }
  if (input.booting && record.owner?.node !== self.node) {
    return wait("booting", "Some nodes have not been heard since the start", known);
  }
  if (rank > 0 && input.waitedFor < rank * input.delayPerRank) {
    return { ...wait("after-you", `${first} may take the group first`, known), to: first };
  }
  const from = record.owner === null
    ? "it is released"
    : record.owner.node === self.node
    ? "its last owner was an earlier run of this node"
    : `${record.owner.node} has no lease any more`;
  const why: Reason = { rule: "take", text: `${self.node} takes the group: ${from}`, known };
  return { action: "take", to: self.node, why };
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
