/** A Secondary that stands still, with all its connections open. */
import assert from "node:assert/strict";
import { withCluster } from "./cluster.ts";
import { blocks, Ledger } from "./ledger.ts";
import { e2eTest } from "./network.ts";

e2eTest(
  "a Secondary that is stopped by a signal holds the application up for a moment only",
  [],
  () =>
    withCluster({}, async (cluster) => {
      // Breaks when a peer that answers nothing is waited for.
      const { alpha, beta } = cluster;
      await cluster.start();
      const ledger = new Ledger();
      const client = await alpha.nbd();
      await ledger.writeAll(client, blocks(0, 100));
      beta.pause();
      const began = performance.now();
      await ledger.writeAll(client, blocks(50, 200));
      await client.flush();
      const took = performance.now() - began;
      assert.ok(took < 30_000, `clients waited ${Math.round(took)} ms`);
      assert.deepEqual((await alpha.volume())!.upToDate, ["alpha"]);
      beta.resume();
      await cluster.waitInSync(alpha);
      await ledger.verify(client);
      await client.flush();
      await client.disconnect();
      await cluster.waitForSameData();
    }),
);
