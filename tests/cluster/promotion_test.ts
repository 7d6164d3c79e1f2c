import assert from "node:assert/strict";
import { lineageOf } from "../../src/cluster/facts.ts";
import { DEADTIME, makeConfig, type Shape } from "./configs.ts";
import { World } from "./world.ts";

function settled(shape: Shape = {}, seed = 1): World {
  const world = new World({ config: makeConfig(shape), seed });
  world.startAll();
  world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
  world.until("b is in sync", () => members(world, "b").length === 2, 5 * DEADTIME);
  return world;
}

function record(world: World, node: string) {
  return world.view(node).records.groups["web"];
}

function members(world: World, node: string): readonly string[] {
  return record(world, node)?.volumes["data"]?.upToDate ?? [];
}

function promote(world: World, node: string, id = 1): void {
  world.event(node, { type: "command", id, command: { type: "promote", group: "web" } });
}

function inEra(world: World, node: string): boolean {
  return world.node(node).state !== null && world.view(node).records.cluster?.era !== undefined;
}

/** `b` is cut off and left out of the in-sync set, then `a` is lost for good. */
function leftBehind(shape: Shape = {}): World {
  const world = settled(shape);
  world.crash("b");
  world.until("b is out", () => members(world, "a").length === 1, 14 * DEADTIME);
  world.crash("a");
  world.start("b");
  world.run(6 * DEADTIME);
  assert.deepEqual(world.serving(), [], "b lacks writes");
  return world;
}

Deno.test("promotion: with a quorum the record gets another owner, epoch and lineage", () => {
  const world = leftBehind();
  const { lineage } = world.view("w").records.cluster!;
  const before = record(world, "b")!;
  assert.equal(before.lineage, undefined);
  const inWhich = (node: string) => lineageOf(world.node(node).state!, record(world, node)!);
  assert.equal(inWhich("b"), lineage);
  world.mayLose = true;
  promote(world, "b");
  world.until("b serves", () => world.owner() === "b", 3 * DEADTIME);
  world.run(DEADTIME);
  assert.equal(world.node("b").commands.get(1), null);
  const after = record(world, "b")!;
  assert.deepEqual(members(world, "b"), ["replica-b"]);
  assert.ok(after.epoch > before.epoch);
  assert.ok(after.lineage !== undefined && after.lineage !== lineage);
  assert.equal(world.view("b").records.cluster?.era, undefined, "the voters stay what they were");
  // The old owner comes back: it is a voter, and no owner.
  world.start("a");
  world.run(5 * DEADTIME);
  assert.equal(world.owner(), "b");
  assert.equal(record(world, "a")?.lineage, after.lineage);
  // What becomes Primary from now on, on any node, says so to the replicas.
  for (const node of ["a", "b"]) assert.equal(inWhich(node), after.lineage);
});

Deno.test("promotion: without a quorum a new era begins, and whoever returns joins it", () => {
  // Breaks when the two histories' votes mix, or when those who return are never admitted.
  for (const { nodes, witnesses, quorum } of PAIRS) {
    const world = settled({ nodes, witnesses, quorum });
    for (const name of nodes) world.crash(name);
    world.start("b");
    world.run(5 * DEADTIME);
    assert.deepEqual(world.serving(), []);
    promote(world, "b");
    world.until("b serves", () => world.owner() === "b", 4 * DEADTIME);
    world.run(DEADTIME);
    assert.equal(world.node("b").commands.get(1), null);
    const { era, voters } = world.view("b").records.cluster!;
    assert.ok((era ?? 0) > 0);
    assert.deepEqual(voters.map(({ node }) => node), ["b"]);
    const { lineage, epoch } = record(world, "b")!;
    for (const name of nodes) if (name !== "b") world.start(name);
    world.until(
      "everybody is a voter again",
      () => world.view("b").records.cluster?.voters.length === nodes.length,
      20 * DEADTIME,
    );
    for (const name of nodes) {
      world.until(`${name} knows`, () => record(world, name)?.lineage === lineage, 6 * DEADTIME);
      assert.equal(world.view(name).records.cluster?.era, era);
    }
    world.until("b serves on", () => world.owner() === "b", DEADTIME);
    assert.equal(record(world, "b")!.epoch, epoch, "nothing was taken");
  }
});

