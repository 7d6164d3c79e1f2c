/** The simulated disk is as bad as it says: what a crash may take it takes, and nothing else. */

import assert from "node:assert/strict";
import { Chance } from "../../src/sim/chance.ts";
import { Disk, EIO, ENOSPC } from "../../src/sim/disk.ts";

const SECTOR = 512;

function disk(seed: number, volatileCache = true): Disk {
  return new Disk("replica", 8, new Uint8Array(8 * SECTOR), volatileCache, new Chance(seed));
}

/** What became of something in many runs. */
function outcomes(run: (seed: number) => string): Set<string> {
  return new Set(Array.from({ length: 60 }, (_, seed) => run(seed)));
}

Deno.test("completed writes may be lost with the power, not with the agent, and not once flushed", () => {
  const after = (power: boolean, flushes: boolean, volatileCache = true) =>
    outcomes((seed) => {
      const one = disk(seed, volatileCache);
      one.beginWrite(3, Int32Array.of(9), false)();
      if (flushes) one.beginFlush()();
      one.crash(power);
      return `${one.cache[3]}`;
    });
  assert.deepEqual(after(true, false), new Set(["0", "9"]));
  assert.deepEqual(after(true, true), new Set(["9"]));
  assert.deepEqual(after(false, false), new Set(["9"]));
  assert.deepEqual(after(true, false, false), new Set(["9"]));
});

Deno.test("a flush covers what was complete when it began, and only once it is done", () => {
  const seen = outcomes((seed) => {
    const one = disk(seed);
    one.beginWrite(0, Int32Array.of(1), false)();
    const flushed = one.beginFlush();
    one.beginWrite(1, Int32Array.of(2), false)();
    if (seed % 2 === 0) flushed();
    one.crash(true);
    if (seed % 2 === 0) assert.equal(one.cache[0], 1);
    return `${one.cache[0]} ${one.cache[1]}`;
  });
  assert.ok(seen.has("1 0") && seen.has("0 0") && seen.has("1 2"), [...seen].join(", "));
});

Deno.test("the write under way is done wholly, partly or not at all", () => {
  const seen = outcomes((seed) => {
    const one = disk(seed);
    one.beginWrite(0, Int32Array.of(1, 2), true);
    one.crash(false);
    return `${one.cache[0]} ${one.cache[1]}`;
  });
  assert.deepEqual(seen, new Set(["0 0", "1 0", "0 2", "1 2"]));
});

Deno.test("lost power tears metadata between sectors, a killed agent does not", () => {
  const after = (power: boolean) =>
    outcomes((seed) => {
      const one = disk(seed);
      one.beginMetadata(SECTOR, new Uint8Array(2 * SECTOR).fill(7));
      one.crash(power);
      for (let at = 0; at < one.metadata.length; at += SECTOR) {
        const sector = one.metadata.subarray(at, at + SECTOR);
        assert.ok(sector.every((byte) => byte === sector[0]), "no sector is torn itself");
      }
      return `${one.metadata[0]}${one.metadata[SECTOR]}${one.metadata[2 * SECTOR]}`;
    });
  assert.deepEqual(after(true), new Set(["000", "077", "070", "007"]));
  assert.deepEqual(after(false), new Set(["000", "077"]));
  const one = disk(1);
  one.beginMetadata(0, new Uint8Array(SECTOR).fill(7))();
  one.crash(true);
  assert.equal(one.metadata[0], 7, "metadata are durable once they are done");
});

Deno.test("looking at what a loss of power would leave changes nothing", () => {
  const one = disk(1);
  one.beginMetadata(0, new Uint8Array(4 * SECTOR).fill(7));
  const seen = outcomes(() => {
    const region = one.afterPowerLoss();
    return [0, 1, 2, 3].map((sector) => region[sector * SECTOR]).join("");
  });
  assert.ok(seen.size > 4, [...seen].join(", "));
  assert.ok(one.metadata.every((byte) => byte === 0));
});

Deno.test("a broken disk fails everything, a full one what needs room, a worn one reads", () => {
  const one = disk(1);
  const errnos = () => (["read", "write", "flush"] as const).map((what) => one.errnoOf(what));
  assert.deepEqual(errnos(), [0, 0, 0]);
  one.failing = EIO;
  assert.deepEqual(errnos(), [EIO, EIO, EIO]);
  one.onlyReads = true;
  assert.deepEqual(errnos(), [EIO, 0, 0]);
  Object.assign(one, { failing: ENOSPC, onlyReads: false });
  assert.deepEqual(errnos(), [0, ENOSPC, 0]);
});
