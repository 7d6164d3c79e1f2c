/** The scenarios in which earlier drafts of the protocol lost data, each told as it happened. */

import assert from "node:assert/strict";
import { type VolumeReport } from "../../src/volume/types.ts";
import { FrameKind, RequestKind } from "../../src/volume/types.ts";
import { FrameHeader } from "../../src/wire/replication.ts";
import { isFrame } from "./harness.ts";
import { Pair } from "./pair.ts";

const Flush = RequestKind.Flush;
const Read = RequestKind.Read;
const Write = RequestKind.Write;

/** Alpha serves alone: beta has missed a write and left the set. */
function alone(volatileCache = false): Pair {
  const pair = Pair.settled({ volatileCache });
  pair.world.setLink(false);
  pair.world.request(0, Write, 40);
  pair.settle(3000);
  assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa"]);
  return pair;
}

Deno.test("H1: a write that the successor served without does not come back", () => {
  const pair = Pair.settled();
  const [alpha, beta] = pair.world.nodes;
  pair.world.filter = (to) => to === 0;
  const ghost = pair.world.request(0, Write, 8);
  pair.world.run(50);
  assert.equal(alpha.disk.get(8), ghost.value);
  pair.world.setLink(false);
  pair.world.filter = () => true;
  pair.take(1);
  assert.deepEqual(pair.cluster.register.upToDate, ["bbbbbbbb"]);
  const read = pair.world.request(1, Read, 8);
  pair.settle(50, [1]);
  assert.deepEqual(pair.world.dataOf(read), [0]);
  pair.fail(1, false);
  pair.settle(50);
  assert.equal(pair.cluster.mayTake(alpha), false, "alpha is no member any more");
  assert.equal(ghost.answered, 108);
  pair.restart(1);
  pair.settle(50);
  pair.take(1);
  pair.world.setLink(true);
  pair.settle(3000);
  assert.equal(alpha.disk.get(8), 0);
  assert.equal(beta.disk.get(8), 0);
  assert.equal(pair.cluster.register.upToDate.length, 2);
});

Deno.test("H2: a replica whose GROW is in doubt counts for every write", () => {
  const pair = alone();
  pair.world.setLink(true);
  // The request is chosen, its answer is lost: alpha does not read.
  for (let i = 0; i < 400 && pair.cluster.proposals.length === 0; i++) {
    pair.world.run(5);
    pair.cluster.read(pair.world.nodes[1]);
    pair.world.nodes[0].volume!.lease(pair.cluster.register.epoch, pair.world.now + 500);
  }
  pair.cluster.apply(0);
  assert.equal(pair.cluster.register.upToDate.length, 2);
  pair.world.setLink(false);
  const write = pair.world.request(0, Write, 41);
  pair.settle(1000, [1]);
  pair.world.setLink(true);
  pair.world.run(5);
  assert.equal(write.answered, null, "a reconnect settles nothing");
  pair.world.setLink(false);
  pair.world.run(20);
  pair.settle(5000);
  assert.equal(write.answered, 0, "after a SHRINK that is known chosen");
  assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa"]);
});

Deno.test("H3, H4, H10: before GROW is asked the target is fit and stable, the mark is gone", () => {
  const pair = alone(true);
  assert.deepEqual(pair.superblock(0).sole?.epoch, pair.cluster.register.epoch);
  const late = pair.world.request(0, Write, 42);
  pair.settle(50);
  assert.equal(late.answered, 0);
  const before = pair.world.onAsk;
  let asked = 0;
  pair.world.onAsk = (node, ask) => {
    if (ask.type === "grow") {
      asked++;
      assert.equal(pair.superblock(1).inconsistent, false, "Consistent, durably");
      assert.equal(
        pair.superblock(1).generations.current,
        pair.superblock(0).generations.current,
        "with the whole tuple",
      );
      assert.equal(pair.superblock(0).sole, null, "no mark, durably");
      assert.equal(pair.world.nodes[1].disk.stable.get(42), late.value, "flushed by JOIN");
    }
    before(node, ask);
  };
  pair.world.setLink(true);
  pair.settle(3000);
  assert.equal(asked, 1);
  assert.equal(pair.cluster.register.upToDate.length, 2);
});