Deno.test("promotion: who was admitted knows it first, and the one that admitted it learns it", () => {
  // Breaks when the refusal of a voter that an unfinished change adds says nothing to its proposer.
  for (const quorum of ["fencing", "survivor"] as const) {
    let deaf = true;
    const world: World = new World({
      config: makeConfig({ nodes: ["a", "b"], witnesses: [], quorum }),
      wire: (frame, from) =>
        deaf && from === "a" && frame.body.type === "ACCEPTED" && inEra(world, "b") ? null : frame,
    });
    world.startAll();
    world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
    world.until("b is in sync", () => members(world, "b").length === 2, 5 * DEADTIME);
    for (const name of ["a", "b"]) world.crash(name);
    world.start("b");
    world.run(5 * DEADTIME);
    promote(world, "b");
    world.until("b serves", () => world.owner() === "b", 4 * DEADTIME);
    world.start("a");
    const voters = (node: string) => world.view(node).records.cluster?.voters.length;
    world.until("a is a voter and knows it", () => voters("a") === 2, 20 * DEADTIME);
    assert.equal(voters("b"), 1);
    deaf = false;
    world.until("b knows it, too", () => voters("b") === 2, 6 * DEADTIME);
    assert.equal(world.owner(), "b");
  }
});

Deno.test("promotion: who decides alone in a past era leaves it at that, and joins", () => {
  // Breaks when it goes on to give the vote back: its ballots outrun those of who admits it.
  const world = settled({ nodes: ["a", "b"], witnesses: [], quorum: "fencing" });
  world.crash("b");
  world.until("a is solo", () => world.view("a").records.cluster?.solo === "a", 5 * DEADTIME);
  world.cut("a", ["b"]);
  const standby = { type: "standby", node: "a", on: true } as const;
  world.event("a", { type: "command", id: 1, command: standby });
  world.until("a released it", () => record(world, "a")?.owner === null, 3 * DEADTIME);
  world.start("b");
  world.run(5 * DEADTIME);
  world.mayLose = true;
  promote(world, "b");
  world.until("b serves", () => world.owner() === "b", 4 * DEADTIME);
  world.heal();
  const voters = (node: string) => world.view(node).records.cluster?.voters.length;
  world.until("a joins", () => voters("b") === 2 && inEra(world, "a"), 6 * DEADTIME);
  assert.equal(world.view("b").records.cluster?.solo, undefined);
  assert.equal(world.node("a").notes.some(({ rule }) => rule === "solo-over"), false);
});

Deno.test("promotion: where it ends before its take, the first take of the era goes beyond all epochs", () => {
  // Breaks when the first record of an era begins at epoch 1: every replica has seen more.
  const world = settled({ nodes: ["a", "b"], witnesses: [], quorum: "fencing" });
  for (const name of ["a", "b"]) world.crash(name);
  world.start("b");
  world.run(5 * DEADTIME);
  // The era is durable, and the agent ends before it asks for the group.
  world.watch = () => {
    if (inEra(world, "b")) world.node("b").fuse = 0;
  };
  world.mayLose = true;
  promote(world, "b");
  world.until("b ended", () => world.node("b").state === null, 4 * DEADTIME);
  world.watch = null;
  for (const name of ["b", "a"]) world.start(name);
  world.until("the group runs", () => world.owner() !== null, 10 * DEADTIME);
  assert.ok((record(world, world.owner()!)?.epoch ?? 0) > 1);
  assert.ok(inEra(world, "b"));
});

const PAIRS = [
  { nodes: ["a", "b", "w"], witnesses: ["w"], quorum: "majority" },
  { nodes: ["a", "b"], witnesses: [], quorum: "fencing" },
  { nodes: ["a", "b"], witnesses: [], quorum: "survivor" },
] as const;

