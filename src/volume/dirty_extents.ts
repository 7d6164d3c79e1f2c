/** The dirty bitmap as clients may ask for it: extents of bytes. */

import type { DirtyBitmap } from "./metadata/bitmap.ts";
import { BLOCK_BYTES } from "./metadata/layout.ts";

/** Longest extent, bytes: its length has 32 bits. */
const LONGEST = 2 ** 32 - BLOCK_BYTES;

/**
 * Pairs (bytes, 1 for dirty or 0) that cover `[offset, offset + length)` from its start on without
 * gaps, at most `most`. Returns how many. Extents end at blocks or at the range's end.
 */
export function dirtyExtents(
  bitmap: DirtyBitmap,
  offset: number,
  length: number,
  extents: Uint32Array,
  most: number,
): number {
  const end = offset + length;
  let count = 0;
  for (let at = offset; at < end && count < most; count++) {
    const block = Math.floor(at / BLOCK_BYTES);
    const next = bitmap.next(block);
    const dirty = next === block;
    const until = dirty
      ? (block + bitmap.runLength(block, Math.ceil(end / BLOCK_BYTES) - block)) * BLOCK_BYTES
      : next < 0
      ? end
      : next * BLOCK_BYTES;
    const bytes = Math.min(until, end, at + LONGEST) - at;
    extents[2 * count] = bytes;
    extents[2 * count + 1] = dirty ? 1 : 0;
    at += bytes;
  }
  return count;
}
