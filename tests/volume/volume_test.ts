import assert from "node:assert/strict";
import { FrameKind, RequestKind } from "../../src/volume/types.ts";
import { FrameHeader, headBytes } from "../../src/wire/replication.ts";
import { isFrame } from "./harness.ts";
import { Pair } from "./pair.ts";

const Read = RequestKind.Read;
const Write = RequestKind.Write;
const Flush = RequestKind.Flush;
const Trim = RequestKind.Trim;

Deno.test("two new replicas on zeroed disks become one volume without copying anything", () => {
  const pair = new Pair();
  let copied = 0;
  pair.world.onDeliver = (_, message) => {
    if (isFrame(message, FrameKind.Resync)) copied++;
  };
  pair.world.start(0);
  pair.world.start(1);
  pair.settle(20);
  pair.take(0);
  const write = pair.world.request(0, Write, 5);
  pair.settle(1000);
  assert.equal(write.answered, 0);
  assert.equal(copied, 0);
  assert.equal(pair.world.nodes[1].disk.get(5), write.value);
  assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa", "bbbbbbbb"]);
  assert.equal(pair.world.nodes[0].report!.peers[0]!.connection, "Connected");
  assert.equal(pair.superblock(0).blank, "no");
  assert.equal(pair.superblock(1).blank, "no");
});

Deno.test("replicas on disks of unknown content are copied whole, an interruption goes on", () => {
  const pair = new Pair({ blank: "unknown", extents: 8 });
  const [alpha, beta] = pair.world.nodes;
  for (let block = 0; block < 8 * 1024; block++) alpha.disk.write(block, block + 1, true);
  let copied = 0;
  pair.world.onDeliver = (to, message) => {
    if (to === 1 && message instanceof FrameHeader && message.kind === FrameKind.Resync) {
      copied += message.length / 4096;
      // Cut in the middle, once a checkpoint has cleared some bits.
      if (copied >= 7000 && copied < 7256) pair.world.setLink(false);
    }
  };
  pair.world.start(0);
  pair.world.start(1);
  // The first record names alpha alone.
  Object.assign(pair.cluster.register, { upToDate: ["aaaaaaaa"] });
  pair.settle(20);
  pair.take(0);
  pair.settle(1500);
  pair.world.setLink(true);
  pair.settle(4000);
  assert.equal(pair.superblock(1).inconsistent, false);
  assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa", "bbbbbbbb"]);
  assert.ok(copied >= 8 * 1024, `${copied} blocks`);
  assert.ok(copied < 2 * 8 * 1024, `${copied} blocks`);
  for (let block = 0; block < 8 * 1024; block++) assert.equal(beta.disk.get(block), block + 1);
});

Deno.test("after a break only changed blocks are compared, all in one frame, and copied", () => {
  const pair = Pair.settled();
  pair.world.setLink(false);
  const writes = [3, 4, 5, 6, 2000, 9000].map((block) => pair.world.request(0, Write, block));
  pair.settle(3000);
  assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa"]);
  assert.ok(writes.every((one) => one.answered === 0));
  assert.equal(pair.world.nodes[0].report!.peers[0]!.outOfSyncBytes, 6 * 4096);
  const frames: [number, number, number][] = [];
  pair.world.onDeliver = (to, message) => {
    if (to === 1 && message instanceof FrameHeader && headBytes(message) > 0) {
      frames.push([message.kind, message.offset / 4096, message.length / 4096]);
    }
  };
  pair.world.setLink(true);
  pair.settle(3000);
  assert.deepEqual(frames, [[FrameKind.Sums, 3, 6], [FrameKind.Resync, 3, 6]]);
  for (const { value, blocks } of writes) {
    assert.equal(pair.world.nodes[1].disk.get(blocks[0]!), value);
  }
  assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa", "bbbbbbbb"]);
  assert.equal(pair.world.nodes[0].report!.peers[0]!.outOfSyncBytes, 0);
  assert.equal(pair.dirtyOnDisk(0), 0);
});

