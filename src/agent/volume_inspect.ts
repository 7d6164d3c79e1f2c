/**
 * Reads what a replica's superblock says, without opening the replica: for looking at a node whose
 * agent does not run.
 *
 * @module
 */
import type { DiskState } from "../cluster/types.ts";
import type { VolumeConfig } from "../config/types.ts";
import {
  internalMetadataOffset,
  META_PAGE_BYTES,
  SUPERBLOCK_OFFSETS,
} from "../volume/metadata/layout.ts";
import { newestSuperblock } from "../volume/metadata/superblock.ts";
import { DiskError, statDisk } from "./dataplane/disk.ts";
import { readAt } from "./disk_content.ts";

/** What the disk says of its replica. */
export interface ReplicaOnDisk {
  readonly name: string;
  readonly disk: string;
  readonly replicaId: string;
  /** As far as a superblock can know: whether others went on without it, only the cluster knows. */
  readonly state: Extract<DiskState, "Consistent" | "Inconsistent">;
  readonly epoch: number;
  readonly generation: string;
  /** Replica ids, when last told. */
  readonly upToDate: readonly string[];
  readonly blank: "no" | "zero" | "unknown";
  readonly clean: boolean;
}

/**
 * The replica of a volume on a node.
 *
 * @throws {DiskError} if there is none to be read
 */
export function readReplica(volume: VolumeConfig, node: string): ReplicaOnDisk {
  const replica = volume.replicas.find((candidate) => candidate.node === node);
  if (replica === undefined) throw new DiskError(`there is no replica on ${node}`);
  const internal = replica.metaDisk === "internal";
  const path = internal ? replica.disk : replica.metaDisk;
  statDisk(path);
  const start = internal ? internalMetadataOffset(volume.size) : 0;
  const region = readRegion(path, start);
  const { superblock, error } = newestSuperblock(region);
  if (error !== undefined) {
    throw new DiskError(
      `${path} holds no readable metadata (${error}): make the replica with bascule volume ` +
        `create, or name the right disk in the configuration`,
    );
  }
  if (superblock.volume !== volume.name) {
    throw new DiskError(
      `${path} holds a replica of volume ${superblock.volume}: name the right disk`,
    );
  }
  const { replicaId, inconsistent, epoch, generations, upToDate, blank, clean } = superblock;
  return {
    name: volume.name,
    disk: replica.disk,
    replicaId,
    state: inconsistent ? "Inconsistent" : "Consistent",
    epoch,
    generation: generations.current,
    upToDate,
    blank,
    clean,
  };
}

function readRegion(path: string, start: number): Uint8Array {
  try {
    return readAt(path, start, SUPERBLOCK_OFFSETS[1] + META_PAGE_BYTES);
  } catch (error) {
    throw new DiskError(
      `${path} cannot be read, ${error instanceof Error ? error.message : error}: run this as root`,
      { cause: error },
    );
  }
}
