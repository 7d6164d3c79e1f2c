import assert from "node:assert/strict";
import { fuzz } from "./fuzzer.ts";

/** How long a slice takes, in milliseconds. */
const SLICE = 12_000;

Deno.test("a slice of fuzzing finds nothing, and gets into every corner", () => {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
  let tally;
  try {
    tally = fuzz(seed, Infinity, performance.now() + SLICE);
  } catch (error) {
    throw new Error(`seed ${seed}`, { cause: error });
  }
  const { streams, messages, established, requests, rejections, drops } = tally;
  assert.ok(streams > 500, `${streams} streams, ${messages} messages`);
  for (const count of [...established, requests, rejections, drops]) {
    assert.ok(count > 0, JSON.stringify(tally));
  }
});
