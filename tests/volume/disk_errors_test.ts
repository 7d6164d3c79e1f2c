/** Disks that fail, fill up, or cannot read a block: what a pair of replicas makes of it. */
import assert from "node:assert/strict";
import { FrameKind, RequestKind } from "../../src/volume/types.ts";
import { FrameHeader } from "../../src/wire/replication.ts";
import { isFrame } from "./harness.ts";
import { Pair } from "./pair.ts";

const Read = RequestKind.Read;
const Write = RequestKind.Write;
const Flush = RequestKind.Flush;
const EIO = 5;
const ENOSPC = 28;

function failing(
  options: { onIoError?: "detach" | "hand-over"; volatileCache?: boolean } = {},
): Pair {
  const pair = Pair.settled({ onIoError: "detach", ...options });
  const { disk } = pair.world.nodes[0];
  disk.writeError = EIO;
  disk.metaError = EIO;
  return pair;
}

Deno.test("a Primary whose disk fails goes on through its peer, and has left the set first", () => {
  const pair = failing();
  const [alpha, beta] = pair.world.nodes;
  const before = pair.world.request(0, Write, 7);
  pair.world.run(50);
  assert.equal(before.answered, null, "it was answered while the record still names alpha");
  pair.settle(200);
  assert.deepEqual(pair.cluster.register.upToDate, ["bbbbbbbb"]);
  assert.equal(before.answered, 0);
  assert.equal(alpha.report!.disk, "Diskless");
  assert.equal(alpha.report!.role, "Primary");
  assert.equal(alpha.report!.throughPeer, true);
  assert.equal(alpha.report!.frozen, false);

  alpha.disk.readError = EIO;
  const more = [8, 5000, 7].map((block) => pair.world.request(0, Write, block, 2));
  const flush = pair.world.request(0, Flush);
  pair.settle(100);
  assert.ok([...more, flush].every((one) => one.answered === 0));
  const read = pair.world.request(0, Read, 7, 3);
  pair.settle(100);
  assert.equal(read.answered, 0);
  assert.deepEqual(pair.world.dataOf(read), [more[2]!.value, more[2]!.value, more[0]!.value]);
  assert.equal(beta.disk.get(5001), more[1]!.value);
  assert.equal(pair.dirtyOnDisk(1), pair.world.layout.blocks, "beta's bits must name all of alpha");
});

Deno.test("a diskless Primary hands over clean, and its disk comes back whole", () => {
  const pair = failing();
  const [alpha, beta] = pair.world.nodes;
  const write = pair.world.request(0, Write, 7, 3);
  pair.settle(300);
  assert.equal(write.answered, 0);
  alpha.volume!.order({ type: "demote", forced: false });
  pair.settle(100);
  assert.equal(pair.cluster.demoted[0], true, "it was not demoted clean");
  pair.cluster.release(alpha);
  pair.settle(50);
  pair.take(1);
  // The disk works again, and holds what it held: far less than beta.
  pair.world.crash(0, false);
  Object.assign(alpha.disk, { writeError: 0, metaError: 0 });
  pair.restart(0);
  pair.settle(20_000);
  assert.deepEqual([...pair.cluster.register.upToDate].sort(), ["aaaaaaaa", "bbbbbbbb"]);
  assert.equal(alpha.disk.get(8), write.value);
  assert.equal(beta.report!.peers[0]!.outOfSyncBytes, 0);
});

Deno.test("the link of a diskless Primary may break: it waits for its peer, and nothing is lost", () => {
  const pair = failing();
  pair.world.request(0, Write, 7);
  pair.settle(300);
  pair.world.setLink(false);
  const write = pair.world.request(0, Write, 9);
  const read = pair.world.request(0, Read, 7);
  pair.settle(1000);
  assert.equal(write.answered, null);
  assert.equal(read.answered, null);
  pair.world.setLink(true);
  pair.settle(3000);
  assert.equal(write.answered, 0);
  assert.equal(read.answered, 0);
  assert.equal(pair.world.nodes[1].disk.get(9), write.value);
  assert.equal(pair.dirtyOnDisk(1), pair.world.layout.blocks);
  assert.deepEqual(pair.cluster.register.upToDate, ["bbbbbbbb"]);
});

