import assert from "node:assert/strict";
import fc from "fast-check";
import { dirtyExtents } from "../../src/volume/dirty_extents.ts";
import { DirtyBitmap } from "../../src/volume/metadata/bitmap.ts";
import { geometry } from "../../src/volume/metadata/layout.ts";

const BLOCK = 4096;

Deno.test("dirty extents say of every byte what the bitmap says of its block", () => {
  const blocks = 300;
  const runs = fc.array(
    fc.record({ first: fc.nat(blocks - 1), count: fc.integer({ min: 1, max: 40 }) }),
    { maxLength: 12 },
  );
  const range = fc.record({
    offset: fc.nat(blocks * BLOCK - 1),
    length: fc.integer({ min: 1, max: blocks * BLOCK }),
    most: fc.integer({ min: 1, max: 20 }),
  });
  fc.assert(fc.property(runs, range, (marks, { offset, length, most }) => {
    const bitmap = new DirtyBitmap(geometry(blocks * BLOCK, 67), 0);
    for (const { first, count } of marks) bitmap.set(first, Math.min(count, blocks - first));
    const within = Math.min(length, blocks * BLOCK - offset);
    const extents = new Uint32Array(2 * most);
    const count = dirtyExtents(bitmap, offset, within, extents, most);
    assert.ok(count >= 1 && count <= most);
    let at = offset;
    for (let i = 0; i < count; i++) {
      const bytes = extents[2 * i]!;
      assert.ok(bytes > 0);
      for (const probe of [at, at + Math.floor(bytes / 2), at + bytes - 1]) {
        const dirty = bitmap.has(Math.floor(probe / BLOCK));
        assert.equal(extents[2 * i + 1], dirty ? 1 : 0);
      }
      if (i > 0) assert.notEqual(extents[2 * i + 1], extents[2 * i - 1]);
      at += bytes;
    }
    assert.ok(at <= offset + within);
    if (count < most) assert.equal(at, offset + within);
  }));
});

Deno.test("an extent longer than 32 bits is cut", () => {
  const size = 2 ** 40;
  const bitmap = new DirtyBitmap(geometry(size, 67), 0);
  const extents = new Uint32Array(8);
  assert.equal(dirtyExtents(bitmap, 0, size, extents, 4), 4);
  assert.deepEqual([...extents], Array.from({ length: 4 }, () => [2 ** 32 - BLOCK, 0]).flat());
});
