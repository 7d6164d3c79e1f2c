import assert from "node:assert/strict";
import { describeOptions, drawOptions, PLAIN } from "../../src/sim/options.ts";
import { runBatch } from "../../src/cli/simulate_batch.ts";
import { simulate } from "../../src/sim/simulation.ts";
import { KNOWN_WORLDS } from "./seeds.ts";

const MINUTE = 60_000;
/**
 * Fresh ones on a developer's machine, each time others; where `CI` is set the same 1,500, so that a
 * failure there is the work of the change under test. A number of fresh ones can be asked for anywhere.
 */
const ASKED = Deno.env.get("BASCULE_FRESH_WORLDS");
const FIXED = ASKED === undefined && Deno.env.get("CI") !== undefined;
const WORLDS = FIXED ? 1500 : Number(ASKED ?? 200);

Deno.test(`no promise is broken in ${WORLDS} ${FIXED ? "" : "fresh "}worlds`, async () => {
  assert.ok(WORLDS > 0, "BASCULE_FRESH_WORLDS is no number");
  const from = FIXED ? 1 : crypto.getRandomValues(new Uint32Array(1))[0]!;
  const duration = 10 * MINUTE;
  const jobs = navigator.hardwareConcurrency;
  const broken: string[] = [];
  let hours = 0;
  const began = performance.now();
  const main = new URL("../../main.ts", import.meta.url).pathname;
  const program = [Deno.execPath(), "run", "-A", "--quiet", main];
  await runBatch(
    { seeds: WORLDS, from, jobs, duration, program },
    ({ seed, violation, simulated }) => {
      hours += simulated / (60 * MINUTE);
      if (violation === null) return;
      const options = describeOptions(drawOptions(seed, duration));
      broken.push(`${violation}\nreplay: bascule simulate --seed ${seed} --trace\n${options}`);
    },
  );
  const seconds = (performance.now() - began) / 1000;
  // deno-lint-ignore no-console -- the seed is what replays a failure
  console.log(
    `${WORLDS} worlds from seed ${from} on, ${hours.toFixed(0)} simulated hours in ` +
      `${seconds.toFixed(0)} s`,
  );
  assert.deepEqual(broken, []);
});

for (const { found, options, faults } of KNOWN_WORLDS) {
  Deno.test(`seed ${options.seed}: ${found}`, () => {
    assert.equal(simulate({ ...PLAIN, ...options }, { faults: faults ?? null }).violation, null);
  });
}

Deno.test("the same seed gives the same run", () => {
  const run = () => {
    const lines: string[] = [];
    const outcome = simulate(drawOptions(77, MINUTE), {
      trace: (line) => lines.push(line),
    });
    return { outcome, lines };
  };
  const [one, other] = [run(), run()];
  assert.deepEqual(one.outcome, other.outcome);
  assert.ok(one.lines.length > 100, "the run shows nothing");
  assert.deepEqual(one.lines, other.lines);
});

Deno.test("a forced promotion gives the data a lineage of their own in the simulator too", () => {
  const lines: string[] = [];
  const outcome = simulate({ ...PLAIN, seed: 2, duration: 200_000 }, {
    faults: [
      { at: 40_000, fault: "cut", routes: ["n1-*"], for: 80_000 },
      { at: 60_000, fault: "cut", routes: ["n2-*"], for: 60_000 },
      { at: 65_000, fault: "kill", node: "n2", down: 2000 },
      { at: 90_000, fault: "command", node: "n1", command: { type: "promote", group: "web" } },
    ],
    trace: (line) => lines.push(line),
  });
  assert.equal(outcome.violation, null);
  assert.match(lines.join("\n"), /n2 +\[split-brain\].* its lineage is \w+, ours \w+/);
});
