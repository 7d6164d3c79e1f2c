/**
 * The first record of a group: nobody knows yet who holds the data, so every replica has to be heard.
 *
 * A replica that carries data takes before blank ones; carriers of different generations are never
 * chosen between. The record names the taker alone as up to date. That is the simplest safe start:
 * the other replicas join by a resync, which finds nothing to copy where both read as zeroes.
 */

import type { VolumeConfig } from "../config/types.ts";
import { rankCandidates } from "./candidates.ts";
import { type Decision, wait } from "./decision.ts";
import type { OwnershipInput } from "./ownership.ts";

/** Decides whether this node makes the first record of the group. */
export function firstTake(input: OwnershipInput): Decision {
  const other = input.nodes.find(({ alive, sameConfig }) => alive && !sameConfig);
  if (other !== undefined) {
    return wait(
      "config-differs",
      `${other.node} runs another configuration: a new group starts when all run the same; ` +
        `copy the file there and say "bascule config push"`,
    );
  }
  const missing = missingReplica(input);
  if (missing !== null) return wait("first-take-waits", missing);
  let able = rankCandidates(input).filter(({ against }) => against === null).map(({ node }) =>
    node
  );
  for (const volume of input.volumes) {
    const { carriers, halves, members } = carriersOf(input, volume);
    if (carriers.size === 0 && halves.length > 0) {
      return wait(
        "first-take-conflict",
        `Only half-synchronized or failed replicas of ${volume.name} carry data ` +
          `(${halves.join(", ")}): mend one, or make it anew with "bascule volume create --force"`,
      );
    }
    if (carriers.size === 0) continue;
    const generations = new Set([...carriers.values()]);
    if (generations.size > 1) {
      return wait(
        "first-take-conflict",
        `Replicas of ${volume.name} on ${
          [...carriers.keys()].join(" and ")
        } carry different data: ` +
          `say "bascule volume promote ${volume.name} --force" on the node whose data are to ` +
          `count, and the other keeps its own apart`,
        Object.fromEntries(carriers),
      );
    }
    // One that had joined, but was no member yet when it went, bears the generation without the writes
    // that came after it.
    able = able.filter((node) => members.length > 0 ? members.includes(node) : carriers.has(node));
  }
  const first = able[0];
  if (first === undefined) {
    return wait("no-candidate", "No node that could run the group holds all of its data", {});
  }
  const rank = able.indexOf(input.self.node);
  if (rank < 0) return { ...wait("other-takes", `${first} shall take the group`), to: first };
  if (input.booting) {
    return wait("booting", "Some nodes have not been heard since the start");
  }
  if (rank > 0 && input.waitedFor < rank * input.delayPerRank) {
    const waits = wait("after-you", `${first} may take the group first`);
    return { ...waits, to: first, waitsFor: first };
  }
  return {
    action: "take",
    to: input.self.node,
    why: {
      rule: "first-take",
      text: `${input.self.node} makes the first record of the group`,
      known: { candidates: able.join(" ") },
    },
  };
}

function missingReplica(input: OwnershipInput): string | null {
  for (const volume of input.volumes) {
    for (const { node } of volume.replicas) {
      const facts = input.nodes.find((each) => each.node === node);
      if (!facts?.alive || facts.phase === null) {
        return `${node} was not heard yet, and its replica of ${volume.name} may carry the data`;
      }
      const replica = facts.replicas[volume.name];
      if (replica === undefined || replica.replicaId === "") {
        return `The replica of ${volume.name} on ${node} has no metadata: ` +
          `"bascule volume create ${volume.name}" makes it there`;
      }
    }
  }
  return null;
}

/**
 * Nodes whose replica carries data, with its generation; a half copy or a lost disk is no carrier.
 * `members`: those that knew themselves in the in-sync set last.
 */
function carriersOf(
  input: OwnershipInput,
  volume: VolumeConfig,
): {
  readonly carriers: ReadonlyMap<string, string>;
  readonly halves: readonly string[];
  readonly members: readonly string[];
} {
  const carriers = new Map<string, string>();
  const members: string[] = [];
  const halves: string[] = [];
  for (const { node } of volume.replicas) {
    const replica = input.nodes.find((each) => each.node === node)!.replicas[volume.name]!;
    if (replica.disk === "Diskless") halves.push(node);
    else if (replica.blank === "no") {
      if (replica.disk === "Inconsistent") halves.push(node);
      else {
        carriers.set(node, replica.generation);
        if (replica.disk === "UpToDate") members.push(node);
      }
    }
  }
  return { carriers, halves, members };
}
