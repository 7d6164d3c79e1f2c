import assert from "node:assert/strict";
import { FrameKind, RequestKind } from "../../src/volume/types.ts";
import { isFrame } from "./harness.ts";
import { Pair } from "./pair.ts";

const Write = RequestKind.Write;

function verify(pair: Pair, repair: boolean, index = 0): string | null {
  const node = pair.world.nodes[index]!;
  const id = node.asks.length + 1;
  node.volume!.order({ type: "operate", id, what: repair ? "verify-repair" : "verify" });
  pair.settle(20);
  const answer = node.asks.find((ask) => ask.type === "operated" && ask.id === id);
  return answer?.type === "operated" ? answer.error : "no answer";
}

/** Two equal replicas, some blocks of which were then changed on beta's disk alone. */
function spoiled(blocks: readonly number[], options = {}): Pair {
  const pair = Pair.settled({ extents: 4, ...options });
  for (let first = 0; first < 4096; first += 256) pair.world.request(0, Write, first, 200);
  pair.settle(200);
  for (const block of blocks) pair.world.nodes[1].disk.write(block, 4711, true);
  return pair;
}

Deno.test("a verify of equal replicas finds nothing, sends no data and says so", () => {
  const pair = spoiled([]);
  let sent = 0;
  pair.world.onDeliver = (_, message) => {
    if (isFrame(message, FrameKind.Resync)) sent++;
  };
  assert.equal(verify(pair, true), null);
  pair.settle(3000);
  const { verified, peers } = pair.world.nodes[0].report!;
  assert.equal(verified!.differing, 0);
  assert.equal(peers[0]!.outOfSyncBytes, 0);
  assert.equal(peers[0]!.connection, "Connected");
  assert.equal(sent, 0);
});

// 230 lies in a gap of zeroes.
const SPOILED = [0, 17, 18, 230, 4095];

Deno.test("blocks that differ are out of sync, and nothing else is changed", () => {
  const pair = spoiled(SPOILED);
  const [alpha, beta] = pair.world.nodes;
  assert.equal(verify(pair, false), null);
  pair.settle(3000);
  assert.equal(alpha.report!.verified!.differing, SPOILED.length);
  assert.equal(alpha.report!.peers[0]!.outOfSyncBytes, SPOILED.length * 4096);
  assert.equal(pair.dirtyOnDisk(0), SPOILED.length, "durably");
  assert.equal(beta.disk.get(17), 4711);
  // The next meeting brings them in line.
  pair.world.setLink(false);
  pair.settle(100);
  pair.world.setLink(true);
  pair.settle(4000);
  assert.equal(alpha.report!.peers[0]!.outOfSyncBytes, 0);
  for (const block of SPOILED) assert.equal(beta.disk.get(block), alpha.disk.get(block));
});

Deno.test("with repair they are copied at once, and the replica never leaves the set", () => {
  const pair = spoiled(SPOILED);
  const [alpha, beta] = pair.world.nodes;
  const { version } = pair.cluster.register;
  assert.equal(verify(pair, true), null);
  pair.settle(4000);
  assert.deepEqual({ ...alpha.report!.verified!, at: 0 }, { at: 0, differing: 5, repaired: true });
  for (const block of SPOILED) assert.equal(beta.disk.get(block), alpha.disk.get(block));
  assert.equal(alpha.report!.peers[0]!.outOfSyncBytes, 0);
  assert.equal(alpha.report!.peers[0]!.connection, "Connected");
  assert.equal(beta.report!.peers[0]!.connection, "Connected");
  assert.equal(pair.cluster.register.version, version);
  const write = pair.world.request(0, Write, 17);
  const flush = pair.world.request(0, RequestKind.Flush);
  pair.settle(100);
  assert.deepEqual([write.answered, flush.answered], [0, 0]);
});