for (
  const [protocol, here, frame, there] of [
    ["A", true, false, false],
    ["B", true, true, true],
    ["C", true, true, true],
  ] as const
) {
  Deno.test(`protocol ${protocol} answers a write no earlier than it says`, () => {
    const pair = Pair.settled({ protocol });
    let mayHere = false;
    let mayThere = false;
    let delivered = false;
    pair.world.diskMay = (node, what) => what !== "disk write" || (node === 0 ? mayHere : mayThere);
    pair.world.filter = (to, message) => to === 0 || delivered || !(message instanceof FrameHeader);
    const write = pair.world.request(0, Write, 9);
    pair.settle(60);
    assert.equal(write.answered, null);
    mayHere = here;
    pair.settle(60);
    assert.equal(write.answered, frame ? null : 0);
    delivered = true;
    pair.settle(60);
    assert.equal(write.answered, there ? null : 0);
    mayThere = true;
    pair.settle(60);
    assert.equal(write.answered, 0);
    assert.equal(pair.world.nodes[1].disk.get(9), write.value);
  });
}

Deno.test("protocol A bounds what is answered and not yet with the replica", () => {
  const pair = Pair.settled({ protocol: "A", extents: 16 });
  pair.world.filter = (to, message) => to === 0 || !(message instanceof FrameHeader);
  const writes = Array.from({ length: 8 }, (_, i) => pair.world.request(0, Write, 256 * i, 256));
  pair.settle(200);
  const answered = writes.filter((one) => one.answered === 0).length;
  assert.equal(answered, 4, "4 MiB of 8");
  // Lost with the session, they are dirty: the replica gets them by a resync.
  pair.world.setLink(false);
  pair.world.filter = () => true;
  pair.settle(300);
  pair.world.setLink(true);
  pair.settle(3000);
  assert.ok(writes.every((one) => one.answered === 0));
  assert.equal(pair.world.nodes[1].disk.get(256 * 3), writes[3]!.value);
});

Deno.test("a FLUSH in protocol A covers writes that the replica has not answered yet", () => {
  const pair = Pair.settled({ protocol: "A", volatileCache: true });
  pair.world.diskMay = (node, what) => node !== 1 || what !== "disk write";
  const write = pair.world.request(0, Write, 9);
  pair.settle(50);
  assert.equal(write.answered, 0);
  const flush = pair.world.request(0, Flush);
  pair.settle(200);
  assert.equal(flush.answered, null);
  pair.world.diskMay = () => true;
  pair.settle(50);
  assert.equal(flush.answered, 0);
  assert.equal(pair.world.nodes[1].disk.stable.get(9), write.value);
});

Deno.test("overlapping writes go one after the other, reads wait for them", () => {
  const pair = Pair.settled();
  const sent: number[] = [];
  let may = false;
  pair.world.filter = (to, message) => {
    if (!(message instanceof FrameHeader)) return true;
    if (to === 1 && message.kind === FrameKind.Write && !sent.includes(message.seq)) {
      sent.push(message.seq);
    }
    return to === 1 || may;
  };
  const first = pair.world.request(0, Write, 10, 4);
  const second = pair.world.request(0, Write, 12, 4);
  const apart = pair.world.request(0, Write, 20);
  const read = pair.world.request(0, Read, 11);
  pair.settle(100);
  assert.equal(sent.length, 2, "the first and the one apart");
  assert.equal(read.answered, null);
  may = true;
  pair.settle(100);
  assert.deepEqual([first, second, apart, read].map((one) => one.answered), [0, 0, 0, 0]);
  assert.deepEqual(pair.world.dataOf(read), [first.value]);
  for (const node of pair.world.nodes) {
    assert.deepEqual([10, 11, 12, 13, 15].map((block) => node.disk.get(block)), [
      first.value,
      first.value,
      second.value,
      second.value,
      second.value,
    ]);
  }
});