Deno.test("a peer that loses power on the way takes what it had answered with it: it is not acknowledged", () => {
  // Breaks when a diskless Primary goes by answers from before its peer was the only one that counts.
  const pair = failing({ volatileCache: true });
  const write = pair.world.request(0, Write, 7);
  pair.world.run(50);
  assert.equal(pair.world.nodes[1].disk.get(7), write.value, "the peer has it in its cache");
  assert.ok(pair.cluster.proposals.length > 0, "alpha asks to leave the set");
  pair.fail(1, true);
  // Chosen by others, before alpha has missed its peer.
  pair.settle(100, [0]);
  assert.deepEqual(pair.cluster.register.upToDate, ["bbbbbbbb"]);
  assert.equal(write.answered, null);
  pair.restart(1, true);
  pair.settle(3000, [0, 1]);
  assert.equal(pair.world.nodes[1].disk.get(7), 0);
  assert.equal(write.answered, null, "nobody holds it");
});

Deno.test("it is killed on the way: a peer that was not asked yet takes over with all of it", () => {
  const pair = failing();
  const acknowledged = pair.world.requests.filter((one) => one.answered === 0);
  const write = pair.world.request(0, Write, 7);
  pair.world.run(5);
  pair.world.crash(0, false);
  Object.assign(pair.world.nodes[0].disk, { writeError: 0, metaError: 0 });
  assert.equal(write.answered, null);
  pair.settle(100);
  pair.take(1);
  pair.restart(0);
  pair.settle(20_000);
  assert.deepEqual([...pair.cluster.register.upToDate].sort(), ["aaaaaaaa", "bbbbbbbb"]);
  for (const one of acknowledged) {
    for (const block of one.blocks) assert.equal(pair.world.nodes[1].disk.get(block), one.value);
  }
  for (let block = 0; block < 16; block++) {
    const [a, b] = pair.world.nodes.map(({ disk }) => disk.get(block));
    assert.equal(a, b, `block ${block}`);
  }
});

Deno.test("with on_io_error = hand-over, or a peer behind, it acknowledges nothing more", () => {
  for (const behind of [false, true]) {
    const pair = Pair.settled({ onIoError: behind ? "detach" : "hand-over" });
    if (behind) {
      pair.world.setLink(false);
      pair.world.request(0, Write, 3);
      pair.settle(3000);
    }
    pair.world.nodes[0].disk.writeError = EIO;
    const write = pair.world.request(0, Write, 5);
    pair.settle(2000);
    assert.equal(write.answered, null);
    assert.equal(pair.world.nodes[0].report!.disk, "Diskless");
    assert.equal(pair.world.nodes[0].report!.throughPeer, false);
    assert.match(pair.world.nodes[0].notes.map(({ rule }) => rule).join(" "), /hand-over/);
  }
});

Deno.test("protocol A: what only the failed disk holds never passes for flushed", () => {
  const pair = Pair.settled({ protocol: "A", onIoError: "detach" });
  const [alpha, beta] = pair.world.nodes;
  const filter = pair.world.filter;
  // The link is silent, and nobody has noticed yet.
  pair.world.filter = () => false;
  const early = pair.world.request(0, Write, 7);
  pair.settle(50);
  assert.equal(early.answered, 0, "protocol A answers before the peer has it");
  alpha.disk.writeError = EIO;
  pair.world.request(0, Write, 9);
  pair.settle(50);
  const flush = pair.world.request(0, Flush);
  pair.world.setLink(false);
  pair.settle(50);
  pair.world.filter = filter;
  pair.world.setLink(true);
  pair.settle(5000);
  assert.notEqual(beta.disk.get(7), early.value, "beta was sent it after all: this tests nothing");
  assert.equal(flush.answered, null, "a FLUSH was answered that covers what is lost");
  assert.equal(alpha.report!.throughPeer, false, "the group must move, not wait here");
  assert.match(
    alpha.notes.map(({ text }) => text).join("\n"),
    /beta lacks 1 blocks that were answered/,
  );
});

Deno.test("a peer that lost its cache stands in no more: a FLUSH would cover what is gone", () => {
  const pair = failing({ volatileCache: true });
  const [alpha] = pair.world.nodes;
  const first = pair.world.request(0, Write, 7);
  pair.settle(300);
  assert.equal(first.answered, 0, "beta stands in");
  pair.fail(1, true);
  const flush = pair.world.request(0, Flush);
  pair.settle(100);
  pair.restart(1, true);
  pair.settle(5000);
  assert.equal(flush.answered, null, "a FLUSH was answered that covers what is lost");
  assert.equal(alpha.report!.throughPeer, false, "the group must move, not wait here");
});

