import assert from "node:assert/strict";
import { DEADTIME, KEEPALIVE, makeConfig, type Shape } from "./configs.ts";
import { World } from "./world.ts";

/** A settled cluster: `a` serves, both replicas are in sync. */
function settled(shape: Shape = {}, seed = 1): World {
  const world = new World({ config: makeConfig(shape), seed });
  world.startAll();
  world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
  world.run(4 * DEADTIME);
  return world;
}

function members(world: World, node: string): readonly string[] {
  return world.view(node).records.groups["web"]?.volumes["data"]?.upToDate ?? [];
}

Deno.test("a crashed owner is replaced within deadtime and a little", () => {
  // Breaks when candidates wait longer than the voters make them, or duel.
  const times: number[] = [];
  for (let seed = 1; seed <= 20; seed++) {
    const world = settled({}, seed);
    world.run(world.random() * KEEPALIVE);
    world.crash("a");
    times.push(world.until("b serves", () => world.owner() === "b", 2 * DEADTIME));
    assert.deepEqual(members(world, "b"), ["replica-b"], "the dead owner may hold ghost writes");
  }
  const worst = Math.max(...times);
  assert.ok(worst <= DEADTIME + 2 * KEEPALIVE, `${worst} ms`);
});

Deno.test("everybody sees that the survivor runs the group, also when no third vote is left", () => {
  // Breaks when the witness counts its own grant alone and believes the owner without a lease.
  const world = settled();
  world.crash("a");
  world.until("b serves", () => world.owner() === "b", 2 * DEADTIME);
  world.run(6 * DEADTIME);
  assert.equal(world.view("w").groups[0]?.state, "running");
  assert.ok(!world.node("w").notes.some(({ rule }) => rule === "no-candidate"));
});

Deno.test("a move does not wait for deadtime, keeps both replicas in sync and is not undone", () => {
  // Breaks when a release is treated as a loss, or failback pulls the group back at once.
  const world = settled({ failback: "now" });
  world.event("w", { type: "command", id: 7, command: { type: "move", group: "web", to: "b" } });
  const took = world.until("b serves", () => world.owner() === "b", DEADTIME);
  assert.ok(took < DEADTIME, `${took} ms`);
  assert.deepEqual(members(world, "b"), ["replica-a", "replica-b"]);
  world.run(10 * DEADTIME);
  assert.equal(world.owner(), "b");
  assert.equal(world.node("w").commands.get(7), null);
});

Deno.test("a move takes a few round trips, however long the keepalive", () => {
  // Breaks when the successor waits for a heartbeat, a tick or a read to learn of the release.
  for (let seed = 1; seed <= 10; seed++) {
    const world = settled({ volume: false }, seed);
    world.run(world.random() * KEEPALIVE);
    world.event("b", { type: "command", id: 7, command: { type: "move", group: "web", to: "b" } });
    const notes = world.node("a").notes;
    const stopped = () => notes.some(({ rule }) => rule === "released");
    world.until("a has released", stopped, DEADTIME);
    const took = world.until("b serves", () => world.owner() === "b", DEADTIME);
    // Frames take up to 2 ms; a keepalive would be 200.
    assert.ok(took <= 30, `${took} ms`);
  }
});

Deno.test("failback now: the preferred node gets the group back once it is in sync", () => {
  // Breaks when failback goes to a replica that still lacks writes, or never happens.
  const world = settled({ failback: "now" });
  world.crash("a");
  world.until("b serves", () => world.owner() === "b", 2 * DEADTIME);
  world.start("a");
  world.until("a serves again", () => world.owner() === "a", 10 * DEADTIME);
  assert.deepEqual(members(world, "a"), ["replica-b", "replica-a"]);
});

Deno.test("failback never: the group stays where it is", () => {
  // Breaks when a returning node pulls the group back without being asked.
  const world = settled();
  world.crash("a");
  world.until("b serves", () => world.owner() === "b", 2 * DEADTIME);
  world.start("a");
  world.run(15 * DEADTIME);
  assert.equal(world.owner(), "b");
});

