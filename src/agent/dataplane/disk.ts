/** Opens what a replica lives on, a file or a block device, and keeps everybody else off it. */
import { ERRNO, errnoText } from "../../os/errno.ts";
import { diskSize, extentAt, openDisk, sectorSize } from "../../os/files.ts";
import { closeQuietly, lastErrno, libc, OsError } from "../../os/libc.ts";
import { metadataSize } from "../../volume/metadata/layout.ts";

const LOCK_EXCLUSIVE_NOW = 2 | 4;
const FALLOC_KEEP_SIZE = 1;
const FALLOC_PUNCH_HOLE = 2;
const FALLOC_ZERO_RANGE = 16;
const LONGEST_EXTENT = 2 ** 32 - 65536;
/** udev holds a device for a moment when somebody closed it after writing. Tries, 50 ms apart. */
const LOCK_TRIES = 40;

/** A disk that cannot be used: what, where, the mend. */
export class DiskError extends Error {
  override readonly name = "DiskError";
}

/** An open and locked disk. */
export interface Disk {
  readonly path: string;
  readonly fd: number;
  /** Bytes. */
  readonly size: number;
  readonly block: boolean;
  /** Alignment that requests need: 1 through the page cache. */
  readonly alignment: number;
  /** Completed writes may be lost at a power loss until they are flushed. */
  readonly volatileCache: boolean;
  readonly rotational: boolean;
  /** Zeroing is quicker than writing zeroes. */
  readonly fastZero: boolean;
  /** It is so, too, when the range must stay allocated. */
  readonly fastZeroAllocated: boolean;
}

/** Where a replica's data and metadata are. */
export interface ReplicaPlaces {
  readonly volume: string;
  readonly size: number;
  readonly alExtents: number | "auto";
  readonly disk: string;
  /** `internal` or a path. */
  readonly metaDisk: string;
}

/**
 * Opens a disk for reading and writing and locks it: flock(2), which other bascule processes obey,
 * and for a block device O_EXCL, which the kernel's own users (mounts, md, LVM) obey.
 *
 * @throws {DiskError}
 */
export function lockDisk(path: string, options: { readonly direct: boolean }): Disk {
  const { block, device } = statDisk(path);
  const fd = open(path, { direct: options.direct, exclusive: block });
  try {
    lock(fd, path);
    const size = diskSize(fd, path);
    const queue = block ? queueDirectory(device) : undefined;
    const deviceZeroes = Number(readAttribute(queue, "write_zeroes_max_bytes") ?? 0) > 0;
    const writeThrough = readAttribute(queue, "write_cache") === "write through";
    return {
      path,
      fd,
      size,
      block,
      alignment: options.direct ? sectorSize(fd) : 1,
      // What a file's file system keeps back is not for us to know.
      volatileCache: !(options.direct && writeThrough),
      rotational: readAttribute(queue, "rotational") === "1",
      fastZero: block ? deviceZeroes : canPunch(fd, size),
      fastZeroAllocated: block ? deviceZeroes : canZeroRange(fd, size),
    };
  } catch (error) {
    closeQuietly(fd);
    throw error;
  }
}

/** A second descriptor of a disk that is locked already, through the page cache. */
export function openBuffered(path: string): number {
  return open(path, { direct: false, exclusive: false });
}

/** Closes a descriptor, and with that of {@linkcode lockDisk} the lock. */
export function releaseDisk(fd: number): void {
  closeQuietly(fd);
}

