/** What is compared and copied after a Primary's crash: the extents of its log, and no more. */
import assert from "node:assert/strict";
import { RequestKind } from "../../src/volume/types.ts";
import { Pair } from "./pair.ts";

const EXTENT = 1024;

for (const taker of [0, 1]) {
  const who = taker === 0 ? "it takes again itself" : "its peer takes";
  Deno.test(`a Primary is killed with writes in three extents, ${who}: these are dirty, no more`, () => {
    const pair = Pair.settled();
    const [alpha, beta] = pair.world.nodes;
    // Written, flushed and driven out of the log long ago: it holds twelve extents of sixteen.
    for (let extent = 0; extent < 16; extent++) {
      pair.world.request(0, RequestKind.Write, extent * EXTENT + 3);
      pair.settle(30);
    }
    pair.world.request(0, RequestKind.Flush);
    pair.settle(50);
    pair.world.request(0, RequestKind.Flush);
    pair.settle(50);
    const touched = [2, 5, 11];
    pair.world.filter = (to) => to === 0;
    for (const extent of touched) pair.world.request(0, RequestKind.Write, extent * EXTENT + 7);
    pair.world.run(30);
    pair.fail(0, false);
    pair.world.filter = () => true;
    const logged = pair.logExtents(0);
    for (const extent of touched) assert.ok(logged.includes(extent), `${extent}`);
    assert.ok(logged.length <= pair.world.layout.logSlots);
    pair.settle(20, [1]);
    let dirty = 0;
    if (taker === 1) pair.take(1);
    pair.restart(0);
    pair.world.run(20);
    if (taker === 0) {
      pair.settle(20);
      dirty = pair.dirtyOnDisk(0);
      pair.take(0);
    } else {
      dirty = pair.dirtyOnDisk(0);
    }
    assert.equal(dirty, logged.length * EXTENT, "more, or less, than the log's extents is dirty");
    pair.settle(5000);
    assert.deepEqual([...pair.cluster.register.upToDate].sort(), ["aaaaaaaa", "bbbbbbbb"]);
    for (const extent of touched) {
      const block = extent * EXTENT + 7;
      assert.equal(alpha.disk.get(block), beta.disk.get(block), `block ${block}`);
    }
  });
}