Deno.test("H4: a sole replica serves on after a restart, after a boot it waits", () => {
  const pair = alone();
  pair.fail(0, false);
  pair.restart(0);
  pair.world.run(20);
  const [alpha] = pair.world.nodes;
  assert.equal(alpha.report!.sole, pair.cluster.register.epoch);
  pair.cluster.resumeSole(alpha);
  pair.world.run(20);
  const write = pair.world.request(0, Write, 43);
  pair.world.run(20);
  assert.equal(write.answered, 0, "without any lease");
  pair.fail(0, true);
  pair.restart(0, true);
  pair.world.run(20);
  assert.equal(alpha.report!.sole, null);
});

Deno.test("a sole Primary goes on in the epoch that its own run took, without a pause", () => {
  // Breaks when serving under an earlier run's mark ends the moment a quorum answers again.
  const pair = alone();
  const [alpha] = pair.world.nodes;
  const { epoch, version } = pair.cluster.register;
  const generation = "00000000000000ee";
  alpha.volume!.order({ type: "mint", generation });
  pair.world.run(20);
  alpha.volume!.order({
    type: "record",
    epoch: epoch + 1,
    version: version + 1,
    mine: true,
    record: { generation, upToDate: ["aaaaaaaa"] },
  });
  const write = pair.world.request(0, Write, 44);
  pair.world.run(20);
  assert.equal(write.answered, 0);
  assert.equal(alpha.report!.role, "Primary");
  assert.equal(alpha.report!.sole, epoch + 1);
  const superblock = pair.superblock(0);
  assert.equal(superblock.epoch, epoch + 1);
  assert.equal(superblock.generations.current, generation);
  assert.equal(superblock.pending, null);
});

Deno.test("a Primary that ends by a record bears the generation that the record gave its replica", () => {
  // Breaks when it stays pending: the next mint takes its place, and the record would name nobody.
  const pair = alone();
  const [alpha] = pair.world.nodes;
  const { epoch, version } = pair.cluster.register;
  const generation = "00000000000000ee";
  alpha.volume!.order({ type: "mint", generation });
  pair.world.run(20);
  // A take by an earlier run of this node, chosen late.
  alpha.volume!.order({
    type: "record",
    epoch: epoch + 1,
    version: version + 1,
    mine: false,
    record: { generation, upToDate: ["aaaaaaaa"] },
  });
  pair.world.run(20);
  assert.equal(alpha.report!.role, "Secondary");
  alpha.volume!.order({ type: "mint", generation: "00000000000000ff" });
  pair.world.run(20);
  assert.equal(pair.superblock(0).generations.current, generation);
  assert.equal(pair.superblock(0).pending, "00000000000000ff");
});

Deno.test("H9: what a replica lost with its power is copied before a FLUSH is answered", () => {
  const pair = Pair.settled({ volatileCache: true });
  const [, beta] = pair.world.nodes;
  const write = pair.world.request(0, Write, 12);
  pair.settle(30);
  assert.equal(write.answered, 0);
  pair.fail(1, true);
  assert.equal(beta.disk.get(12), 0, "lost from the cache");
  pair.restart(1, true);
  pair.world.run(20);
  assert.equal(beta.report!.disk, "Consistent");
  assert.equal(pair.cluster.mayTake(beta), false);
  pair.world.filter = (_, message) => !isFrame(message, FrameKind.Resync);
  const flush = pair.world.request(0, Flush);
  pair.settle(600);
  assert.equal(flush.answered, null, "its resync is not done");
  pair.world.filter = () => true;
  pair.settle(1000);
  assert.equal(flush.answered, 0);
  assert.equal(beta.disk.stable.get(12), write.value);
  assert.equal(beta.report!.unclean, false);
  assert.equal(beta.report!.disk, "UpToDate");
});

