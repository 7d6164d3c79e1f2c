/** Two machines without a witness: one has the other switched off, or takes its silence for death. */
import assert from "node:assert/strict";
import { type Cluster, VIRTUAL_ADDRESS, withCluster } from "./cluster.ts";
import { blocks, Ledger } from "./ledger.ts";
import { e2eTest } from "./network.ts";
import type { Node } from "./node.ts";
import type { NbdConnection } from "../../src/cli/nbd_connection.ts";

/** Does something at the export of a node. */
async function at<T>(node: Node, work: (nbd: NbdConnection) => Promise<T>): Promise<T> {
  const nbd = await node.nbd();
  try {
    return await work(nbd);
  } finally {
    await nbd.close();
  }
}

/** The block that this write fills. */
function fill(node: Node, offset: number, byte: number): Promise<void> {
  return at(node, (nbd) => nbd.write(offset, new Uint8Array(4096).fill(byte)));
}

async function holdsAddress(cluster: Cluster, node: Node): Promise<boolean> {
  return (await cluster.network.addresses(node.name)).includes(VIRTUAL_ADDRESS);
}

function joint(cluster: Cluster, node: Node): Promise<void> {
  return cluster.until(`${node.name} is joint`, async () => {
    const quorum = (await node.status())?.quorum;
    return quorum?.joint === true && quorum.solo === undefined;
  });
}

e2eTest(
  "fencing: a silent node is killed first, and only then replaced; nothing is lost",
  [],
  () =>
    withCluster({ pair: "fencing" }, async (cluster) => {
      // Breaks when the survivor takes without a confirmed fence, or the node that returns stays apart.
      const { alpha, beta, network } = cluster;
      await cluster.start();
      await joint(cluster, beta);
      const ledger = new Ledger();
      await at(alpha, (nbd) => ledger.writeAll(nbd, blocks(0, 64)));

      // The owner lives, and serves clients that reach it: only the nodes do not hear each other.
      Deno.writeTextFileSync(cluster.fenceFault, "");
      await network.cut("alpha", ["beta"]);
      await cluster.until(
        "both could not fence",
        async () =>
          (await alpha.status())?.quorum.fence?.state === "failed" &&
          (await beta.status())?.quorum.fence?.state === "failed",
      );
      assert.ok(!await holdsAddress(cluster, alpha), "alpha froze");
      assert.ok(!await holdsAddress(cluster, beta), "beta took nothing");
      assert.match((await beta.bascule("status")).stdout, /COULD NOT BE FENCED/);

      // Alpha fences first, as it owns the group: beta is dead, alpha goes on where it was.
      const epoch = await cluster.epoch(alpha);
      const before = cluster.fences.length;
      Deno.removeSync(cluster.fenceFault);
      await cluster.until("one of them is switched off", async () =>
        !(await alpha.alive()) || !(await beta.alive()));
      const winner = await alpha.alive() ? alpha : beta;
      const loser = cluster.other(winner);
      await cluster.waitForOwner(winner);
      assert.ok(cluster.fences.length > before);
      assert.ok(!await loser.alive(), "never two");
      assert.equal((await winner.status())?.quorum.solo, winner.name);
      assert.ok(await cluster.epoch(winner) >= epoch);
      await at(winner, async (nbd) => {
        await ledger.verify(nbd);
        await ledger.writeAll(nbd, blocks(64, 32));
      });

      // Behind the cut the loser boots: it waits, and switches nobody off.
      await loser.kill();
      const asked = cluster.fences.length;
      loser.start();
      await cluster.until("it is up", async () =>
        (await loser.status()) !== null);
      await new Promise((resolve) => setTimeout(resolve, 8000));
      assert.equal(cluster.fences.length, asked);
      assert.equal((await loser.status())?.quorum.have, false);
      assert.equal((await winner.group())?.state, "running");

      await network.heal("alpha", ["beta"]);
      await joint(cluster, loser);
      await joint(cluster, winner);
      await cluster.waitInSync(winner);
      await cluster.waitForSameData();

      // A planned stop fences nobody.
      assert.equal(await winner.stop(), 0);
      await cluster.waitForOwner(loser);
      assert.equal(cluster.fences.length, asked);
      await at(loser, (nbd) => ledger.verify(nbd));
    }),
);

