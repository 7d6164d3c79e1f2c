/**
 * Looks at what a disk holds, without changing it.
 *
 * @module
 */
import { closeDisk, extentAt, openDisk } from "../os/files.ts";
import { META_PAGE_BYTES } from "../volume/metadata/layout.ts";
import { decodeSuperblock } from "../volume/metadata/superblock.ts";
import { findSignatures, HEAD_BYTES, TAIL_BYTES } from "./signatures.ts";

/** Pieces in which a file is searched for data, bytes. */
const SCAN_BYTES = 1 << 20;
/**
 * How much of a device's end is searched for the metadata of a volume of another size, which stand
 * right after its data: a volume leaves little of its disk unused.
 */
const REPLICA_TAIL_BYTES = 256 << 20;

/** Reads bytes of a file or device; fewer only at its end. */
export function readAt(path: string, offset: number, length: number): Uint8Array<ArrayBuffer> {
  const file = Deno.openSync(path, { read: true });
  try {
    const bytes = new Uint8Array(length);
    return bytes.subarray(0, fill(file, offset, bytes));
  } finally {
    file.close();
  }
}

/** What is on a disk of this size, by magic numbers. */
export function signaturesOf(path: string, size: number): string[] {
  const head = readAt(path, 0, Math.min(size, HEAD_BYTES));
  const tailStart = Math.max(0, size - TAIL_BYTES);
  return findSignatures(head, readAt(path, tailStart, size - tailStart), size);
}

/**
 * What is on a disk, in words; null if there is nothing that anybody would miss. Of a file every byte
 * counts; a device, which cannot be searched in reasonable time, is judged by its signatures.
 */
export function contentOf(disk: { path: string; size: number; block: boolean }): string | null {
  const found = signaturesOf(disk.path, disk.size);
  if (found.length > 0) return found.join(" and ");
  const volume = disk.block ? volumeAtEnd(disk.path, disk.size) : null;
  if (volume !== null) return `a replica of bascule volume ${volume}`;
  return disk.block || readsAsZeroes(disk.path, 0, disk.size) ? null : "data";
}

/** Name of the volume whose internal metadata stand near the end of a disk; null: none is found. */
export function volumeAtEnd(path: string, size: number): string | null {
  const file = Deno.openSync(path, { read: true });
  try {
    const piece = new Uint8Array(SCAN_BYTES);
    const first = Math.max(0, size - REPLICA_TAIL_BYTES);
    for (let at = first - first % META_PAGE_BYTES; at < size; at += SCAN_BYTES) {
      const bytes = piece.subarray(0, fill(file, at, piece));
      for (let page = 0; page + META_PAGE_BYTES <= bytes.length; page += META_PAGE_BYTES) {
        if (bytes[page] !== 0x42) continue;
        const { superblock } = decodeSuperblock(bytes.subarray(page, page + META_PAGE_BYTES));
        if (superblock !== undefined) return superblock.volume;
      }
    }
    return null;
  } finally {
    file.close();
  }
}

/** Does `[start, end)` read as zeroes? Holes are passed over without reading. */
export function readsAsZeroes(path: string, start: number, end: number): boolean {
  const fd = openDisk(path, { readOnly: true });
  const file = Deno.openSync(path, { read: true });
  try {
    const bytes = new Uint8Array(SCAN_BYTES);
    for (let at = start; at < end;) {
      const extent = extentAt(fd, at, end);
      for (; !extent.hole && at < extent.end;) {
        const piece = bytes.subarray(0, Math.min(SCAN_BYTES, extent.end - at));
        const count = fill(file, at, piece);
        if (count === 0) return true;
        if (piece.subarray(0, count).some((byte) => byte !== 0)) return false;
        at += count;
      }
      at = extent.end;
    }
    return true;
  } finally {
    file.close();
    closeDisk(fd);
  }
}

function fill(file: Deno.FsFile, offset: number, bytes: Uint8Array): number {
  // Unlike a file, a device refuses to be positioned behind its end.
  if (offset >= file.seekSync(0, Deno.SeekMode.End)) return 0;
  file.seekSync(offset, Deno.SeekMode.Start);
  let got = 0;
  while (got < bytes.length) {
    const count = file.readSync(bytes.subarray(got));
    if (count === null || count === 0) break;
    got += count;
  }
  return got;
}