Deno.test("H9: also what it had answered before it left the set, once extents are evicted", () => {
  const pair = Pair.settled({ volatileCache: true, extents: 32, logSlots: 12 });
  const [, beta] = pair.world.nodes;
  const early = pair.world.request(0, Write, 12);
  pair.settle(30);
  pair.fail(1, true);
  // Alone, alpha writes to more extents than the log holds, so that the first one leaves it.
  const writes = Array.from(
    { length: 30 },
    (_, i) => pair.world.request(0, Write, 1024 * i + 2048),
  );
  pair.settle(4000);
  assert.ok(writes.every((one) => one.answered === 0));
  pair.restart(1, true);
  pair.settle(4000);
  assert.equal(pair.cluster.register.upToDate.length, 2);
  assert.equal(beta.disk.get(12), early.value);
});

Deno.test("H10: bits are cleared only for what the replica has flushed", () => {
  const pair = alone(true);
  const [alpha, beta] = pair.world.nodes;
  pair.world.setLink(true);
  // Copied and answered, but never flushed: JOIN is held back, the power goes.
  pair.world.filter = (_, message) => !isFrame(message, FrameKind.Flush);
  pair.settle(1000);
  assert.notEqual(beta.disk.get(40), 0);
  pair.fail(1, true);
  assert.equal(beta.disk.get(40), 0);
  pair.world.filter = () => true;
  pair.restart(1, true);
  pair.settle(4000);
  assert.equal(pair.cluster.register.upToDate.length, 2);
  assert.equal(beta.disk.get(40), alpha.disk.get(40));
});

Deno.test("H11: a replica flushes what it received before it serves as Primary", () => {
  const pair = Pair.settled({ volatileCache: true });
  const [, beta] = pair.world.nodes;
  const write = pair.world.request(0, Write, 12);
  pair.settle(30);
  assert.notEqual(beta.disk.stable.get(12), write.value);
  pair.fail(0, false);
  let promoted = false;
  pair.cluster.onPromoted = () => {
    promoted = true;
    assert.equal(beta.disk.stable.get(12), write.value);
  };
  pair.take(1);
  pair.settle(50);
  assert.ok(promoted);
});

Deno.test("H23: HELLO is answered only after what older sessions submitted has ended", () => {
  const pair = Pair.settled();
  let may = false;
  pair.world.diskMay = (node, what) => node !== 1 || what !== "disk write" || may;
  const write = pair.world.request(0, Write, 12);
  pair.settle(30);
  let welcomed = false;
  pair.world.onDeliver = (_, message) => {
    if (!(message instanceof FrameHeader) && message.type === "WELCOME") welcomed = true;
  };
  pair.world.setLink(false);
  pair.world.run(20);
  pair.world.setLink(true);
  pair.world.run(400);
  assert.equal(welcomed, false);
  may = true;
  pair.settle(800);
  assert.equal(welcomed, true);
  assert.equal(write.answered, 0);
});

Deno.test("H23: frames of another session are dropped", () => {
  const pair = Pair.settled();
  const [, beta] = pair.world.nodes;
  const before = beta.disk.get(12);
  beta.buffers.set(999_999, [4711]);
  beta.volume!.frame(0, FrameKind.Write, 1, 1, 12 * 4096, 4096, 999_999, 0);
  pair.world.run(20);
  assert.equal(beta.disk.get(12), before);
  assert.equal(beta.buffers.has(999_999), false, "its buffer is given back");
});

Deno.test("H24: the extent is in the log, durably, before a write goes to disk or peer", () => {
  const pair = Pair.settled();
  const [alpha, beta] = pair.world.nodes;
  pair.world.diskMay = (node, what) => node !== 0 || what !== "disk meta";
  const write = pair.world.request(0, Write, 5 * 1024);
  pair.world.run(100);
  assert.equal(alpha.disk.get(5 * 1024), 0);
  assert.equal(beta.disk.get(5 * 1024), 0);
  pair.world.diskMay = () => true;
  pair.settle(50);
  assert.equal(write.answered, 0);
  assert.deepEqual(pair.logExtents(0), [5]);
});

