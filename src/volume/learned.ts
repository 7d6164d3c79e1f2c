/** What a replica that is not Primary of a record's epoch writes down of it. */

import type { VolumeRecord } from "../cluster/types.ts";
import { adopt } from "./generations.ts";
import type { Superblock } from "./metadata/superblock.ts";

/** The change of the superblock by a known-chosen record; null: it holds all of it already. */
export function learned(
  own: Superblock,
  epoch: number,
  { generation, upToDate }: VolumeRecord,
): Partial<Superblock> | null {
  const newer = epoch > own.epoch;
  // Before another is minted: the superblock has room for one, and the record would name nobody.
  const chosen = own.pending === generation && upToDate.includes(own.replicaId);
  if (!newer && !chosen && sameList(upToDate, own.upToDate)) return null;
  return {
    upToDate,
    // A pending generation that differs stays: its proposal may be under way, and one that was
    // not chosen equals no record, so nobody is misled by it.
    ...(newer ? { sole: null } : {}),
    ...(chosen ? { pending: null, generations: adopt(own.generations, generation) } : {}),
  };
}

/** Whether both hold the same, in the same order. */
export function sameList(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((id, index) => id === other[index]);
}
