import assert from "node:assert/strict";
import fc from "fast-check";
import { BufferPool, PIECE_BYTES } from "../../src/agent/dataplane/buffers.ts";

const MIB = 1 << 20;

Deno.test("buffers of one pool never overlap, and all memory comes back", () => {
  const step = fc.oneof(
    fc.record({ take: fc.integer({ min: 0, max: MIB }) }),
    fc.record({ give: fc.nat() }),
    fc.record({ hold: fc.nat() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const pool = new BufferPool(4 * MIB, MIB);
      try {
        /** Handle and holders. */
        const held: { handle: number; from: number; to: number; holders: number }[] = [];
        for (const action of steps) {
          if ("take" in action) {
            const handle = pool.acquire(action.take);
            if (handle < 0) continue;
            const from = pool.offset(handle);
            const to = from + pool.size(handle);
            assert.ok(to - from >= action.take && from % PIECE_BYTES === 0);
            assert.ok(to <= pool.slab.length);
            for (const other of held) assert.ok(to <= other.from || from >= other.to);
            held.push({ handle, from, to, holders: 1 });
          } else if (held.length > 0 && "hold" in action) {
            const one = held[action.hold % held.length]!;
            pool.retain(one.handle);
            one.holders++;
          } else if (held.length > 0 && "give" in action) {
            const index = action.give % held.length;
            const one = held[index]!;
            pool.release(one.handle);
            if (--one.holders === 0) held.splice(index, 1);
          }
        }
        const bytes = held.reduce((sum, { from, to }) => sum + to - from, 0);
        assert.equal(pool.used, bytes);
        for (const { handle, holders } of held) {
          for (let i = 0; i < holders; i++) pool.release(handle);
        }
        assert.equal(pool.used, 0);
        // Whole again: every largest piece can be had.
        for (let i = 0; i < 4; i++) assert.ok(pool.acquire(MIB) >= 0);
        assert.equal(pool.acquire(1), -1);
      } finally {
        pool.free();
      }
    }),
    { numRuns: 50 },
  );
});

Deno.test("a buffer that nobody holds cannot be used", () => {
  const pool = new BufferPool(MIB, MIB);
  try {
    const handle = pool.acquire(100);
    pool.release(handle);
    assert.throws(() => pool.release(handle), /held by nobody/);
    assert.throws(() => pool.retain(handle), /held by nobody/);
    assert.throws(() => pool.offset(handle), /held by nobody/);
    assert.throws(() => pool.acquire(2 * MIB), /above/);
  } finally {
    pool.free();
  }
});

Deno.test("the owner of a pool hears when something became free", () => {
  const pool = new BufferPool(MIB, MIB);
  try {
    let heard = 0;
    pool.onFree = () => heard++;
    const handle = pool.acquire(MIB);
    assert.equal(pool.acquire(1), -1);
    pool.retain(handle);
    pool.release(handle);
    assert.equal(heard, 0);
    pool.release(handle);
    assert.equal(heard, 1);
  } finally {
    pool.free();
  }
});
