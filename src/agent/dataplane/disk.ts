/** Opens what a replica lives on, a file or a block device, and keeps everybody else off it. */
import { ERRNO, errnoText } from "../../os/errno.ts";
import { closeQuietly, cString, lastErrno, libc, OsError } from "../../os/libc.ts";

const O_RDWR = 2;
const O_EXCL = 0o200;
const O_CLOEXEC = 0o2000000;
/** The one open(2) flag here whose value differs between the two machines. */
const O_DIRECT = Deno.build.arch === "aarch64" ? 0o200000 : 0o40000;
const LOCK_EXCLUSIVE_NOW = 2 | 4;
const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FALLOC_KEEP_SIZE = 1;
const FALLOC_PUNCH_HOLE = 2;

/** udev holds a device for a moment when somebody closed it after writing. Tries, 50 ms apart. */
const LOCK_TRIES = 40;

/** An open disk. */
export interface Disk {
  readonly path: string;
  readonly fd: number;
  /** Bytes. */
  readonly size: number;
  readonly block: boolean;
  /** Open past the page cache. */
  readonly direct: boolean;
  /** Completed writes may be lost at a power loss until they are flushed. */
  readonly volatileCache: boolean;
  readonly rotational: boolean;
  /** Zeroing is quicker than writing zeroes. */
  readonly fastZero: boolean;
}

/** A disk that cannot be used: what, where, the mend. */
export class DiskError extends Error {
  override readonly name = "DiskError";
}

/**
 * Opens a disk for reading and writing and locks it: flock(2), which other bascule processes obey,
 * and for a block device O_EXCL, which the kernel's own users (mounts, md, LVM) obey.
 *
 * @throws {DiskError}
 */
export function openDisk(path: string, options: { readonly direct: boolean }): Disk {
  const info = statDisk(path);
  const flags = O_RDWR | O_CLOEXEC | (options.direct ? O_DIRECT : 0) |
    (info.isBlockDevice ? O_EXCL : 0);
  const fd = libc.open(cString(path), flags, 0);
  if (fd < 0) throw new DiskError(openProblem(path, lastErrno(), options.direct));
  try {
    lock(fd, path);
    const size = Number(libc.lseek(fd, 0, SEEK_END));
    if (size < 0) throw new OsError("lseek", lastErrno(), path);
    const queue = info.isBlockDevice ? queueDirectory(info.rdev ?? 0) : undefined;
    const writeThrough = readAttribute(queue, "write_cache") === "write through";
    return {
      path,
      fd,
      size,
      block: info.isBlockDevice === true,
      direct: options.direct,
      // What a file's file system keeps back is not for us to know.
      volatileCache: !(options.direct && writeThrough),
      rotational: readAttribute(queue, "rotational") === "1",
      fastZero: info.isBlockDevice
        ? Number(readAttribute(queue, "write_zeroes_max_bytes") ?? 0) > 0
        : canPunch(fd, size),
    };
  } catch (error) {
    closeQuietly(fd);
    throw error;
  }
}

/** A second descriptor of a disk that this thread has open and locked, through the page cache. */
export function reopenBuffered(disk: Disk): number {
  const fd = libc.open(cString(disk.path), O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) throw new DiskError(openProblem(disk.path, lastErrno(), false));
  return fd;
}

/** Closes a descriptor of a disk, and with the first one the lock. */
export function closeDisk(fd: number): void {
  closeQuietly(fd);
}

/**
 * What of `[offset, offset + length)` is allocated: pairs (length, `hole` or 0), at most `most`,
 * which begin at `offset` without gaps. A disk that does not tell is allocated throughout.
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
  for (let at = offset; at < end && count < most;) {
    let data = Number(libc.lseek(fd, at, SEEK_DATA));
    if (data < 0) data = lastErrno() === ERRNO.ENXIO ? end : at;
    let next = Math.min(data, end);
    const isHole = next > at;
    if (!isHole) {
      next = Number(libc.lseek(fd, at, SEEK_HOLE));
      next = next <= at ? end : Math.min(next, end);
    }
    extents[2 * count] = next - at;
    extents[2 * count + 1] = isHole ? hole : 0;
    count++;
    at = next;
  }
  return count;
}

/** Type and numbers of a disk; throws a {@linkcode DiskError} for what is none. */
export function statDisk(path: string): Deno.FileInfo {
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
  return info;
}

function openProblem(path: string, errno: number, direct: boolean): string {
  switch (errno) {
    case ERRNO.EBUSY:
      return `${path} is in use (mounted, or part of a RAID or volume group): free it first, ` +
        `findmnt and lsblk tell by whom`;
    case ERRNO.EINVAL:
      if (!direct) break;
      return `${path} cannot be opened with O_DIRECT: set io = "buffered" for this volume`;
    case ERRNO.EACCES:
    case ERRNO.EPERM:
      return `${path} may not be opened by this user: run the agent as root, or change its mode`;
    case ERRNO.EROFS:
      return `${path} is read-only: make it writable`;
  }
  return `${path} cannot be opened: ${errnoText(errno)}`;
}

function lock(fd: number, path: string): void {
  for (let tries = 0; libc.flock(fd, LOCK_EXCLUSIVE_NOW) < 0; tries++) {
    const errno = lastErrno();
    if (errno !== ERRNO.EAGAIN && errno !== ERRNO.EINTR) throw new OsError("flock", errno, path);
    if (tries >= LOCK_TRIES) {
      throw new DiskError(
        `${path} is in use by another process (another agent, or another volume of this one?): ` +
          `stop it, or give each volume its own disk; fuser ${path} tells by whom`,
      );
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  }
}

/** `queue` of a device in sysfs; a partition's is that of its disk. */
function queueDirectory(rdev: number): string | undefined {
  const major = Math.floor(rdev / 256) % 4096;
  const minor = (rdev % 256) + (Math.floor(rdev / 2 ** 20) % 4096) * 256;
  try {
    const device = Deno.realPathSync(`/sys/dev/block/${major}:${minor}`);
    for (const candidate of [`${device}/queue`, `${device}/../queue`]) {
      try {
        if (Deno.statSync(candidate).isDirectory) return candidate;
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
  } catch (error) {
    // Without sysfs nothing is known, and the careful answer is taken.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return undefined;
}

function readAttribute(queue: string | undefined, name: string): string | undefined {
  if (queue === undefined) return undefined;
  try {
    return Deno.readTextFileSync(`${queue}/${name}`).trim();
  } catch {
    // Attributes come and go with kernel versions.
    return undefined;
  }
}

/** Does this file system punch holes? Asked behind the end, where there is nothing to lose. */
function canPunch(fd: number, size: number): boolean {
  const beyond = Math.ceil(size / 4096) * 4096;
  return libc.fallocate(fd, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, beyond, 4096) === 0;
}
