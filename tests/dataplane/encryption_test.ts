/** Encrypted replication links. */
import assert from "node:assert/strict";
import { NbdConnection } from "../../src/cli/nbd_connection.ts";
import { randomBytes, withRig } from "./fixtures.ts";
import { LinkProxy } from "./link_proxy.ts";
import { freePort, Pair } from "./pair.ts";

/** Something that nobody sends by chance. */
const PATTERN = new TextEncoder().encode("a very secret ledger");

for (const encrypt of [true, false]) {
  const how = encrypt ? "encrypted" : "plain";
  Deno.test(`an ${how} link carries writes, a resync and reads; who listens sees ${encrypt ? "nothing" : "all"}`, () =>
    withRig(async (rig) => {
      const port = freePort();
      const proxy = new LinkProxy(port);
      proxy.watchFor = PATTERN;
      try {
        const options = { timeout: 8000, through: proxy.port, portB: port, encrypt };
        const pair = await Pair.start(rig, options);
        await pair.promote(pair.a);
        await pair.connected();
        const client = await NbdConnection.open(pair.a.socket, "data");
        try {
          const data = randomBytes(12 << 20);
          for (let at = 100; at < data.length; at += 8192) data.set(PATTERN, at);
          const jobs: Promise<void>[] = [];
          // Small and large ones, in pieces that end anywhere.
          for (let at = 0; at < data.length;) {
            const length = Math.min(data.length - at, 700 + (at * 7919) % 2_000_000);
            jobs.push(client.write(at, data.subarray(at, at + length)));
            at += length;
          }
          await Promise.all(jobs);
          await client.flush();
          pair.assertSame();
          proxy.open = false;
          proxy.cut();
          await client.write(0, data.subarray(5000, 3_000_000));
          proxy.open = true;
          await pair.a.until("b is back in the set", () => pair.upToDate.length === 2, 60_000);
          await pair.connected();
          await client.flush();
          pair.assertSame();
          assert.equal(proxy.seen, !encrypt);
        } finally {
          await client.close();
        }
      } finally {
        await proxy.close();
      }
    }));
}

Deno.test("a bit turned over on an encrypted link ends the session and reaches no disk", () =>
  withRig(async (rig) => {
    const port = freePort();
    const proxy = new LinkProxy(port);
    try {
      const options = { timeout: 8000, through: proxy.port, portB: port, encrypt: true };
      const pair = await Pair.start(rig, options);
      await pair.promote(pair.a);
      await pair.connected();
      const client = await NbdConnection.open(pair.a.socket, "data");
      try {
        proxy.damageAbove = 20_000;
        await Promise.all(
          Array.from({ length: 64 }, (_, n) => client.write(n * 65_536, randomBytes(65_536))),
        );
        await client.flush();
        const noted = () => pair.b.notes.some(({ text }) => /its key did not seal/.test(text));
        await pair.b.until("a note", noted);
        await pair.connected();
        await client.flush();
        pair.assertSame();
      } finally {
        await client.close();
      }
    } finally {
      await proxy.close();
    }
  }));
