/**
 * Makes a replica: the file, or the check of the device, then its metadata. What is on the disk
 * already is never lost unless that was asked for.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { dirname } from "node:path";
import type { VolumeConfig } from "../config/types.ts";
import { bootId } from "../os/clock.ts";
import { syncDirectory } from "../os/files.ts";
import { OsError } from "../os/libc.ts";
import { formatMetadata, type MetadataChunk } from "../volume/metadata/format.ts";
import {
  internalMetadataOffset,
  META_PAGE_BYTES,
  metadataSize,
  SUPERBLOCK_OFFSETS,
} from "../volume/metadata/layout.ts";
import { newestSuperblock } from "../volume/metadata/superblock.ts";
import { type Disk, DiskError, lockDisk, releaseDisk } from "./dataplane/disk.ts";
import { contentOf, readAt, readsAsZeroes } from "./disk_content.ts";

/** How to make a replica. */
export interface CreateOptions {
  /** Take a disk whatever is on it. */
  readonly force: boolean;
  /** The volume begins with what the disk holds. */
  readonly keepData: boolean;
}

/** What was made. */
export interface CreatedReplica {
  readonly disk: string;
  /** The file was not there before. */
  readonly newFile: boolean;
  /** Path of what holds the metadata, and their place in it, in bytes. */
  readonly metaDisk: string;
  readonly metaStart: number;
  readonly metaBytes: number;
  readonly replicaId: string;
  readonly blank: "zero" | "unknown" | "no";
}

/** Where data and metadata go. */
interface Plan {
  readonly volume: VolumeConfig;
  readonly disk: string;
  readonly metaDisk: string;
  readonly internal: boolean;
  readonly metaStart: number;
  readonly metaBytes: number;
  readonly options: CreateOptions;
}

/**
 * Makes the replica of a volume on a node, durably. The agent may run, but must not have the disk open.
 *
 * @throws {DiskError} what stands against it, and the mend; then nothing was changed
 */
export function createReplica(
  volume: VolumeConfig,
  node: string,
  options: CreateOptions,
): CreatedReplica {
  const plan = planReplica(volume, node, options);
  const made: string[] = [];
  const locked: Disk[] = [];
  try {
    if (!options.keepData) makeIfMissing(plan.disk, made);
    if (!plan.internal) makeIfMissing(plan.metaDisk, made);
    const disk = lock(plan.disk, locked);
    const meta = plan.internal ? disk : lock(plan.metaDisk, locked);
    if (!options.force) refuseReplica(plan);
    prepareData(plan, disk);
    if (!plan.internal) prepareMetaDisk(plan, meta);
    const replicaId = randomHex();
    const blank = options.keepData ? "no" : disk.block ? "unknown" : "zero";
    writeChunks(
      plan.metaDisk,
      plan.metaStart,
      formatMetadata({
        volume: volume.name,
        size: volume.size,
        alExtents: volume.alExtents,
        replicaId,
        storage: randomHex(),
        generation: randomHex(),
        blank,
        bootId: bootId(),
      }),
    );
    for (const path of made) syncDirectory(dirname(path));
    const { metaDisk, metaStart, metaBytes } = plan;
    const newFile = made.includes(plan.disk);
    return { disk: plan.disk, newFile, metaDisk, metaStart, metaBytes, replicaId, blank };
  } catch (error) {
    for (const path of made) Deno.removeSync(path);
    throw error instanceof OsError ? new DiskError(error.message, { cause: error }) : error;
  } finally {
    for (const disk of locked) releaseDisk(disk.fd);
  }
}

function planReplica(volume: VolumeConfig, node: string, options: CreateOptions): Plan {
  const replica = volume.replicas.find((candidate) => candidate.node === node);
  if (replica === undefined) {
    const nodes = volume.replicas.map((candidate) => candidate.node).join(" and ");
    throw new DiskError(
      `volume ${volume.name} has no replica on ${node}: run this on ${nodes}`,
    );
  }
  const internal = replica.metaDisk === "internal";
  return {
    volume,
    disk: replica.disk,
    metaDisk: internal ? replica.disk : replica.metaDisk,
    internal,
    metaStart: internal ? internalMetadataOffset(volume.size) : 0,
    metaBytes: metadataSize(volume.size, volume.alExtents),
    options,
  };
}