Deno.test("without a lease nothing is answered, reads too; it thaws when the lease is back", () => {
  const pair = Pair.settled();
  pair.cluster.leases = false;
  const [alpha] = pair.world.nodes;
  alpha.volume!.lease(pair.cluster.register.epoch, 0);
  assert.equal(alpha.report!.frozen, true);
  const requests = [pair.world.request(0, Write, 1), pair.world.request(0, Read, 2)];
  pair.settle(500);
  assert.deepEqual(requests.map((one) => one.answered), [null, null]);
  alpha.volume!.lease(pair.cluster.register.epoch - 1, pair.world.now + 1000);
  pair.settle(100);
  assert.deepEqual(requests.map((one) => one.answered), [null, null], "another epoch's lease");
  pair.cluster.leases = true;
  pair.settle(100);
  assert.deepEqual(requests.map((one) => one.answered), [0, 0]);
});

Deno.test("a clean demotion finishes what was asked and leaves nothing to copy", () => {
  const pair = Pair.settled({ volatileCache: true });
  const write = pair.world.request(0, Write, 77);
  const [alpha, beta] = pair.world.nodes;
  alpha.volume!.order({ type: "demote", forced: false });
  const late = pair.world.request(0, Write, 78);
  pair.world.run(100);
  assert.equal(write.answered, 0);
  assert.equal(late.answered, 108);
  assert.equal(pair.cluster.demoted[0], true);
  assert.equal(beta.disk.stable.get(77), write.value);
  assert.deepEqual(pair.logExtents(0), []);
  assert.equal(pair.dirtyOnDisk(0), 0);
  pair.cluster.release(alpha);
  pair.cluster.apply(0);
  pair.take(1);
  pair.settle(1000);
  assert.equal(beta.report!.role, "Primary");
  assert.equal(beta.report!.peers[0]!.outOfSyncBytes, 0);
  alpha.volume!.order({ type: "close" });
  pair.world.run(50);
  assert.equal(pair.superblock(0).clean, true);
});

Deno.test("a forced demotion lets the clients go and keeps what they wrote as dirty blocks", () => {
  const pair = Pair.settled();
  pair.world.filter = (to, message) => to === 0 || !(message instanceof FrameHeader);
  const write = pair.world.request(0, Write, 50, 2);
  pair.world.run(20);
  pair.world.nodes[0].volume!.order({ type: "demote", forced: true });
  pair.world.run(50);
  assert.equal(write.answered, 108);
  assert.equal(pair.world.nodes[0].report!.role, "Secondary");
  assert.ok(pair.dirtyOnDisk(0) >= 2);
});

Deno.test("a log smaller than the writes evicts after a flush, and a crash still names all", () => {
  const pair = Pair.settled({ extents: 64, logSlots: 12, volatileCache: true });
  const writes = Array.from({ length: 64 }, (_, i) => pair.world.request(0, Write, 1024 * i + 3));
  pair.settle(500);
  assert.ok(writes.every((one) => one.answered === 0));
  const unstable = writes.filter((one) =>
    one.blocks.some((block) => pair.world.nodes[1].disk.stable.get(block) !== one.value)
  ).map((one) => Math.floor(one.blocks[0]! / 1024));
  const logged = new Set(pair.logExtents(0));
  assert.ok(unstable.length > 0 && unstable.length <= 12);
  assert.ok(unstable.every((extent) => logged.has(extent)), "unstable extents stay in the log");
});

Deno.test("TRIM reaches both replicas, also where holes cannot be made", () => {
  const pair = Pair.settled();
  pair.world.request(0, Write, 30, 4);
  pair.settle(50);
  pair.world.nodes[1].disk.discardError = 95;
  const trim = pair.world.request(0, Trim, 31, 2, true);
  pair.settle(100);
  assert.equal(trim.answered, 0);
  for (const { disk } of pair.world.nodes) {
    assert.deepEqual([31, 32].map((block) => disk.get(block)), [0, 0]);
    assert.notEqual(disk.get(33), 0);
  }
});

