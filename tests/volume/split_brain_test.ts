import assert from "node:assert/strict";
import type { SplitBrainPolicy } from "../../src/config/types.ts";
import { RequestKind, type VolumeOperation } from "../../src/volume/types.ts";
import { afterSplitBrain } from "../../src/volume/split_brain.ts";
import type { WorldOptions } from "./harness.ts";
import { Pair } from "./pair.ts";

const Write = RequestKind.Write;

/** Alpha wrote `first` blocks, then beta, promoted by force, `second`; alpha is Secondary by now. */
function parted(first: number, second: number, options: WorldOptions = {}): Pair {
  const pair = Pair.settled(options);
  const [alpha, beta] = pair.world.nodes;
  pair.world.setLink(false);
  for (let i = 0; i < first; i++) pair.world.request(0, Write, 10 + i);
  pair.settle(3000, [0]);
  const { current } = pair.superblock(1).generations;
  Object.assign(pair.cluster.register, { upToDate: [beta.replicaId], generation: current });
  pair.cluster.register.version++;
  pair.take(1);
  for (let i = 0; i < second; i++) pair.world.request(1, Write, 500 + i);
  pair.settle(3000);
  assert.equal(beta.report!.role, "Primary");
  assert.equal(alpha.report!.role, "Secondary");
  return pair;
}

/** What the volume answers to an operator. */
function operate(pair: Pair, index: number, what: VolumeOperation): string | null {
  const node = pair.world.nodes[index]!;
  const id = node.asks.length + 1;
  node.volume!.order({ type: "operate", id, what });
  pair.settle(50);
  const answer = node.asks.find((ask) => ask.type === "operated" && ask.id === id);
  assert.ok(answer?.type === "operated", "an operator is always answered");
  return answer.error;
}

Deno.test("both sides of a split brain show the same, and discard is the way out", () => {
  const pair = parted(3, 5);
  const [alpha, beta] = pair.world.nodes;
  assert.match(operate(pair, 0, "discard")!, /nothing is known of other data/);
  pair.world.setLink(true);
  pair.settle(3000);
  for (const node of pair.world.nodes) {
    assert.equal(node.report!.peers[0]!.connection, "StandAlone", node.name);
    assert.equal(node.notes.filter(({ rule }) => rule === "split-brain").length, 1, node.name);
    assert.equal(node.report!.split!.blocks, 8, "three of one, five of the other");
  }
  const { own, peer } = alpha.report!.split!;
  assert.deepEqual([own.dirtyBlocks, peer.dirtyBlocks], [3, 5]);
  assert.ok(own.lastWrite > 0 && own.lastWrite < peer.lastWrite, "alpha wrote before beta");
  assert.deepEqual(beta.report!.split, { ...alpha.report!.split!, own: peer, peer: own });
  assert.equal(alpha.disk.get(500), 0, "nothing was copied unasked");
  assert.notEqual(alpha.disk.get(10), 0);

  assert.match(operate(pair, 1, "discard")!, /it is Primary here/);
  assert.equal(operate(pair, 0, "discard"), null);
  assert.equal(pair.superblock(0).discard, true);
  // The wish outlives the agent.
  pair.fail(0, false);
  pair.restart(0);
  pair.settle(15_000);
  assert.equal(beta.report!.peers[0]!.connection, "Connected");
  assert.equal(beta.report!.split, undefined);
  assert.equal(pair.superblock(0).discard, false);
  assert.deepEqual(pair.cluster.register.upToDate.toSorted(), ["aaaaaaaa", "bbbbbbbb"]);
  for (const block of [10, 11, 12]) assert.equal(alpha.disk.get(block), 0, "given up");
  for (let i = 0; i < 5; i++) assert.equal(alpha.disk.get(500 + i), beta.disk.get(500 + i));
});

