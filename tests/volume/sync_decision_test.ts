import assert from "node:assert/strict";
import { adopt, HISTORY_LENGTH, shared, trackedFrom } from "../../src/volume/generations.ts";
import type { Generations } from "../../src/volume/types.ts";
import { decideSync, type SyncSide } from "../../src/volume/sync_decision.ts";

const IDS = ["", "1", "2", "3", "4"] as const;
const HISTORIES: readonly (readonly string[])[] = [[], ["1"], ["2"], ["3"], ["1", "2"]];

function* sides(currents: readonly string[]): Generator<SyncSide> {
  for (const current of currents) {
    for (const bitmap of IDS) {
      for (const history of HISTORIES) {
        for (const dirtyBlocks of [0, 3]) {
          for (const inconsistent of [false, true]) {
            yield {
              generations: { current, bitmap, history },
              dirtyBlocks,
              inconsistent,
              blank: false,
            };
          }
        }
      }
    }
  }
}

Deno.test("all pairs of tuples, counts and flags: what must hold holds", () => {
  const targets = [...sides(["1", "2", "3"])];
  let seen = 0;
  const verdicts = new Set<string>();
  // Which id is which does not matter, so the source's present generation is fixed.
  for (const source of sides(["1"])) {
    for (const plain of targets) {
      for (const blank of [false, true]) {
        for (const bound of [false, true]) {
          const target = { ...plain, blank };
          const { verdict, reason } = decideSync(source, target, bound);
          const s = source.generations;
          const t = target.generations;
          const what = JSON.stringify({ source, target, bound, verdict });
          seen++;
          verdicts.add(verdict);
          assert.ok(reason.length > 0);
          if (source.inconsistent) {
            assert.equal(verdict, "unrelated", what);
            continue;
          }
          const tracked = bound && (s.current === t.current || s.bitmap === t.current);
          if (source.dirtyBlocks > 0 || target.dirtyBlocks > 0) {
            assert.notEqual(verdict, "none", `any bit forbids nothing: ${what}`);
          }
          if (tracked) assert.ok(verdict === "none" || verdict === "bitmap", what);
          else assert.ok(verdict !== "none" && verdict !== "bitmap", what);
          if (verdict === "split-brain" || verdict === "unrelated") {
            assert.ok(!target.blank && !target.inconsistent, `nothing to lose: ${what}`);
            assert.ok(!s.history.includes(t.current), `the target is merely older: ${what}`);
          }
          const apart = t.bitmap !== "" && (t.bitmap === s.current || t.bitmap === s.bitmap);
          const older = s.history.includes(t.current) || t.current === s.current ||
            t.current === s.bitmap;
          if (apart && !older && !target.blank && !target.inconsistent) {
            assert.equal(verdict, "split-brain", `it was written apart: ${what}`);
          }
        }
      }
    }
  }
  assert.equal(seen, 100 * 300 * 4);
  assert.deepEqual([...verdicts].sort(), ["bitmap", "full", "none", "split-brain", "unrelated"]);
});

Deno.test("a new generation keeps the one that the absent peer shares, until it has joined", () => {
  const first: Generations = { current: "1", bitmap: "", history: [] };
  const second = adopt(first, "2");
  assert.deepEqual(second, { current: "2", bitmap: "1", history: ["1"] });
  const third = adopt(second, "3");
  assert.equal(third.bitmap, "1");
  assert.deepEqual(third.history, ["2", "1"]);
  assert.equal(adopt(third, "3"), third);
  assert.deepEqual(shared(third), { current: "3", bitmap: "", history: ["2", "1"] });
  assert.equal(shared(first), first);
  assert.equal(trackedFrom(third, "9").bitmap, "9");
  let many = first;
  for (let i = 10; i < 40; i++) many = adopt(many, String(i));
  assert.equal(many.history.length, HISTORY_LENGTH);
});
