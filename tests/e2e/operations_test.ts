/** What an operator does with a running cluster: maintenance, failback, pings, another configuration. */
import assert from "node:assert/strict";
import { CLIENT_ADDRESS, type Cluster, DEADTIME, withCluster } from "./cluster.ts";
import { e2eTest, must } from "./network.ts";
import type { Node } from "./node.ts";

const APP = `{ kind = "process", name = "app", command = ["/bin/sleep", "86400"] }`;

function pass(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Process ids of the group's program on a node. */
async function appPids(cluster: Cluster, node: Node): Promise<number[]> {
  const pids = await cluster.network.pids(node.name);
  return pids.filter((pid) => {
    try {
      return Deno.readTextFileSync(`/proc/${pid}/cmdline`).startsWith("/bin/sleep\0");
    } catch {
      return false;
    }
  });
}

async function stateOf(node: Node, id: string): Promise<string | undefined> {
  return (await node.group())?.resources.find((resource) => resource.id === id)?.state;
}

/** Runs `bascule` on a node; it has to succeed. */
async function say(node: Node, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await node.bascule(...args);
  assert.equal(code, 0, `${args.join(" ")} on ${node.name}: ${stdout}${stderr}`);
  return stdout;
}

e2eTest(
  "in maintenance nothing is restarted or taken over; afterwards everything is",
  [],
  () =>
    withCluster({ resources: [APP] }, async (cluster) => {
      const { alpha, beta, witness } = cluster;
      await cluster.start();
      assert.match(await say(beta, "maintenance", "on"), /maintenance is on/);
      await cluster.until("alpha knows", async () => (await alpha.status())?.maintenance === true);
      assert.match(await say(witness, "status"), /MAINTENANCE: nothing is started/);

      const [pid] = await appPids(cluster, alpha);
      Deno.kill(pid!, "SIGKILL");
      await cluster.until("it is shown", async () =>
        await stateOf(alpha, "process:app") === "failed");
      await pass(2 * DEADTIME);
      assert.deepEqual(await appPids(cluster, alpha), []);
      assert.equal((await alpha.group())?.owner, "alpha");
      assert.match(await say(alpha, "explain", "web"), /because .*in maintenance/);

      await say(alpha, "maintenance", "off");
      await cluster.until("it is restarted in place", async () =>
        (await appPids(cluster, alpha)).length === 1);
      assert.equal((await alpha.group())?.owner, "alpha");

      await say(witness, "maintenance", "on");
      await alpha.powerCut();
      await pass(3 * DEADTIME);
      assert.deepEqual(await appPids(cluster, beta), []);
      await say(witness, "maintenance", "off");
      await cluster.waitForOwner(beta);
      assert.equal((await appPids(cluster, beta)).length, 1);
    }),
);

e2eTest(
  "the witness is replaced by config push, and the new one's vote lets the other node take over",
  [],
  () =>
    withCluster({ spare: true }, async (cluster) => {
      const { alpha, beta, witness, network } = cluster;
      const spare = cluster.spare!;
      await cluster.start();
      const epoch = await cluster.epoch(alpha);
      cluster.reconfigure(
        ["[nodes.witness]", "[nodes.spare]"],
        [network.address("witness", 0), network.address("spare", 0)],
        [network.address("witness", 1), network.address("spare", 1)],
      );
      spare.start();
      const told = await say(beta, "config", "push");
      assert.match(told, /nodes\.witness is taken out\n +nodes\.spare is new/);
      assert.match(told, /in force; voters: alpha, beta, spare\n$/);
      await cluster.until("alpha runs it", async () => {
        const { config, nodes } = (await alpha.status())!;
        return config?.running === config?.pushed && config?.leaving.length === 0 &&
          nodes.map(({ name }) => name).join() === "alpha,beta,spare";
      });
      assert.equal(await witness.stop(), 0);
      assert.equal(await cluster.epoch(alpha), epoch, "the group was not touched");
      await pass(2 * DEADTIME);
      await alpha.powerCut();
      await cluster.waitForOwner(beta);
      await alpha.powerOn();
      await cluster.waitInSync(beta);
    }),
);

e2eTest(
  "a push says what needs a restart, takes it over after that, and refuses what cannot be done",
  [],
  () =>
    withCluster({ resources: [APP] }, async (cluster) => {
      const { alpha, beta, witness } = cluster;
      await cluster.start();
      cluster.reconfigure([`deadtime = "${DEADTIME}ms"`, `deadtime = "${2 * DEADTIME}ms"`]);
      const refused = await alpha.bascule("config", "push");
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /cluster\.deadtime .*two owners; stop every agent/);

      cluster.reconfigure(
        [`deadtime = "${2 * DEADTIME}ms"`, `deadtime = "${DEADTIME}ms"`],
        ["86400", "86399"],
      );
      const told = await say(alpha, "config", "push");
      assert.match(told, /groups\.web\.resources was .*\(needs a restart of the agent\)/);
      assert.match(told, /alpha, beta, witness still run another: .*restart of the agent/);
      for (const node of [beta, witness, alpha]) {
        assert.equal(await node.stop(), 0);
        node.start();
        await cluster.until(`${node.name} runs it`, async () => {
          const config = (await node.status())?.config;
          return config !== undefined && config.running === config.pushed;
        });
        if (node === beta) await cluster.waitInSync(alpha);
      }
      await cluster.waitForOwner(beta);
      const [pid] = await appPids(cluster, beta);
      assert.match(Deno.readTextFileSync(`/proc/${pid}/cmdline`), /86399/);

      Deno.writeTextFileSync(cluster.configuration, "nonsense = {");
      const broken = await alpha.bascule("config", "push");
      assert.equal(broken.code, 2);
      await pass(1500);
      assert.equal((await beta.group())?.state, "running", "a broken file changes nothing");
    }),
);

