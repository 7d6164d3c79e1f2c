/** `config push`: the file proposes, the record decides; voters change one at a time. */

import assert from "node:assert/strict";
import type { Config } from "../../src/config/types.ts";
import { DEADTIME, makeConfig, type Shape } from "./configs.ts";
import { World } from "./world.ts";

function settled(shape: Shape = {}, seed = 1): World {
  const world = new World({ config: makeConfig(shape), seed });
  world.startAll();
  world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
  world.run(4 * DEADTIME);
  return world;
}

function voters(world: World, at = "a"): string {
  return (world.view(at).records.cluster?.voters ?? []).map(({ node }) => node).toSorted().join(
    " ",
  );
}

function push(world: World, config: Config, id: number, at = "a"): void {
  world.event(at, { type: "command", id, command: { type: "push", hash: config.hash } });
}

/** The answer, once there is one. */
function answer(world: World, id: number, at = "a", limit = 20 * DEADTIME): string | null {
  world.until("the push is answered", () => world.node(at).commands.has(id), limit);
  return world.node(at).commands.get(id) ?? null;
}

/** The node runs a program that speaks version 2 as well. */
function upgrade(world: World, name: string): void {
  world.speaks.set(name, { least: 1, newest: 2 });
  world.crash(name);
  world.start(name);
  world.run(3 * DEADTIME);
}

const SWAPPED = makeConfig({ hash: "swapped", nodes: ["a", "b", "v"], witnesses: ["v"] });

Deno.test("a witness is replaced while the group runs, and the new one's vote counts", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const world = settled({}, seed);
    world.addNode("v", SWAPPED);
    world.start("v");
    world.copy(SWAPPED, ["a", "b"]);
    push(world, SWAPPED, 1);
    assert.equal(answer(world, 1), null);
    assert.equal(voters(world), "a b v");
    assert.equal(world.view("a").records.cluster?.votersVersion, 2);
    world.crash("w");
    world.run(4 * DEADTIME);
    world.crash("a");
    world.until("b serves, with the new witness", () => world.owner() === "b", 4 * DEADTIME);
  }
});

Deno.test("a dead witness is replaced, and so is one that nobody hears any more", () => {
  const world = settled();
  world.crash("w");
  world.run(3 * DEADTIME);
  world.addNode("v", SWAPPED);
  world.start("v");
  world.copy(SWAPPED, ["a", "b"]);
  push(world, SWAPPED, 1, "b");
  assert.equal(answer(world, 1, "b"), null);
  assert.equal(voters(world), "a b v");
});

Deno.test("a push waits for the file at every heard node, and then refuses by name", () => {
  const world = settled();
  world.addNode("v", SWAPPED);
  world.start("v");
  world.copy(SWAPPED, ["a"]);
  push(world, SWAPPED, 1);
  world.run(DEADTIME);
  world.copy(SWAPPED, ["b"]);
  assert.equal(answer(world, 1), null, "it came in time");

  const back = makeConfig({ hash: "back" });
  world.copy(back, ["a"]);
  push(world, back, 2);
  assert.match(answer(world, 2) ?? "", /^b has not got this configuration: copy the file/);
  assert.equal(voters(world), "a b v");
  push(world, { ...back, hash: "unknown" }, 3);
  assert.match(answer(world, 3) ?? "", /another configuration on its disk/);
});

Deno.test("the old witness stays until the new one is up, and the push goes on by itself", () => {
  const world = settled();
  world.addNode("v", SWAPPED);
  world.copy(SWAPPED, ["a", "b"]);
  push(world, SWAPPED, 1);
  assert.match(answer(world, 1, "a", 60 * DEADTIME) ?? "", /waits for v to come up and join/);
  assert.equal(voters(world), "a b w");
  assert.deepEqual(world.view("a").config.leaving, ["w"]);
  assert.match(world.view("b").config.waitsFor ?? "", /v to come up and join the voters/);
  // It still votes: the loss of b stops nothing.
  world.crash("b");
  world.run(4 * DEADTIME);
  assert.equal(world.owner(), "a");
  world.start("b");
  world.start("v");
  world.until("the voters are those of the file", () => voters(world) === "a b v", 20 * DEADTIME);
  assert.deepEqual(world.view("a").config.leaving, []);
  assert.equal(world.view("a").config.waitsFor, null);
});