Deno.test("promotion: an isolated owner freezes when it hears of another era, and ends", () => {
  // Holes H32 and H4: it may be sole, and its epoch may be the higher one.
  const world = settled();
  world.cut("a", ["b", "w"]);
  world.cut("w", ["b"]);
  world.run(2 * DEADTIME);
  assert.deepEqual(world.serving(), []);
  world.mayDouble = true;
  world.mayLose = true;
  world.cuts.delete("a>w");
  world.cuts.delete("w>a");
  world.until("a serves with the witness", () => world.owner() === "a", 4 * DEADTIME);
  promote(world, "b");
  world.until("both serve", () => world.serving().length === 2, 4 * DEADTIME);
  world.run(3 * DEADTIME);
  world.heal();
  world.until("one serves", () => world.serving().length === 1, 2 * DEADTIME);
  world.mayDouble = false;
  world.until("all vote again", () => {
    const voters = world.view("b").records.cluster?.voters.length;
    return voters === 3 && record(world, "a")?.lineage === record(world, "b")?.lineage;
  }, 20 * DEADTIME);
  assert.equal(world.owner(), "b");
});

Deno.test("promotion: two persons force both sides: the higher era goes on, the other joins it", () => {
  const world = settled();
  world.mayDouble = true;
  world.mayLose = true;
  for (const name of ["a", "b", "w"]) world.crash(name);
  for (const name of ["a", "b"]) world.node(name).disk.sole = null;
  world.cut("a", ["b"]);
  world.start("a");
  world.start("b");
  world.run(5 * DEADTIME);
  promote(world, "a");
  promote(world, "b");
  world.until("both serve", () => world.serving().length === 2, 4 * DEADTIME);
  const eras = ["a", "b"].map((name) => world.view(name).records.cluster!.era!);
  assert.notEqual(eras[0], eras[1]);
  const winner = eras[0]! > eras[1]! ? "a" : "b";
  world.heal();
  world.until("one serves", () => world.serving().length === 1, 4 * DEADTIME);
  world.mayDouble = false;
  world.run(20 * DEADTIME);
  assert.equal(world.owner(), winner);
  assert.equal(world.view(winner).records.cluster?.voters.length, 2);
});

Deno.test("promotion: what it cannot make good is refused with the reason", () => {
  const world = settled();
  promote(world, "a", 1);
  promote(world, "b", 2);
  promote(world, "w", 3);
  world.run(100);
  assert.match(world.node("a").commands.get(1) ?? "", /runs here already/);
  assert.match(world.node("b").commands.get(2) ?? "", /a is heard and runs web; move it/);
  assert.match(world.node("w").commands.get(3) ?? "", /w cannot run web; ask one of a, b/);
  world.crash("a");
  world.node("b").disk.inconsistent = true;
  world.node("b").shells!.report();
  world.run(10);
  promote(world, "b", 4);
  world.run(100);
  assert.match(world.node("b").commands.get(4) ?? "", /unfinished resync/);
});

Deno.test("promotion: a crash in the middle leaves an era that can be finished by asking again", () => {
  for (let fuse = 0; fuse < 8; fuse++) {
    const world = settled();
    for (const name of ["a", "b", "w"]) world.crash(name);
    world.start("b");
    world.run(5 * DEADTIME);
    world.node("b").fuse = fuse;
    promote(world, "b");
    world.run(2 * DEADTIME);
    if (!world.node("b").state) world.start("b");
    world.run(5 * DEADTIME);
    promote(world, "b", 2);
    world.until("b serves", () => world.owner() === "b", 8 * DEADTIME);
  }
});

