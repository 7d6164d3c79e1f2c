/** New replicas on new disks, as `bascule volume create` makes them. */

import { formatMetadata } from "../volume/metadata/format.ts";
import { geometry } from "../volume/metadata/layout.ts";
import type { Chance } from "./chance.ts";
import { VOLUME } from "./configuration.ts";
import { Disk } from "./disk.ts";
import type { Options } from "./options.ts";

/** Slots of the activity log of a volume that has more extents than that. */
const FEW_SLOTS = 12;
/** What a used disk holds in every block: no write ever had this value. */
const GARBAGE = -1;

/** Makes the n-th replica of a machine; the first is on a disk of zeroes, later ones on used disks. */
export function createReplica(options: Options, node: string, nth: number, chance: Chance): Disk {
  const size = options.blocks * 4096;
  const alExtents = options.blocks > FEW_SLOTS * 1024 ? FEW_SLOTS : 67;
  const region = new Uint8Array(geometry(size, alExtents).bytes);
  const replicaId = `replica-${node}-${nth}`;
  const init = {
    volume: VOLUME,
    size,
    alExtents,
    replicaId,
    storage: `storage-${node}-${nth}`,
    generation: `random-${node}-${nth}`,
    blank: nth === 1 ? "zero" : "unknown",
    bootId: "",
  } as const;
  for (const { offset, bytes } of formatMetadata(init)) region.set(bytes, offset);
  const disk = new Disk(replicaId, options.blocks, region, options.volatileCache, chance);
  if (nth > 1) {
    disk.cache.fill(GARBAGE);
    disk.stable.fill(GARBAGE);
  }
  return disk;
}
