/**
 * What is on a disk already: file systems, partition tables and the like, found by their magic
 * numbers, as wipefs(8) and blkid(8) do. Asked before a disk is taken for a volume.
 *
 * @module
 */

/** How much of the beginning of a disk has to be looked at, in bytes. */
export const HEAD_BYTES = 1 << 20;
/** How much of its end. */
export const TAIL_BYTES = 128 * 1024;

interface Magic {
  readonly name: string;
  /** Offsets from the beginning; negative: from the end. */
  readonly at: readonly number[];
  readonly magic: Uint8Array;
}

function text(name: string, magic: string, ...at: number[]): Magic {
  return { name, at, magic: new TextEncoder().encode(magic) };
}

function hex(name: string, magic: string, ...at: number[]): Magic {
  return { name, at, magic: Uint8Array.fromHex(magic) };
}

const KIB = 1024;

/** In the byte order of the disk. Offsets from util-linux's libblkid. */
const MAGICS: readonly Magic[] = [
  hex("an ext2, ext3 or ext4 file system", "53ef", 0x438),
  text("an XFS file system", "XFSB", 0),
  text("a Btrfs file system", "_BHRfS_M", 0x10040),
  hex("an F2FS file system", "1020f5f2", KIB),
  text("a ReiserFS file system", "ReIsErFs", 8 * KIB + 52, 64 * KIB + 52),
  text("a ReiserFS file system", "ReIsEr2Fs", 64 * KIB + 52),
  text("a ReiserFS file system", "ReIsEr3Fs", 64 * KIB + 52),
  text("a JFS file system", "JFS1", 32 * KIB),
  hex("a NILFS2 file system", "3434", KIB + 6),
  hex("a GFS2 file system", "01161970", 64 * KIB),
  text("an OCFS2 file system", "OCFSV2", KIB, 2 * KIB, 4 * KIB, 8 * KIB),
  text("a SquashFS file system", "hsqs", 0),
  text("an ISO 9660 file system", "CD001", 32 * KIB + 1),
  text("an NTFS file system", "NTFS    ", 3),
  text("an exFAT file system", "EXFAT   ", 3),
  text("a FAT file system", "FAT12   ", 54),
  text("a FAT file system", "FAT16   ", 54),
  text("a FAT file system", "FAT32   ", 82),
  text("swap space", "SWAPSPACE2", ...pageEnds()),
  text("swap space", "SWAP-SPACE", ...pageEnds()),
  text("a suspended system", "S1SUSPEND", ...pageEnds()),
  text("an LVM2 physical volume", "LABELONE", 0, 512, 1024, 1536),
  hex("a member of an md RAID", "fc4e2ba9", 0, 4 * KIB),
  hex("a LUKS container", "4c554b53babe", 0),
  hex(
    "a LUKS container",
    "534b554cbabe",
    ...[16, 32, 64, 128, 256, 512].map((kib) => kib * KIB),
  ),
  text("a GPT partition table", "EFI PART", 512, 4 * KIB, -512, -4 * KIB),
  hex("a bcache device", "c68573f64e1a45ca8265f57f48ba6d81", 4 * KIB + 24),
  text("a Ceph OSD", "bluestore block device", 0),
  text("a dm-integrity device", "integrt", 0),
  text("the metadata of a bascule volume", "BASCULE\0", 0),
  hex("a QCOW2 image", "514649fb", 0),
];

function pageEnds(): number[] {
  return [4, 8, 16, 32, 64].map((kib) => kib * KIB - 10);
}

/**
 * Names what is on a disk of `size` bytes, from its first {@linkcode HEAD_BYTES} and its last
 * {@linkcode TAIL_BYTES} (both shorter where the disk is). Empty: nothing that is known here.
 */
export function findSignatures(head: Uint8Array, tail: Uint8Array, size: number): string[] {
  const found = new Set<string>();
  const disk = new DiskEnds(head, tail, size);
  for (const { name, at, magic } of MAGICS) {
    for (const offset of at) {
      if (disk.holds(offset < 0 ? size + offset : offset, magic)) found.add(name);
    }
  }
  if (hasZfsUberblock(disk)) found.add("a ZFS pool");
  if (hasMdAtEnd(disk, size)) found.add("a member of an md RAID");
  if (hasDrbd(disk, size)) found.add("DRBD's metadata");
  // A boot sector of a file system ends like a partition table.
  if (found.size === 0 && hasPartitions(disk)) found.add("an MBR partition table");
  return [...found];
}

/** The two ends of a disk, addressed by offsets on it. */
class DiskEnds {
  readonly #head: Uint8Array;
  readonly #tail: Uint8Array;
  readonly #tailStart: number;

  constructor(head: Uint8Array, tail: Uint8Array, size: number) {
    this.#head = head;
    this.#tail = tail;
    this.#tailStart = size - tail.length;
  }

  /** The bytes at an offset; undefined outside of both ends. */
  at(offset: number, length: number): Uint8Array | undefined {
    if (offset >= 0 && offset + length <= this.#head.length) {
      return this.#head.subarray(offset, offset + length);
    }
    const from = offset - this.#tailStart;
    if (from < 0 || from + length > this.#tail.length) return undefined;
    return this.#tail.subarray(from, from + length);
  }

  holds(offset: number, magic: Uint8Array): boolean {
    const bytes = this.at(offset, magic.length);
    return bytes !== undefined && magic.every((byte, index) => bytes[index] === byte);
  }

  uint32(offset: number, littleEndian: boolean): number | undefined {
    const bytes = this.at(offset, 4);
    if (bytes === undefined) return undefined;
    return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, littleEndian);
  }
}

/** md 1.0 keeps its superblock 8 to 12 KiB before the end, 0.90 64 to 128 KiB before it. */
function hasMdAtEnd(disk: DiskEnds, size: number): boolean {
  const magic = 0xa92b4efc;
  const version10 = (Math.floor(size / 512) - 16) * 512;
  const places = [
    version10 - version10 % 4096,
    Math.floor(size / 65536) * 65536 - 65536,
  ];
  return places.some((place) =>
    disk.uint32(place, true) === magic || disk.uint32(place, false) === magic
  );
}

/** Internal metadata of DRBD 8 and 9: its last 4 KiB block has the magic at byte 60. */
function hasDrbd(disk: DiskEnds, size: number): boolean {
  const magic = disk.uint32(Math.floor(size / 4096) * 4096 - 4096 + 60, false);
  return magic !== undefined && magic >= 0x8374026a && magic <= 0x8374026d;
}

/** Uberblocks lie every KiB from 128 KiB on, in the writer's byte order. */
function hasZfsUberblock(disk: DiskEnds): boolean {
  for (let at = 128 * KIB; at < 256 * KIB; at += KIB) {
    if (disk.uint32(at, true) === 0x00bab10c) return true;
    if (disk.uint32(at + 4, false) === 0x00bab10c) return true;
  }
  return false;
}

function hasPartitions(disk: DiskEnds): boolean {
  const sector = disk.at(0, 512);
  if (sector === undefined || sector[510] !== 0x55 || sector[511] !== 0xaa) return false;
  const entries = [446, 462, 478, 494];
  return entries.every((at) => (sector[at]! & 0x7f) === 0) &&
    entries.some((at) => sector[at + 4] !== 0);
}
