import assert from "node:assert/strict";
import type { TimedFault } from "../../src/sim/faults.ts";
import { drawOptions, type Options } from "../../src/sim/options.ts";
import { shrink } from "../../src/sim/shrink.ts";
import { type Outcome, simulate } from "../../src/sim/simulation.ts";
import { Violation } from "../../src/sim/violation.ts";
import type { World } from "../../src/sim/world.ts";
import { parseWorld, WorldFileError, worldLines } from "../../src/sim/world_file.ts";

const MINUTE = 60_000;

/** A bug: the machine that was paused first loses everything when it is killed after that. */
function plantBug(world: World): void {
  let paused: string | null = null;
  for (const machine of world.machines) {
    const { hold, kill } = machine;
    machine.hold = (threads, milliseconds) => {
      paused ??= machine.name;
      hold.call(machine, threads, milliseconds);
    };
    machine.kill = (power) => {
      // Not the kill that ends each world.
      if (machine.name === paused && world.now < world.options.duration) {
        throw new Violation("planted", `${paused} was killed`);
      }
      kill.call(machine, power);
    };
  }
}

/** A drawn world in which the bug shows after many faults. */
function findWorld(): { options: Options; outcome: Outcome } {
  for (let seed = 1; seed < 200; seed++) {
    const options = drawOptions(seed, 10 * MINUTE);
    const outcome = simulate(options, { prepare: plantBug });
    if (outcome.violation?.startsWith("planted") && outcome.faults.length >= 20) {
      return { options, outcome };
    }
  }
  throw new Error("no world shows the bug");
}

Deno.test("a planted bug is shrunk to the two faults that make it", () => {
  const { options, outcome } = findWorld();
  const { faults, violation } = shrink(options, outcome.faults, outcome.violation!, {
    prepare: plantBug,
  });
  assert.match(violation, /^planted/);
  assert.equal(faults.length, 2, JSON.stringify(faults));
  assert.ok(["pause", "freeze"].includes(faults[0]!.fault), faults[0]!.fault);
  // Whatever kills an agent.
  assert.ok(
    ["kill", "power", "fuse", "voterLoss", "diskLoss", "diskError"].includes(faults[1]!.fault),
  );
  // It replays, from the lines of a file as well.
  const saved = parseWorld(worldLines({ options, faults }).join("\n"), "saved");
  assert.deepEqual(saved, { options, faults });
  const again = simulate(saved.options, { faults: saved.faults, prepare: plantBug });
  assert.equal(again.violation, violation);
});

Deno.test("what was drawn gives the same run again, line for line", () => {
  for (const seed of [11, 12, 13, 14]) {
    const options = drawOptions(seed, 3 * MINUTE);
    const run = (faults: readonly TimedFault[] | null) => {
      const lines: string[] = [];
      const outcome = simulate(options, { trace: (line) => lines.push(line), faults });
      return { lines, faults: outcome.faults, answered: outcome.answered };
    };
    const drawn = run(null);
    assert.ok(drawn.faults.length > 0);
    assert.deepEqual(run(drawn.faults), drawn);
  }
});

Deno.test("a file that is no world says so, with its line", () => {
  const bad = (text: string, message: RegExp) =>
    assert.throws(() => parseWorld(text, "w.jsonl"), (error) => {
      assert.ok(error instanceof WorldFileError);
      assert.match(error.message, message);
      return true;
    });
  bad("", /w\.jsonl: it is empty/);
  bad("hello", /w\.jsonl:1: not an object/);
  bad('{"at": 1}', /w\.jsonl:1: the first line/);
  bad('{"options":{"deadtime":"5s"}}', /deadtime is a number/);
  bad('{"options":{}}\n{"at":1,"fault":"earthquake"}', /w\.jsonl:2: this is no fault/);
  bad('{"options":{}}\n\n{"fault":"kill"}', /w\.jsonl:3/);
  assert.equal(parseWorld('{"options":{"links":2}}', "w").options.links, 2);
});