/** A new, empty file, unless something is there. Devices are never made. */
function makeIfMissing(path: string, made: string[]): void {
  if (path.startsWith("/dev/")) return;
  try {
    Deno.openSync(path, { write: true, createNew: true, mode: 0o600 }).close();
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    if (error instanceof Deno.errors.NotFound) {
      throw new DiskError(
        `${path} cannot be made, its directory does not exist: mkdir -p ${dirname(path)}`,
      );
    }
    throw new DiskError(
      `${path} cannot be made: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  made.push(path);
}

function lock(path: string, locked: Disk[]): Disk {
  const disk = lockDisk(path, { direct: false });
  locked.push(disk);
  return disk;
}

function refuseReplica({ metaDisk, metaStart }: Plan): void {
  const beginning = SUPERBLOCK_OFFSETS[1] + META_PAGE_BYTES;
  const { superblock } = newestSuperblock(readAt(metaDisk, metaStart, beginning));
  if (superblock === undefined) return;
  const { volume, size, epoch, replicaId } = superblock;
  throw new DiskError(
    `${metaDisk} holds a replica of volume ${volume} already (id ${replicaId}, ${size} bytes, ` +
      `epoch ${epoch}): leave it as it is, or say --force to lose it with all that it holds`,
  );
}

/** Makes the disk ready for the data, or says what stands against it. */
function prepareData(plan: Plan, disk: Disk): void {
  const { volume, internal, metaStart, metaBytes, options } = plan;
  const needed = volume.size + (internal ? metaBytes : 0);
  const content = contentOf(disk);
  if (content !== null && !options.force && !options.keepData) {
    throw new DiskError(
      `${disk.path} holds ${content}: name another disk, or say --keep-data to begin the volume ` +
        `with it, or --force to lose it`,
    );
  }
  if (disk.block && disk.size < needed) {
    const mend = options.keepData && internal
      ? "put the metadata elsewhere with meta_disk"
      : `set size to at most ${largestVolume(disk.size, plan)} on every node`;
    throw new DiskError(
      `${disk.path} has ${disk.size} bytes, volume ${volume.name} needs ${needed}: ${mend}`,
    );
  }
  if (options.keepData && internal && !options.force) {
    const end = Math.min(disk.size, metaStart + metaBytes);
    if (!readsAsZeroes(disk.path, metaStart, end)) {
      throw new DiskError(
        `${disk.path} has data from byte ${metaStart} on, where the metadata would go: put them ` +
          `elsewhere with meta_disk, or raise size`,
      );
    }
  }
  if (disk.block) return;
  if (content !== null && !options.keepData) Deno.truncateSync(disk.path, 0);
  if (Deno.statSync(disk.path).size < needed) Deno.truncateSync(disk.path, needed);
}

function prepareMetaDisk({ metaBytes, options }: Plan, meta: Disk): void {
  const content = contentOf(meta);
  if (content !== null && !options.force) {
    throw new DiskError(
      `${meta.path}, the meta_disk, holds ${content}: name another one, or say --force to lose it`,
    );
  }
  if (meta.size >= metaBytes) return;
  if (meta.block) {
    throw new DiskError(
      `${meta.path}, the meta_disk, has ${meta.size} bytes and needs ${metaBytes}: enlarge it`,
    );
  }
  Deno.truncateSync(meta.path, metaBytes);
}

/** The largest size, in whole MiB, that fits on so many bytes. */
function largestVolume(bytes: number, { volume, internal }: Plan): number {
  const mib = 1 << 20;
  let size = Math.floor(bytes / mib) * mib;
  while (internal && size > mib && size + metadataSize(size, volume.alExtents) > bytes) size -= mib;
  return size;
}

/** Writes the region; superblocks only after everything before them is durable. */
function writeChunks(path: string, start: number, chunks: Iterable<MetadataChunk>): void {
  const file = Deno.openSync(path, { write: true });
  try {
    for (const { offset, bytes } of chunks) {
      if (SUPERBLOCK_OFFSETS.includes(offset)) file.syncSync();
      file.seekSync(start + offset, Deno.SeekMode.Start);
      for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
    }
    file.syncSync();
  } finally {
    file.close();
  }
}

function randomHex(): string {
  return randomBytes(8).toString("hex");
}
