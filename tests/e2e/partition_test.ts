/** Nodes that live and cannot hear one another, and nodes that are not scheduled: never two owners. */
import assert from "node:assert/strict";
import { ArpWatch } from "./arp_watch.ts";
import { type Cluster, VIRTUAL_ADDRESS, withCluster } from "./cluster.ts";
import { blocks, Ledger } from "./ledger.ts";
import { e2eTest } from "./network.ts";
import type { Node } from "./node.ts";

/** A block that no ledger uses. */
const APART = 12_000 * 4096;

/** A write whose end is told, but not waited for. */
function startWrite(write: Promise<void>): { outcome: string } {
  const told = { outcome: "waits" };
  write.then(() => told.outcome = "acknowledged", () => told.outcome = "refused");
  return told;
}

function addressGone(cluster: Cluster, node: Node): Promise<void> {
  return cluster.until(
    `${node.name} has no ${VIRTUAL_ADDRESS}`,
    async () => !(await cluster.network.addresses(node.name)).includes(VIRTUAL_ADDRESS),
  );
}

/** The deposed node has given everything back, and the volume is the other's. */
async function checkDeposed(cluster: Cluster, deposed: Node, owner: Node): Promise<void> {
  await cluster.until(
    `${deposed.name} is Secondary`,
    async () => (await deposed.volume())?.role === "Secondary",
  );
  await addressGone(cluster, deposed);
  await cluster.waitInSync(owner);
  await cluster.waitForSameData();
}

e2eTest(
  "the active node is cut off from all nodes but not from clients: it lets go before the other takes",
  ["arping", "tcpdump"],
  () =>
    withCluster({}, async (cluster) => {
      // Breaks when an owner without a majority goes on serving, or acknowledges what the other lacks.
      const { alpha, beta, network } = cluster;
      await cluster.start();
      const epoch = await cluster.epoch(alpha);
      const [macAlpha, macBeta] = [await network.mac("alpha"), await network.mac("beta")];
      const ledger = new Ledger();
      const client = await alpha.nbd();
      await ledger.writeAll(client, blocks(0, 128));

      await ArpWatch.during(network, async (watch) => {
        await cluster.until("the client sees alpha", () => watch.claims.length > 0);
        await network.cut("alpha", ["beta", "witness"]);
        const write = startWrite(client.write(APART, new Uint8Array(4096).fill(0xee)));
        await addressGone(cluster, alpha);
        await cluster.until("alpha's I/O is frozen", async () => !!(await alpha.volume())?.frozen);
        await cluster.waitForOwner(beta);
        assert.equal(await cluster.epoch(beta), epoch + 1);
        assert.equal(write.outcome, "waits");

        const survivor = await beta.nbd();
        await ledger.verify(survivor);
        await ledger.writeAll(survivor, blocks(64, 128));
        await cluster.until("the client sees beta", () => watch.owners.length > 1);
        assert.deepEqual(await ArpWatch.askWho(network), [macBeta]);

        await network.heal("alpha", ["beta", "witness"]);
        await checkDeposed(cluster, alpha, beta);
        await cluster.until("the frozen write ends", () => write.outcome !== "waits");
        assert.equal(write.outcome, "refused");
        assert.deepEqual(await survivor.read(APART, 4096), new Uint8Array(4096));
        await ledger.verify(survivor);
        await survivor.disconnect();
        assert.deepEqual(watch.owners, [macAlpha, macBeta]);
      });
      await client.close();
      assert.equal(await cluster.epoch(beta), epoch + 1, "the group stays where it is");
    }),
);

e2eTest(
  "the active agent is stopped by SIGSTOP: when it wakes it finds itself deposed",
  ["arping", "tcpdump"],
  () =>
    withCluster({}, async (cluster) => {
      // Breaks when leases rest on timers of a process that may not run, or a late write is answered.
      const { alpha, beta, network } = cluster;
      await cluster.start();
      const [macAlpha, macBeta] = [await network.mac("alpha"), await network.mac("beta")];
      const ledger = new Ledger();
      const client = await alpha.nbd();
      await ledger.writeAll(client, blocks(0, 128));

      await ArpWatch.during(network, async (watch) => {
        await cluster.until("the client sees alpha", () => watch.claims.length > 0);
        alpha.pause();
        const write = startWrite(client.write(APART, new Uint8Array(4096).fill(0xee)));
        await cluster.waitForOwner(beta);
        // The kernel took it away: nobody renewed it.
        await addressGone(cluster, alpha);
        const survivor = await beta.nbd();
        await ledger.verify(survivor);
        await ledger.writeAll(survivor, blocks(64, 64));
        assert.equal(write.outcome, "waits");

        alpha.resume();
        await checkDeposed(cluster, alpha, beta);
        await cluster.until("the late write ends", () => write.outcome !== "waits");
        assert.equal(write.outcome, "refused");
        assert.deepEqual(await survivor.read(APART, 4096), new Uint8Array(4096));
        await ledger.verify(survivor);
        await survivor.disconnect();
        assert.deepEqual(watch.owners, [macAlpha, macBeta]);
      });
      await client.close();
    }),
);

e2eTest(
  "the witness can only help: without it all goes on; alone, an owner serves only as sole",
  [],
  () =>
    withCluster({}, async (cluster) => {
      // Breaks when the witness is needed while both nodes live, or an owner shrinks without a majority.
      const { alpha, beta, witness, network } = cluster;
      await cluster.start();
      const epoch = await cluster.epoch(alpha);
      const ledger = new Ledger();
      const client = await alpha.nbd();
      const sees = (node: Node, state: string) =>
        cluster.until(`alpha sees ${node.name} ${state}`, async () => {
          const nodes = (await alpha.status())?.nodes ?? [];
          return nodes.find(({ name }) => name === node.name)?.state === state;
        });

      // Two data nodes that hear each other need no witness.
      await witness.powerCut();
      await sees(witness, "offline");
      await ledger.writeAll(client, blocks(0, 64));
      await client.flush();

      // Without a majority the lost replica cannot be taken off the record: the write waits.
      await beta.powerCut();
      const write = startWrite(ledger.write(client, 3));
      await addressGone(cluster, alpha);
      assert.equal(write.outcome, "waits");

      // The witness is back: the record says that alpha alone is up to date, and all goes on.
      await witness.powerOn();
      await cluster.until("the write ends", () => write.outcome !== "waits");
      assert.equal(write.outcome, "acknowledged");
      await cluster.until("alpha alone is up to date", async () => {
        return (await alpha.volume())?.upToDate.join() === "alpha";
      });
      await cluster.waitForOwner(alpha);

      // Nobody else could take over now, so alpha needs nobody.
      await witness.powerCut();
      await sees(witness, "offline");
      await ledger.writeAll(client, blocks(0, 64));
      await client.flush();
      await ledger.verify(client);
      await cluster.waitForOwner(alpha);
      assert.ok((await network.addresses("alpha")).includes(VIRTUAL_ADDRESS));
      assert.equal(await cluster.epoch(alpha), epoch, "there was no takeover");
      await client.disconnect();

      await witness.powerOn();
      await beta.powerOn();
      await cluster.waitInSync(alpha);
      await cluster.waitForSameData();
    }),
);