e2eTest(
  "the group moves once to the node that still reaches the ping target, and not when both lose it",
  [],
  () =>
    withCluster(
      {
        cluster: [`ping = ["${CLIENT_ADDRESS}"]`, `ping_interval = "200ms"`, `ping_settle = "2s"`],
      },
      async (cluster) => {
        const { alpha, beta, network } = cluster;
        await cluster.start();
        await cluster.until("both measured it", async () => {
          const reach = (await beta.status())?.nodes.map((node) => node.reach?.[CLIENT_ADDRESS]);
          return reach?.every((answers) => answers === true) ?? false;
        });
        const epoch = await cluster.epoch(alpha);
        await network.cut("alpha", ["client"]);
        await cluster.waitForOwner(beta);
        const said = alpha.journal().find(({ rule }) => rule === "connectivity");
        assert.match(said?.text ?? "", /beta reaches 1 of 1 ping targets, alpha 0, for 2000 ms/);
        assert.deepEqual([said?.known.own, said?.known.reaches], [0, 1]);
        assert.match(await say(beta, "status"), /alpha .*0 of 1; lost: 10\.88\.0\.100/);

        await network.cut("beta", ["client"]);
        await pass(6000);
        await network.heal("alpha", ["client"]);
        await network.heal("beta", ["client"]);
        await pass(4000);
        assert.equal((await beta.group())?.owner, "beta");
        assert.equal(await cluster.epoch(beta), epoch + 1, "it moved once");
      },
    ),
);

e2eTest(
  "a group goes back to its preferred node after a calm time, and says why",
  [],
  () =>
    withCluster({ group: [`failback = "5s"`] }, async (cluster) => {
      const { alpha, beta } = cluster;
      await cluster.start();
      await alpha.powerCut();
      await cluster.waitForOwner(beta);
      await alpha.powerOn();
      const began = performance.now();
      await cluster.waitInSync(beta);
      await cluster.until("beta waits", async () =>
        (await beta.group())?.why?.rule === "failback-soon");
      await cluster.waitForOwner(alpha);
      assert.ok(performance.now() - began >= 5000);
      const said = beta.journal().find(({ rule }) =>
        rule === "failback"
      );
      assert.match(said?.text ?? "", /alpha is preferred and has been without trouble for \d+ s/);
      // Kept across restarts: the decision of the run before is still explained.
      assert.equal(await beta.stop(), 0);
      beta.start();
      await cluster.until("beta is back", async () => (await beta.status()) !== null);
      assert.match(await say(beta, "explain", "web"), /failback: alpha is preferred/);
    }),
);

e2eTest(
  "a failure bars the group from a node for a time, shown with the time that is left",
  [],
  () =>
    withCluster(
      {
        group: [`failure_timeout = "8s"`, `failback = "now"`],
        resources: [
          `{ kind = "process", name = "app", command = ["/bin/sleep", "86400"], restarts = 0 }`,
        ],
      },
      async (cluster) => {
        const { alpha, beta } = cluster;
        await cluster.start();
        const [pid] = await appPids(cluster, alpha);
        await must(["kill", "-9", String(pid)]);
        await cluster.waitForOwner(beta);
        const failure = (await beta.group())?.failures?.alpha;
        assert.equal(failure?.count, 1);
        assert.ok((failure?.againIn ?? 0) > 0 && failure!.againIn! <= 8000);
        assert.match(
          await say(beta, "explain"),
          /failed +on alpha once: it may try again in \d+ s/,
        );
        await cluster.waitForOwner(alpha);
        assert.ok(alpha.journal().some(({ rule }) => rule === "failure-aged"));
      },
    ),
);
