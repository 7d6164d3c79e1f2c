/**
 * Grows a replica to the size in the configuration, while its agent does not have it open. The other
 * node serves meanwhile; a replica that is larger than its Primary's waits for it to grow too.
 *
 * @module
 */
import type { VolumeConfig } from "../config/types.ts";
import { libc, OsError } from "../os/libc.ts";
import { readMetadata } from "../volume/metadata/format.ts";
import {
  decodeNote,
  encodeNote,
  grownLayout,
  grownMetadata,
  markedPage,
  markedSuperblock,
  NOTE_OFFSET,
  unmarkedPage,
} from "../volume/metadata/growth.ts";
import {
  geometry,
  LOG_OFFSET,
  META_PAGE_BYTES,
  SUPERBLOCK_OFFSETS,
} from "../volume/metadata/layout.ts";
import { newestSuperblock, type Superblock } from "../volume/metadata/superblock.ts";
import { type Disk, DiskError, lockDisk, releaseDisk } from "./dataplane/disk.ts";
import { readAt, readsAsZeroes } from "./disk_content.ts";

const MIB = 1 << 20;
const KEEP_SIZE = 1;
const ZERO_RANGE = 16;

/** What was done. */
export interface ResizedReplica {
  readonly replicaId: string;
  readonly before: number;
  readonly after: number;
  /** It has had that size already. */
  readonly unchanged: boolean;
}

/** Everything about one growth. */
interface Growth {
  readonly volume: VolumeConfig;
  readonly disk: Disk;
  readonly meta: Disk;
  readonly internal: boolean;
}

/**
 * Grows the replica of a volume on a node. `from`: its present size, bytes, where that cannot be found.
 * A growth that was interrupted goes on when this is called again. `interrupt` is for tests: called
 * before every write.
 *
 * @throws {DiskError} what stands against it, and the mend; then the replica is as it was
 */
export function resizeReplica(
  volume: VolumeConfig,
  node: string,
  from?: number,
  interrupt: () => void = () => {},
): ResizedReplica {
  const replica = volume.replicas.find((candidate) => candidate.node === node);
  if (replica === undefined) throw new DiskError(`there is no replica of it on ${node}`);
  const internal = replica.metaDisk === "internal";
  const locked: Disk[] = [];
  const lock = (path: string) => {
    const disk = lockDisk(path, { direct: false });
    locked.push(disk);
    return disk;
  };
  try {
    const disk = lock(replica.disk);
    const growth = { volume, disk, meta: internal ? disk : lock(replica.metaDisk), internal };
    return internal ? growInternal(growth, from, interrupt) : growExternal(growth, interrupt);
  } catch (error) {
    throw error instanceof OsError ? new DiskError(error.message, { cause: error }) : error;
  } finally {
    for (const { fd } of locked) releaseDisk(fd);
  }
}

function growInternal(
  growth: Growth,
  from: number | undefined,
  interrupt: () => void,
): ResizedReplica {
  const { volume, disk } = growth;
  const { size, name } = volume;
  const there = readAt(disk.path, size, LOG_OFFSET);
  const present = newestSuperblock(there).superblock;
  const marked = markedSuperblock(there)?.superblock;
  if (present?.volume === name) {
    // One copy without mark is enough for an agent, which writes both: clients may have been here since.
    unmark(disk, size, interrupt);
    return unchanged(present);
  }
  if (marked?.volume === name) return finish(growth, marked, interrupt);
  const found = findReplica(growth, from);
  if (found === null) {
    throw new DiskError(
      `${disk.path} holds no replica of volume ${name} below ${size} bytes: a volume only grows; ` +
        "if its present size is no whole number of MiB, say it with --from",
    );
  }
  const metadata = readRegion(growth, found.size, found);
  const oldEnd = found.size + metadata.layout.bytes;
  if (size < oldEnd) {
    throw new DiskError(
      `volume ${name} has ${found.size} bytes and its metadata end at ${oldEnd}: set size to at ` +
        `least ${Math.ceil(oldEnd / MIB)}MiB`,
    );
  }
  makeRoom(disk, size + grownLayout(metadata, size).bytes, name);
  zero(disk, oldEnd, size, interrupt);
  write(disk, size + NOTE_OFFSET, encodeNote(found.size), interrupt);
  for (const { offset, bytes } of grownMetadata(metadata, size, "new")) {
    const isSuperblock = SUPERBLOCK_OFFSETS.includes(offset);
    if (isSuperblock) sync(disk);
    write(disk, size + offset, isSuperblock ? markedPage(bytes) : bytes, interrupt);
  }
  sync(disk);
  return finish(growth, metadata.superblock, interrupt);
}

/** The marked region is whole: the old one becomes data, the mark goes. */
function finish(
  { disk, volume }: Growth,
  { replicaId, alExtents, maxPeers }: Superblock,
  interrupt: () => void,
): ResizedReplica {
  const { size } = volume;
  const before = decodeNote(readAt(disk.path, size + NOTE_OFFSET, META_PAGE_BYTES));
  const end = before + geometry(before, alExtents, maxPeers).bytes;
  // First what makes it a replica, so that nobody opens what is half gone.
  for (const at of SUPERBLOCK_OFFSETS) {
    write(disk, before + at, new Uint8Array(META_PAGE_BYTES), interrupt);
    sync(disk);
  }
  zero(disk, before, end, interrupt);
  sync(disk);
  unmark(disk, size, interrupt);
  return { replicaId, before, after: size, unchanged: false };
}