Deno.test("a block that cannot be read comes from the peer and is written back", () => {
  for (const onIoError of ["detach", "hand-over"] as const) {
    const pair = Pair.settled({ onIoError });
    const [alpha] = pair.world.nodes;
    const write = pair.world.request(0, Write, 40, 300);
    pair.settle(100);
    alpha.disk.write(50, 12345, true);
    alpha.disk.readError = EIO;
    const written: number[] = [];
    const read = pair.world.request(0, Read, 40, 300);
    pair.world.onDeliver = (to, message) => {
      if (to === 1 && isFrame(message, FrameKind.Read)) {
        written.push((message as FrameHeader).length);
      }
    };
    pair.settle(200);
    assert.equal(read.answered, 0);
    assert.deepEqual(pair.world.dataOf(read), new Array(300).fill(write.value));
    assert.deepEqual(written, [1 << 20, 300 * 4096 - (1 << 20)]);
    alpha.disk.readError = 0;
    assert.equal(alpha.disk.get(50), write.value, "it was not written back");
    assert.equal(alpha.report!.disk, "UpToDate");
    const again = pair.world.request(0, Read, 50);
    pair.settle(50);
    assert.deepEqual(pair.world.dataOf(again), [write.value]);
  }
});

Deno.test("what no replica can read is an I/O error for that client alone", () => {
  const pair = Pair.settled({ onIoError: "detach" });
  const [alpha, beta] = pair.world.nodes;
  const write = pair.world.request(0, Write, 3);
  pair.settle(50);
  alpha.disk.readError = EIO;
  beta.disk.readError = EIO;
  const bad = pair.world.request(0, Read, 3);
  pair.settle(200);
  assert.equal(bad.answered, EIO);
  alpha.disk.readError = 0;
  beta.disk.readError = 0;
  const good = pair.world.request(0, Read, 3);
  const more = pair.world.request(0, Write, 4);
  pair.settle(200);
  assert.deepEqual(pair.world.dataOf(good), [write.value]);
  assert.equal(more.answered, 0);
  assert.equal(pair.cluster.register.upToDate.length, 2);
});

Deno.test("an unreadable block waits for a member that is away, until it has left the set", () => {
  const pair = Pair.settled({ onIoError: "detach" });
  const [alpha] = pair.world.nodes;
  pair.world.setLink(false);
  alpha.disk.readError = EIO;
  const read = pair.world.request(0, Read, 3);
  pair.world.run(500);
  assert.equal(read.answered, null);
  pair.settle(4000);
  assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa"]);
  assert.equal(read.answered, EIO);
});

Deno.test("a full disk: the Primary detaches; a sole one waits for room and loses nothing", () => {
  const pair = Pair.settled({ onIoError: "detach" });
  pair.world.nodes[0].disk.writeError = ENOSPC;
  const first = pair.world.request(0, Write, 3);
  pair.settle(300);
  assert.equal(first.answered, 0);
  assert.equal(pair.world.nodes[0].report!.throughPeer, true);

  const sole = Pair.settled({ onIoError: "detach" });
  const [alpha] = sole.world.nodes;
  sole.world.crash(1, false);
  sole.world.request(0, Write, 1);
  sole.settle(4000);
  assert.deepEqual(sole.cluster.register.upToDate, ["aaaaaaaa"]);
  alpha.disk.writeError = ENOSPC;
  const waiting = [5, 6, 5].map((block) => sole.world.request(0, Write, block));
  const read = sole.world.request(0, Read, 1);
  sole.settle(3000);
  assert.ok(waiting.every((one) => one.answered === null));
  assert.equal(read.answered, 0, "reads go on");
  assert.equal(alpha.report!.disk, "UpToDate");
  alpha.disk.writeError = 0;
  sole.settle(2000);
  assert.ok(waiting.every((one) => one.answered === 0));
  assert.equal(alpha.disk.get(5), waiting[2]!.value);
  const rules = alpha.notes.map(({ rule }) => rule);
  assert.equal(rules.filter((one) => one === "disk-full").length, 1);
  assert.ok(rules.includes("disk-room"));
});

Deno.test("a Secondary whose disk fails or fills up never stops the Primary", () => {
  for (const errno of [EIO, ENOSPC]) {
    const pair = Pair.settled({ onIoError: "detach" });
    const [, beta] = pair.world.nodes;
    beta.disk.writeError = errno;
    const write = pair.world.request(0, Write, 3);
    pair.settle(4000);
    assert.equal(write.answered, 0);
    assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa"]);
    assert.equal(beta.report!.disk, "Diskless");
    assert.equal(pair.world.nodes[0].report!.frozen, false);
  }
});

