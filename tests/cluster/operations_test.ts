/** What an operator may rely on: maintenance, calm failback, ageing failures, connectivity. */

import assert from "node:assert/strict";
import { DEADTIME, makeConfig, type Shape } from "./configs.ts";
import type { Frame } from "../../src/cluster/types.ts";
import { World } from "./world.ts";

const GATE = "192.0.2.254";

function settled(shape: Shape = {}, seed = 1): World {
  const world = new World({ config: makeConfig(shape), seed });
  world.startAll();
  for (const name of shape.ping ? ["a", "b", "w"] : []) reach(world, name, true);
  world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
  world.run(4 * DEADTIME);
  return world;
}

function reach(world: World, name: string, answers: boolean): void {
  world.event(name, { type: "reach", targets: { [GATE]: answers } });
}

function maintenance(world: World, on: boolean, id: number): void {
  world.event("w", { type: "command", id, command: { type: "maintenance", on } });
  world.until("it is recorded", () => world.node("w").commands.has(id), 2 * DEADTIME);
  assert.equal(world.node("w").commands.get(id), null);
  world.run(DEADTIME);
}

function rules(world: World, node: string): string[] {
  return world.node(node).notes.map(({ rule }) => rule);
}

function why(world: World, node: string): string {
  return world.view(node).groups[0]!.why.why.rule;
}

Deno.test("in maintenance a dead owner is not replaced; when it ends the other takes over", () => {
  const world = settled();
  maintenance(world, true, 1);
  world.crash("a");
  world.run(20 * DEADTIME);
  assert.equal(world.owner(), null);
  assert.equal(world.view("b").maintenance, true);
  assert.equal(why(world, "b"), "maintenance");
  maintenance(world, false, 2);
  world.until("b serves", () => world.owner() === "b", 4 * DEADTIME);
});

Deno.test("in maintenance a group that fails is left as it is, and acted upon when that ends", () => {
  const world = settled();
  maintenance(world, true, 1);
  world.event("a", { type: "failed", group: "web", reason: "it was stopped by hand" });
  world.run(10 * DEADTIME);
  assert.equal(world.owner(), "a");
  assert.ok(rules(world, "a").includes("failed-held"));
  assert.ok(!rules(world, "a").includes("stop"));
  maintenance(world, false, 2);
  world.until("b serves", () => world.owner() === "b", 4 * DEADTIME);
});

Deno.test("in maintenance nothing moves, not even on command; standby acts afterwards", () => {
  const world = settled();
  maintenance(world, true, 1);
  world.event("a", { type: "command", id: 2, command: { type: "move", group: "web", to: "b" } });
  world.until("answered", () => world.node("a").commands.has(2), 2 * DEADTIME);
  assert.match(world.node("a").commands.get(2) ?? "", /maintenance off/);
  world.event("w", { type: "command", id: 3, command: { type: "standby", node: "a", on: true } });
  world.run(5 * DEADTIME);
  assert.equal(world.owner(), "a");
  maintenance(world, false, 4);
  world.until("b serves", () => world.owner() === "b", 4 * DEADTIME);
});

Deno.test("a lost lease freezes in maintenance too, and what comes back goes on", () => {
  const world = settled({ volume: false });
  maintenance(world, true, 1);
  world.cut("a", ["b", "w"]);
  world.run(3 * DEADTIME);
  assert.deepEqual(world.serving(), []);
  world.heal();
  world.until("a serves", () => world.owner() === "a", 3 * DEADTIME);
});

Deno.test("maintenance is known again after a restart of every agent, and then nothing starts", () => {
  const world = settled();
  maintenance(world, true, 1);
  for (const name of ["a", "b", "w"]) world.crash(name);
  for (const name of ["a", "b", "w"]) world.start(name);
  world.run(20 * DEADTIME);
  assert.equal(world.owner(), null);
  maintenance(world, false, 2);
  world.until("somebody serves", () => world.owner() !== null, 5 * DEADTIME);
});

Deno.test("failback after a calm time waits for that time, and begins anew with every trouble", () => {
  const world = settled({ failback: { after: 30_000 } });
  world.crash("a");
  world.until("b serves", () => world.owner() === "b", 2 * DEADTIME);
  world.start("a");
  world.run(20_000);
  assert.equal(world.owner(), "b");
  assert.equal(why(world, "b"), "failback-soon");
  // One of its two links is down for a moment: not calm.
  world.cuts.add("a>b#1");
  world.run(3 * DEADTIME);
  world.heal();
  world.run(25_000);
  assert.equal(world.owner(), "b");
  const took = world.until("a serves", () => world.owner() === "a", 15_000);
  assert.ok(took > 1000, `${took} ms`);
});

