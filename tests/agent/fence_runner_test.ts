import assert from "node:assert/strict";
import { FenceRunner } from "../../src/agent/fence_runner.ts";
import type { ClusterEvent } from "../../src/cluster/types.ts";
import type { FenceMethod } from "../../src/config/types.ts";
import { makeConfig } from "../cluster/configs.ts";

type Fenced = Extract<ClusterEvent, { type: "fenced" }>;

/** Fences `b` by these methods and gives the answer. */
async function fence(...methods: FenceMethod[]): Promise<Fenced> {
  const base = makeConfig({ nodes: ["a", "b"], witnesses: [], quorum: "fencing" });
  const nodes = base.nodes.map((node) => node.name === "b" ? { ...node, fence: methods } : node);
  const answer = Promise.withResolvers<Fenced>();
  const runner = new FenceRunner({ ...base, nodes }, "a", {
    event: (event) => answer.resolve(event as Fenced),
    note: () => {},
  });
  runner.fence("b", 7);
  const fenced = await answer.promise;
  await runner.close();
  assert.equal(fenced.attempt, 7);
  assert.equal(fenced.node, "b");
  return fenced;
}

const shell = (script: string, timeout = 5000): FenceMethod => ({
  command: ["/bin/sh", "-c", script],
  timeout,
});

Deno.test("a fence command is told whom to switch off, and exit code 0 confirms", async () => {
  const { confirmed, detail } = await fence(
    shell('echo "$BASCULE_FENCE_ACTION $BASCULE_FENCE_NODE in $BASCULE_CLUSTER for $BASCULE_NODE"'),
  );
  assert.ok(confirmed);
  assert.match(detail, /off b in test for a/);
});

Deno.test("another exit code confirms nothing and says what was said", async () => {
  // Breaks when a command that merely ended counts.
  const { confirmed, detail } = await fence(shell("echo no power strip here >&2; exit 3"));
  assert.ok(!confirmed);
  assert.match(detail, /exited with code 3: no power strip here/);
});

Deno.test("a command that hangs is killed, and the next method is tried", async () => {
  const began = performance.now();
  const { confirmed } = await fence(shell("sleep 60", 200), shell("exit 0"));
  assert.ok(confirmed);
  assert.ok(performance.now() - began < 10_000);
});

Deno.test("a program that is not there confirms nothing", async () => {
  const { confirmed, detail } = await fence({ command: ["/nowhere/power"], timeout: 1000 });
  assert.ok(!confirmed);
  assert.match(detail, /no such program/);
});

Deno.test("closing kills a running command and answers nothing", async () => {
  const base = makeConfig({ nodes: ["a", "b"], witnesses: [], quorum: "fencing" });
  const nodes = base.nodes.map((node) => ({ ...node, fence: [shell("sleep 60", 60_000)] }));
  let answers = 0;
  const runner = new FenceRunner({ ...base, nodes }, "a", {
    event: () => answers++,
    note: () => {},
  });
  runner.fence("b", 1);
  await new Promise((resolve) => setTimeout(resolve, 100));
  await runner.close();
  assert.equal(answers, 0);
});
