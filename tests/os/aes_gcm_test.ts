import assert from "node:assert/strict";
import { systemGcm } from "../../src/os/aes_gcm.ts";
import { type Gcm, Opener, PLAIN_GCM, SEAL_BYTES, Sealer } from "../../src/wire/link_seal.ts";

const KEY = new Uint8Array(32).fill(9);
/** Loaded here: it stays until the process ends. */
const system = systemGcm();

Deno.test("OpenSSL and Deno seal to the same bytes and open each other's, and nothing else", () => {
  assert.ok(system !== null, "there is no libcrypto: install libssl3");
  const pairs: [Gcm, Gcm][] = [[system, PLAIN_GCM], [PLAIN_GCM, system], [system, system]];
  for (const [one, other] of pairs) {
    const [sealer, opener] = [new Sealer(KEY, one), new Opener(KEY, other)];
    const same = new Sealer(KEY, other);
    for (const length of [0, 1, 63, 64, 4096, SEAL_BYTES]) {
      const plain = new Uint8Array(length).map((_, i) => i * 31);
      const record = sealer.seal(plain);
      assert.deepEqual(record, same.seal(plain));
      assert.deepEqual(new Uint8Array(opener.open(record)!), plain);
    }
  }
  for (let at = 0; at < 84; at++) {
    const record = new Sealer(KEY, system).seal(new Uint8Array(64));
    record[at]! ^= 1;
    assert.equal(new Opener(KEY, system).open(record), null, `byte ${at}`);
  }
  assert.equal(
    new Opener(new Uint8Array(32), system).open(new Sealer(KEY, system).seal(KEY)),
    null,
  );
});
