import assert from "node:assert/strict";
import { DEADTIME, KEEPALIVE, makeConfig, type Shape } from "./configs.ts";
import { World } from "./world.ts";

const PAIR: Shape = { nodes: ["a", "b"], witnesses: [], quorum: "survivor" };

/** A pair in which `a` serves, both replicas are in sync and both nodes are joint. */
function settled(shape: Shape = {}, seed = 1): World {
  const world = new World({ config: makeConfig({ ...PAIR, ...shape }), seed });
  world.startAll();
  world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
  if (shape.volume !== false) {
    world.until("b is in sync", () => members(world, "b").length === 2, 5 * DEADTIME);
  }
  world.until("both are joint", () => joint(world, "a") && joint(world, "b"), DEADTIME);
  return world;
}

function members(world: World, node: string): readonly string[] {
  return world.view(node).records.groups["web"]?.volumes["data"]?.upToDate ?? [];
}

function joint(world: World, node: string): boolean {
  return world.view(node).quorum.joint === true;
}

function noted(world: World, node: string, rule: string): number {
  return world.node(node).notes.filter((note) => note.rule === rule).length;
}

/** Lets a cut pair run until both serve, then hear each other again. */
function parted(shape: Shape = {}): World {
  const world = settled(shape);
  world.mayDouble = true;
  world.mayLose = true;
  world.cut("a", ["b"]);
  world.until("both serve", () => world.serving().length === 2, 3 * DEADTIME);
  world.run(3 * DEADTIME);
  return world;
}

Deno.test("survivor: a dead owner is replaced after deadtime, by nobody's leave", () => {
  const world = settled();
  world.crash("a");
  const took = world.until("b serves", () => world.owner() === "b", 2 * DEADTIME);
  assert.ok(took <= DEADTIME + 3 * KEEPALIVE, `${took} ms`);
  assert.deepEqual(members(world, "b"), ["replica-b"]);
  world.start("a");
  world.until("a is in sync", () => members(world, "b").length === 2, 6 * DEADTIME);
  assert.equal(world.owner(), "b");
});

Deno.test("survivor: the death of the other does not interrupt an owner", () => {
  // Breaks when its lease runs out before the silent peer counts as dead.
  const world = settled();
  world.crash("b");
  world.run(20 * DEADTIME);
  assert.equal(world.owner(), "a");
  assert.equal(noted(world, "a", "lease-lost"), 0);
  assert.deepEqual(members(world, "a"), ["replica-a"]);
});

Deno.test("survivor: while both hear each other a move is a release, and no epoch has two owners", () => {
  const world = settled();
  for (const to of ["b", "a", "b"]) {
    const before = world.view("a").groups[0]!.epoch;
    world.event("a", { type: "command", id: before, command: { type: "move", group: "web", to } });
    world.until(`${to} serves`, () => world.owner() === to, 2 * DEADTIME);
    const { epoch } = world.view(to).groups[0]!;
    assert.equal(epoch % 2, to === "a" ? 0 : 1, `epoch ${epoch} of ${to}`);
    assert.equal(members(world, to).length, 2);
  }
});

Deno.test("survivor: a cut pair serves twice; one side ends when they hear each other, and keeps its data", () => {
  // Breaks when both go on, when the parted records are mixed, or when nothing says so.
  const world = parted();
  const data = { a: world.node("a").disk.data.size, b: world.node("b").disk.data.size };
  world.heal();
  world.mayDouble = false;
  world.run(2);
  world.mayDouble = true;
  world.until("one serves", () => world.serving().length === 1, 2 * DEADTIME);
  world.mayDouble = false;
  world.run(DEADTIME);
  assert.equal(world.owner(), "b", "the higher epoch goes on");
  assert.ok(noted(world, "a", "split-brain") + noted(world, "b", "split-brain") >= 1);
  assert.ok(noted(world, "a", "deposed") === 1);
  assert.equal(
    JSON.stringify(world.view("a").records.groups["web"]),
    JSON.stringify(world.view("b").records.groups["web"]),
  );
  assert.ok(data.a > 0 && data.b > 0);
});

Deno.test("survivor: addresses without data: after the cut one node serves, within a keepalive or two", () => {
  const world = parted({ volume: false });
  world.heal();
  const took = world.until("one serves", () => world.serving().length === 1, DEADTIME);
  world.mayDouble = false;
  assert.ok(took <= 2 * KEEPALIVE, `${took} ms`);
  world.run(20 * DEADTIME);
  assert.equal(world.serving().length, 1);
});

Deno.test("survivor: a node that boots alone waits for its peer, however long", () => {
  // Hole H17: what the other wrote alone is not known here.
  const world = settled();
  world.crash("b");
  world.run(15 * DEADTIME);
  assert.deepEqual(members(world, "a"), ["replica-a"]);
  world.crash("a");
  world.start("b");
  world.run(60 * DEADTIME);
  assert.deepEqual(world.serving(), []);
  world.start("a");
  world.until("a serves", () => world.owner() === "a", 6 * DEADTIME);
  world.until("b is in sync", () => members(world, "a").length === 2, 6 * DEADTIME);
});

Deno.test("survivor: one heartbeat of the peer is no knowledge of what it wrote", () => {
  // Breaks when having heard the peer is enough to take its silence for death.
  const world = settled();
  world.crash("b");
  world.run(15 * DEADTIME);
  world.crash("a");
  world.start("b");
  world.run(2 * DEADTIME);
  world.start("a");
  world.until("b hears a", () => world.view("b").nodes[0]?.state === "online", DEADTIME);
  world.crash("a");
  world.run(30 * DEADTIME);
  assert.deepEqual(world.serving(), []);
});

Deno.test("survivor: boot_alone serves after initdead, and only a replica that may be up to date", () => {
  const world = settled({ bootAlone: true });
  world.crash("b");
  world.crash("a");
  world.start("b");
  world.run(9 * DEADTIME);
  assert.deepEqual(world.serving(), []);
  world.until("b serves", () => world.owner() === "b", 4 * DEADTIME);
});

Deno.test("survivor: a replica that knows itself outside the in-sync set never takes", () => {
  // Breaks when boot_alone, or a silent peer, goes before what the own record says.
  const world = settled({ bootAlone: true });
  world.crash("a");
  world.until("b serves", () => world.owner() === "b", 2 * DEADTIME);
  // Heartbeats pass, replication does not.
  world.cuts.add("a>b#0");
  world.cuts.add("b>a#0");
  world.start("a");
  world.until("a knows", () => members(world, "a").join() === "replica-b", 3 * DEADTIME);
  world.until("a is joint", () => joint(world, "a"), 2 * DEADTIME);
  world.crash("b");
  world.run(15 * DEADTIME);
  assert.deepEqual(world.serving(), [], "b is silent, and a lacks its writes");
  world.crash("a");
  world.start("a");
  world.run(30 * DEADTIME);
  assert.deepEqual(world.serving(), []);
});

Deno.test("survivor: a planned stop hands over at once", () => {
  const world = settled();
  world.event("a", { type: "shutdown" });
  const took = world.until("b serves", () => world.owner() === "b", 2 * DEADTIME);
  assert.ok(took < DEADTIME, `${took} ms`);
  assert.equal(noted(world, "b", "lease-lost"), 0);
});

Deno.test("survivor: loss and one-way links do not make two owners while one hears the other", () => {
  const world = settled();
  world.cuts.add("a>b");
  world.run(10 * DEADTIME);
  world.heal();
  world.until("one serves", () => world.owner() !== null, 4 * DEADTIME);
});
