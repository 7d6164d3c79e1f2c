import assert from "node:assert/strict";
import { LeaseCell } from "../../src/agent/dataplane/lease_cell.ts";

Deno.test("both sides of a lease cell see the same lease", () => {
  const writer = new LeaseCell();
  const reader = new LeaseCell(writer.buffer);
  assert.deepEqual(reader.read(), { epoch: 0, until: 0 });
  writer.write(7, 1234.5678, 0);
  assert.equal(reader.read().epoch, 7);
  // Never longer than it was given.
  assert.equal(reader.read().until, 1234.567);
  writer.write(7, Infinity, 0);
  assert.deepEqual(reader.read(), { epoch: 7, until: Infinity });
  writer.write(7, 0, 0);
  assert.deepEqual(reader.read(), { epoch: 7, until: 0 });
  assert.throws(() => writer.write(7, -1, 0), RangeError);
});

Deno.test("a reader is woken when its lease ended, came back or changed its epoch", () => {
  const cell = new LeaseCell();
  assert.equal(cell.write(1, 200, 100), true, "the first");
  assert.equal(cell.write(1, 300, 150), false, "a renewal in time");
  assert.equal(cell.write(1, 500, 400), true, "back after its end");
  assert.equal(cell.write(1, 0, 450), true, "taken away");
  assert.equal(cell.write(2, 600, 460), true, "another epoch");
});

Deno.test("an end is never paired with another epoch", async () => {
  const cell = new LeaseCell();
  const source = `
    self.onmessage = ({ data }) => {
      const words = new BigInt64Array(data);
      self.postMessage("started");
      for (let epoch = 1n; epoch <= 200000n; epoch++) {
        Atomics.store(words, 1, 0n);
        Atomics.store(words, 0, epoch);
        Atomics.store(words, 1, epoch * 1000n);
      }
      self.postMessage("done");
    };`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  try {
    const started = Promise.withResolvers<void>();
    let done = false;
    worker.onmessage = ({ data }) => data === "started" ? started.resolve() : done = true;
    worker.postMessage(cell.buffer);
    await started.promise;
    let pairs = 0;
    while (!done) {
      for (let i = 0; i < 1000; i++) {
        const { epoch, until } = cell.read();
        if (until !== 0) assert.equal(until, epoch);
        pairs++;
      }
      await new Promise((resolve) => setTimeout(resolve));
    }
    assert.ok(pairs > 0);
  } finally {
    worker.terminate();
    URL.revokeObjectURL(url);
  }
});
