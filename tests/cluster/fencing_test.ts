import assert from "node:assert/strict";
import { DEADTIME, KEEPALIVE, makeConfig, type Shape } from "./configs.ts";
import { FENCE_FAILS, FENCE_WORKS, World } from "./world.ts";

const PAIR: Shape = { nodes: ["a", "b"], witnesses: [], quorum: "fencing" };

/** A pair in which `a` serves, both replicas are in sync and both nodes are joint. */
function settled(shape: Shape = {}, seed = 1): World {
  const world = new World({ config: makeConfig({ ...PAIR, ...shape }), seed });
  world.startAll();
  world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
  world.until("b is in sync", () => members(world, "b").length === 2, 5 * DEADTIME);
  world.until("both are joint", () => joint(world, "a") && joint(world, "b"), DEADTIME);
  return world;
}

function members(world: World, node: string): readonly string[] {
  return world.view(node).records.groups["web"]?.volumes["data"]?.upToDate ?? [];
}

function joint(world: World, node: string): boolean {
  return world.view(node).quorum.joint === true;
}

function solo(world: World, node: string): string | undefined {
  return world.view(node).records.cluster?.solo;
}

function noted(world: World, node: string, rule: string): number {
  return world.node(node).notes.filter((note) => note.rule === rule).length;
}

Deno.test("fencing: a dead owner is fenced after deadtime and fence_delay, and only then replaced", () => {
  // Breaks when a silent peer counts as dead without a confirmed fence, or the survivor never takes.
  const world = settled();
  world.crash("a");
  const took = world.until("b serves", () => world.owner() === "b", 6 * DEADTIME);
  assert.ok(took >= 3 * DEADTIME, `${took} ms: deadtime and a fence_delay of two of it`);
  assert.ok(took <= 3 * DEADTIME + 4 * KEEPALIVE, `${took} ms`);
  assert.equal(noted(world, "b", "fence-confirmed"), 1);
  assert.equal(solo(world, "b"), "b");
  assert.deepEqual(members(world, "b"), ["replica-b"]);
});

Deno.test("fencing: an owner whose peer dies fences at once and goes on", () => {
  // Breaks when the owner waits for fence_delay, or thaws before the fence is confirmed.
  const world = settled();
  world.fenceDevice = () => ({ offAt: 100, answersAt: 900, confirmed: true });
  world.crash("b");
  world.until("a is frozen", () => world.serving().length === 0, 2 * DEADTIME);
  world.until("the fence is ordered", () => noted(world, "a", "fence") === 1, DEADTIME);
  const waited = world.until("a serves", () => world.owner() === "a", 2 * DEADTIME);
  assert.ok(waited >= 890, `${waited} ms: it served before the answer came`);
  assert.equal(
    world.view("a").groups[0]?.epoch,
    1,
    "nothing was taken: it was its own all the time",
  );
});

Deno.test("fencing: the fenced node comes back, copies the records, and its vote ends the loan", () => {
  const world = settled();
  world.crash("a");
  world.until("b serves", () => world.owner() === "b", 6 * DEADTIME);
  world.start("a");
  world.until("the loan is over", () => solo(world, "b") === undefined, 4 * DEADTIME);
  world.until("a is in sync", () => members(world, "b").length === 2, 6 * DEADTIME);
  world.until("a is joint", () => joint(world, "a"), 2 * DEADTIME);
  assert.equal(world.owner(), "b");
  assert.equal(noted(world, "b", "lease-lost"), 0, "giving the vote back interrupts nothing");
  // And it can take over in its turn.
  world.crash("b");
  world.until("a serves", () => world.owner() === "a", 6 * DEADTIME);
});