Deno.test("promotion: one cut short once others have joined the era says how to finish it", () => {
  // Breaks when the status names a way out that does not lead out, or erases what somebody wants.
  const world = leftBehind();
  world.crash("w");
  world.mayLose = true;
  world.run(DEADTIME);
  // The take waits for its generation when the agent dies; those who return are admitted meanwhile.
  world.node("b").fuse = 6;
  promote(world, "b");
  world.run(2 * DEADTIME);
  if (!world.node("b").state) world.start("b");
  for (const name of ["a", "w"]) world.start(name);
  world.until(
    "nobody chooses",
    () => world.view("b").groups[0]?.why.why.rule === "first-take-conflict",
    20 * DEADTIME,
  );
  assert.deepEqual(world.serving(), []);
  const said = world.node("b").notes.find(({ rule }) => rule === "first-take-conflict")!;
  assert.match(said.text, /bascule volume promote data --force/);
  promote(world, "b", 2);
  world.until("b serves", () => world.owner() === "b", 4 * DEADTIME);
  assert.equal(world.node("b").commands.get(2), null);
});

Deno.test("promotion: the first generation of an era is none that a replica bore before", () => {
  // Breaks when a replica of the old lineage, once discarded, is resynced by bits that were not kept.
  const world = settled();
  const { generation } = record(world, "a")!.volumes["data"]!;
  for (const name of ["a", "b", "w"]) world.crash(name);
  world.start("a");
  world.run(5 * DEADTIME);
  world.mayLose = true;
  promote(world, "a");
  world.until("a serves", () => world.owner() === "a", 4 * DEADTIME);
  assert.equal(record(world, "a")!.volumes["data"]!.upToDate.length, 1);
  assert.notEqual(record(world, "a")!.volumes["data"]!.generation, generation);
});

Deno.test("sixteen nodes: a majority goes on, whoever is a witness", () => {
  // Breaks when anything counts voters with a bound of its own.
  const nodes = Array.from({ length: 16 }, (_, i) => `n${i + 1}`);
  for (const witnesses of [nodes.slice(2), nodes.slice(5, 9), [...nodes.slice(0, 3), "n9"]]) {
    const data = nodes.filter((name) => !witnesses.includes(name));
    const world = new World({ config: makeConfig({ nodes, witnesses, prefer: [data[1]!] }) });
    world.startAll();
    world.until("somebody serves", () => world.owner() !== null, 20 * DEADTIME);
    world.until("both are in sync", () => members(world, data[0]!).length === 2, 10 * DEADTIME);
    const owner = world.owner()!;
    const other = data.slice(0, 2).find((name) => name !== owner)!;
    const lost = [owner, ...nodes.filter((name) => name !== owner && name !== other)].slice(0, 7);
    for (const name of lost) world.crash(name);
    world.until("the other serves", () => world.owner() === other, 4 * DEADTIME);
    const eighth = nodes.find((name) => name !== other && world.node(name).state !== null)!;
    world.crash(eighth);
    world.until("eight of sixteen are none", () => !world.view(other).quorum.have, 2 * DEADTIME);
    world.start(eighth);
    for (const name of lost) world.start(name);
    world.until("all is well", () => members(world, other).length === 2, 20 * DEADTIME);
    assert.equal(world.view(other).quorum.votes, 16);
  }
});

Deno.test("promotion: an owner that has lost its disk is not taken for one that only synchronizes", () => {
  // Breaks when the only node that has the data is told to wait for a resync that nobody makes.
  const world = settled();
  const report = world.node("a").state!.replicas.get("data")!;
  const fail = () =>
    world.event("a", { type: "replica", volume: "data", report: { ...report, disk: "Diskless" } });
  fail();
  const { epoch } = record(world, "a")!;
  world.event("a", {
    type: "shrink",
    volume: "data",
    epoch,
    replicaId: "replica-a",
    reason: "its own disk has failed",
  });
  world.until("a is out", () => members(world, "b").join() === "replica-b", 2 * DEADTIME);
  fail();
  world.run(DEADTIME / 2);
  world.mayLose = true;
  promote(world, "b");
  world.run(2 * DEADTIME);
  assert.equal(world.node("b").commands.get(1) ?? null, null, "nothing is refused");
});