Deno.test("a crash of any node in the middle of a push leaves a push that ends", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const world = settled({}, seed);
    world.addNode("v", SWAPPED);
    world.start("v");
    world.copy(SWAPPED, ["a", "b"]);
    push(world, SWAPPED, 1);
    world.run(world.random() * 4 * DEADTIME);
    const victim = ["a", "b", "v"][Math.floor(world.random() * 3)]!;
    world.crash(victim);
    world.run(world.random() * 3 * DEADTIME);
    world.start(victim);
    if (world.view(victim).records.cluster?.config !== "swapped") {
      world.copy(SWAPPED, ["a", "b"]);
    }
    world.run(DEADTIME);
    push(world, SWAPPED, 2, "b");
    world.until("the voters are those of the file", () => voters(world, "b") === "a b v", 40_000);
    world.until("somebody serves", () => world.owner() !== null, 20 * DEADTIME);
  }
});

Deno.test("a new voter holds what the registers hold within a few round trips", () => {
  // Until then the loss of one voter more stops the cluster.
  for (let seed = 1; seed <= 10; seed++) {
    const world = settled({}, seed);
    world.addNode("v", SWAPPED);
    world.start("v");
    world.copy(SWAPPED, ["a", "b"]);
    push(world, SWAPPED, 1);
    world.until("the voters changed", () => voters(world) === "a b v", 20 * DEADTIME);
    world.crash("w");
    world.run(60);
    world.crash("a");
    world.until("b serves", () => world.owner() === "b", 3 * DEADTIME);
  }
});

Deno.test("what a, and the witness that leaves, alone knew is not forgotten for a blank new voter", () => {
  // b missed the newest record; it and a new witness that holds nothing are no quorum for it.
  for (let seed = 1; seed <= 20; seed++) {
    const world = settled({}, seed);
    const newest = () => world.observer.newest("group:web");
    world.addNode("v", SWAPPED);
    world.start("v");
    world.copy(SWAPPED, ["a", "b"]);
    push(world, SWAPPED, 1);
    world.until("the voters changed", () => voters(world) === "a b v", 20 * DEADTIME);
    const before = newest();
    world.crash("a");
    world.run(world.random() * 10 * DEADTIME);
    assert.ok(world.owner() === null || newest() > before);
    world.start("a");
    world.until("it runs", () => world.owner() !== null, 20 * DEADTIME);
  }
});

Deno.test("who was a voter before does not join with what it held then", () => {
  // Its old records count as if they were new: with another that lags they would outvote the newest.
  const world = settled();
  world.addNode("v", SWAPPED);
  world.start("v");
  world.copy(SWAPPED, ["a", "b"]);
  push(world, SWAPPED, 1);
  assert.equal(answer(world, 1), null);
  const back = makeConfig({ hash: "back" });
  world.node("w").file = back;
  world.crash("w");
  world.start("w");
  world.copy(back, ["a", "b"]);
  push(world, back, 2);
  assert.match(
    answer(world, 2, "a", 60 * DEADTIME) ?? "",
    /w, which was a voter before, to forget/,
  );
  assert.equal(voters(world), "a b v");
  world.crash("w");
  world.node("w").log = [];
  world.start("w");
  world.until("w votes again", () => voters(world) === "a b w", 20 * DEADTIME);
  world.until(
    "it holds everything",
    () => world.node("w").state!.acceptor.accepted.size === 2,
    DEADTIME,
  );
});

Deno.test("nodes are added and removed one at a time", () => {
  const world = settled();
  const five = makeConfig({
    hash: "five",
    nodes: ["a", "b", "w", "x", "y"],
    witnesses: ["w", "x", "y"],
  });
  for (const name of ["x", "y"]) {
    world.addNode(name, five);
    world.start(name);
  }
  world.copy(five, ["a", "b", "w"]);
  push(world, five, 1);
  assert.equal(answer(world, 1), null);
  assert.equal(voters(world), "a b w x y");
  assert.equal(world.view("a").records.cluster?.votersVersion, 3);
  world.crash("x");
  world.crash("y");
  world.run(4 * DEADTIME);
  assert.equal(world.owner(), "a");

  const three = makeConfig({ hash: "three" });
  world.copy(three, ["a", "b", "w"]);
  push(world, three, 2);
  assert.equal(answer(world, 2), null);
  assert.equal(voters(world), "a b w");
  world.crash("a");
  world.until("b serves", () => world.owner() === "b", 4 * DEADTIME);
});