Deno.test("an owner that is cut off freezes, is replaced, and is deposed by force when it returns", () => {
  // Breaks P3: the old owner must be silent before the new one speaks (the world checks that).
  const world = settled();
  world.cut("a", ["b", "w"]);
  world.until("a is frozen", () => world.serving().length === 0, DEADTIME);
  world.until("b serves", () => world.owner() === "b", 2 * DEADTIME);
  assert.equal(world.view("a").groups[0]?.state, "frozen");
  world.run(5 * DEADTIME);
  world.heal();
  world.until("a is deposed", () => world.view("a").groups[0]?.owner === "b", 2 * DEADTIME);
  world.run(DEADTIME);
  assert.ok(world.node("a").notes.some(({ rule }) => rule === "deposed"));
  assert.equal(world.node("a").shells?.primary, null);
  world.until("a is in sync again", () => members(world, "b").length === 2, 5 * DEADTIME);
});

Deno.test("an owner that is cut off while nobody can take over thaws and goes on", () => {
  // Breaks when losing the lease is taken for losing the group.
  const world = settled();
  world.cut("a", ["b", "w"]);
  world.cut("b", ["w"]);
  world.run(3 * DEADTIME);
  assert.deepEqual(world.serving(), []);
  world.heal();
  world.until("a serves", () => world.owner() === "a", DEADTIME);
  assert.equal(world.view("a").groups[0]?.epoch, 1);
  assert.ok(world.node("a").notes.some(({ rule }) => rule === "lease-back"));
});

Deno.test("the loss of the witness changes nothing", () => {
  // Breaks when the witness is needed while two data nodes hear each other.
  const world = settled();
  world.crash("w");
  const log = world.node("a").notes.length;
  world.run(20 * DEADTIME);
  assert.equal(world.owner(), "a");
  const rules = world.node("a").notes.slice(log).map(({ rule }) => rule);
  assert.deepEqual(rules.filter((rule) => rule === "lease-lost" || rule === "suspend"), []);
});

Deno.test("an idle pair: one node goes, then the witness reboots, and the survivor serves on", () => {
  // Breaks when a dead or stopped member is not shrunk away: the owner would not be sole.
  for (const planned of [true, false]) {
    const world = settled();
    world.node("a").shells!.idle = true;
    if (planned) {
      world.event("b", { type: "shutdown" });
      world.until("b may end", () => world.node("b").shutdownDone, 2 * DEADTIME);
      world.run(DEADTIME);
    }
    world.crash("b");
    world.run(planned ? DEADTIME : 12 * DEADTIME);
    assert.deepEqual(members(world, "a"), ["replica-a"]);
    world.crash("w");
    world.run(5 * DEADTIME);
    assert.equal(world.owner(), "a");
    assert.equal(world.view("a").groups[0]?.leaseUntil, Infinity);
  }
});

Deno.test("a sole owner whose agent restarts without a quorum serves on under its mark", () => {
  // Breaks when the only up-to-date replica waits for voters that could not overrule it.
  const world = settled();
  world.crash("b");
  world.run(12 * DEADTIME);
  world.crash("w");
  world.crash("a");
  world.run(100);
  world.start("a");
  world.until("a serves", () => world.owner() === "a", 3 * DEADTIME);
  assert.equal(world.view("a").quorum.have, false);
  const { epoch } = world.view("a").groups[0]!;
  world.start("w");
  world.until("taken again", () => (world.view("a").groups[0]?.epoch ?? 0) > epoch, 3 * DEADTIME);
  world.run(2 * DEADTIME);
  assert.equal(world.owner(), "a");
});

Deno.test("an owner restarted in place takes again at once, in a new epoch", () => {
  // Breaks when a restarted agent waits out the window that its own earlier run was granted.
  const world = settled();
  world.crash("a");
  world.run(50);
  world.start("a");
  const took = world.until("a serves", () => world.owner() === "a", 3 * DEADTIME);
  assert.ok(took < DEADTIME, `${took} ms`);
  assert.equal(world.view("a").groups[0]?.epoch, 2);
});

Deno.test("an agent that keeps crashing does not hold the others off", () => {
  // Breaks when refusals are by node instead of by run: heard every 300 ms, owner for ever.
  const world = settled();
  const end = world.now + 6 * DEADTIME;
  while (world.now < end && world.owner() !== "b") {
    if (world.node("a").state) world.crash("a");
    world.run(20);
    world.start("a");
    world.run(60);
  }
  assert.equal(world.owner(), "b");
});

Deno.test("an owner that hears nobody does not block the others for ever", () => {
  // Breaks when voters grant, or candidates wait for, an owner that is heard but cannot hear.
  const world = settled();
  world.cuts.add("w>a");
  world.cut("a", ["b"]);
  world.until("b serves", () => world.owner() === "b", 3 * DEADTIME);
  const deaf = settled({}, 2);
  deaf.cuts.add("w>a");
  deaf.cuts.add("b>a");
  deaf.until("b serves", () => deaf.owner() === "b", 4 * DEADTIME);
});