function unmark(disk: Disk, size: number, interrupt: () => void): void {
  for (const at of SUPERBLOCK_OFFSETS) {
    const page = unmarkedPage(readAt(disk.path, size + at, META_PAGE_BYTES));
    if (page === null) continue;
    write(disk, size + at, page, interrupt);
    sync(disk);
  }
}

function growExternal(growth: Growth, interrupt: () => void): ResizedReplica {
  const { volume, disk, meta } = growth;
  const { size, name } = volume;
  const { superblock, error } = newestSuperblock(readAt(meta.path, 0, LOG_OFFSET));
  if (error !== undefined || superblock.volume !== name) {
    throw new DiskError(`${meta.path} holds no replica of volume ${name}: ${error ?? "another's"}`);
  }
  if (superblock.size === size) return unchanged(superblock);
  if (superblock.size > size) {
    throw new DiskError(
      `the replica has ${superblock.size} bytes, the configuration says ${size}: a volume only grows`,
    );
  }
  const metadata = readRegion(growth, 0, superblock);
  makeRoom(disk, size, name);
  makeRoom(meta, grownLayout(metadata, size).bytes, name);
  zero(disk, superblock.size, size, interrupt);
  sync(disk);
  // The bitmap of the smaller size is the beginning of the larger one's, and its log is the same: until
  // a superblock says otherwise they mean what they meant, with more dirty at most.
  for (const { offset, bytes } of grownMetadata(metadata, size, "kept")) {
    if (SUPERBLOCK_OFFSETS.includes(offset)) sync(meta);
    write(meta, offset, bytes, interrupt);
  }
  sync(meta);
  const { replicaId } = superblock;
  return { replicaId, before: superblock.size, after: size, unchanged: false };
}

function unchanged({ replicaId, size }: Superblock): ResizedReplica {
  return { replicaId, before: size, after: size, unchanged: true };
}

function readRegion(
  { meta, volume }: Growth,
  at: number,
  { size, alExtents, maxPeers }: Superblock,
) {
  const region = readAt(meta.path, at, geometry(size, alExtents, maxPeers).bytes);
  try {
    return readMetadata(region, { volume: volume.name, size });
  } catch (error) {
    throw new DiskError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** The replica at a smaller size: where it was said to be, else at any whole number of MiB. */
function findReplica({ disk, volume }: Growth, from: number | undefined): Superblock | null {
  const file = Deno.openSync(disk.path, { read: true });
  const page = new Uint8Array(META_PAGE_BYTES);
  try {
    const last = Math.min(volume.size, disk.size) - META_PAGE_BYTES;
    for (let at = from ?? Math.floor(last / MIB) * MIB; at > 0; at -= MIB) {
      for (const copy of SUPERBLOCK_OFFSETS) {
        file.seekSync(at + copy, Deno.SeekMode.Start);
        if ((file.readSync(page) ?? 0) < META_PAGE_BYTES || page[0] !== MAGIC_BYTE) continue;
        const { superblock } = newestSuperblock(readAt(disk.path, at, LOG_OFFSET));
        if (superblock?.volume === volume.name && superblock.size === at) return superblock;
      }
      if (from !== undefined) break;
    }
    return null;
  } finally {
    file.close();
  }
}

/** First byte of a superblock. */
const MAGIC_BYTE = 0x42;

function makeRoom(disk: Disk, needed: number, volume: string): void {
  if (Deno.statSync(disk.path).size >= needed && !disk.block || disk.block && disk.size >= needed) {
    return;
  }
  if (disk.block) {
    throw new DiskError(
      `${disk.path} has ${disk.size} bytes, volume ${volume} needs ${needed}: enlarge the device first`,
    );
  }
  Deno.truncateSync(disk.path, needed);
}

function zero(disk: Disk, start: number, end: number, interrupt: () => void): void {
  if (end <= start || readsAsZeroes(disk.path, start, end)) return;
  interrupt();
  if (libc.fallocate(disk.fd, ZERO_RANGE | KEEP_SIZE, start, end - start) === 0) return;
  const zeroes = new Uint8Array(MIB);
  for (let at = start; at < end; at += MIB) {
    write(disk, at, zeroes.subarray(0, Math.min(MIB, end - at)), interrupt);
  }
}

function write(disk: Disk, at: number, bytes: Uint8Array, interrupt: () => void): void {
  interrupt();
  const file = Deno.openSync(disk.path, { write: true });
  try {
    file.seekSync(at, Deno.SeekMode.Start);
    for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
  } finally {
    file.close();
  }
}

function sync(disk: Disk): void {
  const file = Deno.openSync(disk.path, { write: true });
  file.syncSync();
  file.close();
}
