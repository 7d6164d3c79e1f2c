/**
 * What would be found if everything stopped at this moment: the metadata of every replica, as a loss
 * of power would leave them, can be read, have forgotten nothing that was relied upon, and name every
 * block in which two replicas differ.
 */

import { EXTENT_BLOCKS } from "../volume/metadata/layout.ts";
import { type Metadata, readMetadata } from "../volume/metadata/format.ts";
import type { VolumeReport } from "../volume/types.ts";
import type { VolumeConfig } from "../config/types.ts";
import type { Disk } from "./disk.ts";
import type { Machine } from "./machine.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";

/** Throws a `Violation` of P5 if anything that is durable now would not do. */
export function checkDurable(world: World): void {
  for (const volume of world.config.volumes) {
    const found: { machine: Machine; disk: Disk; metadata: Metadata }[] = [];
    for (const machine of world.machines) {
      const disk = machine.disks.get(volume.name);
      if (disk === undefined) continue;
      const metadata = reload(machine, volume, disk);
      const report = machine.agent?.volumes.get(volume.name)?.plane?.state;
      if (report !== undefined) compare(machine.name, volume.name, metadata, report);
      found.push({ machine, disk, metadata });
    }
    const [one, other] = found;
    if (world.survivors?.isApart(volume.name)) continue;
    if (one !== undefined && other !== undefined && world.options.power === "none") {
      checkNamed(volume.name, one, other, world.history(volume.name).written);
    }
  }
}

function reload({ name }: Machine, volume: VolumeConfig, disk: Disk): Metadata {
  try {
    return readMetadata(disk.afterPowerLoss(), { volume: volume.name, size: volume.size });
  } catch (error) {
    throw new Violation("P5", `the replica of ${volume.name} on ${name} would not open: ${error}`);
  }
}

/** A report says what is durable: a reload must not say less. */
function compare(
  node: string,
  volume: string,
  { superblock }: Metadata,
  report: VolumeReport,
): void {
  const forgotten = (what: string, was: unknown, is: unknown) =>
    new Violation("P5", `${node} relies on ${what} ${was} of ${volume}; a reload finds ${is}`);
  if (superblock.replicaId !== report.replicaId) {
    throw forgotten("replica id", report.replicaId, superblock.replicaId);
  }
  if (superblock.epoch < report.epoch) throw forgotten("epoch", report.epoch, superblock.epoch);
  if (report.sole !== null && superblock.sole !== null && superblock.sole.epoch < report.sole) {
    throw forgotten("the sole mark of epoch", report.sole, superblock.sole.epoch);
  }
}

interface Replica {
  readonly machine: Machine;
  readonly disk: Disk;
  readonly metadata: Metadata;
}

/** Every block that differs stands in a log or bitmap of one of both. */
function checkNamed(
  volume: string,
  one: Replica,
  other: Replica,
  blocks: Iterable<number>,
): void {
  // Content that means nothing yet is copied as a whole.
  if (one.metadata.superblock.blank !== "no" || other.metadata.superblock.blank !== "no") return;
  for (const block of blocks) {
    const [here, there] = [one.disk.cache[block], other.disk.cache[block]];
    if (here === there || names(one.metadata, block) || names(other.metadata, block)) continue;
    throw new Violation(
      "P5",
      `block ${block} of ${volume} is ${here} on ${one.machine.name} and ${there} on ` +
        `${other.machine.name}; after a crash now no log and no bitmap would name it`,
    );
  }
}

function names({ logExtents, bitmaps }: Metadata, block: number): boolean {
  return logExtents.includes(Math.floor(block / EXTENT_BLOCKS)) ||
    bitmaps.some((bitmap) => bitmap.has(block));
}
