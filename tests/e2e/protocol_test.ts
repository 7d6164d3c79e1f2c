/** Protocols A and B: what was flushed is on both disks all the same. */
import assert from "node:assert/strict";
import { withCluster } from "./cluster.ts";
import { blocks, Ledger } from "./ledger.ts";
import { e2eTest } from "./network.ts";

for (const protocol of ["A", "B"] as const) {
  e2eTest(
    `protocol ${protocol}: after a FLUSH every write is on both disks`,
    [],
    () =>
      withCluster({ protocol }, async (cluster) => {
        // Breaks when a FLUSH is answered without the Secondary, as a write may be in this protocol.
        const { alpha, beta } = cluster;
        await cluster.start();
        const ledger = new Ledger();
        const client = await alpha.nbd();
        for (let round = 0; round < 4; round++) {
          await ledger.writeAll(client, blocks(round * 100, 200));
          await client.flush();
          assert.ok(await cluster.sameData(), "at the very moment the FLUSH is answered");
        }
        await alpha.powerCut();
        await client.close();
        await cluster.waitForOwner(beta);
        const survivor = await beta.nbd();
        await ledger.verify(survivor);
        await survivor.disconnect();
      }),
  );
}