Deno.test("fencing: an unconfirmed fence changes nothing, is shown and tried again", () => {
  // Breaks when a fence that was only sent counts as done.
  const world = settled();
  world.fenceDevice = () => FENCE_FAILS;
  world.crash("a");
  world.run(20 * DEADTIME);
  assert.deepEqual(world.serving(), []);
  assert.ok(noted(world, "b", "fence-failed") >= 3);
  assert.deepEqual({ ...world.view("b").quorum.fence, attempts: 0 }, {
    node: "a",
    state: "failed",
    attempts: 0,
    detail: "the switch does not answer",
  });
  assert.equal(solo(world, "b"), undefined);
  world.fenceDevice = () => FENCE_WORKS;
  world.until("b serves", () => world.owner() === "b", 70 * DEADTIME);
});

Deno.test("fencing: a cut pair: the owner fences first and goes on, the other is off", () => {
  const world = settled();
  world.cut("a", ["b"]);
  world.until("a decides alone", () => solo(world, "a") === "a", 3 * DEADTIME);
  assert.equal(world.node("b").state, null, "b was switched off");
  world.until("a serves", () => world.owner() === "a", DEADTIME);
});

Deno.test("fencing: a cut pair whose owner has lost its disk: the owner is the one that is fenced", () => {
  // Breaks when it switches off the only node that has the data: nobody could run the group then.
  const world = settled();
  const report = world.node("a").state!.replicas.get("data")!;
  world.event("a", { type: "replica", volume: "data", report: { ...report, disk: "Diskless" } });
  world.cut("a", ["b"]);
  world.until("b decides alone", () => solo(world, "b") === "b", 6 * DEADTIME);
  assert.equal(noted(world, "a", "fence"), 0);
  assert.equal(world.node("a").state, null, "a was switched off");
  world.until("b serves", () => world.owner() === "b", DEADTIME);
});

Deno.test("fencing: a fenced node that boots behind a cut may neither fence nor take", () => {
  // Hole H16 (ii). Breaks when the power to fence outlives a restart, or initdead ends the wait.
  const world = settled();
  world.cut("a", ["b"]);
  world.until("a decides alone", () => solo(world, "a") === "a", 3 * DEADTIME);
  world.run(5 * DEADTIME);
  world.start("b");
  world.run(40 * DEADTIME);
  assert.equal(noted(world, "b", "fence"), 0);
  assert.equal(world.owner(), "a");
  assert.equal(world.view("b").quorum.have, false);
  world.heal();
  world.until("the loan is over", () => solo(world, "a") === undefined, 4 * DEADTIME);
  world.until("b is in sync", () => members(world, "a").length === 2, 6 * DEADTIME);
});

Deno.test("fencing: both fence each other: both boot, wait, and go on together", () => {
  // Hole H16 (iii).
  const world = settled();
  world.fenceDevice = () => ({ offAt: 5000, answersAt: 9000, confirmed: true });
  world.cut("a", ["b"]);
  world.until(
    "both are off",
    () => !world.node("a").state && !world.node("b").state,
    12 * DEADTIME,
  );
  world.startAll();
  world.run(30 * DEADTIME);
  assert.deepEqual(world.serving(), [], "each waits for the other, however long");
  world.heal();
  world.until("one serves", () => world.owner() !== null, 6 * DEADTIME);
});

Deno.test("fencing: a blackout: the node that boots first waits for the other", () => {
  const world = settled();
  world.crash("a");
  world.crash("b");
  world.start("b");
  world.run(40 * DEADTIME);
  assert.deepEqual(world.serving(), []);
  assert.equal(noted(world, "b", "fence"), 0);
  world.start("a");
  world.until("one serves", () => world.owner() !== null, 6 * DEADTIME);
});

Deno.test("fencing: the node that decided alone needs nobody after a restart", () => {
  const world = settled();
  world.crash("a");
  world.until("b serves", () => world.owner() === "b", 6 * DEADTIME);
  world.crash("b");
  // The mark that it is the only member is of another boot.
  world.node("b").disk.sole = null;
  world.start("b");
  world.until("b serves again", () => world.owner() === "b", 12 * DEADTIME);
});

