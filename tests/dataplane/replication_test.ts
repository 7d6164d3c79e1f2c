/** Two data planes that replicate over loopback. */
import assert from "node:assert/strict";
import { NbdConnection } from "../../src/cli/nbd_connection.ts";
import { ENGINES, MIB, randomBytes, Replica, withRig } from "./fixtures.ts";
import { Pair } from "./pair.ts";

async function withClient(replica: Replica, use: (client: NbdConnection) => Promise<void>) {
  const client = await NbdConnection.open(replica.socket, "data");
  try {
    await use(client);
  } finally {
    await client.close();
  }
}

/** All sorts of requests, many at once, at random places. */
async function churn(client: NbdConnection, size: number, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const jobs: Promise<unknown>[] = [];
    for (let n = 0; n < 24; n++) {
      const length = 512 * (1 + Math.floor(Math.random() * 300));
      const offset = 512 * Math.floor(Math.random() * ((size - length) / 512));
      const what = Math.random();
      if (what < 0.7) jobs.push(client.write(offset, randomBytes(length), { fua: what < 0.1 }));
      else if (what < 0.8) jobs.push(client.trim(offset, length));
      else if (what < 0.9) jobs.push(client.writeZeroes(offset, length));
      else jobs.push(client.read(offset, length));
    }
    await Promise.all(jobs);
  }
  await client.flush();
}

for (const engine of ENGINES) {
  for (const protocol of ["A", "B", "C"] as const) {
    Deno.test(`${engine}, protocol ${protocol}: both replicas hold the same`, () =>
      withRig(async (rig) => {
        const pair = await Pair.start(rig, { engine, protocol });
        await pair.promote(pair.a);
        await pair.connected();
        await withClient(pair.a, async (client) => {
          await client.write(5 * MIB, randomBytes(3 * MIB + 512));
          await churn(client, pair.a.size, 8);
          pair.assertSame();
        });
        assert.equal(await pair.demote(pair.a, false), true, "the demotion was not clean");
        pair.assertSame();
        assert.equal(pair.asked.filter((ask) => ask.type === "shrink").length, 0);
      }));
  }

  Deno.test(`${engine}: a lost replica is dropped from the set, and only its gap is copied back`, () =>
    withRig(async (rig) => {
      const pair = await Pair.start(rig, { engine, timeout: 800 });
      await pair.promote(pair.a);
      await pair.connected();
      await withClient(pair.a, async (client) => {
        await churn(client, pair.a.size, 2);
        await pair.b.worker.close();
        const changed = randomBytes(MIB);
        await client.write(20 * MIB, changed);
        await client.flush();
        assert.deepEqual(pair.upToDate, [pair.a.report.replicaId]);
        pair.startB(true);
        await pair.a.until("b is back in the set", () => pair.upToDate.length === 2);
        await pair.connected();
        const totals = pair.a.reports.map((report) => report.peers[0]?.resync?.totalBytes ?? 0);
        assert.ok(Math.max(...totals) <= 8 * MIB, `a resync of ${Math.max(...totals)} bytes`);
        assert.deepEqual(await client.read(20 * MIB, changed.length), changed);
        await churn(client, pair.a.size, 2);
        pair.assertSame();
      });
    }));

  Deno.test(`${engine}: the other one takes over with every acknowledged write`, () =>
    withRig(async (rig) => {
      const pair = await Pair.start(rig, { engine });
      await pair.promote(pair.a);
      await pair.connected();
      const data = randomBytes(4 * MIB);
      await withClient(pair.a, (client) => client.write(MIB, data));
      assert.equal(await pair.demote(pair.a, false), true);
      await pair.promote(pair.b);
      await pair.connected();
      await withClient(pair.b, async (client) => {
        assert.deepEqual(await client.read(MIB, data.length), data);
        await churn(client, pair.b.size, 2);
        pair.assertSame();
      });
      await assert.rejects(NbdConnection.open(pair.a.socket, "data"));
    }));
}
