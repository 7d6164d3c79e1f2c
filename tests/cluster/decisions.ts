/** What decisions about a group rest on, where nothing is wrong. */

import type { NodeFacts, OwnershipInput } from "../../src/cluster/ownership.ts";
import type { ReplicaHealth } from "../../src/cluster/types.ts";

export const GENERATION = "0123456789abcdef";

/** A whole replica with this id. */
export function healthOf(replicaId: string, change: Partial<ReplicaHealth> = {}): ReplicaHealth {
  return {
    replicaId,
    disk: "UpToDate",
    generation: GENERATION,
    epoch: 3,
    unclean: false,
    blank: "no",
    ...change,
  };
}

/** A node that is well. */
export function factsAbout(node: string, change: Partial<NodeFacts>): NodeFacts {
  return {
    node,
    incarnation: 1,
    alive: true,
    phase: "running",
    aliveFor: 60_000,
    standby: false,
    calmFor: 60_000,
    failed: null,
    reaches: 0,
    betterFor: 0,
    sameConfig: true,
    replicas: {},
    ...change,
  };
}

/** A cluster at rest whose group has no owner any more. */
export const CALM: Omit<OwnershipInput, "group" | "volumes" | "self" | "nodes" | "record"> = {
  quorum: true,
  quorumFor: 60_000,
  sole: false,
  maintenance: false,
  serving: false,
  part: null,
  freeFor: 0,
  waitedFor: 0,
  booting: false,
  initdeadPassed: true,
  delayPerRank: 400,
  settleTime: 1000,
  pingSettle: 5000,
};
