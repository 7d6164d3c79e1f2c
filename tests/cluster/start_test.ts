import assert from "node:assert/strict";
import { DEADTIME, KEEPALIVE, makeConfig, type Shape } from "./configs.ts";
import { World } from "./world.ts";
import { checkMessage } from "../../src/wire/messages.ts";

function started(shape: Shape = {}, seed = 1): World {
  const world = new World({ config: makeConfig(shape), seed });
  world.startAll();
  world.until("the preferred node serves", () => world.owner() === "a", 5 * DEADTIME);
  return world;
}

Deno.test("a new cluster makes its records and starts the group where it is preferred", () => {
  // Breaks when the first record, the first take or the lease of a new epoch does not come about.
  const world = started();
  const { records, quorum } = world.view("b");
  assert.deepEqual(records.cluster?.voters.map(({ node }) => node), ["a", "b", "w"]);
  assert.equal(records.cluster?.votersVersion, 1);
  assert.equal(quorum.votes, 3);
  world.run(3 * DEADTIME);
  assert.deepEqual(
    world.view("w").records.groups["web"]?.volumes["data"]?.upToDate,
    ["replica-a", "replica-b"],
    "the peer joined by a resync",
  );
});

Deno.test("everything the core sends passes the wire's checks", () => {
  // Breaks when the core and the codec disagree about a message: frames would be dropped as forged.
  const kinds = new Set<string>();
  const world = new World({
    config: makeConfig(),
    wire: (frame) => {
      kinds.add(frame.body.type);
      if (frame.body.type === "PREPARE") {
        const { node, incarnation } = frame.body.ballot;
        assert.deepEqual({ node, incarnation }, {
          node: frame.node,
          incarnation: frame.incarnation,
        }, "a ballot names its run, so that no later run uses it again");
      }
      return { ...frame, body: checkMessage(JSON.parse(JSON.stringify(frame.body))) };
    },
  });
  world.startAll();
  world.until("served", () => world.owner() === "a", 5 * DEADTIME);
  world.run(3 * DEADTIME);
  world.event("b", { type: "command", id: 1, command: { type: "move", group: "web" } });
  world.until("moved", () => world.owner() === "b", 5 * DEADTIME);
  world.event("w", { type: "command", id: 2, command: { type: "cleanup", group: "web" } });
  world.run(DEADTIME);
  assert.equal(world.node("w").commands.get(2), null);
  for (const kind of ["HEARTBEAT", "PREPARE", "PROMISE", "ACCEPT", "ACCEPTED"]) {
    assert.ok(kinds.has(kind), `no ${kind} was seen`);
  }
});

Deno.test("the first record of a cluster needs every configured voter once", () => {
  // Breaks when a part of the cluster may begin a history of its own.
  const world = new World({ config: makeConfig() });
  world.start("a");
  world.start("b");
  world.run(20 * DEADTIME);
  assert.equal(world.observer.newest("cluster"), 0);
  assert.equal(world.owner(), null);
  world.start("w");
  world.until("served", () => world.owner() === "a", 5 * DEADTIME);
});

Deno.test("a half-made first record is completed whoever goes on", () => {
  // Breaks when a crash between the first voters' accepts leaves a cluster that can never start.
  for (let fuse = 0; fuse < 40; fuse++) {
    const world = new World({ config: makeConfig(), seed: fuse + 1 });
    world.startAll();
    world.node("a").fuse = fuse;
    world.run(DEADTIME);
    if (!world.node("a").state) world.start("a");
    world.until("served", () => world.owner() !== null, 30 * DEADTIME);
  }
});

Deno.test("two nodes that both carry data of different generations are not chosen between", () => {
  // Breaks when a cluster that lost its records overwrites one of two histories.
  const world = new World({ config: makeConfig() });
  Object.assign(world.node("a").disk, { blank: "no", generation: "aaaaaaaaaaaaaaaa" });
  Object.assign(world.node("b").disk, { blank: "no", generation: "bbbbbbbbbbbbbbbb" });
  world.startAll();
  world.run(20 * DEADTIME);
  assert.equal(world.owner(), null);
  assert.equal(world.view("a").groups[0]?.why.why.rule, "first-take-conflict");
  assert.ok(world.node("a").notes.some(({ rule }) => rule === "first-take-conflict"));
});