e2eTest(
  "fencing: a person's word stands for a fence that cannot be confirmed",
  [],
  () =>
    withCluster({ pair: "fencing" }, async (cluster) => {
      const { alpha, beta } = cluster;
      await cluster.start();
      await joint(cluster, beta);
      Deno.writeTextFileSync(cluster.fenceFault, "");
      const early = await beta.bascule("confirm-off", "alpha", "--yes");
      assert.equal(early.code, 1);
      assert.match(early.stderr, /alpha is heard, so it is not off/);
      await alpha.kill();
      await cluster.until(
        "beta could not fence",
        async () => (await beta.status())?.quorum.fence?.state === "failed",
      );
      const unasked = await beta.bascule("confirm-off", "alpha");
      assert.equal(unasked.code, 2);
      assert.match(unasked.stderr, /no terminal/);
      const done = await beta.bascule("confirm-off", "alpha", "--yes");
      assert.equal(done.code, 0, done.stderr);
      await cluster.waitForOwner(beta);
    }),
);

e2eTest(
  "survivor: a cut pair serves twice; one side ends when they hear each other, its data stay apart",
  [],
  () =>
    withCluster({ pair: "survivor" }, async (cluster) => {
      // Breaks when both go on after the cut, when nothing says so, or when one side is overwritten.
      const { alpha, beta, network } = cluster;
      await cluster.start();
      await joint(cluster, beta);
      assert.match(alpha.log, /a cut between the two nodes makes both serve/);
      // At the cable: the address would be seen to be in use else.
      await network.plug("alpha", false);
      await cluster.waitForOwner(beta);
      await cluster.until("both serve", async () =>
        (await alpha.group())?.state === "running" && await holdsAddress(cluster, alpha) &&
        await holdsAddress(cluster, beta));
      await fill(alpha, 0, 0xaa);
      await fill(beta, 0, 0xbb);

      await network.plug("alpha", true);
      await cluster.until("one serves", async () =>
        (await alpha.group())?.owner === (await beta.group())?.owner &&
        await holdsAddress(cluster, alpha) !== await holdsAddress(cluster, beta));
      const winner = await holdsAddress(cluster, alpha) ? alpha : beta;
      const loser = cluster.other(winner);
      await cluster.until(
        "the split brain is shown",
        async () =>
          (await winner.volume())?.connection === "StandAlone",
      );
      const said = [...alpha.journal(), ...beta.journal()].map(({ rule }) =>
        rule
      );
      assert.ok(said.includes("split-brain"));
      // Each side has its own; nothing was merged.
      const own = winner === alpha ? 0xaa : 0xbb;
      assert.equal(
        (await at(winner, (nbd) =>
          nbd.read(0, 4096)))[0],
        own,
      );
      assert.equal(Deno.readFileSync(loser.disk)[0], own === 0xaa ? 0xbb : 0xaa);

      // A person gives one side up.
      const given = await loser.bascule("volume", "discard", "data", "--yes");
      assert.equal(given.code, 0, given.stderr);
      await cluster.waitInSync(winner);
      await cluster.waitForSameData();
    }),
);

e2eTest(
  "a promotion is forced where nothing else is left, and the old side joins without its data",
  [],
  () =>
    withCluster({}, async (cluster) => {
      const { alpha, beta, witness } = cluster;
      await cluster.start();
      await beta.powerCut();
      await cluster.until("beta is out", async () => (await alpha.volume())?.upToDate.length === 1);
      await fill(alpha, 0, 0xaa);
      await alpha.powerCut();
      await witness.powerCut();
      await beta.powerOn();
      await cluster.until("beta is up", async () => (await beta.status()) !== null);

      const refused = await beta.bascule("volume", "promote", "data");
      assert.equal(refused.code, 2);
      assert.match(refused.stderr, /nothing was done/);
      const done = await beta.bascule("volume", "promote", "data", "--force", "--yes");
      assert.equal(done.code, 0, done.stderr);
      await cluster.waitForOwner(beta);
      await fill(beta, 4096, 0xbb);

      await witness.powerOn();
      await alpha.powerOn();
      await cluster.until("all vote again", async () => (await beta.status())?.quorum.votes === 3);
      await cluster.until(
        "alpha's data are apart",
        async () => (await beta.volume())?.connection === "StandAlone",
      );
      await cluster.until("alpha knows", async () => (await alpha.group())?.owner === "beta");
      assert.equal(Deno.readFileSync(alpha.disk)[0], 0xaa, "alpha's data are kept");
      const given = await alpha.bascule("volume", "discard", "data", "--yes");
      assert.equal(given.code, 0, given.stderr);
      await cluster.waitInSync(beta);
      await cluster.waitForSameData();
    }),
);
