import assert from "node:assert/strict";
import { describeOptions, drawOptions, PLAIN } from "../../src/sim/options.ts";
import { simulate } from "../../src/sim/simulation.ts";
import { KNOWN_WORLDS } from "./seeds.ts";

const MINUTE = 60_000;
/** Real milliseconds that fresh seeds may take. */
const BUDGET = 20_000;

Deno.test("no fresh world breaks a promise", () => {
  const base = crypto.getRandomValues(new Uint32Array(1))[0]!;
  const until = performance.now() + BUDGET;
  let seed = base;
  do {
    const options = drawOptions(seed, 5 * MINUTE);
    const { violation } = simulate(options);
    assert.equal(
      violation,
      null,
      `replay: bascule simulate --seed ${seed} --minutes 5 --trace\n${describeOptions(options)}`,
    );
    seed++;
  } while (performance.now() < until);
  // deno-lint-ignore no-console -- the seed is what replays a failure
  console.log(`${seed - base} fresh worlds from seed ${base} on`);
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
