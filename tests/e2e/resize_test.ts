/** A volume grows, one replica after the other, while the other one serves. */
import assert from "node:assert/strict";
import { withCluster } from "./cluster.ts";
import { blocks, Ledger } from "./ledger.ts";
import { e2eTest, must } from "./network.ts";

const MIB = 1 << 20;

e2eTest(
  "a volume grows without a copy and without a pause longer than a move",
  ["cmp"],
  () =>
    withCluster({ sizeMiB: 64 }, async (cluster) => {
      // Breaks when a grown replica is not met by a smaller Primary, or what is new differs.
      const { alpha, beta } = cluster;
      await cluster.start();
      const ledger = new Ledger();
      const before = await alpha.nbd();
      await ledger.writeAll(before, blocks(16_000, 200));
      await before.flush();
      const text = Deno.readTextFileSync(cluster.configuration);
      assert.ok(text.includes('size = "64MiB"'));

      assert.equal(await beta.stop(), 0);
      Deno.writeTextFileSync(cluster.configuration, text.replace("64MiB", "96MiB"));
      await ledger.writeAll(before, blocks(16_100, 50));
      await must(beta.command("volume", "resize", "data"));
      beta.start();
      await cluster.waitInSync(alpha);
      await ledger.writeAll(before, blocks(100, 20));
      await before.disconnect();

      assert.equal(await alpha.stop(), 0);
      await cluster.waitForOwner(beta);
      const after = await beta.nbd();
      assert.equal(after.info.size, 96 * MIB);
      await ledger.verify(after);
      await ledger.writeAll(after, blocks(24_000, 50));
      await must(alpha.command("volume", "resize", "data"));
      alpha.start();
      await cluster.waitInSync(beta);
      await ledger.writeAll(after, blocks(24_030, 50));
      await after.flush();
      await ledger.verify(after);
      await must(["cmp", `--bytes=${96 * MIB}`, alpha.disk, beta.disk]);
      const [volume] = (await beta.status())!.volumes;
      assert.equal(volume!.peers[0]!.outOfSyncBytes, 0);
      await after.disconnect();
    }),
);
