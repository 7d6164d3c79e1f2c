/** Whether a replica may become Primary: what its superblock says, against the record. */

import type { VolumeContext } from "./context.ts";
import type { VolumeOrder } from "./types.ts";

/** The order to become Primary. */
export type Promote = Extract<VolumeOrder, { type: "promote" }>;

/** Why this replica may not be Primary of that epoch; null if it may. */
export function unfitFor(context: VolumeContext, order: Promote): string | null {
  const { superblock, replicaId, init } = context;
  const own = superblock.value;
  const { record } = order;
  if (!record.upToDate.includes(replicaId)) return "it is not in the in-sync set";
  if (own.inconsistent) return "its data are Inconsistent";
  if (record.generation !== own.generations.current && record.generation !== own.pending) {
    return `its generation is ${own.generations.current}, the record's ${record.generation}`;
  }
  if (order.epoch > own.epoch) {
    return order.lineage === null ? "the lineage of the cluster's data is not known yet" : null;
  }
  const resumes = order.epoch === own.epoch && own.sole?.epoch === order.epoch &&
    (own.sole.bootId === init.bootId || init.soleBoot);
  return resumes ? null : `epoch ${order.epoch} is past, it has served or seen ${own.epoch}`;
}