Deno.test("a Primary whose disk fails acknowledges nothing more and says Diskless", () => {
  const pair = Pair.settled();
  const [alpha] = pair.world.nodes;
  alpha.disk.writeError = 5;
  const write = pair.world.request(0, Write, 1);
  pair.settle(200);
  const read = pair.world.request(0, Read, 2);
  pair.settle(200);
  assert.equal(write.answered, null);
  assert.equal(read.answered, null);
  assert.equal(alpha.report!.disk, "Diskless");
  assert.ok(alpha.notes.some((note) => note.rule === "disk-failed"));
  alpha.volume!.order({ type: "demote", forced: true });
  pair.settle(20);
  assert.equal(write.answered, 108);
});

Deno.test("a replica whose disk fails leaves the set, the Primary goes on", () => {
  const pair = Pair.settled();
  const [, beta] = pair.world.nodes;
  beta.disk.writeError = 5;
  const write = pair.world.request(0, Write, 1);
  pair.settle(4000);
  assert.equal(beta.report!.disk, "Diskless");
  assert.equal(write.answered, 0);
  assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa"]);
});

Deno.test("a replica that does not answer in time is given up, not waited for", () => {
  const pair = Pair.settled({ timeout: 1000 });
  pair.world.diskMay = (node, what) => node !== 1 || what !== "disk write";
  const write = pair.world.request(0, Write, 1);
  pair.settle(700);
  assert.equal(write.answered, null);
  pair.settle(3000);
  assert.equal(write.answered, 0);
  assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa"]);
});

Deno.test("a break that heals at once costs no member: unanswered writes are sent again", () => {
  const pair = Pair.settled();
  const { version } = pair.cluster.register;
  pair.world.filter = (to, message) => to === 0 || !(message instanceof FrameHeader);
  const writes = [1, 2, 3].map((block) => pair.world.request(0, Write, block));
  pair.settle(50);
  pair.world.setLink(false);
  pair.world.filter = () => true;
  pair.world.run(20);
  pair.world.setLink(true);
  pair.settle(800);
  assert.ok(writes.every((one) => one.answered === 0));
  assert.equal(pair.cluster.register.version, version);
  assert.equal(pair.world.nodes[1].disk.get(2), writes[1]!.value);
});

Deno.test("a long write goes as several frames and is answered once", () => {
  const pair = Pair.settled();
  const frames: number[] = [];
  pair.world.onDeliver = (to, message) => {
    if (to === 1 && message instanceof FrameHeader && message.kind === FrameKind.Write) {
      frames.push(message.length);
    }
  };
  const write = pair.world.request(0, Write, 1000, 600);
  pair.settle(50);
  assert.equal(write.answered, 0);
  assert.deepEqual(frames, [1 << 20, 1 << 20, 88 * 4096]);
  assert.equal(pair.world.nodes[1].disk.get(1599), write.value);
});

Deno.test("requests out of range, empty, or to a Secondary are answered at once", () => {
  const pair = Pair.settled();
  assert.equal(pair.world.request(1, Read, 0).answered, 108);
  assert.equal(pair.world.request(0, Read, pair.world.layout.blocks, 1).answered, 22);
  assert.equal(pair.world.request(0, Write, 0, 0).answered, 0);
});

Deno.test("a replica with data of its own is refused, told once, and met again when it is mended", () => {
  const pair = new Pair({ blank: "no" });
  pair.world.start(0);
  pair.world.start(1);
  // The first record names alpha alone.
  Object.assign(pair.cluster.register, { upToDate: ["aaaaaaaa"] });
  pair.settle(20);
  pair.take(0);
  pair.settle(30_000);
  const [alpha, beta] = pair.world.nodes;
  const refusals = () => alpha.notes.filter(({ rule }) => rule === "unrelated");
  assert.equal(alpha.report!.peers[0]!.connection, "StandAlone");
  assert.equal(refusals().length, 1);
  assert.match(refusals()[0]!.text, /given up, there, with bascule volume discard data/);

  // Somebody gives up what beta held; alpha goes on all the while.
  pair.world.crash(1, false);
  beta.disk.metadata = pair.world.format(1, beta.replicaId, "unknown");
  pair.restart(1);
  pair.settle(15_000);
  assert.equal(alpha.report!.peers[0]!.connection, "Connected");
  assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa", "bbbbbbbb"]);
  assert.equal(refusals().length, 1);
});
