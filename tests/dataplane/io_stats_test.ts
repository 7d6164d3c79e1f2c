/** Counters and latencies of a volume. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { IO_KINDS, IO_PHASES, IoStats, quantile } from "../../src/agent/dataplane/io_stats.ts";
import { NbdConnection, NbdRequestError } from "../../src/cli/nbd_connection.ts";
import { RequestKind } from "../../src/volume/types.ts";
import { MIB, randomBytes, withRig } from "./fixtures.ts";
import { Pair } from "./pair.ts";

Deno.test("a reader of the shared memory sees what the writer counted", () => {
  const writer = new IoStats();
  const reader = new IoStats(writer.buffer);
  writer.now = 1000;
  writer.answered(RequestKind.Write, 999, 4096, false);
  writer.answered(RequestKind.Write, 999.9, 4096, true);
  writer.answered(RequestKind.ZeroAllocated, 1000, 100, false);
  writer.started(RequestKind.Read, 900);
  writer.disk(RequestKind.Flush, 0);
  writer.sent(RequestKind.Trim, 77);
  writer.now = 1003;
  writer.acknowledged(77);
  writer.acknowledged(78);
  writer.clients = 3;
  const { clients, requests } = reader.snapshot();
  assert.equal(clients, 3);
  const { write, zero, read, flush, trim } = requests;
  assert.deepEqual([write.requests, write.errors, write.bytes], [2, 1, 4096]);
  assert.deepEqual(write.microseconds.total, [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1]);
  assert.deepEqual([zero.requests, zero.bytes, zero.microseconds.total], [1, 100, [1]]);
  assert.equal(read.microseconds.queue.length, 18);
  assert.equal(flush.microseconds.disk.length, 21);
  assert.deepEqual(trim.microseconds.replica.reduce((sum, count) => sum + count, 0), 1);
  assert.equal(trim.microseconds.replica.length, 13);
});

Deno.test("every duration falls into the bucket that holds it", () => {
  fc.assert(fc.property(fc.double({ min: 0, max: 1e9, noNaN: true }), (duration) => {
    const stats = new IoStats();
    stats.now = duration;
    stats.disk(RequestKind.Read, 0);
    const histogram = stats.snapshot().requests.read.microseconds.disk;
    const bucket = histogram.length - 1;
    const microseconds = Math.min(duration * 1000, 0x7fffffff);
    if (bucket > 0) assert.ok(microseconds >= 2 ** (bucket - 1));
    if (bucket < 27) assert.ok(microseconds < 2 ** bucket);
  }));
});

Deno.test("quantiles are the upper ends of buckets", () => {
  assert.equal(quantile([], 0.5), null);
  assert.equal(quantile([0, 0, 10], 0.5), 4);
  assert.equal(quantile([98, 0, 0, 1, 1], 0.5), 1);
  assert.equal(quantile([98, 0, 0, 1, 1], 0.99), 8);
  assert.equal(quantile([98, 0, 0, 1, 1], 1), 16);
});

Deno.test("a replicated volume counts and times each kind of request, on both nodes", () =>
  withRig(async (rig) => {
    const pair = await Pair.start(rig);
    await pair.promote(pair.a);
    await pair.connected();
    const client = await NbdConnection.open(pair.a.socket, "data");
    for (let n = 0; n < 20; n++) await client.write(n * MIB, randomBytes(8192), { fua: n === 3 });
    for (let n = 0; n < 10; n++) await client.read(n * MIB, 4096);
    await client.flush();
    await client.trim(32 * MIB, MIB);
    await client.writeZeroes(33 * MIB, 2 * MIB);
    await assert.rejects(client.read(pair.a.size, 1), NbdRequestError);
    await pair.a.until("a client counted", () => pair.a.worker.stats().clients === 1);
    const { requests } = pair.a.worker.stats();
    const counts = Object.fromEntries(
      IO_KINDS.map((kind) => [kind, [requests[kind].requests, requests[kind].bytes]]),
    );
    assert.deepEqual(counts, {
      // What never got to the volume is not counted.
      read: [10, 10 * 4096],
      write: [20, 20 * 8192],
      flush: [1, 0],
      trim: [1, MIB],
      zero: [1, 2 * MIB],
    });
    const timed = (kind: typeof IO_KINDS[number], phase: typeof IO_PHASES[number]) =>
      requests[kind].microseconds[phase].reduce((sum, count) => sum + count, 0);
    for (const kind of IO_KINDS) {
      assert.equal(timed(kind, "total"), requests[kind].requests, kind);
      assert.equal(timed(kind, "queue"), requests[kind].requests, kind);
      assert.ok(timed(kind, "disk") >= requests[kind].requests, kind);
    }
    assert.equal(timed("read", "replica"), 0);
    assert.equal(timed("write", "replica"), 20);
    assert.ok(timed("flush", "replica") >= 1);
    assert.ok(timed("trim", "replica") >= 1);
    const onB = pair.b.worker.stats().requests;
    assert.equal(onB.write.requests, 0);
    assert.ok(onB.write.microseconds.disk.reduce((sum, count) => sum + count, 0) >= 20);
    await client.disconnect();
    await pair.a.until("nobody", () => pair.a.worker.stats().clients === 0);
  }));

Deno.test("clients are told what the peer may lack", () =>
  withRig(async (rig) => {
    const pair = await Pair.start(rig);
    await pair.promote(pair.a);
    await pair.connected();
    const options = { contexts: ["x-bascule:dirty", "base:allocation"] };
    const dirty = async (client: NbdConnection, offset: number, length: number, one = false) =>
      (await client.blockStatus(offset, length, { one }))
        .filter(({ context }) => context === "x-bascule:dirty")
        .map((extent) => [extent.offset, extent.length, extent.flags]);
    for (const extended of [false, true]) {
      const client = await NbdConnection.open(pair.a.socket, "data", { ...options, extended });
      assert.equal(client.info.extended, extended);
      assert.deepEqual([...client.info.contexts.values()].toSorted(), [
        "base:allocation",
        "x-bascule:dirty",
      ]);
      assert.deepEqual(await dirty(client, 0, pair.a.size), [[0, pair.a.size, 0]]);
      await client.disconnect();
    }
    await pair.b.worker.close();
    const client = await NbdConnection.open(pair.a.socket, "data", options);
    await client.write(MIB, randomBytes(8192));
    await client.write(3 * MIB + 100, randomBytes(10));
    // The block before an answer is known to be missed there: its mark comes with the shrink.
    for (let tries = 0; (await dirty(client, 0, pair.a.size)).length < 5; tries++) {
      assert.ok(tries < 200, JSON.stringify(await dirty(client, 0, pair.a.size)));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.deepEqual(await dirty(client, 0, pair.a.size), [
      [0, MIB, 0],
      [MIB, 8192, 1],
      [MIB + 8192, 2 * MIB - 8192, 0],
      [3 * MIB, 4096, 1],
      [3 * MIB + 4096, pair.a.size - 3 * MIB - 4096, 0],
    ]);
    assert.deepEqual(await dirty(client, MIB + 100, 200), [[MIB + 100, 200, 1]]);
    assert.deepEqual(await dirty(client, MIB - 10, MIB, true), [[MIB - 10, 10, 0]]);
    await client.disconnect();
  }));
