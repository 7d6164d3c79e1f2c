/** Frozen volumes: clients wait, for so long and no longer. */
import assert from "node:assert/strict";
import { NbdConnection } from "../../src/cli/nbd_connection.ts";
import { NBD_ERROR } from "../../src/nbd/mod.ts";
import { ENGINES, MIB, randomBytes, withRig } from "./fixtures.ts";
import { Pair } from "./pair.ts";

const FREEZE_LIMIT = 3000;

/** Settles to what became of it: nothing yet, "done", or the error's value. */
function watch(promise: Promise<unknown>): { readonly state: string | number } {
  const watched: { state: string | number } = { state: "waiting" };
  promise.then(
    () => watched.state = "done",
    (error: { error?: number }) => watched.state = error.error ?? String(error),
  );
  return watched;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

for (const engine of ENGINES) {
  Deno.test(`${engine}: requests wait while the volume is frozen, and are carried out when it thaws`, () =>
    withRig(async (rig) => {
      const pair = await Pair.start(rig, { engine, freezeLimit: 60_000 });
      await pair.promote(pair.a);
      await pair.connected();
      const client = await NbdConnection.open(pair.a.socket, "data");
      try {
        const before = randomBytes(MIB);
        await client.write(0, before);
        pair.a.worker.lease(pair.epoch, 0);
        await pair.a.until("frozen", () => pair.a.report.frozen);
        const data = randomBytes(MIB);
        const settled: Promise<unknown>[] = [
          client.write(0, data),
          client.read(4 * MIB, 4096),
          client.flush(),
          client.trim(8 * MIB, MIB),
        ];
        const waiting = settled.map(watch);
        await pause(500);
        assert.deepEqual(waiting.map(({ state }) => state), Array(4).fill("waiting"));
        pair.a.worker.lease(pair.epoch, Infinity);
        await pair.a.until("thawed", () => !pair.a.report.frozen);
        assert.deepEqual(await client.read(0, MIB), data);
        await Promise.all(settled);
        assert.deepEqual(waiting.map(({ state }) => state), Array(4).fill("done"));
      } finally {
        await client.close();
      }
    }));
}

Deno.test("after freeze_limit clients get errors, until the volume thaws; nothing is lost by it", () =>
  withRig(async (rig) => {
    const pair = await Pair.start(rig, { freezeLimit: FREEZE_LIMIT });
    await pair.promote(pair.a);
    await pair.connected();
    const [client, other] = await Promise.all([
      NbdConnection.open(pair.a.socket, "data"),
      NbdConnection.open(pair.a.socket, "data"),
    ]);
    try {
      const kept = randomBytes(256 * 1024);
      await client.write(16 * MIB, kept);
      pair.a.worker.lease(pair.epoch, 0);
      await pair.a.until("frozen", () => pair.a.report.frozen);
      const began = performance.now();
      const waiting = [
        watch(client.write(0, randomBytes(MIB))),
        watch(client.read(16 * MIB, 4096)),
        watch(other.flush()),
        watch(other.cache(0, 3 * MIB)),
        watch(other.writeZeroes(MIB, MIB)),
      ];
      while (waiting.some(({ state }) => state === "waiting")) {
        assert.ok(performance.now() - began < FREEZE_LIMIT + 5000, "silence without end");
        await pause(20);
      }
      const took = performance.now() - began;
      assert.ok(took > FREEZE_LIMIT - 500, `errors came after ${took} ms`);
      assert.deepEqual(waiting.map(({ state }) => state), Array(5).fill(NBD_ERROR.EIO));
      // From now on they come at once, more of them than there are places, in step.
      const late = Array.from(
        { length: 300 },
        (_, n) => watch(n % 2 === 0 ? client.read(n * 4096, 4096) : client.write(n * 4096, kept)),
      );
      const newcomer = await NbdConnection.open(pair.a.socket, "data");
      const refused = watch(newcomer.read(0, 512));
      for (let tries = 0; late.some(({ state }) => state === "waiting"); tries++) {
        assert.ok(tries < 200, "late requests are not answered");
        await pause(20);
      }
      assert.ok(late.every(({ state }) => state === NBD_ERROR.EIO));
      assert.equal(refused.state, NBD_ERROR.EIO);
      await newcomer.close();
      assert.ok(pair.a.notes.some(({ rule }) => rule === "export-freeze-limit"));

      pair.a.worker.lease(pair.epoch, Infinity);
      await pair.a.until("thawed", () => !pair.a.report.frozen);
      for (const each of [client, other]) {
        assert.deepEqual(await each.read(16 * MIB, kept.length), kept);
        const data = randomBytes(100_000);
        await each.write(4 * MIB, data);
        assert.deepEqual(await each.read(4 * MIB, data.length), data);
      }
    } finally {
      await client.close();
      await other.close();
    }
    await pair.demote(pair.a, false);
    pair.assertSame();
  }));
