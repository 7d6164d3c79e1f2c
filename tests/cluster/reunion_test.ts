import assert from "node:assert/strict";
import fc from "fast-check";
import { createCluster } from "../../src/cluster/cluster.ts";
import { reunite } from "../../src/cluster/reunion.ts";
import type { Found } from "../../src/cluster/register_state.ts";
import type { GroupRecord } from "../../src/cluster/types.ts";
import { makeConfig } from "./configs.ts";

const SEEDED = { seed: 20_260_101, numRuns: 2000 };

function state(quorum: "survivor" | "fencing") {
  return createCluster({
    config: makeConfig({ nodes: ["a", "b"], witnesses: [], quorum }),
    node: "a",
    incarnation: 1,
    voterId: "voter-a",
    now: 0,
    seed: 1,
    log: [],
  });
}

/** What a voter holds: epochs name their owner by their remainder, `a` owns the even ones. */
const side: fc.Arbitrary<NonNullable<Found>> = fc.record({
  epoch: fc.integer({ min: 1, max: 6 }),
  released: fc.boolean(),
  version: fc.integer({ min: 1, max: 9 }),
  n: fc.integer({ min: 1, max: 9 }),
  by: fc.constantFrom("a", "b"),
  members: fc.subarray(["replica-a", "replica-b"], { minLength: 1 }),
}).map(({ epoch, released, version, n, by, members }) => {
  const owner = { node: epoch % 2 === 0 ? "a" : "b", incarnation: 1 };
  const value: GroupRecord = {
    version,
    epoch,
    owner: released ? null : owner,
    volumes: { data: { generation: `g${epoch}`, upToDate: members } },
  };
  return { ballot: { n, node: by, incarnation: 1 }, proposal: { value } };
});

Deno.test("reunion: both nodes come to the same record, whoever asks, and take it for news", () => {
  // Breaks when each side would let its own go on, or when one would not see that anything changed.
  fc.assert(
    fc.property(side, side, (one, other) => {
      fc.pre(one.ballot.n !== other.ballot.n || one.ballot.node !== other.ballot.node);
      const found = reunite(state("survivor"), "group:web", [one, other]);
      assert.deepEqual(found, reunite(state("survivor"), "group:web", [other, one]));
      const { version, ...kept } = found!.value as GroupRecord;
      const sides = [one, other].map(({ proposal }) => proposal.value as GroupRecord);
      assert.ok(sides.every((each) => version >= each.version));
      assert.ok(
        sides.some((each) => {
          const { version: _version, ...rest } = each;
          return JSON.stringify(rest) === JSON.stringify(kept);
        }),
        "one side goes on whole: nothing is mixed",
      );
      assert.equal(kept.epoch, Math.max(...sides.map(({ epoch }) => epoch)));
    }),
    SEEDED,
  );
});

Deno.test("reunion: within an epoch what its owner wrote goes on, a release too, however old", () => {
  // Breaks P1: the owner alone knows who lacks writes; the other may have written newer versions.
  fc.assert(
    fc.property(side, side, (one, other) => {
      const [a, b] = [one, other].map(({ proposal }) => proposal.value as GroupRecord);
      const owner = a!.epoch % 2 === 0 ? "a" : "b";
      fc.pre(a!.epoch === b!.epoch && one.ballot.node === owner && other.ballot.node !== owner);
      const { value } = reunite(state("survivor"), "group:web", [other, one])!;
      assert.deepEqual((value as GroupRecord).volumes, a!.volumes);
      assert.deepEqual((value as GroupRecord).owner, a!.owner);
    }),
    SEEDED,
  );
});

Deno.test("reunion: no other mode makes records one, and what is the same stays as it is", () => {
  fc.assert(
    fc.property(side, side, (one, other) => {
      assert.equal(reunite(state("fencing"), "group:web", [one, other]), null);
      assert.equal(reunite(state("survivor"), "group:web", [one, one]), null);
    }),
    SEEDED,
  );
});
