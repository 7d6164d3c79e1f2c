/** What an operator does with the replicas of a running cluster. */
import assert from "node:assert/strict";
import { withCluster } from "./cluster.ts";
import { e2eTest } from "./network.ts";

e2eTest(
  "verify finds and repairs, disconnect and connect hold, discard is refused without a split",
  [],
  () =>
    withCluster({}, async (cluster) => {
      const { alpha, beta } = cluster;
      await cluster.start();
      await cluster.waitForOwner(alpha);
      await cluster.waitInSync(alpha);
      const client = await alpha.nbd();
      try {
        await client.write(0, crypto.getRandomValues(new Uint8Array(64 * 1024)));
        await client.flush();
      } finally {
        await client.close();
      }
      // One bit of the replica, behind its back.
      const file = Deno.openSync(beta.disk, { read: true, write: true });
      const byte = new Uint8Array(1);
      file.seekSync(5000, Deno.SeekMode.Start);
      file.readSync(byte);
      byte[0]! ^= 1;
      file.seekSync(5000, Deno.SeekMode.Start);
      file.writeSync(byte);
      file.close();

      const wrong = await beta.bascule("volume", "verify", "data");
      assert.equal(wrong.code, 1);
      assert.match(wrong.stderr, /the Primary leads a verify: ask on alpha/);
      const begun = await alpha.bascule("volume", "verify", "data", "--repair");
      assert.equal(begun.code, 0, begun.stderr);
      await cluster.until("the verify is finished", async () =>
        (await alpha.volume())?.verified !== undefined);
      const { differing, repaired } = (await alpha.volume())!.verified!;
      assert.deepEqual([differing, repaired], [1, true]);
      await cluster.waitForSameData();
      const shown = await alpha.bascule("volume", "status", "data");
      assert.match(shown.stdout, /data: last verify .*, 1 block differed, repaired/);

      const discard = await beta.bascule("volume", "discard", "data", "--yes");
      assert.equal(discard.code, 1);
      assert.match(discard.stderr, /nothing is known of other data/);

      const cut = await beta.bascule("volume", "disconnect", "data");
      assert.equal(cut.code, 0, cut.stderr);
      await cluster.until("beta stands alone", async () =>
        (await beta.volume())?.connection === "StandAlone");
      const back = await beta.bascule("volume", "connect", "data");
      assert.equal(back.code, 0, back.stderr);
      await cluster.waitInSync(alpha);
      await cluster.waitForSameData();
    }),
);
