/** Scripts that hang must not hang the cluster. */
import assert from "node:assert/strict";
import { withCluster } from "./cluster.ts";
import { e2eTest } from "./network.ts";
import type { Node } from "./node.ts";

/** Hangs in `start` or `stop` where a file of that name lies beside the agent's sockets. */
function script(verb: "start" | "stop"): string[] {
  const line = `[ ! -e "$BASCULE_RUNTIME_DIR/hang-${verb}" ] || sleep 7654321`;
  return ["sh", "-c", line];
}

const RESOURCE = `{ kind = "command", name = "app", start = ${JSON.stringify(script("start"))}, ` +
  `stop = ${JSON.stringify(script("stop"))}, start_timeout = "1s", stop_timeout = "1s", ` +
  `restarts = 0 }`;

function hang(node: Node, verb: "start" | "stop"): void {
  Deno.mkdirSync(`${node.directory}/run`, { recursive: true });
  Deno.writeTextFileSync(`${node.directory}/run/hang-${verb}`, "");
}

e2eTest(
  "a start script that hangs: the group fails here, runs there; hangs there too: says so",
  [],
  () =>
    withCluster({ resources: [RESOURCE] }, async (cluster) => {
      // Breaks when a timeout does not end a script, or a failed group is tried for ever or lost from view.
      const { alpha, beta, nodes } = cluster;
      hang(alpha, "start");
      await cluster.createVolumes();
      for (const node of nodes) node.start();
      await cluster.waitForOwner(beta);
      const group = await beta.group();
      assert.match(group?.failed?.alpha ?? "alpha did not fail", /command:app/);
      assert.ok(await alpha.alive());
      await cluster.waitInSync(beta);

      hang(beta, "start");
      await cluster.until("beta may take the group from itself", async () => {
        return (await beta.bascule("move", "web", "alpha")).code === 1;
      });
      const cleanup = await beta.bascule("cleanup", "web");
      assert.equal(cleanup.code, 0, cleanup.stderr);
      // Nobody can start it any more once it leaves beta.
      await beta.bascule("move", "web", "alpha");
      await cluster.until("both nodes say why they cannot run it", async () => {
        const group = await alpha.group();
        return group !== null && group.state !== "running" &&
          /command:app/.test(group.failed?.alpha ?? "") &&
          /command:app/.test(group.failed?.beta ?? "");
      });
      for (const node of nodes) assert.ok(await node.alive());

      for (const node of [alpha, beta]) Deno.removeSync(`${node.directory}/run/hang-start`);
      assert.equal((await alpha.bascule("cleanup", "web")).code, 0);
      await cluster.waitForAnyOwner();
    }),
);

e2eTest(
  "a stop script that hangs is ended, and the group moves all the same",
  [],
  () =>
    withCluster({ resources: [RESOURCE] }, async (cluster) => {
      // Breaks when the ladder of a stop ends before the volume is given up, so that nobody can take over.
      const { alpha, beta } = cluster;
      await cluster.start();
      hang(alpha, "stop");
      const epoch = await cluster.epoch(alpha);
      assert.equal((await beta.bascule("standby", "alpha")).code, 0);
      await cluster.waitForOwner(beta);
      assert.ok(await cluster.epoch(beta) > epoch);
      assert.ok(await alpha.alive());
      await cluster.until("alpha is Secondary", async () => {
        return (await alpha.volume())?.role === "Secondary";
      });
      await cluster.waitInSync(beta);
    }),
);