Deno.test("a verify goes on after a lost link and after a restart of the Primary's agent", () => {
  const pair = spoiled([30_000], { extents: 40 });
  let asked = 0;
  pair.world.filter = (_, message) => {
    if (!isFrame(message, FrameKind.Sums)) return true;
    // Slowly, so that there is a middle: one batch a round.
    return ++asked % 4 === 0;
  };
  assert.equal(verify(pair, false), null);
  pair.settle(120);
  const half = pair.world.nodes[0].report!.peers[0]!;
  assert.equal(half.connection, "VerifySource");
  assert.equal(pair.world.nodes[1].report!.peers[0]!.connection, "VerifyTarget");
  pair.world.setLink(false);
  pair.settle(100);
  const noted = pair.superblock(0).verify!;
  assert.ok(noted.block > 0 && noted.block < pair.world.layout.blocks, `${noted.block}`);
  pair.world.filter = () => true;
  pair.fail(0, false);
  pair.restart(0);
  pair.settle(200);
  pair.world.setLink(true);
  if (pair.world.nodes[0].report!.role !== "Primary") pair.take(0);
  let first = Infinity;
  pair.world.onDeliver = (_, message) => {
    if (isFrame(message, FrameKind.Sums) && "flags" in message && message.flags !== 0) {
      first = Math.min(first, message.offset / 4096);
    }
  };
  pair.settle(8000);
  assert.ok(first >= noted.block, `began again at ${first}, ${noted.block} was noted`);
  assert.ok(noted.block <= 30_000);
  assert.equal(pair.world.nodes[0].report!.verified!.differing, 1);
});

Deno.test("blocks that the replica cannot read are written anew, ones of the Primary are skipped", () => {
  for (const index of [0, 1]) {
    const pair = spoiled([]);
    const [alpha, beta] = pair.world.nodes;
    const { disk } = pair.world.nodes[index]!;
    disk.readError = 5;
    assert.equal(verify(pair, true), null);
    pair.settle(40);
    disk.readError = 0;
    pair.settle(4000);
    const { differing } = alpha.report!.verified!;
    if (index === 0) assert.equal(differing, 0, "nothing is said of what was not compared");
    else assert.ok(differing >= 32, `what cannot be read differs: ${differing} blocks`);
    assert.equal(alpha.report!.disk, "UpToDate");
    assert.equal(beta.report!.disk, "UpToDate");
    assert.equal(alpha.report!.peers[0]!.outOfSyncBytes, 0);
    const { notes } = pair.world.nodes[index]!;
    assert.ok(notes.some(({ rule, text }) => rule === "read-error" && text.includes("blocks")));
  }
});

Deno.test("blocks that the replica cannot read are written anew without being told to repair", () => {
  for (const cancelled of [false, true]) {
    const pair = spoiled([]);
    const [alpha, beta] = pair.world.nodes;
    const { version } = pair.cluster.register;
    beta.disk.readError = 5;
    let asked = 0;
    pair.world.filter = (_, message) =>
      !cancelled || !isFrame(message, FrameKind.Sums) || ++asked === 1;
    assert.equal(verify(pair, false), null);
    pair.settle(40);
    assert.ok(beta.notes.some(({ rule }) => rule === "read-error"));
    beta.disk.readError = 0;
    if (cancelled) {
      assert.ok(alpha.report!.peers[0]!.outOfSyncBytes > 0);
      alpha.volume!.order({ type: "operate", id: 99, what: "verify-cancel" });
      pair.world.filter = () => true;
    }
    pair.settle(4000);
    assert.equal(alpha.report!.peers[0]!.outOfSyncBytes, 0);
    assert.equal(alpha.report!.peers[0]!.connection, "Connected");
    assert.equal(pair.cluster.register.version, version, "it never leaves the set");
    assert.ok(alpha.notes.some(({ rule }) => rule === "resync-done"));
    if (!cancelled) assert.equal(alpha.report!.verified!.repaired, true);
  }
});

Deno.test("a verify is refused where it cannot be led, and begins by itself when it is due", () => {
  const pair = spoiled([3], { verify: { every: 20_000, repair: true } });
  assert.match(verify(pair, false, 1)!, /the Primary leads a verify: ask on alpha/);
  pair.world.setLink(false);
  pair.settle(50);
  assert.match(verify(pair, false)!, /beta is not connected and up to date/);
  pair.world.setLink(true);
  pair.settle(4000);
  pair.world.nodes[1].disk.write(3, 4711, true);
  assert.equal(pair.world.nodes[0].report!.verified, undefined);
  pair.settle(25_000);
  assert.equal(pair.world.nodes[0].report!.verified!.differing, 1);
  assert.equal(pair.world.nodes[1].disk.get(3), pair.world.nodes[0].disk.get(3));
});

Deno.test("writes go on while a verify runs, and what is written meanwhile is never called different", () => {
  const pair = spoiled([]);
  assert.equal(verify(pair, false), null);
  for (let round = 0; round < 60; round++) {
    pair.world.request(0, Write, (round * 67) % 4000, 3);
    pair.settle(10);
  }
  pair.settle(2000);
  assert.equal(pair.world.nodes[0].report!.verified!.differing, 0);
  assert.ok(pair.world.requests.every(({ answered }) => answered === 0));
});