Deno.test("a failure ages out, a second one bars for twice as long, and a cleanup forgets all", () => {
  const world = settled({ failback: "now", failureTimeout: 10_000 });
  const fail = () => {
    world.event("a", { type: "failed", group: "web", reason: "it exited" });
    world.until("b serves", () => world.owner() === "b", 2 * DEADTIME);
  };
  fail();
  assert.equal(world.view("w").groups[0]?.failures["a"]?.count, 1);
  const first = world.until("a serves", () => world.owner() === "a", 20_000);
  fail();
  assert.equal(world.view("w").groups[0]?.failures["a"]?.count, 2);
  const second = world.until("a serves", () => world.owner() === "a", 40_000);
  assert.ok(first > 8_000 && first < 13_000, `${first} ms`);
  assert.ok(second > 18_000 && second < 23_000, `${second} ms`);
  fail();
  assert.ok((world.view("w").groups[0]?.failures["a"]?.againIn ?? 0) > 30_000);
  world.event("b", { type: "command", id: 1, command: { type: "cleanup", group: "web" } });
  world.until("a serves", () => world.owner() === "a", 3 * DEADTIME);
  fail();
  assert.equal(world.view("w").groups[0]?.failures["a"]?.count, 1);
});

Deno.test("a failure long ago does not count", () => {
  const world = settled({ failback: "now", failureTimeout: 10_000 });
  for (let round = 0; round < 3; round++) {
    world.event("a", { type: "failed", group: "web", reason: "it exited" });
    world.until("b serves", () => world.owner() === "b", 2 * DEADTIME);
    assert.equal(world.view("w").groups[0]?.failures["a"]?.count, 1);
    world.until("a serves", () => world.owner() === "a", 20_000);
    world.run(30_000);
  }
});

Deno.test("a group that failed everywhere is failed on every node's status, with the way out", () => {
  const world = settled();
  for (const name of ["a", "b"]) {
    world.until(`${name} serves`, () => world.owner() === name, 3 * DEADTIME);
    world.event(name, { type: "failed", group: "web", reason: `no licence on ${name}` });
  }
  world.run(3 * DEADTIME);
  for (const name of ["a", "b", "w"]) assert.equal(world.view(name).groups[0]?.state, "failed");
  const { text } = world.view("w").groups[0]!.why.why;
  assert.match(text, /a failed the group \(no licence on a\); b failed .*bascule cleanup web/);
  world.event("w", { type: "command", id: 1, command: { type: "cleanup", group: "web" } });
  world.until("it runs", () => world.owner() !== null, 3 * DEADTIME);
});

Deno.test("a group moves once to the node that reaches more, after the difference has lasted", () => {
  const world = settled({ ping: [GATE] });
  reach(world, "a", false);
  world.run(3_000);
  assert.equal(world.owner(), "a");
  assert.equal(why(world, "a"), "connectivity-soon");
  const took = world.until("b serves", () => world.owner() === "b", 10_000);
  assert.ok(took >= 1_500, `${took} ms`);
  reach(world, "a", true);
  world.run(60_000);
  assert.equal(world.owner(), "b", "equal again: nothing moves back");
});

Deno.test("no move when all lose the target, when it flaps, or when a node has not measured", () => {
  const world = settled({ ping: [GATE] });
  for (const name of ["a", "b", "w"]) reach(world, name, false);
  world.run(30_000);
  assert.equal(world.owner(), "a");
  for (let i = 0; i < 20; i++) {
    reach(world, "b", true);
    world.run(4_000);
    reach(world, "b", false);
    world.run(1_000);
  }
  assert.equal(world.owner(), "a");
  world.event("b", { type: "reach", targets: {} });
  world.run(30_000);
  assert.equal(world.owner(), "a");
});

Deno.test("what an operator moved leaves a badly connected node, and is not taken back to it", () => {
  const world = settled({ ping: [GATE], failback: "now" });
  world.event("w", { type: "command", id: 1, command: { type: "move", group: "web", to: "b" } });
  world.until("b serves", () => world.owner() === "b", DEADTIME);
  reach(world, "b", false);
  world.until("a serves", () => world.owner() === "a", 10_000);
  world.run(20_000);
  assert.equal(world.owner(), "a");
  world.event("w", { type: "command", id: 2, command: { type: "move", group: "web", to: "b" } });
  world.until("answered", () => world.node("w").commands.has(2), 2 * DEADTIME);
  assert.match(world.node("w").commands.get(2) ?? "", /reaches 0 ping targets.*mend its network/);
});

Deno.test("of two survivors the one that reaches more takes over", () => {
  const world = settled({
    nodes: ["a", "b", "c", "w"],
    volume: false,
    ping: [GATE],
  });
  for (const [name, answers] of [["a", true], ["b", false], ["c", true]] as const) {
    reach(world, name, answers);
  }
  world.run(DEADTIME);
  world.crash("a");
  world.until("c serves", () => world.owner() === "c", 3 * DEADTIME);
});

Deno.test("a move gathers the promises for its release while the group stops, not afterwards", () => {
  const sent: string[] = [];
  const wire = (frame: Frame, from: string) => {
    const { body } = frame;
    if (from === "a" && "register" in body && body.register === "group:web") sent.push(body.type);
    return frame;
  };
  const world = new World({ config: makeConfig(), wire });
  world.startAll();
  world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
  world.run(4 * DEADTIME);
  world.event("a", { type: "command", id: 1, command: { type: "move", group: "web", to: "b" } });
  world.until("a stops", () => rules(world, "a").includes("stop"), DEADTIME);
  world.until("all have answered", () => sent.at(-1) === "PREPARE", 1);
  sent.length = 0;
  world.until("a has released", () => rules(world, "a").includes("released"), DEADTIME);
  assert.ok(sent.includes("ACCEPT"));
  assert.ok(!sent.includes("PREPARE"), "a round more of which the client waits for each fsync");
});
