/** A cluster that starts from nothing, and what it says of itself. */
import assert from "node:assert/strict";
import { VIRTUAL_ADDRESS, withCluster } from "./cluster.ts";
import { e2eTest, must } from "./network.ts";

e2eTest(
  "a cluster starts cold, and status says so to programs and people",
  ["nbdinfo"],
  () =>
    withCluster({
      resources: [`{ kind = "process", name = "app", command = ["sleep", "infinity"] }`],
    }, async (cluster) => {
      // Breaks when the parts do not find together, or a key of the status document is renamed.
      await cluster.start();
      const { alpha, beta, witness, network } = cluster;

      const { code, stdout, stderr } = await alpha.bascule("status", "--json");
      assert.deepEqual([code, stderr], [0, ""]);
      const status = JSON.parse(stdout);
      assert.deepEqual([status.cluster, status.node], ["e2e", "alpha"]);
      const { have, mode, votes, expected } = status.quorum;
      assert.deepEqual([have, mode, votes, expected], [true, "majority", 3, 3]);
      assert.deepEqual(
        status.nodes.map(({ name, state, role }: Record<string, string>) => [name, state, role]),
        [["alpha", "online", "data"], ["beta", "online", "data"], ["witness", "online", "witness"]],
      );
      assert.deepEqual(
        status.nodes[1].links,
        [
          { address: "udp://10.88.0.2:6940", up: true },
          { address: "udp://10.88.1.2:6940", up: true },
        ],
      );
      const [group] = status.groups;
      assert.deepEqual([group.name, group.owner, group.state], ["web", "alpha", "running"]);
      assert.deepEqual(group.resources, [
        { id: "volume:data", kind: "volume", state: "running" },
        { id: `ip:${VIRTUAL_ADDRESS}/24`, kind: "ip", state: "running" },
        { id: "process:app", kind: "process", state: "running" },
      ]);
      const [volume] = status.volumes;
      assert.deepEqual(
        [volume.name, volume.role, volume.disk, volume.connection, volume.upToDate],
        ["data", "Primary", "UpToDate", "Connected", ["alpha", "beta"]],
      );
      assert.match(volume.generation, /^[0-9a-f]+$/);
      assert.equal(volume.peers.length, 1);
      const [peer] = volume.peers;
      assert.deepEqual([peer.node, peer.disk, peer.outOfSyncBytes], ["beta", "UpToDate", 0]);

      const seen = await beta.bascule("status", "--json");
      const [view] = JSON.parse(seen.stdout).volumes;
      assert.deepEqual([view.role, view.disk], ["Secondary", "UpToDate"]);
      assert.equal(JSON.parse(seen.stdout).groups[0].owner, "alpha");

      const table = (await alpha.bascule("status")).stdout;
      assert.match(table, /^cluster e2e, seen from alpha: quorum, 3 of 3 votes \(majority\)\n/);
      assert.match(table, /^beta +online +data +2 of 2 up$/m);
      assert.match(table, /^web +alpha +running +volume:data, ip:10\.88\.0\.10\/24, process:app/m);
      assert.match(table, /^data +Primary +UpToDate +Connected +beta +UpToDate +0 B$/m);

      const uri = `nbd+unix:///data?socket=${alpha.socket}`;
      assert.equal(Number(await must(["nbdinfo", "--size", uri])), cluster.size);
      assert.match(await must(["nbdinfo", uri]), /can_fua: true/);

      assert.ok((await network.addresses("alpha")).includes(VIRTUAL_ADDRESS));
      assert.ok(!(await network.addresses("beta")).includes(VIRTUAL_ADDRESS));
      assert.ok(!(await network.addresses("witness")).includes(VIRTUAL_ADDRESS));
      assert.deepEqual((await witness.volume())?.role, "Unknown");
      assert.deepEqual([...Deno.readDirSync(witness.directory)].map(({ name }) => name).sort(), [
        "agent.log",
        "run",
        "state",
      ]);
      assert.ok(
        ![...Deno.readDirSync(`${witness.directory}/run`)].some(({ name }) => name === "data.sock"),
      );
    }),
);
