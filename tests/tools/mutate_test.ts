import assert from "node:assert/strict";
import { hunt } from "../../tools/mutate/hunt.ts";
import { huntMutation } from "../../tools/mutate/main.ts";
import { applyPatch } from "../../tools/mutate/mutation.ts";
import { MUTATIONS } from "../../tools/mutate/mutations.ts";

/** Those that the simulator finds within few worlds; `deno task mutate` hunts them all. */
const QUICK = [
  "quorum-too-small",
  "accept-ignores-promise",
  "read-without-write-back",
  "grant-after-the-vote",
  "lease-from-receipt",
];

Deno.test("the simulator finds broken rules of the protocol", async () => {
  const queue = [...QUICK];
  const worker = async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      const mutation = MUTATIONS.find((each) => each.name === name);
      assert.ok(mutation, name);
      const { seed } = await huntMutation(mutation);
      assert.notEqual(seed, null, `${name} survives ${mutation.seeds} worlds`);
    }
  };
  await Promise.all([worker(), worker()]);
});

Deno.test("the worlds written for mutations break nothing while the code is whole", () => {
  // A broken one would be passed over in every hunt, and its mutation said to survive.
  for (const { name, world = null } of MUTATIONS) {
    if (world === null) continue;
    const { seed, violation } = hunt(1, 4, 5, "any", [], world);
    assert.equal(seed, null, `${name}, seed ${seed}: ${violation}`);
  }
});

Deno.test("a mutation whose code has changed says so", () => {
  const patch = { file: "src/x.ts", before: "one", after: "two" };
  assert.equal(applyPatch("a one b", patch), "a two b");
  assert.throws(() => applyPatch("a b", patch), /src\/x.ts holds the following 0 times, not once/);
  assert.throws(() => applyPatch("one one", patch), /holds the following 2 times/);
});