for (
  const [policy, first, second, healed] of [
    ["disconnect", 0, 5, false],
    ["discard-zero-changes", 3, 5, false],
    ["discard-least-changes", 3, 5, true],
    ["discard-least-changes", 6, 5, false],
    ["discard-younger-primary", 3, 5, false],
  ] as const
) {
  Deno.test(`${policy} with ${first} and ${second} changed blocks: ${healed ? "one" : "two"} histories`, () => {
    const pair = parted(Math.max(first, 1), second, { afterSplitBrain: policy });
    pair.world.setLink(true);
    pair.settle(3000);
    const { connection } = pair.world.nodes[1].report!.peers[0]!;
    assert.equal(connection, healed ? "Connected" : "StandAlone");
    assert.equal(pair.world.nodes[0].disk.get(10) === 0, healed, "what alpha wrote");
  });
}

Deno.test("policies give up the target's data or nobody's", () => {
  const policies: readonly SplitBrainPolicy[] = [
    "disconnect",
    "discard-zero-changes",
    "discard-younger-primary",
    "discard-least-changes",
  ];
  const sides = [0, 1, 2].flatMap((dirtyBlocks) =>
    [0, 10, 20].map((primarySince) => ({ dirtyBlocks, primarySince }))
  );
  const chosen = new Map<string, number>();
  for (const policy of policies) {
    for (const source of sides) {
      for (const target of sides) {
        const { discard, reason } = afterSplitBrain(policy, source, target);
        assert.ok(reason.length > 0);
        if (discard) chosen.set(policy, (chosen.get(policy) ?? 0) + 1);
        const younger = source.primarySince > 0 && target.primarySince > source.primarySince;
        const expected = {
          "disconnect": false,
          "discard-zero-changes": target.dirtyBlocks === 0,
          "discard-younger-primary": younger,
          "discard-least-changes": target.dirtyBlocks < source.dirtyBlocks,
        }[policy];
        assert.equal(discard, expected, JSON.stringify({ policy, source, target }));
      }
    }
  }
  assert.equal(chosen.size, 3);
});

Deno.test("a replica of another lineage keeps its data until an operator gives them up", () => {
  const pair = parted(2, 4);
  const [alpha, beta] = pair.world.nodes;
  // What a forced promotion leaves: the successor has a lineage of its own.
  pair.cluster.lineage = "forced";
  pair.fail(1, false);
  pair.restart(1);
  pair.take(1);
  pair.settle(500);
  assert.equal(pair.superblock(1).lineage, "forced");
  pair.world.setLink(true);
  pair.settle(3000);
  for (const node of [alpha, beta]) {
    assert.equal(node.report!.peers[0]!.connection, "StandAlone", node.name);
    assert.match(node.report!.standAlone!, /lineage/);
    assert.equal(node.report!.split!.blocks, null, "nobody compared them");
  }
  assert.equal(operate(pair, 0, "discard"), null);
  pair.settle(15_000);
  assert.equal(pair.superblock(0).lineage, "forced");
  assert.equal(beta.report!.peers[0]!.connection, "Connected");
  assert.equal(alpha.disk.get(500), beta.disk.get(500));
  assert.equal(alpha.disk.get(10), beta.disk.get(10));
});

Deno.test("disconnect holds until connect, and costs a member no write", () => {
  for (const index of [0, 1]) {
    const pair = Pair.settled();
    const [alpha, beta] = pair.world.nodes;
    assert.equal(operate(pair, index, "disconnect"), null);
    const write = pair.world.request(0, Write, 7);
    pair.settle(6000);
    assert.equal(write.answered, 0);
    assert.deepEqual(pair.cluster.register.upToDate, ["aaaaaaaa"]);
    assert.equal(pair.world.nodes[index]!.report!.peers[0]!.connection, "StandAlone");
    assert.equal(beta.disk.get(7), 0);
    assert.equal(operate(pair, index, "connect"), null);
    pair.settle(3000);
    assert.equal(alpha.report!.peers[0]!.connection, "Connected");
    assert.equal(beta.disk.get(7), write.value);
    assert.deepEqual(pair.cluster.register.upToDate.toSorted(), ["aaaaaaaa", "bbbbbbbb"]);
  }
});