Deno.test("a node that is needed is not removed; nor by itself", () => {
  const world = settled();
  const without = (nodes: string[], hash: string) => makeConfig({ hash, nodes, volume: false });
  const withoutA = without(["b", "w"], "no a");
  world.copy(withoutA, ["b", "w"]);
  push(world, withoutA, 1, "w");
  assert.match(answer(world, 1, "w") ?? "", /a runs web: empty it first with "bascule standby a"/);
  const withoutB = without(["a", "w"], "no b");
  world.copy(withoutB, ["a", "w"]);
  push(world, withoutB, 2);
  assert.match(answer(world, 2) ?? "", /b holds an up-to-date replica of data: stop its agent/);
  world.copy(withoutB, ["b"]);
  push(world, withoutB, 3, "b");
  assert.match(answer(world, 3, "b") ?? "", /b is not in it: push it from a node that stays/);
});

Deno.test("what needs a restart is in the record and runs after it; what is live runs at once", () => {
  const world = settled();
  const slow = makeConfig({ hash: "slow", prefer: ["b"], failback: "now" });
  world.copy(slow, ["a", "b", "w"], false);
  push(world, slow, 1);
  assert.equal(answer(world, 1), null);
  world.run(5 * DEADTIME);
  assert.equal(world.owner(), "a");
  assert.equal(world.view("a").config.running, "hash");
  assert.equal(world.view("a").config.pushed, "slow");

  const fast = makeConfig({ hash: "fast", prefer: ["b"], failback: "now" });
  world.copy(fast, ["a", "b", "w"]);
  push(world, fast, 2);
  assert.equal(answer(world, 2), null);
  world.until("b serves", () => world.owner() === "b", 4 * DEADTIME);
  for (const name of ["a", "b", "w"]) assert.equal(world.view(name).config.running, "fast");
});

Deno.test("a new group waits until all run the same configuration, the others go on", () => {
  const world = settled();
  const more = makeConfig({ hash: "more", groups: ["mail"] });
  world.copy(more, ["a", "b", "w"], false);
  for (const name of ["b", "w"]) {
    world.crash(name);
    world.start(name);
    world.run(3 * DEADTIME);
  }
  assert.equal(world.owner(), "a");
  assert.equal(world.view("b").groups[1]?.why.why.rule, "config-differs");
  world.crash("a");
  world.start("a");
  world.until("mail runs", () => world.serving("mail").length === 1, 5 * DEADTIME);
});

Deno.test("a rolling upgrade: the new version is in force when the last node speaks it", () => {
  const world = settled();
  const inForce = () => ["a", "b", "w"].map((name) => world.view(name).protocol.inForce);
  for (const name of ["w", "b", "a"]) {
    assert.deepEqual(inForce(), [1, 1, 1]);
    upgrade(world, name);
  }
  world.until("two is in force", () => inForce().every((version) => version === 2), 2 * DEADTIME);
  world.until("it runs", () => world.owner() !== null, 10 * DEADTIME);
  assert.ok(world.recorded.slice(-50).every(({ frame }) => frame.protocol === 2));
  world.speaks.set("w", { least: 1, newest: 1 });
  world.crash("w");
  assert.throws(() => world.start("w"), /speaks version 2 .* install the newer program again/);
});

Deno.test("the version is not raised while a node is silent, and an unreadable one is said by name", () => {
  const world = settled();
  for (const name of ["a", "b"]) upgrade(world, name);
  world.crash("w");
  world.run(10 * DEADTIME);
  assert.equal(world.view("a").protocol.inForce, 1);
  // A program that speaks only what is not in force yet is not understood by the others.
  world.speaks.set("w", { least: 3, newest: 3 });
  world.node("w").log = [];
  world.start("w");
  world.run(2 * DEADTIME);
  assert.ok(world.view("a").frames.otherProtocol > 0);
  const said = world.node("a").notes.filter(({ rule }) => rule === "other-protocol");
  assert.equal(said.length, 1);
  assert.match(said[0]!.text, /w writes version 3 .* upgrade a/);
});

