import assert from "node:assert/strict";
import { DEADTIME, KEEPALIVE, makeConfig } from "./configs.ts";
import { World } from "./world.ts";

Deno.test("silences between frames are counted, and show how near a node came to be taken for dead", () => {
  // Breaks when an operator cannot see that a deadtime is too short for a network.
  const world = new World({ config: makeConfig(), seed: 1 });
  world.startAll();
  world.run(10 * DEADTIME);
  const heard = () => world.view("a").nodes.find(({ name }) => name === "b")!.silence!;
  const calm = heard();
  assert.equal(calm.stepMs, KEEPALIVE / 4);
  assert.ok(calm.longestMs <= KEEPALIVE * 1.4, `${calm.longestMs} ms`);
  assert.ok(calm.counts[4]! >= 20, `a keepalive takes four steps: ${calm.counts}`);
  world.pause("b", 0.7 * DEADTIME);
  world.run(2 * DEADTIME);
  const { longestMs, counts } = heard();
  assert.ok(longestMs >= 0.7 * DEADTIME, `${longestMs} ms`);
  assert.equal(counts.length - 1, Math.floor(longestMs / calm.stepMs));
  // What follows deadtime is a death, and no silence of somebody who lives.
  world.crash("b");
  world.run(3 * DEADTIME);
  world.start("b");
  world.run(3 * DEADTIME);
  assert.ok(heard().longestMs < DEADTIME);
});
