/** The agent alone is killed: its machine, and what it started, live on. */
import assert from "node:assert/strict";
import { type Cluster, VIRTUAL_ADDRESS, withCluster } from "./cluster.ts";
import { blocks, Ledger } from "./ledger.ts";
import { e2eTest } from "./network.ts";
import type { Node } from "./node.ts";

const SERVICE = ["sleep", "7654321"];
const RESOURCE = `{ kind = "process", name = "app", command = ${JSON.stringify(SERVICE)} }`;

/** How many processes of the service run on a node. */
async function services(cluster: Cluster, node: Node): Promise<number> {
  const pids = await cluster.network.pids(node.name);
  return pids.filter((pid) => {
    try {
      return Deno.readTextFileSync(`/proc/${pid}/cmdline`).endsWith(`${SERVICE.join("\0")}\0`);
    } catch {
      return false;
    }
  }).length;
}

e2eTest(
  "kill -9 of the active agent alone: the group moves, and a new agent sweeps what is left",
  [],
  () =>
    withCluster({ resources: [RESOURCE] }, async (cluster) => {
      // Breaks when an address outlives its agent, or a new agent lets an orphaned service run.
      const { alpha, beta, network } = cluster;
      await cluster.start();
      const ledger = new Ledger();
      const client = await alpha.nbd();
      await ledger.writeAll(client, blocks(0, 64));
      assert.equal(await services(cluster, alpha), 1);

      await alpha.kill();
      await client.close();
      await cluster.waitForOwner(beta);
      await cluster.until(
        "the address dies with its agent",
        async () => !(await network.addresses("alpha")).includes(VIRTUAL_ADDRESS),
      );
      assert.equal(await services(cluster, beta), 1);

      alpha.start();
      await cluster.waitInSync(beta);
      assert.equal(await services(cluster, alpha), 0);
      assert.equal((await alpha.volume())?.role, "Secondary");
      const survivor = await beta.nbd();
      await ledger.verify(survivor);
      await survivor.disconnect();
    }),
);

e2eTest(
  "an active agent is killed and started again at once: the group runs once, nothing is lost",
  [],
  () =>
    withCluster({ resources: [RESOURCE] }, async (cluster) => {
      // Breaks when a new run believes that it owns what the old one had, or others wait for ever.
      const { alpha } = cluster;
      await cluster.start();
      const epoch = await cluster.epoch(alpha);
      const ledger = new Ledger();
      const client = await alpha.nbd();
      await ledger.writeAll(client, blocks(0, 64));

      await alpha.kill();
      await client.close();
      alpha.start();
      const owner = await cluster.waitForAnyOwner(epoch);
      await cluster.waitInSync(owner);
      assert.equal(await services(cluster, owner), 1);
      assert.equal(await services(cluster, cluster.other(owner)), 0);
      const next = await owner.nbd();
      await ledger.verify(next);
      await next.disconnect();
      await cluster.waitForSameData();
    }),
);
