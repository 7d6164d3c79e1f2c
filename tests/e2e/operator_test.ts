/** What an operator says, and what the command line answers. */
import assert from "node:assert/strict";
import { withCluster } from "./cluster.ts";
import { e2eTest } from "./network.ts";

e2eTest(
  "standby, unstandby and move do what they say, or say why not",
  [],
  () =>
    withCluster({}, async (cluster) => {
      // Breaks when a command reports before it is done, or an error ends with exit code 0.
      const { alpha, beta, witness } = cluster;
      await cluster.start();

      const standby = await beta.bascule("standby", "alpha");
      assert.deepEqual(
        [standby.code, standby.stdout],
        [0, "alpha is in standby\n"],
        standby.stderr,
      );
      await cluster.waitForOwner(beta);
      await cluster.until("status shows the standby", async () => {
        const nodes = (await witness.status())?.nodes ?? [];
        return nodes.find(({ name }) => name === "alpha")?.state === "standby";
      });
      const refused = await alpha.bascule("move", "web", "alpha");
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /^.*alpha cannot run web now: it is in standby\n$/);

      const back = await alpha.bascule("unstandby");
      assert.deepEqual([back.code, back.stdout], [0, "alpha may run groups again\n"], back.stderr);
      await cluster.waitInSync(beta);
      const home = await witness.bascule("move", "web", "alpha");
      assert.deepEqual([home.code, home.stdout], [0, "web has moved to alpha\n"], home.stderr);
      await cluster.waitForOwner(alpha);
      await cluster.waitInSync(alpha);
      const away = await alpha.bascule("move", "web");
      assert.deepEqual([away.code, away.stdout], [0, "web has moved\n"], away.stderr);
      await cluster.waitForOwner(beta);

      const wrong: [string[], number, RegExp][] = [
        [
          ["standby", "gamma"],
          1,
          /there is no node gamma; the configuration has alpha, beta, witness/,
        ],
        [["move", "mail"], 1, /there is no group mail; the configuration has web/],
        [["move", "web", "witness"], 1, /witness cannot run web; its candidates are alpha, beta/],
        [["move"], 2, /GROUP/],
      ];
      for (const [command, code, words] of wrong) {
        const outcome = await alpha.bascule(...command);
        assert.equal(outcome.code, code, `${command.join(" ")}: ${outcome.stderr}`);
        assert.match(outcome.stderr, words);
        assert.equal(outcome.stdout, "");
      }
      assert.equal((await beta.group())?.owner, "beta");
    }),
);
