/** What cannot be: a second agent, a missing disk, a disk that holds something. */
import assert from "node:assert/strict";
import { withCluster } from "./cluster.ts";
import { blocks, Ledger } from "./ledger.ts";
import { e2eTest, must } from "./network.ts";

e2eTest(
  "a second agent on the same state directory is refused, and the first does not notice",
  [],
  () =>
    withCluster({}, async (cluster) => {
      // Breaks when two agents write one voter's promises.
      const { alpha } = cluster;
      await cluster.start();
      const epoch = await cluster.epoch(alpha);
      const second = await alpha.bascule("run");
      assert.equal(second.code, 1);
      const [first = ""] = second.stderr.split("\n");
      assert.match(first, /one agent per state directory, stop the other one/);
      assert.ok(first.includes(alpha.state), first);
      const client = await alpha.nbd();
      const ledger = new Ledger();
      await ledger.writeAll(client, blocks(0, 32));
      await ledger.verify(client);
      await client.disconnect();
      await cluster.waitForOwner(alpha);
      assert.equal(await cluster.epoch(alpha), epoch);
    }),
);

e2eTest(
  "disks that will not do are refused with the reason; the running agent takes a good one when it comes",
  ["mkfs.ext4", "losetup"],
  () =>
    withCluster({}, async (cluster) => {
      // Breaks when data of others are overwritten, or a disk that comes later needs a restart.
      const { alpha, beta, nodes } = cluster;
      for (const node of nodes) node.start();
      await cluster.until("the agents say what to do", () =>
        [alpha, beta].every((node) =>
          node.journal().some(({ rule, text }) =>
            rule === "volume-failed" && text.includes("bascule volume create")
          )
        ));
      const status = await alpha.volume();
      assert.equal(status?.disk, "Diskless");
      assert.match(status?.failure ?? "", /does not exist/);

      const refused = async (words: RegExp) => {
        const outcome = await alpha.bascule("volume", "create", "data");
        assert.equal(outcome.code, 1, outcome.stdout);
        assert.match(outcome.stderr, words);
      };
      // Somebody's filesystem.
      await must(["truncate", "-s", "128M", alpha.disk]);
      await must(["mkfs.ext4", "-q", "-F", alpha.disk]);
      const untouched = await must(["sha256sum", alpha.disk]);
      await refused(/ext4.*--keep-data.*--force/);
      assert.equal(await must(["sha256sum", alpha.disk]), untouched);
      Deno.removeSync(alpha.disk);

      // A device that is too small.
      const small = `${alpha.directory}/small`;
      await must(["truncate", "-s", "8M", small]);
      const device = (await must(["losetup", "--find", "--show", small])).trim();
      try {
        Deno.symlinkSync(device, alpha.disk);
        await refused(/has 8388608 bytes, volume data needs \d+/);
      } finally {
        await must(["losetup", "--detach", device]);
      }
      Deno.removeSync(alpha.disk);

      for (const node of nodes) {
        assert.ok(await node.alive());
      }
      await cluster.createVolumes();
      const owner = await cluster.waitForAnyOwner();
      await cluster.waitInSync(owner);
      const again = await alpha.bascule("volume", "create", "data");
      assert.equal(again.code, 1, "never over a replica in use");
      assert.match(again.stderr, /in use|locked|another/);
      await cluster.waitInSync(owner);
    }),
);
