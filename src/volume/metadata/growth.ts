/**
 * Growing a replica: the metadata region for the larger size, made of the one for the smaller.
 *
 * An internal region moves to the new end of the data, over two steps: the new one is written with a
 * mark in place of the superblocks' magic number, so that it is not taken for finished; then the old
 * one, which is data now, is zeroed; then the mark gives way to the magic number. Whichever write is
 * the last one, either the old region is whole or the marked one is, and the growth can go on.
 */

import { encodeTransaction, LOG_EMPTY } from "./activity_log.ts";
import { DirtyBitmap } from "./bitmap.ts";
import type { Metadata, MetadataChunk } from "./format.ts";
import {
  bitmapPageOffset,
  EXTENT_BLOCKS,
  type Geometry,
  geometry,
  logTransactionOffset,
  META_PAGE_BYTES,
  SUPERBLOCK_OFFSETS,
} from "./layout.ts";
import { decodeSuperblock, encodeSuperblock, type SuperblockCopy } from "./superblock.ts";

const MARK = new TextEncoder().encode("BASCGROW");
const MAGIC = new TextEncoder().encode("BASCULE\0");

/** Where the note stands in the new region, between the superblocks: what the old region was. */
export const NOTE_OFFSET = META_PAGE_BYTES;

/** The note: 4 KiB, JSON with zeroes behind. */
export function encodeNote(before: number): Uint8Array {
  const page = new Uint8Array(META_PAGE_BYTES);
  page.set(new TextEncoder().encode(JSON.stringify({ before })));
  return page;
}

/** Size before the growth, bytes. Durable before any mark is written. */
export function decodeNote(page: Uint8Array): number {
  const end = page.indexOf(0);
  const note: unknown = JSON.parse(new TextDecoder().decode(page.subarray(0, end)));
  const before = typeof note === "object" && note !== null && "before" in note && note.before;
  if (typeof before !== "number") throw new Error("the note of a growth names no size");
  return before;
}

/** A superblock page that is not to be taken for one yet. */
export function markedPage(page: Uint8Array): Uint8Array {
  const marked = page.slice();
  marked.set(MARK);
  return marked;
}

/** The superblock page behind the mark; null if there is no mark, or the page is damaged. */
export function unmarkedPage(page: Uint8Array): Uint8Array | null {
  if (page.length < META_PAGE_BYTES || !MARK.every((byte, i) => page[i] === byte)) return null;
  const plain = page.slice(0, META_PAGE_BYTES);
  plain.set(MAGIC);
  return decodeSuperblock(plain).superblock === undefined ? null : plain;
}

/** What stands behind the mark of a region; null if it has none. */
export function markedSuperblock(region: Uint8Array): SuperblockCopy | null {
  for (const at of SUPERBLOCK_OFFSETS) {
    const plain = unmarkedPage(region.subarray(at, at + META_PAGE_BYTES));
    if (plain !== null) return decodeSuperblock(plain);
  }
  return null;
}

/** Layout of the same replica at another size. */
export function grownLayout({ superblock }: Metadata, size: number): Geometry {
  return geometry(size, superblock.alExtents, superblock.maxPeers);
}

/**
 * The region for `size` bytes. Dirty blocks and the activity log's extents are dirty in it, its log is
 * empty, or the `kept` one of which nothing counts; what was not there before is clean. The
 * superblocks come last, without mark.
 */
export function* grownMetadata(
  old: Metadata,
  size: number,
  log: "new" | "kept",
): Generator<MetadataChunk> {
  const layout = grownLayout(old, size);
  const first = old.logSequence + 1;
  const logFrom = log === "new" ? first + layout.logRing : first;
  const table = new Int32Array(layout.logSlots).fill(LOG_EMPTY);
  for (let sequence = first; sequence < logFrom; sequence++) {
    const bytes = new Uint8Array(META_PAGE_BYTES);
    encodeTransaction(layout, sequence, table, [], bytes);
    yield { offset: logTransactionOffset(layout, sequence), bytes };
  }
  for (const [peer, bitmap] of old.bitmaps.entries()) {
    const grown = grownBitmap(old, layout, bitmap, peer);
    for (let page = 0; page < layout.bitmapPages; page++) {
      const bytes = new Uint8Array(META_PAGE_BYTES);
      grown.encodePage(page, bytes);
      yield { offset: bitmapPageOffset(layout, peer, page), bytes };
    }
  }
  const superblock = { ...old.superblock, size, logFrom };
  for (const offset of old.overwriteOrder) {
    yield { offset, bytes: encodeSuperblock(superblock, old.sequence + 1) };
  }
}

function grownBitmap(
  old: Metadata,
  layout: Geometry,
  bitmap: DirtyBitmap,
  peer: number,
): DirtyBitmap {
  const grown = new DirtyBitmap(layout, peer);
  for (let block = bitmap.next(0); block >= 0;) {
    const blocks = bitmap.runLength(block, old.layout.blocks);
    grown.set(block, blocks);
    block = bitmap.next(block + blocks);
  }
  for (const extent of old.logExtents) {
    const first = extent * EXTENT_BLOCKS;
    grown.set(first, Math.min(EXTENT_BLOCKS, old.layout.blocks - first));
  }
  return grown;
}