Deno.test("an agent that was started with another deadtime is not heard, and all say why", () => {
  const world = settled();
  world.crash("b");
  world.node("b").file = makeConfig({ hash: "long", deadtime: 3 * DEADTIME });
  world.start("b");
  world.run(5 * DEADTIME);
  assert.equal(world.owner(), "a");
  assert.equal(world.view("b").quorum.have, false);
  const said = world.node("a").notes.filter(({ rule }) => rule === "other-deadtime");
  assert.deepEqual(said.map(({ node }) => node), ["b"]);
  assert.match(said[0]!.text, /3000 ms, this node of 1000 ms: .*give both the same file/);
  world.crash("b");
  world.node("b").file = world.config;
  world.start("b");
  world.until("b is back", () => world.view("a").nodes[1]?.state === "online", 3 * DEADTIME);
});

Deno.test("a swap that only one of the voters before holds is decided by nobody else", () => {
  // Breaks when the new voters' majority alone completes it: the voters before may decide otherwise.
  for (let seed = 1; seed <= 10; seed++) {
    let cut = false;
    const world = new World({
      config: makeConfig(),
      seed,
      wire: (frame, from, to) => {
        const { body } = frame;
        const swaps = body.type === "ACCEPT" && body.register === "cluster" &&
          "voters" in body.proposal.value &&
          body.proposal.value.voters.some(({ node }) => node === "v");
        if (swaps) cut = true;
        const apart = "av".includes(from) !== "av".includes(to);
        return cut && apart ? null : frame;
      },
    });
    world.startAll();
    world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
    world.run(4 * DEADTIME);
    world.addNode("v", SWAPPED);
    world.start("v");
    world.copy(SWAPPED, ["a", "b"]);
    push(world, SWAPPED, 1);
    world.until("a proposes the swap", () => cut, 20 * DEADTIME);
    world.event("b", { type: "command", id: 2, command: { type: "standby", node: "a", on: true } });
    world.run(4 * DEADTIME);
    if (seed % 2 === 0) {
      world.crash("a");
      world.start("a");
    }
    world.until("b and w decide", () => world.node("b").commands.get(2) === null, 9 * DEADTIME);
    world.run(9 * DEADTIME);
    cut = false;
    world.until("all agree again", () => voters(world) === voters(world, "b"), 20 * DEADTIME);
  }
});

Deno.test("nobody takes a voter's place before enough of those that stay hold what the registers hold", () => {
  // Breaks when a blank voter counts: with the one that leaves goes the last majority that knows.
  let blank = true;
  const world = new World({
    config: makeConfig(),
    wire: (frame, from) => {
      const { body } = frame;
      if (!blank || from !== "b" || body.type !== "HEARTBEAT") return frame;
      return { ...frame, body: { ...body, lacks: 1 } };
    },
  });
  world.startAll();
  world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
  world.run(4 * DEADTIME);
  world.addNode("v", SWAPPED);
  world.start("v");
  world.copy(SWAPPED, ["a", "b"]);
  push(world, SWAPPED, 1);
  world.run(8 * DEADTIME);
  assert.equal(voters(world), "a b w");
  blank = false;
  world.until("v takes its place", () => voters(world) === "a b v", 8 * DEADTIME);
});

Deno.test("a new node that was started with another file follows its file until it is in the cluster", () => {
  // Breaks when it waits for a record that nobody lets it read, and so never runs what was pushed.
  const world = settled();
  const first = { ...SWAPPED, hash: "first" };
  world.addNode("v", first);
  world.start("v");
  world.run(2 * DEADTIME);
  world.copy(SWAPPED, ["v"]);
  world.copy(SWAPPED, ["a", "b"]);
  push(world, SWAPPED, 1);
  assert.equal(answer(world, 1), null);
  assert.equal(voters(world), "a b v");
  assert.ok(
    world.node("v").notes.some(({ rule, text }) => rule === "config" && /not in the/.test(text)),
  );
});

Deno.test("a node whose program is too old for the protocol in force does not become a voter", () => {
  // Breaks when a voter is admitted that refuses every frame of the others.
  const world = settled();
  for (const name of ["w", "b", "a"]) upgrade(world, name);
  world.until("two is in force", () => world.view("a").protocol.inForce === 2, 4 * DEADTIME);
  world.speaks.set("v", { least: 1, newest: 1 });
  world.addNode("v", SWAPPED);
  world.start("v");
  world.copy(SWAPPED, ["a", "b"]);
  push(world, SWAPPED, 1);
  world.run(10 * DEADTIME);
  assert.equal(voters(world), "a b w");
  world.speaks.set("v", { least: 1, newest: 2 });
  world.crash("v");
  world.start("v");
  world.until("it has joined", () => voters(world) === "a b v", 10 * DEADTIME);
});