Deno.test("fencing: a planned stop leaves the vote to the other, and nobody is fenced", () => {
  for (const leaver of ["a", "b"]) {
    const world = settled();
    const stayer = leaver === "a" ? "b" : "a";
    world.event(leaver, { type: "shutdown" });
    world.until("it has ended", () => world.node(leaver).state === null, 4 * DEADTIME);
    world.run(10 * DEADTIME);
    assert.equal(world.owner(), stayer);
    assert.equal(noted(world, stayer, "fence"), 0);
    assert.equal(noted(world, stayer, "lease-lost"), 0);
    assert.equal(solo(world, stayer), stayer);
    world.start(leaver);
    world.until("the loan is over", () => solo(world, stayer) === undefined, 4 * DEADTIME);
    world.until("both are joint", () => joint(world, leaver) && joint(world, stayer), 2 * DEADTIME);
  }
});

Deno.test("fencing: a confirmation that comes after the fenced node voted again is worth nothing", () => {
  const world = settled();
  world.fenceDevice = () => ({ offAt: 100, answersAt: 15_000, confirmed: true });
  world.crash("a");
  world.until("b fences", () => noted(world, "b", "fence") === 1, 4 * DEADTIME);
  world.run(500);
  world.start("a");
  world.until("one serves", () => world.owner() !== null, 20 * DEADTIME);
  world.run(20 * DEADTIME);
  assert.equal(noted(world, "b", "fence-over"), 1);
  assert.equal(noted(world, "b", "fence-confirmed"), 0);
  assert.equal(solo(world, "b"), undefined);
});

Deno.test("fencing: a person's word is worth a confirmed fence, where the node is behind nothing", () => {
  const world = settled();
  world.fenceDevice = () => FENCE_FAILS;
  const confirm = (node: string, id: number) =>
    world.event(node, {
      type: "command",
      id,
      command: { type: "confirmOff", node: node === "a" ? "b" : "a" },
    });
  confirm("b", 1);
  world.run(100);
  assert.match(world.node("b").commands.get(1) ?? "", /is heard, so it is not off/);
  world.crash("a");
  world.run(5 * DEADTIME);
  confirm("b", 2);
  world.until("b serves", () => world.owner() === "b", 2 * DEADTIME);
  assert.equal(world.node("b").commands.get(2), null);
  // A node that has just booted cannot know what the other did alone.
  world.crash("b");
  world.start("a");
  world.run(5 * DEADTIME);
  confirm("a", 3);
  world.run(100);
  assert.match(world.node("a").commands.get(3) ?? "", /volume promote/);
});

Deno.test("fencing: a peer that lost its voter state is admitted anew without a fence", () => {
  const world = settled();
  world.crash("b");
  world.node("b").log = [];
  world.fenceDevice = () => FENCE_FAILS;
  world.start("b");
  world.until("a serves", () => world.owner() === "a", 8 * DEADTIME);
  world.until("both are joint", () => joint(world, "a") && joint(world, "b"), 20 * DEADTIME);
  assert.equal(solo(world, "a"), undefined);
});

for (const lost of ["a", "b"]) {
  Deno.test(`fencing: ${lost}, admitted anew while it was going down again, hears of it later`, () => {
    // Breaks when who decides alone writes the record to its own voter only: the other, whose new id
    // nobody asks and which is blank, can read nothing, and the loan never ends.
    const other = lost === "a" ? "b" : "a";
    const world = settled();
    world.crash(lost);
    world.until("the other serves", () => world.owner() === other, 6 * DEADTIME);
    world.node(lost).log = [];
    world.start(lost);
    world.watch = () => {
      if (noted(world, other, "admit-voter") > 0 && world.node(lost).state) world.crash(lost);
    };
    world.until("it is admitted", () => world.node(lost).state === null, 8 * DEADTIME);
    world.watch = null;
    world.run(3 * DEADTIME);
    assert.equal(world.view(other).records.cluster?.votersVersion, 2);
    assert.ok(world.node(lost).log.every(({ kind }) => kind !== "accept"), "it heard nothing");
    world.start(lost);
    world.until("both are joint", () => joint(world, "a") && joint(world, "b"), 20 * DEADTIME);
    assert.equal(solo(world, other), undefined);
  });
}
