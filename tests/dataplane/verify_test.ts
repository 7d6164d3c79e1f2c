/** Verify, repair, disconnect and scattered resyncs between two real data planes. */
import assert from "node:assert/strict";
import { NbdConnection } from "../../src/cli/nbd_connection.ts";
import type { VolumeOperation } from "../../src/volume/types.ts";
import { ENGINES, MIB, randomBytes, type Replica, withRig } from "./fixtures.ts";
import { Pair } from "./pair.ts";

const BLOCK = 4096;

async function operate(replica: Replica, what: VolumeOperation): Promise<string | null> {
  const id = replica.asks.length + 1;
  replica.worker.order({ type: "operate", id, what });
  const answer = () => replica.asks.find((ask) => ask.type === "operated" && ask.id === id);
  await replica.until(`an answer to ${what}`, () => answer() !== undefined);
  const found = answer();
  return found?.type === "operated" ? found.error : null;
}

function spoil(replica: Replica, block: number, bytes: Uint8Array): void {
  const file = Deno.openSync(replica.disk, { write: true });
  file.seekSync(block * BLOCK, Deno.SeekMode.Start);
  file.writeSync(bytes);
  file.close();
}

for (const engine of ENGINES) {
  for (const io of ["buffered", "direct"] as const) {
    Deno.test(`${engine}, ${io} I/O: a verify finds and repairs what differs on the replica's disk`, () =>
      withRig(async (rig) => {
        const pair = await Pair.start(rig, { engine, io });
        await pair.promote(pair.a);
        await pair.connected();
        const client = await NbdConnection.open(pair.a.socket, "data");
        try {
          await client.write(0, randomBytes(9 * MIB + BLOCK));
          await client.flush();
          assert.equal(await operate(pair.a, "verify"), null);
          await pair.a.until("verified", () => pair.a.report.verified !== undefined);
          assert.equal(pair.a.report.verified!.differing, 0);

          // One bit, a whole block in the data, zeroes in the data, data in the zeroes.
          const block = await client.read(7 * BLOCK, BLOCK);
          block[100]! ^= 4;
          spoil(pair.b, 7, block);
          spoil(pair.b, 600, randomBytes(BLOCK));
          spoil(pair.b, 2000, new Uint8Array(2 * BLOCK));
          spoil(pair.b, 9000, randomBytes(BLOCK));
          await new Deno.Command("sync", { args: [pair.b.disk] }).output();
          const { at } = pair.a.report.verified!;
          assert.equal(await operate(pair.a, "verify-repair"), null);
          await pair.a.until("verified again", () => pair.a.report.verified!.at > at);
          const { differing, repaired } = pair.a.report.verified!;
          assert.deepEqual([differing, repaired], [5, true]);
          await pair.a.until("repaired", () => pair.a.report.peers[0]!.outOfSyncBytes === 0);
          pair.assertSame();
          assert.equal(pair.asked.filter((ask) => ask.type === "shrink").length, 0);
        } finally {
          await client.close();
        }
      }));

    Deno.test(`${engine}, ${io} I/O: scattered blocks, unchanged and zeroed ones come back after a disconnection`, () =>
      withRig(async (rig) => {
        const pair = await Pair.start(rig, { engine, io });
        await pair.promote(pair.a);
        await pair.connected();
        const client = await NbdConnection.open(pair.a.socket, "data");
        try {
          const same = randomBytes(12 * MIB);
          await client.write(0, same);
          assert.equal(await operate(pair.b, "disconnect"), null);
          await client.write(0, same.subarray(0, 4 * MIB));
          for (let n = 0; n < 300; n++) {
            await client.write(BLOCK * (1100 + 37 * n), randomBytes(BLOCK));
            if (n % 10 === 0) await client.writeZeroes(BLOCK * (1101 + 37 * n), BLOCK);
          }
          await client.flush();
          assert.equal(pair.b.report.peers[0]!.connection, "StandAlone");
          assert.equal(await operate(pair.b, "connect"), null);
          await pair.a.until("in sync", () => pair.upToDate.length === 2);
          pair.assertSame();
          assert.equal(await operate(pair.a, "verify"), null);
          await pair.a.until("verified", () => pair.a.report.verified !== undefined);
          assert.equal(pair.a.report.verified!.differing, 0);
        } finally {
          await client.close();
        }
      }));
  }
}
