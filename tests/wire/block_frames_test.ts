import assert from "node:assert/strict";
import fc from "fast-check";
import {
  blocksOf,
  decodeDiffers,
  decodeRuns,
  decodeSums,
  DIGEST_BYTES,
  encodeDiffers,
  encodeRuns,
  encodeSums,
  MAX_BATCH_BLOCKS,
  MAX_HEAD_BYTES,
} from "../../src/wire/block_frames.ts";

/** Runs of at most a batch, anywhere in 16 TiB. */
const runs = fc.tuple(
  fc.nat(2 ** 31),
  fc.array(fc.tuple(fc.nat(100_000), fc.integer({ min: 1, max: 40 })), {
    minLength: 1,
    maxLength: 60,
  }),
).map(([base, pieces]) => {
  const made: number[] = [];
  let next = base;
  let left = MAX_BATCH_BLOCKS;
  for (const [gap, length] of pieces) {
    if (left === 0) break;
    const first = made.length === 0 ? base : next + 1 + gap;
    const blocks = Math.min(length, left);
    made.push(first, blocks);
    next = first + blocks;
    left -= blocks;
  }
  return made;
});

Deno.test("runs, sums and differences come back as they were sent", () => {
  fc.assert(fc.property(runs, fc.infiniteStream(fc.nat(2 ** 32 - 1)), (some, numbers) => {
    const blocks = blocksOf(some);
    const crcs = Uint32Array.from([...numbers.take(blocks)]);
    const zeroes = Uint8Array.from(crcs, (crc) => crc & 1);
    const offset = some[0]! * 4096;
    const length = blocks * 4096;
    assert.deepEqual(decodeRuns(encodeRuns(some), offset, length), some);
    const head = encodeSums(some, { crcs, zeroes });
    assert.ok(head.length <= MAX_HEAD_BYTES);
    assert.deepEqual(decodeSums(head, offset, length), { runs: some, sums: { crcs, zeroes } });
    const digest = new Uint8Array(DIGEST_BYTES).fill(7);
    const answer = decodeDiffers(encodeDiffers(zeroes, digest), blocks)!;
    assert.deepEqual([answer.differs, answer.digest], [zeroes, digest]);
  }));
});

Deno.test("heads that do not fit their frame are refused, never misread", () => {
  fc.assert(fc.property(runs, fc.uint8Array({ maxLength: 64 }), (some, noise) => {
    const length = blocksOf(some) * 4096;
    const offset = some[0]! * 4096;
    const good = encodeRuns(some);
    assert.equal(decodeRuns(good, offset, length + 4096), null, "a block too many");
    assert.equal(decodeRuns(good.subarray(4), offset, length), null, "cut");
    assert.equal(decodeRuns(good, offset + 1, length), null, "between blocks");
    const found = decodeRuns(noise, offset, length);
    if (found !== null) {
      assert.equal(blocksOf(found), length / 4096);
      for (let i = 2; i < found.length; i += 2) {
        assert.ok(found[i]! >= found[i - 2]! + found[i - 1]!, "ascending, apart");
      }
    }
    decodeSums(noise, offset, length);
    assert.equal(decodeDiffers(noise, 9000), null);
  }));
});
