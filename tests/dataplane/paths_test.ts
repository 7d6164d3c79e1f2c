/** Several addresses of a replica, and peers that are there without answering. */
import assert from "node:assert/strict";
import { NbdConnection } from "../../src/cli/nbd_connection.ts";
import { randomBytes, withRig } from "./fixtures.ts";
import { LinkProxy } from "./link_proxy.ts";
import { freePort, Pair } from "./pair.ts";

const PIECE = 16 * 1024;

async function withPaths(
  test: (pair: Pair, first: LinkProxy, second: LinkProxy, client: NbdConnection) => Promise<void>,
): Promise<void> {
  await withRig(async (rig) => {
    const port = freePort();
    const [first, second] = [new LinkProxy(port), new LinkProxy(port)];
    try {
      const pair = await Pair.start(rig, {
        timeout: 4000,
        through: first.port,
        throughMore: [second.port],
        portB: port,
      });
      await pair.promote(pair.a);
      await pair.connected();
      const client = await NbdConnection.open(pair.a.socket, "data");
      try {
        await test(pair, first, second, client);
      } finally {
        await client.close();
      }
    } finally {
      await first.close();
      await second.close();
    }
  });
}

async function writeAll(client: NbdConnection, count: number): Promise<Uint8Array> {
  const data = randomBytes(count * PIECE);
  const jobs = Array.from(
    { length: count },
    (_, n) => client.write(n * PIECE, data.subarray(n * PIECE, (n + 1) * PIECE)),
  );
  await Promise.all(jobs);
  return data;
}

Deno.test("the next address is used when the first goes silent, and the first again later", () =>
  withPaths(async (pair, first, second, client) => {
    await writeAll(client, 50);
    assert.ok(first.forwarded > 50 * PIECE);
    assert.equal(second.forwarded, 0);
    first.hold();
    const data = await writeAll(client, 100);
    assert.ok(second.forwarded > 50 * PIECE, `${second.forwarded} bytes took the second way`);
    assert.deepEqual(
      pair.asked.filter((ask) => ask.type === "shrink"),
      [],
      "a member was given up",
    );
    await pair.connected();
    first.resume();
    const before = first.forwarded;
    await pair.a.until(
      "the link moves back",
      () => pair.a.notes.some(({ text }) => text.includes("which is preferred, answers again")),
    );
    await pair.connected();
    await writeAll(client, 20);
    await pair.a.until("the first way is in use", () => first.forwarded > before + 20 * PIECE);
    await client.flush();
    assert.deepEqual(await client.read(20 * PIECE, 80 * PIECE), data.subarray(20 * PIECE));
    pair.assertSame();
  }));

Deno.test("an address that refuses connections is passed over at once", () =>
  withPaths(async (pair, first, second, client) => {
    await writeAll(client, 20);
    first.open = false;
    first.cut();
    const data = await writeAll(client, 50);
    assert.ok(second.forwarded > 0);
    assert.deepEqual(pair.asked.filter((ask) => ask.type === "shrink"), []);
    assert.deepEqual(await client.read(0, data.length), data);
    await pair.connected();
    await client.flush();
    pair.assertSame();
  }));

Deno.test("a peer that reads nothing more is given up, however much is on its way", () =>
  withRig(async (rig) => {
    const port = freePort();
    const proxy = new LinkProxy(port);
    try {
      const pair = await Pair.start(rig, { timeout: 1500, through: proxy.port, portB: port });
      await pair.promote(pair.a);
      await pair.connected();
      const client = await NbdConnection.open(pair.a.socket, "data");
      try {
        await writeAll(client, 10);
        // Far more than the sockets' buffers take: the window closes with frames half sent.
        proxy.hold();
        const began = performance.now();
        const data = await writeAll(client, 2000);
        const took = performance.now() - began;
        assert.deepEqual(pair.upToDate, [pair.a.report.replicaId]);
        assert.ok(took < 20_000, `it hung for ${took} ms`);
        proxy.cut();
        proxy.resume();
        await pair.a.until("b is back in the set", () => pair.upToDate.length === 2);
        await pair.connected();
        await client.flush();
        assert.deepEqual(await client.read(0, data.length), data);
        pair.assertSame();
      } finally {
        await client.close();
      }
    } finally {
      await proxy.close();
    }
  }));
