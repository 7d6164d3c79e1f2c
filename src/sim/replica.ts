/** New replicas on new disks, as `bascule volume create` makes them. */

import { formatMetadata } from "../volume/metadata/format.ts";
import { geometry } from "../volume/metadata/layout.ts";
import type { Chance } from "./chance.ts";
import type { VolumeConfig } from "../config/types.ts";
import { Disk } from "./disk.ts";

/** Slots of the activity log of a volume that has more extents than that. */
const FEW_SLOTS = 12;
/** What a used disk holds in every block: no write ever had this value. */
const GARBAGE = -1;

/**
 * Makes the n-th disk of a machine for a replica.
 *
 * @param used the disk holds something else's data, not zeroes
 */
export function createReplica(
  { name, size }: VolumeConfig,
  node: string,
  nth: number,
  used: boolean,
  volatileCache: boolean,
  chance: Chance,
): Disk {
  const blocks = size / 4096;
  const alExtents = blocks > FEW_SLOTS * 1024 ? FEW_SLOTS : 67;
  const region = new Uint8Array(geometry(size, alExtents).bytes);
  const replicaId = `replica-${node}-${nth}`;
  const init = {
    volume: name,
    size,
    alExtents,
    replicaId,
    storage: `storage-${node}-${nth}`,
    generation: `random-${node}-${nth}`,
    blank: used ? "unknown" : "zero",
    bootId: "",
  } as const;
  for (const { offset, bytes } of formatMetadata(init)) region.set(bytes, offset);
  const disk = new Disk(replicaId, blocks, region, volatileCache, chance);
  if (used) {
    disk.cache.fill(GARBAGE);
    disk.stable.fill(GARBAGE);
  }
  return disk;
}
