/** Metadata that rotted, were cut short, or are somebody else's: never taken for good. */
import assert from "node:assert/strict";
import {
  encodeTransaction,
  LOG_EMPTY,
  type LogContent,
  readLog,
} from "../../src/volume/metadata/activity_log.ts";
import { DirtyBitmap } from "../../src/volume/metadata/bitmap.ts";
import { formatMetadata, readMetadata } from "../../src/volume/metadata/format.ts";
import {
  geometry,
  internalMetadataOffset,
  LOG_OFFSET,
  logTransactionOffset,
  META_PAGE_BYTES,
  SUPERBLOCK_OFFSETS,
} from "../../src/volume/metadata/layout.ts";
import { encodeSuperblock } from "../../src/volume/metadata/superblock.ts";

const SIZE = 128 * 1024 * 1024;
const EXPECTED = { volume: "data", size: SIZE };
const LAYOUT = geometry(SIZE, 32);

/** A region as a Primary leaves it that was killed with writes under way. */
function region(transactions: number): { bytes: Uint8Array; extents: number[] } {
  const bytes = new Uint8Array(LAYOUT.bytes);
  const init = {
    volume: "data",
    size: SIZE,
    alExtents: 32,
    replicaId: "0123456789abcdef",
    storage: "5",
    generation: "feedface",
    blank: "no",
    bootId: "b",
  } as const;
  for (const chunk of formatMetadata(init)) bytes.set(chunk.bytes, chunk.offset);
  const table = new Int32Array(32).fill(LOG_EMPTY);
  const page = new Uint8Array(META_PAGE_BYTES);
  for (let i = 0; i < transactions; i++) {
    table[i % 32] = i % LAYOUT.extents;
    encodeTransaction(LAYOUT, LAYOUT.logRing + i, table, [i % 32], page);
    bytes.set(page, logTransactionOffset(LAYOUT, LAYOUT.logRing + i));
  }
  const bitmap = new DirtyBitmap(LAYOUT, 0);
  bitmap.set(31_000, 17);
  bitmap.encodePage(0, page);
  bytes.set(page, bitmap.pageOffset(0));
  return {
    bytes,
    extents: [...new Set([...table].filter((one) => one >= 0))].sort((a, b) => a - b),
  };
}

/** Turns every bit of `[from, to)` over, one at a time. */
function eachFlip(bytes: Uint8Array, from: number, to: number, look: (bit: number) => void): void {
  for (let at = from; at < to; at++) {
    for (let bit = 0; bit < 8; bit++) {
      bytes[at]! ^= 1 << bit;
      look(8 * at + bit);
      bytes[at]! ^= 1 << bit;
    }
  }
}

Deno.test("every single bit of a superblock's copy may flip: the other copy counts", () => {
  const { bytes } = region(5);
  const good = readMetadata(bytes, EXPECTED).superblock;
  for (const offset of SUPERBLOCK_OFFSETS) {
    const head = bytes.subarray(0, LOG_OFFSET);
    eachFlip(head, offset, offset + META_PAGE_BYTES, (bit) => {
      const found = readMetadata(bytes, EXPECTED);
      assert.deepEqual(found.superblock, good, `bit ${bit}`);
      assert.deepEqual(found.damage, []);
    });
  }
});

Deno.test("the same bit of both superblocks flipped: refused, with the way out", () => {
  const { bytes } = region(0);
  const [first, second] = SUPERBLOCK_OFFSETS;
  eachFlip(bytes, first, first + META_PAGE_BYTES, (bit) => {
    const at = second + (bit >>> 3);
    bytes[at]! ^= 1 << (bit & 7);
    assert.throws(
      () => readMetadata(bytes, EXPECTED),
      /bascule volume create|run the program that wrote them/,
      `bit ${bit}`,
    );
    bytes[at]! ^= 1 << (bit & 7);
  });
});