Deno.test("a cut between the data nodes alone moves nothing", () => {
  // Breaks when a candidate that does not hear the owner may take while the witness grants it.
  const world = settled();
  world.cut("a", ["b"]);
  world.run(20 * DEADTIME);
  assert.equal(world.owner(), "a");
  assert.equal(world.view("a").groups[0]?.epoch, 1);
  assert.deepEqual(members(world, "a"), ["replica-a"]);
});

Deno.test("an owner that was paused is frozen until it has read, and its group moved on", () => {
  // Breaks when a resumed process answers from a lease that ran out while it slept.
  const world = settled();
  world.pause("a", 4 * DEADTIME);
  world.until("b serves", () => world.owner() === "b", 3 * DEADTIME);
  world.run(5 * DEADTIME);
  assert.ok(world.node("a").notes.some(({ rule }) => rule === "own-pause"));
  assert.equal(world.owner(), "b");
});

Deno.test("a short pause longer than the lease freezes, reads and thaws in the same epoch", () => {
  // Breaks when a pause without a takeover costs the group.
  const world = settled();
  const a = world.node("a");
  const sinceHeartbeat = () => world.localNow(a) - a.state!.lastHeartbeat;
  world.until("a has just sent a heartbeat", () => sinceHeartbeat() < 10, DEADTIME);
  world.pause("a", 0.85 * DEADTIME);
  const { length } = a.notes;
  world.run(0.9 * DEADTIME);
  assert.ok(a.notes.slice(length).some(({ rule }) => rule === "own-pause"));
  world.run(3 * DEADTIME);
  assert.equal(world.owner(), "a");
  assert.equal(world.view("a").groups[0]?.epoch, 1);
});

Deno.test("a candidate that was paused does not take the groups of those it did not hear", () => {
  // Breaks when own sleep is mistaken for everybody else's death.
  const world = settled();
  world.pause("b", 3 * DEADTIME);
  world.run(6 * DEADTIME);
  assert.equal(world.owner(), "a");
  assert.equal(world.view("b").groups[0]?.epoch, 1);
  assert.ok(!world.node("b").notes.some(({ rule }) => rule === "peer-dead"));
});

Deno.test("standby hands the group over and keeps it away; unstandby lets it come back", () => {
  // Breaks when standby is forgotten by a restart or does not reach the node it names.
  const world = settled({ failback: "now" });
  const standby = (on: boolean, id: number) =>
    world.event("w", { type: "command", id, command: { type: "standby", node: "a", on } });
  standby(true, 1);
  world.until("b serves", () => world.owner() === "b", 2 * DEADTIME);
  assert.equal(world.view("b").nodes[0]?.state, "standby");
  world.crash("a");
  world.run(50);
  world.start("a");
  world.run(10 * DEADTIME);
  assert.equal(world.owner(), "b");
  standby(false, 2);
  world.until("a serves", () => world.owner() === "a", 10 * DEADTIME);
  assert.deepEqual([...world.node("w").commands], [[1, null], [2, null]]);
});

Deno.test("a group that fails on one node goes to the other, and back only after a cleanup", () => {
  // Breaks when a failing service flaps between nodes.
  const world = settled({ failback: "now" });
  world.event("a", { type: "failed", group: "web", reason: "apache2 exited 5 times" });
  world.until("b serves", () => world.owner() === "b", 2 * DEADTIME);
  world.run(10 * DEADTIME);
  assert.equal(world.owner(), "b");
  assert.deepEqual(world.view("w").groups[0]?.failed, { a: "apache2 exited 5 times" });
  world.event("b", { type: "command", id: 3, command: { type: "cleanup", group: "web" } });
  world.until("a serves", () => world.owner() === "a", 10 * DEADTIME);
  assert.deepEqual(world.view("w").groups[0]?.failed, {});
});

Deno.test("a group that cannot start where it was moved goes back", () => {
  // Breaks when a failed start leaves the group owned by a node that does not run it.
  const world = settled();
  world.node("b").shells!.startFails = true;
  world.event("a", { type: "command", id: 1, command: { type: "move", group: "web", to: "b" } });
  world.until("b tried", () => world.view("w").groups[0]?.failed["b"] !== undefined, DEADTIME);
  world.until("a serves", () => world.owner() === "a", 2 * DEADTIME);
});

