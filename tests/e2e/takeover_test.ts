/** The active node is lost, or leaves: the other goes on with every acknowledged write. */
import assert from "node:assert/strict";
import { ArpWatch } from "./arp_watch.ts";
import { withCluster } from "./cluster.ts";
import { blocks, Ledger } from "./ledger.ts";
import { e2eTest } from "./network.ts";

e2eTest(
  "power cut of the active node: the other has every acknowledged write and the address; " +
    "the returned one gets only what changed",
  ["arping", "tcpdump"],
  () =>
    withCluster({}, async (cluster) => {
      // Breaks when a write is acknowledged too early, an announcement is missing, or too much is copied.
      const { alpha, beta, network } = cluster;
      await cluster.start();
      const epoch = await cluster.epoch(alpha);
      const [macAlpha, macBeta] = [await network.mac("alpha"), await network.mac("beta")];
      const ledger = new Ledger();
      // Two regions of one extent each: the rest of the volume is never to be copied.
      const hot = [...blocks(0, 256), ...blocks(8192, 256)];

      await ArpWatch.during(network, async (watch) => {
        const client = await alpha.nbd();
        await ledger.writeAll(client, hot);
        await client.flush();
        const flushed = ledger.acknowledged;
        const load = ledger.load(client, hot);
        await cluster.until("alpha is under load", () => ledger.acknowledged > flushed + 500);
        await cluster.until(
          "the client sees alpha's address",
          () => watch.claims.some(({ mac }) => mac === macAlpha),
        );
        await alpha.powerCut();
        await load;
        await client.close();

        await cluster.waitForOwner(beta);
        assert.equal(await cluster.epoch(beta), epoch + 1);
        const survivor = await beta.nbd();
        await ledger.verify(survivor);

        await cluster.until(
          "beta announces the address",
          () => watch.claims.some(({ mac, kind }) => mac === macBeta && kind === "announcement"),
        );
        assert.deepEqual(await ArpWatch.askWho(network), [macBeta]);
        assert.deepEqual(watch.owners, [macAlpha, macBeta]);

        await ledger.writeAll(survivor, blocks(100, 50));
        await survivor.flush();
        await survivor.disconnect();
      });

      await cluster.until("beta counts what alpha missed, and no more", async () => {
        const missed = (await beta.volume())?.peers[0];
        return missed?.node === "alpha" && missed.outOfSyncBytes >= 50 * 4096 &&
          missed.outOfSyncBytes < cluster.size / 4;
      });
      const before = beta.journal().length;
      await alpha.powerOn();
      await cluster.waitInSync(beta);
      const decision = beta.journal().slice(before).find(({ rule }) => rule === "sync-decision");
      assert.match(decision?.text ?? "no decision in the journal", /: bitmap, /);
      assert.equal((await alpha.volume())?.role, "Secondary");
      assert.equal((await beta.volume())?.peers[0]?.outOfSyncBytes, 0);
      await cluster.waitForSameData();
    }),
);

e2eTest(
  "SIGTERM of the active agent hands over at once, and both replicas stay up to date",
  [],
  () =>
    withCluster({}, async (cluster) => {
      // Breaks when a planned stop is treated as a loss: a wait for deadtime, or a resync for nothing.
      const { alpha, beta } = cluster;
      await cluster.start();
      const epoch = await cluster.epoch(alpha);
      const ledger = new Ledger();
      const client = await alpha.nbd();
      await ledger.writeAll(client, blocks(0, 64));
      await client.disconnect();

      assert.equal(await alpha.stop(), 0);
      await cluster.waitForOwner(beta);
      assert.equal(await cluster.epoch(beta), epoch + 1);
      const take = beta.journal().find(({ rule }) => rule === "take");
      assert.equal(take?.known.owner, "released", take?.text);
      const promoted = beta.journal().find(({ rule }) => rule === "promoted");
      assert.equal(String(promoted?.known.upToDate).split(" ").length, 2, "upToDate is kept");
      const survivor = await beta.nbd();
      await ledger.verify(survivor);
      await survivor.disconnect();

      // It left in order: nothing was written since, so nothing has to be copied.
      const before = beta.journal().length;
      alpha.start();
      await cluster.waitInSync(beta);
      const decision = beta.journal().slice(before).find(({ rule }) => rule === "sync-decision");
      assert.match(decision?.text ?? "no decision in the journal", /: none, /);
      await cluster.waitForSameData();
    }),
);