Deno.test("every single bit of the activity log may flip: no extent is forgotten", () => {
  // Several positions in the ring, so that the newest transaction has many sequence numbers.
  for (const transactions of [3, 8, 9, 16, 40]) {
    const { bytes, extents } = region(transactions);
    const from = LAYOUT.logRing;
    const end = LOG_OFFSET + LAYOUT.logRing * META_PAGE_BYTES;
    const covers = ({ damage, extents: found }: LogContent) =>
      damage !== null || extents.every((one) => found.includes(one));
    assert.deepEqual(readLog(LAYOUT, bytes, from), {
      sequence: from + transactions - 1,
      extents,
      damage: null,
    });
    // All bits of the headers of every sector; of the bodies, which only the checksum sees, a part.
    eachFlip(bytes, LOG_OFFSET, end, (bit) => {
      const inSector = (bit >>> 3) % 512;
      if (inSector >= 48 && transactions !== 9 && bit % 61 !== 0) return;
      assert.ok(covers(readLog(LAYOUT, bytes, from)), `bit ${bit} after ${transactions}`);
    });
  }
});

Deno.test("a flipped bit of the bitmap makes more dirty, never less", () => {
  const { bytes } = region(0);
  const page = bytes.subarray(LAYOUT.bitmapOffset, LAYOUT.bitmapOffset + META_PAGE_BYTES);
  eachFlip(page, 0, META_PAGE_BYTES, (bit) => {
    const bitmap = new DirtyBitmap(LAYOUT, 0);
    assert.equal(bitmap.loadPage(0, page), false, `bit ${bit}`);
    for (const block of [0, 31_000, 31_016]) assert.ok(bitmap.has(block), `bit ${bit}`);
  });
});

Deno.test("a region cut short anywhere is refused, with the way out", () => {
  const { bytes } = region(9);
  for (let length = 0; length < bytes.length; length++) {
    // Between the parts nothing changes from byte to byte.
    if (length % 512 > 1 && length % 512 < 511) continue;
    assert.throws(
      () => readMetadata(bytes.subarray(0, length), EXPECTED),
      /volume data: .*(bascule volume create|ends within its metadata.*(enlarge|right disk))/,
      `${length} bytes`,
    );
  }
});

Deno.test("zeroes from anywhere on are refused, or everything counts as written", () => {
  const { bytes } = region(9);
  for (let from = 0; from < bytes.length; from += 512) {
    const cut = bytes.slice();
    cut.fill(0, from);
    if (from <= 512 * Math.floor(SUPERBLOCK_OFFSETS[0] / 512)) {
      assert.throws(() => readMetadata(cut, EXPECTED), /holds no metadata.*bascule volume create/);
      continue;
    }
    if (from < 512) continue;
    const found = readMetadata(cut, EXPECTED);
    const logged = from < LOG_OFFSET + LAYOUT.logRing * META_PAGE_BYTES;
    if (logged && cut.subarray(LOG_OFFSET).some((byte, i) => byte !== bytes[LOG_OFFSET + i])) {
      assert.equal(found.bitmaps[0]!.count, LAYOUT.blocks, `from ${from}`);
    } else {
      assert.ok(found.bitmaps[0]!.has(31_000), `from ${from}`);
    }
  }
});

Deno.test("foreign metadata are refused by name, size and version", () => {
  const { bytes } = region(0);
  const { superblock } = readMetadata(bytes, EXPECTED);
  const as = (change: Partial<typeof superblock>) => {
    const other = bytes.slice();
    const page = encodeSuperblock({ ...superblock, ...change }, 2);
    for (const at of SUPERBLOCK_OFFSETS) other.set(page, at);
    return () => readMetadata(other, EXPECTED);
  };
  assert.throws(as({ volume: "mail" }), /a replica of volume mail; correct `disk`/);
  assert.throws(as({ alExtents: 65_536 }), /ends within its metadata/);
  const newer = bytes.slice();
  for (const at of SUPERBLOCK_OFFSETS) newer[at + 11] = 7;
  assert.throws(() => readMetadata(newer, EXPECTED), /version 7, this program reads/);
  assert.equal(internalMetadataOffset(SIZE), SIZE);
});
