import assert from "node:assert/strict";
import type { Frame } from "../../src/cluster/types.ts";
import { DEADTIME, makeConfig } from "./configs.ts";
import { World } from "./world.ts";

function settled(): World {
  const world = new World({ config: makeConfig() });
  world.startAll();
  world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
  world.run(4 * DEADTIME);
  return world;
}

function frames(world: World, from: string, to: string): { link: number; frame: Frame }[] {
  return world.recorded.filter((each) => each.frame.node === from && each.to === to);
}

Deno.test("copies over the second link are processed once", () => {
  // Breaks when every message counts once per link.
  const world = settled();
  const { frames: counters, nodes } = world.view("b");
  assert.ok(counters.duplicate > 0);
  assert.equal(counters.olderIncarnation, 0);
  assert.deepEqual(nodes[0]?.links, [{ index: 0, up: true }, { index: 1, up: true }]);
});

Deno.test("one of two links down is seen, and nothing else happens", () => {
  // Breaks when liveness hangs on one link.
  const world = settled();
  for (const [from, to] of [["a", "b"], ["b", "a"], ["a", "w"], ["w", "a"]]) {
    world.cuts.add(`${from}>${to}#0`);
  }
  world.run(3 * DEADTIME);
  const a = world.view("b").nodes[0]!;
  assert.equal(a.state, "online");
  assert.deepEqual(a.links.map(({ up }) => up), [false, true]);
  assert.ok(world.node("b").notes.some(({ rule, node }) => rule === "link-down" && node === "a"));
  assert.equal(world.owner(), "a");
});

Deno.test("replayed frames of a dead node do not keep it alive", () => {
  // Breaks when whoever recorded heartbeats can hold a takeover off.
  const world = settled();
  const recorded = frames(world, "a", "b").slice(-200);
  world.crash("a");
  const end = world.now + 3 * DEADTIME;
  for (let i = 0; world.now < end; i++) {
    const { link, frame } = recorded[i % recorded.length]!;
    for (const each of [0, 1]) {
      world.event("b", { type: "frame", link: i % 3 ? link : each, frame });
      world.event("w", { type: "frame", link: i % 3 ? link : each, frame });
    }
    world.run(20);
  }
  assert.equal(world.view("b").nodes[0]?.state, "offline");
  assert.equal(world.owner(), "b");
  assert.ok(world.view("b").frames.replayed > 50);
});

Deno.test("frames recorded before the own start make nobody alive", () => {
  // Breaks when a restarted node can be told that a dead owner lives.
  const world = settled();
  const recorded = frames(world, "a", "w").slice(-100);
  world.crash("a");
  world.crash("w");
  world.start("w");
  for (let i = 0; i < 100; i++) {
    const { link, frame } = recorded[i % recorded.length]!;
    world.event("w", { type: "frame", link, frame });
    world.run(20);
  }
  assert.equal(world.view("w").nodes[0]?.state, "offline");
  assert.ok(world.view("w").frames.unconfirmed > 0);
});

Deno.test("frames of an older run are dropped and counted once a newer run was heard", () => {
  // Breaks when an old run's heartbeats are mixed with the new one's.
  const world = settled();
  const recorded = frames(world, "a", "b").slice(-50);
  world.crash("a");
  world.run(100);
  world.start("a");
  world.run(2 * DEADTIME);
  for (const { link, frame } of recorded) world.event("b", { type: "frame", link, frame });
  const { frames: counters, nodes } = world.view("b");
  assert.equal(counters.olderIncarnation, recorded.length);
  assert.equal(nodes[0]?.incarnation, 2);
});

Deno.test("frames of nodes that the configuration does not name are dropped and counted", () => {
  const world = settled();
  const { frame } = frames(world, "a", "b").at(-1)!;
  world.event("b", { type: "frame", link: 0, frame: { ...frame, node: "stranger" } });
  world.event("b", { type: "frame", link: 0, frame: { ...frame, node: "b" } });
  assert.equal(world.view("b").frames.unknownNode, 2);
});

Deno.test("late and dead are said once each, by name", () => {
  const world = settled();
  world.crash("w");
  world.run(5 * DEADTIME);
  const about = world.node("a").notes.filter(({ node }) => node === "w").map(({ rule }) => rule);
  assert.deepEqual(about.filter((rule) => rule === "peer-late" || rule === "peer-dead"), [
    "peer-late",
    "peer-dead",
  ]);
  assert.equal(world.view("a").nodes[2]?.state, "offline");
  assert.deepEqual(world.view("a").quorum, {
    have: true,
    mode: "majority",
    votes: 2,
    expected: 3,
    needed: 2,
    missing: [{ node: "w", why: "dead" }],
  });
});