Deno.test("a crashed Primary's log names what its successor must copy back", () => {
  const pair = Pair.settled();
  const [alpha, beta] = pair.world.nodes;
  pair.world.filter = (to) => to === 0;
  const lost = pair.world.request(0, Write, 3 * 1024 + 9);
  pair.world.run(30);
  pair.fail(0, false);
  pair.world.filter = () => true;
  pair.take(1);
  const own = pair.world.request(1, Write, 77);
  pair.settle(50);
  assert.equal(own.answered, 0);
  pair.restart(0);
  let compared = 0;
  let copied = 0;
  pair.world.onDeliver = (to, message) => {
    if (to !== 0 || !(message instanceof FrameHeader)) return;
    if (message.kind === FrameKind.Sums) compared += message.length / 4096;
    if (message.kind === FrameKind.Resync) copied += message.length / 4096;
  };
  pair.settle(3000);
  assert.equal(compared, 1025, "the extent in the log, and the block written meanwhile");
  assert.equal(copied, 1, "the other block that differs is made to zeroes without sending any");
  assert.equal(lost.answered, null);
  assert.equal(alpha.disk.get(3 * 1024 + 9), beta.disk.get(3 * 1024 + 9));
  assert.equal(alpha.disk.get(77), own.value);
});

Deno.test("H19: another disk with another id is copied whole and does not count as the old one", () => {
  const pair = Pair.settled();
  const [, beta] = pair.world.nodes;
  pair.world.request(0, Write, 9);
  pair.settle(30);
  pair.fail(1, true);
  beta.disk.metadata = pair.world.format(1, "cccccccc");
  beta.disk.cache.clear();
  beta.disk.stable.clear();
  pair.restart(1, true);
  let compared = 0;
  pair.world.onDeliver = (to, message) => {
    if (to === 1 && isFrame(message, FrameKind.Sums)) {
      compared += (message as FrameHeader).length / 4096;
    }
  };
  const write = pair.world.request(0, Write, 10);
  pair.settle(6000);
  assert.equal(write.answered, 0);
  assert.equal(compared, pair.world.layout.blocks);
  assert.equal(beta.disk.get(9), pair.world.nodes[0].disk.get(9));
  assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa", "cccccccc"]);
});

Deno.test("H10: a FLUSH answered without the joining replica covers what it took meanwhile", () => {
  const pair = alone(true);
  const [, beta] = pair.world.nodes;
  // The flush at the end of the resync is under way when the next write comes.
  pair.world.diskMay = (node, what) => node !== 1 || what !== "disk flush";
  pair.world.setLink(true);
  pair.settle(800);
  const write = pair.world.request(0, Write, 43);
  pair.settle(20);
  const flush = pair.world.request(0, Flush);
  pair.settle(20);
  assert.equal(write.answered, 0);
  assert.equal(flush.answered, 0, "beta is no member yet");
  assert.notEqual(beta.disk.stable.get(43), write.value);
  const before = pair.world.onAsk;
  let asked = false;
  pair.world.onAsk = (node, ask) => {
    if (ask.type === "grow") {
      asked = true;
      assert.equal(beta.disk.stable.get(43), write.value);
    }
    before(node, ask);
  };
  pair.world.diskMay = () => true;
  pair.settle(1000);
  assert.ok(asked);
});

Deno.test("a deposed Primary becomes Secondary when it meets its successor", () => {
  const pair = Pair.settled();
  const [alpha] = pair.world.nodes;
  pair.world.setLink(false);
  pair.take(1);
  pair.settle(20, [1]);
  const write = pair.world.request(1, Write, 5);
  pair.settle(50, [1]);
  assert.equal(write.answered, 0);
  pair.world.setLink(true);
  // Alpha has read nothing: it still thinks itself Primary, and dials too.
  pair.world.run(1500);
  assert.equal(alpha.report!.role, "Secondary", "beta's HELLO has a higher epoch");
  assert.equal(pair.superblock(0).epoch, pair.cluster.register.epoch);
});