Deno.test("a peer that does not know DETACH is not asked", () => {
  const pair = Pair.settled({ onIoError: "detach" });
  const [alpha] = pair.world.nodes;
  const connected = alpha.volume!.connected.bind(alpha.volume);
  alpha.volume!.connected = (peer) => connected(peer, 1);
  pair.world.setLink(false);
  pair.world.run(20);
  pair.world.setLink(true);
  pair.settle(2000);
  alpha.disk.writeError = EIO;
  const write = pair.world.request(0, Write, 3);
  pair.settle(500);
  assert.equal(write.answered, null);
  assert.equal(alpha.report!.throughPeer, false);
});

/** Beta is behind by 600 blocks, three of which alpha cannot read. */
function unreadableSource(bad: readonly number[]): Pair {
  const pair = Pair.settled({ onIoError: "detach", extents: 4 });
  const [alpha] = pair.world.nodes;
  pair.world.setLink(false);
  pair.world.request(0, Write, 1000, 600);
  pair.settle(3000);
  assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa"]);
  for (const block of bad) alpha.disk.badBlocks.add(block);
  pair.world.setLink(true);
  pair.settle(4000);
  return pair;
}

Deno.test("a resync copies all but what its source cannot read, and ends when that is written anew", () => {
  // Breaks when a latent read error on the only good replica takes the whole disk from its clients.
  const pair = unreadableSource([1003, 1004, 1400]);
  const [alpha, beta] = pair.world.nodes;
  assert.equal(alpha.report!.disk, "UpToDate");
  assert.equal(alpha.report!.peers[0]!.outOfSyncBytes, 3 * 4096);
  assert.equal(alpha.report!.peers[0]!.resync!.unreadableBytes, 3 * 4096);
  assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa"], "beta lacks three blocks");
  assert.equal(beta.disk.get(1599), alpha.disk.get(1599));
  const told = alpha.notes.filter(({ rule }) => rule === "read-error");
  assert.deepEqual(told.map(({ known }) => known["block"]), [1003, 1004, 1400]);
  assert.ok(alpha.notes.some(({ rule }) => rule === "resync-incomplete"));

  const anew = pair.world.request(0, Write, 1003, 2);
  pair.settle(11_000);
  assert.equal(anew.answered, 0);
  assert.equal(alpha.report!.peers[0]!.outOfSyncBytes, 4096);
  // The last one can be read at another attempt.
  alpha.disk.badBlocks.clear();
  pair.settle(15_000);
  assert.equal(alpha.report!.peers[0]!.connection, "Connected");
  assert.equal(pair.cluster.register.upToDate.length, 2);
  for (let block = 1000; block < 1600; block++) {
    assert.equal(beta.disk.get(block), alpha.disk.get(block), `block ${block}`);
  }
  const stalled = alpha.notes.filter(({ rule }) => rule === "resync-stalled");
  assert.equal(stalled.length, 0, "what is stuck is not begun anew over and over");
});

Deno.test("a disk with very many unreadable blocks has failed", () => {
  const bad = Array.from({ length: 300 }, (_, i) => 1000 + 2 * i);
  const pair = unreadableSource(bad);
  assert.equal(pair.world.nodes[0].report!.disk, "Diskless");
});

Deno.test("a member that lost its cache and cannot be given all back leaves the set: no FLUSH waits for ever", () => {
  const pair = Pair.settled({ onIoError: "detach", volatileCache: true });
  const [alpha] = pair.world.nodes;
  const write = pair.world.request(0, Write, 7, 3);
  pair.settle(100);
  assert.equal(write.answered, 0);
  pair.fail(1, true);
  pair.restart(1, true);
  alpha.disk.badBlocks.add(8);
  pair.settle(20);
  const flush = pair.world.request(0, Flush);
  pair.settle(6000);
  assert.equal(flush.answered, 0);
  assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa"]);
  assert.equal(alpha.report!.peers[0]!.outOfSyncBytes, 4096);
});

Deno.test("an unreadable block, a write behind its read, and a member that lost its cache do not wait for each other", () => {
  // Breaks when a read waits for the end of a resync whose batch waits for the write behind it.
  const pair = Pair.settled({ onIoError: "detach", volatileCache: true });
  const [alpha] = pair.world.nodes;
  pair.world.request(0, Write, 7);
  pair.settle(100);
  pair.fail(1, true);
  alpha.disk.badBlocks.add(7);
  const read = pair.world.request(0, Read, 7);
  pair.world.run(5);
  const write = pair.world.request(0, Write, 7);
  pair.restart(1, true);
  pair.settle(8000);
  assert.notEqual(read.answered, null);
  assert.equal(write.answered, 0);
  assert.equal(alpha.report!.peers[0]!.connection, "Connected");
  assert.equal(alpha.report!.peers[0]!.outOfSyncBytes, 0);
});
