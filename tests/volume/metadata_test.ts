import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeTransaction, LOG_EMPTY } from "../../src/volume/metadata/activity_log.ts";
import { DirtyBitmap } from "../../src/volume/metadata/bitmap.ts";
import {
  dayZeroGeneration,
  type FormatInit,
  formatMetadata,
  readMetadata,
} from "../../src/volume/metadata/format.ts";
import {
  autoLogExtents,
  BITMAP_PAGE_BLOCKS,
  EXTENT_BYTES,
  geometry,
  logTransactionOffset,
  metadataSize,
  SUPERBLOCK_OFFSETS,
} from "../../src/volume/metadata/layout.ts";
import { encodeSuperblock, readSuperblocks } from "../../src/volume/metadata/superblock.ts";
import { SuperblockWriter } from "../../src/volume/metadata_writer.ts";
import { Random } from "./fake_disk.ts";

const TIB = 2 ** 40;
const INIT: FormatInit = {
  volume: "data",
  size: 512 * 1024 * 1024,
  alExtents: 16,
  replicaId: "0123456789abcdef",
  storage: "5",
  generation: "feedface",
  blank: "unknown",
  bootId: "b",
};
const EXPECTED = { volume: "data", size: INIT.size };
const LAYOUT = geometry(INIT.size, 16);

function region(init: Partial<FormatInit> = {}): Uint8Array {
  const all = { ...INIT, ...init };
  const bytes = new Uint8Array(metadataSize(all.size, all.alExtents));
  for (const chunk of formatMetadata(all)) bytes.set(chunk.bytes, chunk.offset);
  return bytes;
}

/** Appends a transaction that puts `extent` into `slot`. */
function log(bytes: Uint8Array, table: Int32Array, sequence: number, slot: number, extent: number) {
  table[slot] = extent;
  const page = new Uint8Array(4096);
  encodeTransaction(LAYOUT, sequence, table, [slot], page);
  bytes.set(page, logTransactionOffset(LAYOUT, sequence));
}

Deno.test("the region is about 33 MiB per TiB, the log sized by itself", () => {
  assert.ok(metadataSize(TIB, "auto") < 34 * 1024 * 1024);
  assert.equal(autoLogExtents(4096), 67);
  assert.equal(autoLogExtents(100 * EXTENT_BYTES), 100);
  assert.equal(autoLogExtents(TIB), 6433);
  assert.equal(geometry(16 * TIB, 6433).blocks, 2 ** 32);
  assert.throws(() => geometry(4097, 67), /multiple of 4096/);
  assert.throws(() => geometry(16 * TIB + 4096, 67), /at most 16 TiB/);
  assert.throws(() => geometry(4096, 1), /12 to 65536 extents/);
});

Deno.test("the bitmap of 16 TiB finds its last blocks, and an end after them", () => {
  const layout = geometry(16 * TIB, 67);
  const bitmap = new DirtyBitmap(layout, 0);
  const runs = [[5, 1], [2 ** 31 - 3, 70], [2 ** 32 - 100, 100]] as const;
  for (const [first, blocks] of runs) bitmap.set(first, blocks);
  assert.equal(bitmap.count, 171);
  let from = 0;
  for (const [first, blocks] of runs) {
    assert.equal(bitmap.next(from), first);
    assert.equal(bitmap.runLength(first, layout.blocks), blocks);
    assert.ok(bitmap.has(first + blocks - 1));
    from = first + blocks;
  }
  assert.equal(bitmap.next(from), -1);
  const page = Math.floor((2 ** 32 - 1) / BITMAP_PAGE_BLOCKS);
  const bytes = new Uint8Array(4096);
  bitmap.encodePage(page, bytes);
  const again = new DirtyBitmap(layout, 0);
  assert.ok(again.loadPage(page, bytes));
  assert.equal(again.next(0), 2 ** 32 - 100);
  bitmap.clear(2 ** 32 - 100, 100);
  bitmap.clear(0, 2 ** 32 - 200);
  assert.equal(bitmap.count, 0);
});

Deno.test("a new replica is read back; zeroed disks share their first generation", () => {
  const found = readMetadata(region(), EXPECTED);
  assert.equal(found.superblock.replicaId, INIT.replicaId);
  assert.equal(found.superblock.generations.current, "feedface");
  assert.equal(found.superblock.clean, true);
  assert.deepEqual(found.logExtents, []);
  assert.deepEqual(found.damage, []);
  assert.equal(found.bitmaps[0]!.count, 0);
  const zero = readMetadata(region({ blank: "zero", replicaId: "other" }), EXPECTED).superblock;
  assert.equal(zero.generations.current, dayZeroGeneration("data", INIT.size));
});

