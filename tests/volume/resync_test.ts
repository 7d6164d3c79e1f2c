import assert from "node:assert/strict";
import { FrameKind, RequestKind } from "../../src/volume/types.ts";
import { FrameHeader } from "../../src/wire/replication.ts";
import { isFrame } from "./harness.ts";
import { Pair } from "./pair.ts";

const Write = RequestKind.Write;

Deno.test("what was written again with the same content is not sent, zeroes are a bit", () => {
  const pair = Pair.settled();
  const [alpha, beta] = pair.world.nodes;
  pair.world.setLink(false);
  const writes = Array.from({ length: 40 }, (_, i) => pair.world.request(0, Write, 100 + 9 * i));
  pair.settle(3000);
  // Beta has half of it by other means, and garbage where alpha has zeroes.
  for (const { blocks, value } of writes.slice(0, 20)) beta.disk.write(blocks[0]!, value, true);
  pair.world.request(0, RequestKind.Zero, 5000, 30);
  for (let block = 5000; block < 5030; block += 2) beta.disk.write(block, 4711, true);
  pair.settle(500);
  let sent = 0;
  pair.world.onDeliver = (to, message) => {
    if (to === 1 && isFrame(message, FrameKind.Resync)) {
      sent += (message as FrameHeader).length / 4096;
    }
  };
  pair.world.setLink(true);
  pair.settle(4000);
  assert.equal(sent, 20);
  for (const [block, value] of alpha.disk.cache) assert.equal(beta.disk.get(block), value);
  assert.equal(alpha.report!.peers[0]!.outOfSyncBytes, 0);
});

Deno.test("the order walks the disk once, upwards", () => {
  const pair = Pair.settled({ extents: 40 });
  pair.world.setLink(false);
  for (let n = 0; n < 900; n++) pair.world.request(0, Write, (n * 7919) % (40 * 1024));
  pair.settle(4000);
  const seen: number[] = [];
  pair.world.onDeliver = (to, message) => {
    if (to === 1 && isFrame(message, FrameKind.Resync)) seen.push((message as FrameHeader).offset);
  };
  pair.world.setLink(true);
  pair.settle(4000);
  assert.ok(seen.length > 2);
  assert.deepEqual(seen, seen.toSorted((a, b) => a - b));
  assert.equal(pair.world.nodes[0].report!.peers[0]!.outOfSyncBytes, 0);
});

Deno.test("a resync without progress begins anew from the bitmap, with the reason in the journal", () => {
  const pair = Pair.settled({ resync: { stall: 3000 } });
  const [alpha, beta] = pair.world.nodes;
  pair.world.setLink(false);
  const write = pair.world.request(0, Write, 12, 3);
  pair.settle(3000);
  // Reads of the source hang, everything else goes on.
  pair.world.diskMay = (node, what) => node !== 0 || what !== "disk read";
  pair.world.setLink(true);
  pair.settle(2500);
  const stalls = () => alpha.notes.filter(({ rule }) => rule === "resync-stalled");
  assert.equal(alpha.report!.peers[0]!.connection, "SyncSource");
  assert.equal(stalls().length, 0);
  pair.settle(3000);
  assert.equal(stalls().length, 1);
  assert.match(stalls()[0]!.text, /no progress for \d+ s: it begins anew from the bitmap/);
  pair.world.diskMay = () => true;
  pair.settle(5000);
  assert.equal(alpha.report!.peers[0]!.connection, "Connected");
  assert.equal(beta.disk.get(13), write.value);
});

Deno.test("both sides show how far a resync is", () => {
  const pair = Pair.settled({ extents: 8 });
  pair.world.setLink(false);
  for (let first = 0; first < 8192; first += 512) pair.world.request(0, Write, first, 512);
  pair.settle(3000);
  let frames = 0;
  pair.world.filter = (to, message) =>
    to === 0 || !isFrame(message, FrameKind.Sums) || ++frames < 4;
  pair.world.setLink(true);
  pair.settle(1500);
  for (const [index, connection] of [[0, "SyncSource"], [1, "SyncTarget"]] as const) {
    const [peer] = pair.world.nodes[index]!.report!.peers;
    assert.equal(peer!.connection, connection);
    assert.equal(peer!.resync!.totalBytes, 8192 * 4096);
    assert.ok(peer!.resync!.doneBytes > 0 && peer!.resync!.doneBytes < 8192 * 4096);
  }
});