for (
  const [what, change] of [
    ["a past epoch", { epoch: 0 }],
    ["another lineage", { lineage: "forced" }],
    ["a larger size", { size: 2 ** 40 }],
    ["the same replica id", { replicaId: "bbbbbbbb" }],
  ] as const
) {
  Deno.test(`a Primary of ${what} is declined, and its frames touch nothing`, () => {
    const pair = Pair.settled();
    const beta = pair.world.nodes[1];
    pair.fail(0, false);
    pair.settle(20, [1]);
    beta.volume!.accepted(0);
    beta.volume!.control(0, {
      type: "HELLO",
      volume: "data",
      size: pair.world.layout.size,
      epoch: pair.cluster.register.epoch,
      lineage: "line",
      replicaId: "aaaaaaaa",
      generations: pair.superblock(0).generations,
      dirtyBlocks: 0,
      storage: "s",
      protocol: "C",
      session: 7,
      ...change,
    });
    pair.world.run(20);
    beta.volume!.control(0, { type: "SYNC", session: 7, inconsistent: false, blocks: 0 });
    pair.world.run(20);
    beta.buffers.set(999_999, [4711]);
    beta.volume!.frame(0, FrameKind.Write, 7, 1, 12 * 4096, 4096, 999_999, 0);
    pair.world.run(20);
    assert.notEqual(beta.disk.get(12), 4711);
    const rule = what === "another lineage" ? "split-brain" : "decline";
    assert.ok(beta.notes.some((note) => note.rule === rule));
  });
}

Deno.test("a session that ends between JOINED and GROW leaves the sole mark as it was", () => {
  // Breaks when an owner that is the only member freezes with the witness: its mark is gone for good.
  const pair = Pair.settled();
  const { world } = pair;
  world.setLink(false);
  world.request(0, Write, 7);
  pair.settle(4000);
  const marked = pair.superblock(0).sole;
  assert.notEqual(marked, null);
  let joined = false;
  world.onDeliver = (index, message) => {
    joined ||= index === 0 && "type" in message && message.type === "JOINED";
  };
  // What clears the mark is under way until alpha knows of the end.
  world.diskMay = (node) => {
    if (!joined || node !== 0) return true;
    if (world.linkUp) world.setLink(false);
    return world.nodes[0].connection === null;
  };
  world.setLink(true);
  for (let i = 0; i < 1000 && !(joined && !world.linkUp); i++) world.run(5);
  assert.ok(joined && !world.linkUp, "it never joined");
  assert.equal(pair.cluster.proposals.length, 0, "GROW was asked already");
  // Nobody tells the record again.
  world.run(100);
  assert.deepEqual(pair.superblock(0).sole, marked);
});

Deno.test("a replica tells nothing of itself before it has written down that it lost its cache", () => {
  // Breaks when it looks whole for a moment after a loss of power, and takes what another has kept.
  const pair = Pair.settled({ volatileCache: true });
  const [, beta] = pair.world.nodes;
  pair.fail(1, true);
  pair.world.diskMay = (node, what) => node !== 1 || what !== "disk meta";
  pair.restart(1, true);
  const told: VolumeReport[] = [];
  Object.defineProperty(beta, "report", {
    get: () => told.at(-1) ?? null,
    set: (report: VolumeReport) => told.push(report),
  });
  pair.settle(200, [0]);
  assert.equal(told.length, 0);
  pair.world.diskMay = () => true;
  pair.settle(20, [0]);
  assert.equal(told[0]!.unclean, true);
});

Deno.test("a write is answered alone only when the replica bears the generation that says so", () => {
  // Breaks when two survivors that wrote apart are made one, as a kill left the one without a sign of it.
  const pair = Pair.settled();
  const before = pair.superblock(0).generations.current;
  pair.world.setLink(false);
  const write = pair.world.request(0, Write, 7);
  pair.settle(200);
  // The generation of the smaller set is minted; the record comes, and nothing is durable after it.
  for (let passed = 0; pair.cluster.register.upToDate.length > 1; passed++) {
    assert.ok(passed < 300, "beta stays in the set");
    pair.world.run(10);
    while (pair.cluster.proposals.length > 0) pair.cluster.apply(0);
  }
  pair.world.diskMay = (node, what) => node !== 0 || what !== "disk meta";
  pair.settle(200);
  assert.equal(write.answered, null);
  pair.world.diskMay = () => true;
  pair.settle(50);
  assert.equal(write.answered, 0);
  assert.notEqual(pair.superblock(0).generations.current, before);
});