Deno.test("what cannot be used is refused with the way out", () => {
  const good = region();
  const change = (edit: (bytes: Uint8Array) => void) => {
    const bytes = good.slice();
    edit(bytes);
    return bytes;
  };
  const read = (bytes: Uint8Array, expected = EXPECTED) => () => readMetadata(bytes, expected);
  assert.throws(read(new Uint8Array(good.length)), /no metadata.*bascule volume create/);
  assert.throws(
    read(change((bytes) => SUPERBLOCK_OFFSETS.forEach((at) => bytes[at + 100]! ^= 1))),
    /both superblocks are damaged.*volume create/,
  );
  assert.throws(
    read(change((bytes) => SUPERBLOCK_OFFSETS.forEach((at) => bytes[at + 11] = 2))),
    /layout version 2, this program reads 1/,
  );
  assert.throws(read(good, { ...EXPECTED, volume: "www" }), /replica of volume data/);
  assert.throws(read(good, { ...EXPECTED, size: 4096 }), /made for 536870912 bytes/);
  assert.throws(read(good.slice(0, good.length - 1)), /ends within its metadata, after/);
});

Deno.test("one bad superblock is no harm, and the newest of two counts", () => {
  for (const at of SUPERBLOCK_OFFSETS) {
    const bytes = region();
    bytes[at + 40]! ^= 4;
    assert.equal(readMetadata(bytes, EXPECTED).superblock.replicaId, INIT.replicaId);
  }
  const bytes = region();
  const { superblock } = readMetadata(bytes, EXPECTED);
  bytes.set(encodeSuperblock({ ...superblock, epoch: 9 }, 2), SUPERBLOCK_OFFSETS[0]);
  assert.equal(readMetadata(bytes, EXPECTED).superblock.epoch, 9);
  // Torn in the middle of the second write: the first copy stands.
  const longer = {
    ...superblock,
    epoch: 10,
    upToDate: Array.from({ length: 40 }, (_, i) => `replica-${i}`),
  };
  const torn = encodeSuperblock(longer, 3).subarray(0, 512);
  bytes.set(torn, SUPERBLOCK_OFFSETS[1]);
  assert.equal(readMetadata(bytes, EXPECTED).superblock.epoch, 9);
});

Deno.test("whatever writes are torn, run after run, what was relied upon is found", () => {
  // Breaks when a run overwrites the one good copy: a bad disk spoilt the other in the run before.
  const [one, other] = SUPERBLOCK_OFFSETS;
  const blank = region();
  const runs = fc.array(fc.array(fc.constantFrom("done", "torn", "lost"), { maxLength: 6 }));
  fc.assert(fc.property(runs, fc.integer(), (lives, seed) => {
    const bytes = blank.slice(0, other + 4096);
    const random = new Random(seed);
    const found = () => readSuperblocks(bytes).newest;
    let relied = 0;
    for (const life of lives) {
      const { newest, overwriteOrder } = readSuperblocks(bytes);
      assert.ok(newest.error === undefined, newest.error);
      const { superblock, sequence } = newest;
      assert.ok(superblock.epoch >= relied, "an older one is found than was relied upon");
      relied = superblock.epoch;
      const fates = [...life];
      const metadata = {
        ...readMetadata(blank, EXPECTED),
        superblock,
        sequence,
        overwriteOrder,
      };
      const writer = new SuperblockWriter((offset, page, done) => {
        assert.ok(offset === one || offset === other);
        const fate = fates.shift() ?? "lost";
        for (let at = 0; at < page.length; at += 512) {
          if (fate === "done" || (fate === "torn" && random.below(2) === 0)) {
            bytes.set(page.subarray(at, at + 512), offset + at);
          }
        }
        if (fate === "done") done();
      }, metadata);
      // Of a length that reaches into several sectors.
      const upToDate = Array.from({ length: 40 }, () => `replica-${random.below(1e9)}`);
      for (let i = 0; i < 3; i++) {
        const epoch = relied + 1;
        writer.update({ epoch, upToDate }, () => relied = epoch);
      }
    }
    const last = found();
    assert.ok(last.error === undefined && last.superblock.epoch >= relied);
  }));
});

Deno.test("the log names its extents after any number of turns of the ring", () => {
  for (const turns of [1, 7, 8, 9, 50]) {
    const bytes = region();
    const table = new Int32Array(16).fill(LOG_EMPTY);
    for (let i = 0; i < turns; i++) log(bytes, table, LAYOUT.logRing + i, i % 16, 20 + i);
    const found = readMetadata(bytes, EXPECTED);
    const expected = [...table].filter((one) => one !== (LOG_EMPTY | 0)).sort((a, b) => a - b);
    assert.deepEqual(found.logExtents, expected);
    assert.equal(found.logSequence, LAYOUT.logRing + turns - 1);
    assert.deepEqual(found.damage, []);
  }
});