/** Is it a block device, and its number. Throws a {@linkcode DiskError} for what is no disk. */
export function statDisk(path: string): { block: boolean; device: number } {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new DiskError(
        `${path} does not exist: make it with bascule volume create, or name the right disk in ` +
          `the configuration`,
      );
    }
    throw new DiskError(
      `${path} cannot be looked at: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  if (!info.isFile && info.isBlockDevice !== true) {
    throw new DiskError(
      `${path} is neither a file nor a block device: name one in the configuration`,
    );
  }
  return { block: info.isBlockDevice === true, device: info.rdev ?? 0 };
}

/** Throws a {@linkcode DiskError} if the disk is too small for the volume. */
export function checkSize(disk: { path: string; size: number }, places: ReplicaPlaces): void {
  const { volume, size, alExtents, metaDisk } = places;
  const needed = size + (metaDisk === "internal" ? metadataSize(size, alExtents) : 0);
  if (disk.size >= needed) return;
  const what = metaDisk === "internal"
    ? `${size} of data and ${needed - size} of metadata`
    : `${size} of data`;
  throw new DiskError(
    `${disk.path} has ${disk.size} bytes, volume ${volume} needs ${needed} (${what}): enlarge ` +
      `the disk, or lower size on every node`,
  );
}

/**
 * What of `[offset, offset + length)` is allocated: pairs (length, `hole` or 0), at most `most`, from
 * `offset` on without gaps. Returns how many.
 */
export function allocationOf(
  fd: number,
  offset: number,
  length: number,
  extents: Uint32Array,
  most: number,
  hole: number,
): number {
  const end = offset + length;
  let count = 0;
  for (let at = offset; at < end && count < most; count++) {
    const extent = extentAt(fd, at, end);
    // A length has 32 bits.
    const stop = Math.min(extent.end, at + LONGEST_EXTENT);
    extents[2 * count] = stop - at;
    extents[2 * count + 1] = extent.hole ? hole : 0;
    at = stop;
  }
  return count;
}

function open(path: string, options: { direct: boolean; exclusive: boolean }): number {
  try {
    return openDisk(path, options);
  } catch (error) {
    if (!(error instanceof OsError)) throw error;
    throw new DiskError(openProblem(path, error.errno, options.direct));
  }
}

function openProblem(path: string, errno: number, direct: boolean): string {
  if (errno === ERRNO.EBUSY) {
    return `${path} is in use (mounted, or part of a RAID or volume group): free it first, ` +
      `findmnt and lsblk tell by whom`;
  }
  if (errno === ERRNO.EINVAL && direct) {
    return `${path} cannot be opened past the page cache: set io = "buffered" for this volume`;
  }
  if (errno === ERRNO.EACCES || errno === ERRNO.EPERM) {
    return `${path} may not be opened by this user: run as root, or change its mode`;
  }
  if (errno === ERRNO.EROFS) return `${path} is read-only: make it writable`;
  return `${path} cannot be opened: ${errnoText(errno)}`;
}

function lock(fd: number, path: string): void {
  for (let tries = 0; libc.flock(fd, LOCK_EXCLUSIVE_NOW) < 0; tries++) {
    const errno = lastErrno();
    if (errno !== ERRNO.EAGAIN && errno !== ERRNO.EINTR) throw new OsError("flock", errno, path);
    if (tries >= LOCK_TRIES) {
      throw new DiskError(
        `${path} is in use by another process or another volume of this one: stop it, or give ` +
          `each volume its own disk; fuser ${path} tells by whom`,
      );
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  }
}

/** `queue` of a device in sysfs; a partition's is that of its disk. */
function queueDirectory(device: number): string | undefined {
  const major = Math.floor(device / 256) % 4096;
  const minor = (device % 256) + (Math.floor(device / 2 ** 20) % 4096) * 256;
  try {
    const directory = Deno.realPathSync(`/sys/dev/block/${major}:${minor}`);
    for (const candidate of [`${directory}/queue`, `${directory}/../queue`]) {
      if (isDirectory(candidate)) return candidate;
    }
  } catch (error) {
    // Without sysfs nothing is known, and the careful answer is taken.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return undefined;
}

function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function readAttribute(queue: string | undefined, name: string): string | undefined {
  if (queue === undefined) return undefined;
  try {
    return Deno.readTextFileSync(`${queue}/${name}`).trim();
  } catch (error) {
    // Attributes come and go with kernel versions.
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Does this file system punch holes? Asked behind the end, where there is nothing to lose. */
function canPunch(fd: number, size: number): boolean {
  const beyond = Math.ceil(size / 4096) * 4096;
  return libc.fallocate(fd, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, beyond, 4096) === 0;
}

/** Does it zero ranges that stay allocated? Asked behind the end, too, and given back. */
function canZeroRange(fd: number, size: number): boolean {
  const beyond = Math.ceil(size / 4096) * 4096;
  const can = libc.fallocate(fd, FALLOC_KEEP_SIZE | FALLOC_ZERO_RANGE, beyond, 4096) === 0;
  if (can) libc.fallocate(fd, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, beyond, 4096);
  return can;
}
