/** What goes wrong between two data planes, and with the thread that leads them. */
import assert from "node:assert/strict";
import { NbdConnection } from "../../src/cli/nbd_connection.ts";
import { monotonicMs } from "../../src/os/clock.ts";
import { LinkProxy } from "./link_proxy.ts";
import { MAIN_MODULE, MIB, randomBytes, Replica, Rig, VOLUME_WORKER, withRig } from "./fixtures.ts";
import { freePort, Pair, type PairOptions } from "./pair.ts";

async function withProxiedPair(
  options: PairOptions,
  test: (pair: Pair, proxy: LinkProxy, client: NbdConnection) => Promise<void>,
): Promise<void> {
  await withRig(async (rig) => {
    const port = freePort();
    const proxy = new LinkProxy(port);
    try {
      const pair = await Pair.start(rig, { ...options, through: proxy.port, portB: port });
      await pair.promote(pair.a);
      await pair.connected();
      const client = await NbdConnection.open(pair.a.socket, "data");
      try {
        await test(pair, proxy, client);
      } finally {
        await client.close();
      }
    } finally {
      await proxy.close();
    }
  });
}

/** Writes that all succeed, whatever happens meanwhile; returns what must be read. */
async function writeAll(client: NbdConnection, count: number, length: number): Promise<Uint8Array> {
  const data = randomBytes(count * length);
  const jobs: Promise<void>[] = [];
  for (let n = 0; n < count; n++) {
    jobs.push(client.write(n * length, data.subarray(n * length, (n + 1) * length)));
  }
  await Promise.all(jobs);
  return data;
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

Deno.test("a link that is cut again and again loses no write and needs no shrink", () =>
  withProxiedPair({ timeout: 8000 }, async (pair, proxy, client) => {
    for (let round = 0; round < 4; round++) {
      const written = writeAll(client, 200, 16 * 1024);
      await sleep(5 * round);
      proxy.cut();
      const data = await written;
      await client.flush();
      assert.deepEqual(await client.read(0, data.length), data);
    }
    await pair.connected();
    await client.flush();
    pair.assertSame();
    assert.deepEqual(pair.asked.filter((ask) => ask.type === "shrink"), []);
  }));

Deno.test("one damaged bit ends the session, is noted, and reaches no disk", () =>
  withProxiedPair({ timeout: 8000 }, async (pair, proxy, client) => {
    proxy.damageAbove = 20_000;
    await writeAll(client, 64, 64 * 1024);
    await client.flush();
    await pair.b.until(
      "a note",
      () => pair.b.notes.some(({ rule, text }) => rule === "link-lost" && /checksum/.test(text)),
    );
    await pair.connected();
    await client.flush();
    pair.assertSame();
  }));

Deno.test("a silent link is given up, the set shrinks, and the replica comes back", () =>
  withProxiedPair({ timeout: 600 }, async (pair, proxy, client) => {
    await writeAll(client, 10, 4096);
    proxy.hold();
    const data = await writeAll(client, 100, 4096);
    assert.deepEqual(pair.upToDate, [pair.a.report.replicaId]);
    proxy.cut();
    proxy.resume();
    await pair.a.until("b is back in the set", () => pair.upToDate.length === 2);
    await pair.connected();
    await client.flush();
    assert.deepEqual(await client.read(0, data.length), data);
    pair.assertSame();
  }));

Deno.test("without an answer from the cluster a write waits for its replica", () =>
  withProxiedPair({ timeout: 500 }, async (pair, proxy, client) => {
    pair.answering = false;
    proxy.open = false;
    proxy.cut();
    let done = false;
    const data = randomBytes(8192);
    const written = client.write(MIB, data).then(() => done = true);
    await pair.a.until("an ask", () => pair.asked.some((ask) => ask.type === "shrink"));
    await sleep(500);
    assert.equal(done, false, "it was answered by one replica alone");
    proxy.open = true;
    await written;
    pair.assertSame();
    assert.deepEqual(await client.read(MIB, data.length), data);
  }));

Deno.test("a Primary that was deposed lets its clients go and follows the new one", () =>
  withRig(async (rig) => {
    const pair = await Pair.start(rig, { timeout: 800 });
    await pair.promote(pair.a);
    await pair.connected();
    const client = await NbdConnection.open(pair.a.socket, "data");
    try {
      const data = await writeAll(client, 50, 8192);
      // b takes without a's leave, as after a lost lease: the set is b alone.
      pair.a.worker.lease(1, 0);
      const stuck = assert.rejects(client.write(30 * MIB, new Uint8Array(4096).fill(1)));
      pair.upToDate = [pair.b.report.replicaId];
      await pair.promote(pair.b);
      await stuck;
      await pair.b.until("a is back in the set", () => pair.upToDate.length === 2);
      const other = await NbdConnection.open(pair.b.socket, "data");
      try {
        assert.deepEqual(await other.read(0, data.length), data);
        await other.flush();
      } finally {
        await other.close();
      }
      pair.assertSame();
      assert.equal(pair.a.report.role, "Secondary");
    } finally {
      await client.close();
    }
  }));

Deno.test("a peer with another key, or none, is never let in", () =>
  withRig(async (rig) => {
    const port = freePort();
    const a = rig.start({
      node: "a",
      port,
      peers: [{ node: "b", port: 1 }],
      moduleUrl: VOLUME_WORKER,
    });
    await a.until("ready", () => a.ready !== null);
    for (const noise of [randomBytes(20_000), new TextEncoder().encode("GET / HTTP/1.0\r\n\r\n")]) {
      const conn = await Deno.connect({ hostname: "127.0.0.1", port });
      try {
        await conn.write(noise);
        const sink = new Uint8Array(1000);
        while (await conn.read(sink).catch(() => null) !== null);
      } finally {
        conn.close();
      }
    }
    const stranger = rig.start({
      node: "b",
      port: 0,
      peers: [{ node: "a", port }],
      moduleUrl: VOLUME_WORKER,
      key: 8,
    });
    await stranger.until("ready", () => stranger.reports.length > 0);
    const { replicaId, generation } = stranger.report;
    stranger.worker.order({
      type: "promote",
      epoch: 1,
      version: 1,
      lineage: "l",
      record: { generation, upToDate: [replicaId] },
    });
    stranger.worker.lease(1, Infinity);
    await stranger.until(
      "a refusal",
      () => stranger.notes.some(({ rule }) => rule === "link-lost"),
    );
    await sleep(300);
    assert.equal(a.report.epoch, 0);
    assert.equal(a.fatal, null);
    assert.notEqual(stranger.report.peers[0]?.connection, "Connected");
  }));

Deno.test("I/O freezes when the lease ends, whatever the main thread does, and thaws", () =>
  withRig(async (rig) => {
    // A set of two: a sole up-to-date replica would need no lease.
    const pair = await Pair.start(rig);
    await pair.promote(pair.a);
    await pair.connected();
    const { a } = pair;
    const client = await NbdConnection.open(a.socket, "data");
    try {
      a.worker.lease(1, monotonicMs() + 60_000);
      await client.write(0, new Uint8Array(4096).fill(3));
      a.worker.lease(1, monotonicMs() + 100);
      // The main thread hangs: nothing is told to the Worker any more.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
      let answers = 0;
      const reading = client.read(0, 4096).then(() => answers++);
      const writing = client.write(4096, new Uint8Array(4096)).then(() => answers++);
      await sleep(300);
      assert.equal(answers, 0, "it was answered without a lease");
      a.worker.lease(1, monotonicMs() + 60_000);
      await Promise.all([reading, writing]);
      // Another epoch's lease is none of this one's.
      a.worker.lease(2, monotonicMs() + 60_000);
      const other = client.read(0, 4096).then(() => answers++);
      await sleep(300);
      assert.equal(answers, 2);
      a.worker.lease(1, Infinity);
      await other;
    } finally {
      await client.close();
    }
  }));

Deno.test("the program's own main module is a data plane in a Worker", () =>
  withRig(async (rig) => {
    const a = await alone(rig);
    const client = await NbdConnection.open(a.socket, "data");
    try {
      const data = randomBytes(MIB);
      await client.write(12_345, data);
      assert.deepEqual(await client.read(12_345, data.length), data);
    } finally {
      await client.close();
    }
  }));

/** A Primary whose peer is not there and not in the set. */
async function alone(rig: Rig): Promise<Replica> {
  const peers = [{ node: "b", port: 1 }];
  const a = rig.start({ node: "a", port: 0, peers, moduleUrl: MAIN_MODULE });
  await a.until("ready", () => a.reports.length > 0 || a.fatal !== null, 60_000);
  const { replicaId, generation } = a.report;
  a.worker.order({
    type: "promote",
    epoch: 1,
    version: 1,
    lineage: "l",
    record: { generation, upToDate: [replicaId] },
  });
  a.worker.lease(1, Infinity);
  await a.until("promoted", () => a.asks.some((ask) => ask.type === "promoted"));
  return a;
}