Deno.test("the first record goes above every epoch that a replica has seen", () => {
  // Breaks when a cluster that lost its records takes in epoch 1: the replicas refuse that for ever.
  const world = new World({ config: makeConfig() });
  Object.assign(world.node("a").disk, { blank: "no", epoch: 7 });
  Object.assign(world.node("b").disk, { blank: "no", epoch: 9 });
  world.startAll();
  world.until("somebody serves", () => world.owner() !== null, 20 * DEADTIME);
  assert.equal(world.view("a").records.groups["web"]?.epoch, 10);
});

Deno.test("a replica that carries data takes before a preferred blank one", () => {
  // Breaks when an existing volume that is put under the cluster is overwritten with nothing.
  const world = new World({ config: makeConfig() });
  Object.assign(world.node("b").disk, { blank: "no", generation: "bbbbbbbbbbbbbbbb" });
  world.startAll();
  world.until("b serves", () => world.owner() === "b", 5 * DEADTIME);
});

Deno.test("a half-synchronized replica does not make blank ones look safe", () => {
  // Breaks when a first take starts from zeroes although data exist, if only half of them.
  const world = new World({ config: makeConfig() });
  Object.assign(world.node("b").disk, { blank: "no", inconsistent: true });
  world.startAll();
  world.run(20 * DEADTIME);
  assert.equal(world.owner(), null);
});

Deno.test("after a boot of everything the last owner takes again, without waiting for a dead peer", () => {
  // Breaks when a cold start waits for initdead although the record names a node that is up.
  const world = started();
  world.run(5 * DEADTIME);
  for (const name of ["a", "b", "w"]) world.crash(name);
  world.run(10);
  world.start("a");
  world.start("w");
  const took = world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
  assert.ok(took < DEADTIME, `${took} ms`);
});

Deno.test("a node that booted waits for the others before it takes what another owned", () => {
  // Breaks when the node that boots first grabs every group in a cold start.
  const world = started();
  world.run(3 * DEADTIME);
  for (const name of ["a", "b", "w"]) world.crash(name);
  world.run(5 * DEADTIME);
  world.start("b");
  world.start("w");
  world.run(5 * DEADTIME);
  assert.equal(world.owner(), null);
  assert.equal(world.view("b").groups[0]?.why.why.rule, "booting");
  world.until("b serves after initdead", () => world.owner() === "b", 8 * DEADTIME);
});

Deno.test("groups without a volume start and fail over too", () => {
  // Breaks when rules for replicas are asked of groups that have none.
  const world = started({ volume: false, groups: ["mail", "dns"] });
  const groups = ["web", "mail", "dns"];
  world.until("all start", () => groups.every((group) => world.owner(group) === "a"), DEADTIME);
  world.crash("a");
  world.until(
    "all moved",
    () => ["web", "mail", "dns"].every((group) => world.owner(group) === "b"),
    2 * DEADTIME,
  );
});

Deno.test("five voters decide by three", () => {
  // Breaks when a quorum is counted for three voters only.
  const world = started({ nodes: ["a", "b", "v", "w", "x"], witnesses: ["v", "w", "x"] });
  world.run(3 * DEADTIME);
  world.crash("v");
  world.crash("w");
  world.run(3 * DEADTIME);
  assert.equal(world.owner(), "a");
  world.crash("x");
  world.node("a").disk.sole = null;
  world.run(20 * DEADTIME);
  assert.equal(world.view("a").quorum.have, false);
});

Deno.test("a quiet cluster persists nothing and sends heartbeats alone", () => {
  // Breaks when nodes keep reading registers: each read costs every voter an fsync.
  const world = started();
  world.run(5 * DEADTIME);
  const before = ["a", "b", "w"].map((name) => world.node(name).log.length);
  world.recorded.length = 0;
  world.run(10 * DEADTIME);
  assert.deepEqual(["a", "b", "w"].map((name) => world.node(name).log.length), before);
  assert.ok(world.recorded.every(({ frame }) => frame.body.type === "HEARTBEAT"));
  const expected = (10 * DEADTIME / KEEPALIVE) * 3 * 2 * 2;
  assert.ok(world.recorded.length < 1.3 * expected, `${world.recorded.length} frames`);
});
