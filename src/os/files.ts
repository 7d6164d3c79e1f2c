/**
 * Files that must survive a power loss, disks, and the lock on the state directory.
 *
 * @module
 */
import { ERRNO } from "./errno.ts";
import { check, closeQuietly, cString, lastErrno, libc, OsError, throwErrno } from "./libc.ts";

const O_RDONLY = 0;
const O_RDWR = 2;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_CLOEXEC = 0o2000000;
// These two differ between the architectures (asm-generic/fcntl.h, arch/arm64's own).
const O_DIRECT = Deno.build.arch === "x86_64" ? 0o40000 : 0o200000;
const O_DIRECTORY = Deno.build.arch === "x86_64" ? 0o200000 : 0o40000;
const F_GETFL = 3;
const LOCK_EX = 2;
const LOCK_NB = 4;
const BLKGETSIZE64 = 0x80081272;
const BLKSSZGET = 0x1268;
const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** Whether a descriptor reads and writes through the page cache; false for one that is not open. */
export function isCached(fd: number): boolean {
  const flags = libc.fcntl(fd, F_GETFL, 0);
  return flags >= 0 && (flags & O_DIRECT) === 0;
}

/** How {@link openDisk} opens. */
export interface OpenDiskOptions {
  /** Refuse writes. */
  readonly readOnly?: boolean;
  /** Bypass the page cache: offsets, lengths and memory aligned to {@link sectorSize}. */
  readonly direct?: boolean;
  /** Of a block device: refuse (EBUSY) what is mounted or part of something, and keep it so. */
  readonly exclusive?: boolean;
}

/** Open a file or block device for the I/O engine. Never creates one. Throws an OsError. */
export function openDisk(path: string, options: OpenDiskOptions = {}): number {
  const access = options.readOnly === true ? O_RDONLY : O_RDWR;
  const flags = access | O_CLOEXEC | (options.direct === true ? O_DIRECT : 0) |
    (options.exclusive === true ? O_EXCL : 0);
  return check(libc.open(cString(path), flags, 0), "open", path);
}

/** Close what {@link openDisk} opened, unless an engine has closed it. */
export function closeDisk(fd: number): void {
  check(libc.close(fd), "close", `descriptor ${fd}`);
}

/** Size of an open file or block device, bytes. `subject` names it in the error. */
export function diskSize(fd: number, subject = `descriptor ${fd}`): number {
  const size = new BigUint64Array(1);
  if (libc.ioctl(fd, BLKGETSIZE64, size) >= 0) return Number(size[0]);
  if (lastErrno() !== ERRNO.ENOTTY && lastErrno() !== ERRNO.EINVAL) throwErrno("ioctl", subject);
  // Not a block device: a plain file ends where its end is.
  const end = libc.lseek(fd, 0, SEEK_END);
  if (end < 0n) throwErrno("lseek", subject);
  return Number(end);
}

/** Logical sector size: the alignment that `direct` asks for, and the unit of a torn write. */
export function sectorSize(fd: number): number {
  const size = new Int32Array(1);
  // A file has no sectors of its own; no disk in use has larger ones than a page of 4096 bytes.
  return libc.ioctl(fd, BLKSSZGET, size) >= 0 && size[0]! > 0 ? size[0]! : 4096;
}

/** A run of bytes of a file that is all data or all hole. */
export interface Extent {
  readonly hole: boolean;
  /** Byte after the last one of the run, at most the end that was asked for. */
  readonly end: number;
}

/**
 * What lies at byte `position`, up to `end`: data, or a hole that reads as zeroes. A block device, or
 * a file system without this knowledge, is all data.
 */
export function extentAt(fd: number, position: number, end: number): Extent {
  const data = Number(libc.lseek(fd, position, SEEK_DATA));
  if (data < 0) {
    // ENXIO: no data from here to the end of the file.
    const hole = lastErrno() === ERRNO.ENXIO && isPlainFile(fd);
    return { hole, end };
  }
  if (data > position) return { hole: true, end: Math.min(data, end) };
  const hole = Number(libc.lseek(fd, position, SEEK_HOLE));
  return { hole: false, end: hole > position ? Math.min(hole, end) : end };
}

function isPlainFile(fd: number): boolean {
  return libc.ioctl(fd, BLKGETSIZE64, new BigUint64Array(1)) < 0;
}

/** Make the names in a directory (new, renamed, removed) durable. */
export function syncDirectory(path: string): void {
  const flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  const fd = check(libc.open(cString(path), flags, 0), "open", path);
  try {
    check(libc.fsync(fd), "fsync", path);
  } finally {
    closeQuietly(fd);
  }
}

function directoryOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : slash === 0 ? "/" : path.slice(0, slash);
}

/**
 * Replace a file in one step: whatever happens, a reader and the next boot find the old content or
 * the new, whole. On return the new one is on stable storage. One writer at a time.
 */
export function writeFileAtomically(path: string, content: Uint8Array, mode = 0o600): void {
  const temporary = `${path}.tmp`;
  try {
    const file = Deno.openSync(temporary, { write: true, create: true, truncate: true, mode });
    try {
      for (let written = 0; written < content.length;) {
        written += file.writeSync(content.subarray(written));
      }
      file.syncSync();
    } finally {
      file.close();
    }
    Deno.renameSync(temporary, path);
  } catch (error) {
    try {
      Deno.removeSync(temporary);
    } catch {
      // It was never made, or the disk is past caring; the first error is the one to report.
    }
    throw error;
  }
  syncDirectory(directoryOf(path));
}

/** Held by one process at a time; the kernel lets it go when the process ends, however it ends. */
export interface DirectoryLock {
  readonly path: string;
  /** Let go. */
  release(): void;
}

/**
 * Lock a state directory against a second agent. Throws an OsError (EAGAIN) that names the pid of
 * the holder. Children do not inherit the lock.
 */
export function lockDirectory(directory: string): DirectoryLock {
  const path = `${directory}/lock`;
  const flags = O_RDWR | O_CREAT | O_CLOEXEC;
  const fd = check(libc.open(cString(path), flags, 0o600), "open", path);
  if (libc.flock(fd, LOCK_EX | LOCK_NB) < 0) {
    const errno = lastErrno();
    closeQuietly(fd);
    const holder = errno === ERRNO.EAGAIN ? holderOf(path) : "";
    throw new OsError("flock", errno, `${path}${holder}`);
  }
  try {
    const text = cString(`${Deno.pid}\n`);
    check(libc.ftruncate(fd, 0), "ftruncate", path);
    check(libc.write(fd, text, text.length - 1), "write", path);
  } catch (error) {
    closeQuietly(fd);
    throw error;
  }
  let held = true;
  return {
    path,
    // The file stays: removing it would let two processes lock two files of the same name.
    release: () => {
      if (held) closeQuietly(fd);
      held = false;
    },
  };
}

function holderOf(path: string): string {
  const pid = Deno.readTextFileSync(path).trim();
  return /^[0-9]+$/.test(pid) ? ` (held by process ${pid})` : "";
}
