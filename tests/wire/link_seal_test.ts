import assert from "node:assert/strict";
import fc from "fast-check";
import { Opener, SEAL_BYTES, SEAL_OVERHEAD, Sealer } from "../../src/wire/link_seal.ts";

const KEY = new Uint8Array(32).fill(9);

Deno.test("what was sealed opens, in order, whatever its length", () => {
  const [sealer, opener] = [new Sealer(KEY), new Opener(KEY)];
  for (const length of [0, 1, 63, 4096, SEAL_BYTES]) {
    const plain = new Uint8Array(length).map((_, i) => i * 31);
    const record = sealer.seal(plain);
    assert.equal(record.length, length + SEAL_OVERHEAD);
    assert.equal(opener.sizeOf(record.subarray(0, record.length - 1)), 0);
    assert.equal(opener.sizeOf(new Uint8Array([...record, 1, 2, 3])), record.length);
    assert.deepEqual(new Uint8Array(opener.open(record)!), plain);
  }
});

Deno.test("a bit turned over, a record repeated, left out or of another key does not open", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(), fc.nat(7), (plain, at, bit) => {
      const record = new Sealer(KEY).seal(plain);
      record[at % record.length]! ^= 1 << bit;
      const opener = new Opener(KEY);
      const size = opener.sizeOf(record);
      if (size === record.length) assert.equal(opener.open(record), null);
    }),
  );
  const sealer = new Sealer(KEY);
  const [first, second] = [sealer.seal(KEY), sealer.seal(KEY)];
  assert.notDeepEqual(first, second);
  assert.equal(new Opener(KEY).open(second), null);
  const opener = new Opener(KEY);
  assert.ok(opener.open(first));
  assert.equal(opener.open(first), null);
  assert.equal(new Opener(new Uint8Array(32)).open(first), null);
});

Deno.test("a length that no record has ends the connection at once", () => {
  assert.equal(new Opener(KEY).sizeOf(Uint8Array.of(0, 0, 0, 15)), -1);
  assert.equal(new Opener(KEY).sizeOf(Uint8Array.of(1, 0, 0, 0)), -1);
  assert.equal(new Opener(KEY).sizeOf(Uint8Array.of(0, 0)), 0);
});