Deno.test("a group that was stopped by force is not released, and the other node takes it", () => {
  // Breaks when `released` is claimed for a volume that was not drained: it would keep upToDate.
  const world = settled();
  world.node("a").shells!.stopFails = true;
  world.event("a", { type: "failed", group: "web", reason: "disk" });
  world.until("b serves", () => world.owner() === "b", 5 * DEADTIME);
  assert.deepEqual(members(world, "b"), ["replica-b"]);
});

Deno.test("shutdown of the owner releases, the other node takes at once, then the agent may end", () => {
  // Breaks when a planned stop costs deadtime, the agent ends before it has released, or it ends
  // before it has told that to the others.
  for (let seed = 1; seed <= 20; seed++) {
    const world = settled({}, seed);
    world.run(world.random() * KEEPALIVE);
    world.event("a", { type: "shutdown" });
    const took = world.until("b serves", () => world.owner() === "b", DEADTIME);
    assert.ok(took < DEADTIME, `${took} ms`);
    world.until("a may end", () => world.node("a").shutdownDone, DEADTIME);
    world.run(2 * DEADTIME);
    assert.deepEqual(members(world, "b"), ["replica-b"], "the stopped node was shrunk away");
  }
});

Deno.test("shutdown without a quorum ends within a bound", () => {
  // Breaks when an agent that cannot release hangs the machine's shutdown.
  const world = settled();
  world.crash("b");
  world.crash("w");
  world.run(2 * DEADTIME);
  world.event("a", { type: "shutdown" });
  world.until("a may end", () => world.node("a").shutdownDone, 10 * DEADTIME);
});

Deno.test("a move to a node that cannot run the group is refused with the reason", () => {
  // Breaks when the group is stopped for a target that cannot take it.
  const world = settled();
  world.crash("b");
  world.run(2 * DEADTIME);
  world.event("a", { type: "command", id: 1, command: { type: "move", group: "web", to: "b" } });
  world.event("a", { type: "command", id: 2, command: { type: "move", group: "web" } });
  world.event("a", { type: "command", id: 3, command: { type: "move", group: "nope" } });
  world.event("a", { type: "command", id: 4, command: { type: "move", group: "web", to: "w" } });
  world.run(100);
  const { commands } = world.node("a");
  assert.match(commands.get(1) ?? "", /b cannot run web now: it is not heard/);
  assert.match(commands.get(2) ?? "", /no other node can run web/);
  assert.match(commands.get(3) ?? "", /there is no group nope; the configuration has web/);
  assert.match(commands.get(4) ?? "", /its candidates are a, b/);
  assert.equal(world.owner(), "a");
});

Deno.test("a replica that lost power and another that did not: the clean one takes", () => {
  // Breaks when a replica that may miss acknowledged writes is promoted.
  const world = settled();
  world.run(DEADTIME);
  world.crash("a");
  world.crash("b");
  world.node("b").disk.unclean = true;
  world.start("b");
  world.run(15 * DEADTIME);
  assert.equal(world.owner(), null);
  assert.equal(world.view("b").groups[0]?.why.why.rule, "no-candidate");
  world.start("a");
  world.until("a serves", () => world.owner() === "a", 3 * DEADTIME);
});

Deno.test("when all members lost power the group starts; after_power_loss = go starts without the other", () => {
  // Breaks P4 after a power cut of the whole site.
  const world = settled();
  for (const name of ["a", "b"]) {
    world.crash(name);
    world.node(name).disk.unclean = true;
  }
  world.start("b");
  world.run(12 * DEADTIME);
  assert.equal(world.owner(), null);
  world.start("a");
  world.until("served", () => world.owner() !== null, 3 * DEADTIME);

  const go = settled({ afterPowerLoss: "go" });
  for (const name of ["a", "b"]) {
    go.crash(name);
    go.node(name).disk.unclean = true;
  }
  go.start("b");
  go.until("b serves", () => go.owner() === "b", 15 * DEADTIME);
});

Deno.test("a blank disk or a restored snapshot in a member's place is no member", () => {
  // Breaks when the in-sync set is read as node names.
  for (const change of [{ replicaId: "another" }, { generation: "00000000000000aa" }]) {
    const world = settled();
    world.crash("b");
    Object.assign(world.node("b").disk, change);
    world.start("b");
    world.crash("a");
    world.run(15 * DEADTIME);
    assert.equal(world.owner(), null);
  }
});
