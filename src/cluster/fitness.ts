/** Whether a replica may become Primary: the in-sync set names it, and it is what the set means. */

import type { VolumeConfig } from "../config/types.ts";
import type { NodeFacts, OwnershipInput } from "./ownership.ts";
import type { GroupRecord, ReplicaHealth } from "./types.ts";

/**
 * What keeps the replica of a node from taking, as the end of a sentence about the node; null:
 * nothing. A member is recognised by replica id and generation in its superblock, never by the
 * node's name: a blank disk or a restored snapshot in a member's place is none.
 */
export function replicaFitness(
  input: OwnershipInput,
  record: GroupRecord,
  volume: VolumeConfig,
  facts: NodeFacts,
): string | null {
  const { name } = volume;
  const replica = facts.replicas[name];
  if (replica === undefined || replica.replicaId === "") return `has no replica of ${name}`;
  const members = record.volumes[name];
  if (members === undefined) return `cannot take ${name}: the group's record does not name it`;
  if (!members.upToDate.includes(replica.replicaId)) return `has no up-to-date replica of ${name}`;
  if (replica.generation !== members.generation) return `holds another generation of ${name}`;
  if (replica.disk === "Inconsistent") return `holds a half-synchronized replica of ${name}`;
  if (replica.disk === "Diskless") return `lost its disk of ${name}`;
  if (!replica.unclean || members.upToDate.length === 1) return null;
  if (volume.afterPowerLoss === "go" && input.initdeadPassed) return null;
  const others = members.upToDate.filter((id) => id !== replica.replicaId);
  if (others.every((id) => heardReplica(input.nodes, name, id)?.unclean === true)) return null;
  return `may miss the last writes of ${name} since its power loss`;
}

/** What a live node says about the replica with this id. */
function heardReplica(
  nodes: readonly NodeFacts[],
  volume: string,
  replicaId: string,
): ReplicaHealth | undefined {
  for (const { alive, replicas } of nodes) {
    const replica = replicas[volume];
    if (alive && replica?.replicaId === replicaId) return replica;
  }
  return undefined;
}