Deno.test("a torn last transaction was never answered: the log stands without it", () => {
  const random = new Random(5);
  for (let round = 0; round < 50; round++) {
    const bytes = region();
    const table = new Int32Array(16).fill(LOG_EMPTY);
    for (let i = 0; i < 20; i++) log(bytes, table, LAYOUT.logRing + i, i % 16, 20 + i);
    const before = readMetadata(bytes, EXPECTED).logExtents;
    const torn = bytes.slice();
    log(torn, table, LAYOUT.logRing + 20, 4, 99);
    const at = logTransactionOffset(LAYOUT, LAYOUT.logRing + 20);
    const keep = 1 + random.below(254);
    for (let sector = 0; sector < 8; sector++) {
      if ((keep >> sector) & 1) {
        const from = at + 512 * sector;
        torn.set(bytes.subarray(from, from + 512), from);
      }
    }
    const found = readMetadata(torn, EXPECTED);
    assert.deepEqual(found.damage, []);
    const whole = found.logExtents.includes(99);
    if (!whole) assert.deepEqual(found.logExtents, before);
    assert.ok(before.filter((one) => one !== 24).every((one) => found.logExtents.includes(one)));
  }
});

Deno.test("a flipped bit anywhere is found out, or makes more dirty, never less", () => {
  const bytes = region();
  const table = new Int32Array(16).fill(LOG_EMPTY);
  for (let i = 0; i < 13; i++) log(bytes, table, LAYOUT.logRing + i, i, 20 + i);
  const bitmap = new DirtyBitmap(LAYOUT, 0);
  bitmap.set(5, 3);
  bitmap.set(40_000, 100);
  for (let page = bitmap.takeChangedPage(); page >= 0; page = bitmap.takeChangedPage()) {
    const into = new Uint8Array(4096);
    bitmap.encodePage(page, into);
    bytes.set(into, bitmap.pageOffset(page));
  }
  const covered = (found: ReturnType<typeof readMetadata>) => {
    const dirty = (block: number) =>
      found.bitmaps[0]!.has(block) || found.logExtents.includes(Math.floor(block / 1024));
    for (let extent = 20; extent < 33; extent++) assert.ok(dirty(extent * 1024 + 1), `${extent}`);
    for (const block of [5, 6, 7, 40_000, 40_099]) assert.ok(dirty(block), `block ${block}`);
  };
  covered(readMetadata(bytes, EXPECTED));
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(7), (at, bit) => {
      const bad = bytes.slice();
      bad[at]! ^= 1 << bit;
      covered(readMetadata(bad, EXPECTED));
    }),
    { numRuns: 400 },
  );
});

Deno.test("the bitmap counts, finds and forgets like a set of numbers", () => {
  const layout = geometry(512 * 1024 * 1024, 16);
  const block = fc.nat(layout.blocks - 1);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.boolean(), block, fc.integer({ min: 1, max: 3000 })), { maxLength: 30 }),
      (changes) => {
        const bitmap = new DirtyBitmap(layout, 0);
        const model = new Uint8Array(layout.blocks);
        for (const [dirty, first, most] of changes) {
          const blocks = Math.min(most, layout.blocks - first);
          if (dirty) bitmap.set(first, blocks);
          else bitmap.clear(first, blocks);
          model.fill(dirty ? 1 : 0, first, first + blocks);
        }
        assert.equal(bitmap.count, model.reduce((sum, one) => sum + one, 0));
        let at = bitmap.next(0);
        let expected = model.indexOf(1);
        while (expected >= 0) {
          assert.equal(at, expected);
          const run = bitmap.runLength(at, layout.blocks);
          let end = expected;
          while (end < layout.blocks && model[end] === 1) end++;
          assert.equal(run, end - expected);
          at = bitmap.next(at + run);
          expected = model.indexOf(1, end);
        }
        assert.equal(at, -1);
        const again = new DirtyBitmap(layout, 0);
        for (let page = 0; page < layout.bitmapPages; page++) {
          const bytes = new Uint8Array(4096);
          bitmap.encodePage(page, bytes);
          assert.ok(again.loadPage(page, bytes));
        }
        assert.equal(again.count, bitmap.count);
      },
    ),
    { numRuns: 40 },
  );
  assert.equal(BITMAP_PAGE_BLOCKS % 1024, 0);
});
