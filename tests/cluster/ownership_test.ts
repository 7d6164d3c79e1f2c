import assert from "node:assert/strict";
import { decide, type NodeFacts, type OwnershipInput } from "../../src/cluster/ownership.ts";
import type { GroupRecord, ReplicaHealth } from "../../src/cluster/types.ts";
import { makeConfig, type Shape } from "./configs.ts";
import { CALM, factsAbout, GENERATION, healthOf } from "./decisions.ts";

function health(node: string, change: Partial<ReplicaHealth> = {}): ReplicaHealth {
  return healthOf(`replica-${node}`, change);
}

function facts(node: string, change: Partial<NodeFacts> = {}): NodeFacts {
  return factsAbout(node, { replicas: node === "w" ? {} : { data: health(node) }, ...change });
}

function record(change: Partial<GroupRecord> = {}): GroupRecord {
  const upToDate = ["replica-a", "replica-b"];
  return {
    version: 9,
    epoch: 3,
    owner: { node: "a", incarnation: 1 },
    volumes: { data: { generation: GENERATION, upToDate } },
    ...change,
  };
}

/** As node `b` sees it: `a` owned the group and is dead. */
function input(change: Partial<OwnershipInput> = {}, shape: Shape = {}): OwnershipInput {
  const config = makeConfig(shape);
  return {
    group: config.groups[0]!,
    volumes: config.volumes,
    self: { node: "b", incarnation: 1 },
    nodes: [facts("a", { alive: false }), facts("b"), facts("w")],
    record: record(),
    ...CALM,
    ...change,
  };
}

function says(change: Partial<OwnershipInput>, shape: Shape = {}): string {
  const { action, to, why } = decide(input(change, shape));
  assert.ok(why.text.length > 10);
  return [action, why.rule, to ?? "-"].join(" ");
}

Deno.test("a survivor takes from a dead owner, and says from whom", () => {
  assert.equal(says({}), "take take b");
  assert.match(decide(input()).why.text, /b takes the group: a has no lease any more/);
  assert.equal(decide(input()).why.known["a"], "is not heard");
});

Deno.test("nothing is taken without a quorum, in maintenance, or beside a lease", () => {
  assert.equal(says({ quorum: false }), "wait no-quorum -");
  assert.equal(says({ maintenance: true }), "none maintenance -");
  assert.equal(says({ freeFor: null }), "none owned -");
});

Deno.test("only members of the in-sync set are eligible, by id and generation", () => {
  const b = (change: Partial<ReplicaHealth>) => ({
    nodes: [facts("a", { alive: false }), facts("b", { replicas: { data: health("b", change) } })],
  });
  assert.equal(says(b({ replicaId: "another" })), "wait no-candidate -");
  assert.equal(says(b({ replicaId: "" })), "wait no-candidate -");
  assert.equal(says(b({ generation: "another" })), "wait no-candidate -");
  assert.equal(says(b({ disk: "Inconsistent" })), "wait no-candidate -");
  assert.equal(says(b({ disk: "Diskless" })), "wait no-candidate -");
  assert.equal(says(b({ disk: "Outdated" })), "take take b", "the record decides, not the word");
});

Deno.test("an unclean replica takes only alone, among its like, or when told to go", () => {
  const unclean = facts("b", { replicas: { data: health("b", { unclean: true }) } });
  const dead = { nodes: [facts("a", { alive: false }), unclean] };
  const sole = record({
    volumes: { data: { generation: GENERATION, upToDate: ["replica-b"] } },
  });
  assert.equal(says(dead), "wait no-candidate -");
  assert.equal(says({ ...dead, record: sole }), "take take b");
  assert.equal(says(dead, { afterPowerLoss: "go" }), "take take b");
  assert.equal(
    says({ ...dead, initdeadPassed: false }, { afterPowerLoss: "go" }),
    "wait no-candidate -",
  );
  const other = facts("a", {
    incarnation: 2,
    replicas: { data: health("a", { unclean: true }) },
    standby: true,
  });
  assert.equal(says({ nodes: [other, unclean] }), "take take b");
});

Deno.test("standby, failed, stopping and unheard nodes are no candidates", () => {
  for (
    const change of [
      { standby: true },
      { failed: { reason: "exited", count: 1 } },
      { phase: "stopping" as const },
      { phase: null },
    ]
  ) {
    const nodes = [facts("a", { alive: false }), facts("b", change)];
    assert.equal(says({ nodes }), "wait no-candidate -");
  }
});

Deno.test("of two candidates the preferred takes at once, the other a little later", () => {
  const free = { record: record({ owner: null }), nodes: [facts("a"), facts("b"), facts("w")] };
  const a = { node: "a", incarnation: 1 };
  assert.equal(says({ ...free, self: a }), "take take a");
  assert.equal(says({ ...free, freeFor: 99_999 }), "wait after-you a", "it was not able before");
  assert.equal(says({ ...free, waitedFor: 399 }), "wait after-you a");
  assert.equal(says({ ...free, waitedFor: 400 }), "take take b");
  assert.equal(says({ ...free, self: { node: "w", incarnation: 1 } }), "wait other-takes a");
});

Deno.test("an operator's choice goes before preference", () => {
  const free = {
    record: record({ owner: null, wanted: "b" }),
    nodes: [facts("a"), facts("b"), facts("w")],
  };
  assert.equal(says(free), "take take b");
  assert.equal(says({ ...free, self: { node: "a", incarnation: 1 } }), "wait after-you b");
});

Deno.test("the last owner's new run comes before preference, so that a restart moves nothing", () => {
  const nodes = [facts("a"), facts("b", { incarnation: 2 }), facts("w")];
  const again = record({ owner: { node: "b", incarnation: 1 } });
  assert.equal(says({ nodes, record: again, self: { node: "b", incarnation: 2 } }), "take take b");
  const a = { node: "a", incarnation: 1 };
  assert.equal(says({ nodes, record: again, self: a }), "wait after-you b");
});

Deno.test("an owner that lives without a lease is passed over", () => {
  // It cannot serve, whatever it thinks of itself.
  assert.equal(says({ nodes: [facts("a"), facts("b"), facts("w")] }), "take take b");
});

Deno.test("a node that boots waits, unless it owned the group itself", () => {
  assert.equal(says({ booting: true }), "wait booting -");
  const own = record({ owner: { node: "b", incarnation: 0 } });
  assert.equal(says({ booting: true, record: own }), "take take b");
});

Deno.test("the owner hands over for standby, a move, or a settled preferred node", () => {
  const nodes = [facts("a"), facts("b"), facts("w")];
  const owner = { serving: true, record: record({ owner: { node: "b", incarnation: 1 } }), nodes };
  assert.equal(says(owner), "none serving -");
  assert.equal(says(owner, { failback: "now" }), "release failback a");
  const fresh = { ...owner, nodes: [facts("a", { aliveFor: 10 }), facts("b"), facts("w")] };
  assert.equal(says(fresh, { failback: "now" }), "none failback-soon -");
  const other = { ...owner, nodes: [facts("a", { sameConfig: false }), facts("b"), facts("w")] };
  assert.equal(
    says(other, { failback: "now" }),
    "none failback-config -",
    "two files that prefer each other would hand it to and fro for ever",
  );
  const stale = facts("a", { replicas: { data: health("a", { generation: "old" }) } });
  assert.equal(
    says({ ...owner, nodes: [stale, facts("b"), facts("w")] }, { failback: "now" }),
    "none serving -",
    "a replica that is not in sync cannot get it back",
  );
  const standby = { ...owner, nodes: [facts("a"), facts("b", { standby: true }), facts("w")] };
  assert.equal(says(standby), "release standby a");
  const alone = [facts("a", { alive: false }), facts("b", { standby: true }), facts("w")];
  assert.equal(says({ ...owner, nodes: alone }), "release standby -");
  const moved = record({ owner: { node: "b", incarnation: 1 }, wanted: "a" });
  assert.equal(says({ ...owner, record: moved }), "release moved a");
  const stays = record({ owner: { node: "b", incarnation: 1 }, wanted: "b" });
  assert.equal(says({ ...owner, record: stays }, { failback: "now" }), "none serving -");
});

Deno.test("the first record waits for every replica and never chooses between histories", () => {
  const a = { node: "a", incarnation: 1 };
  const first = (left: Partial<ReplicaHealth>, right: Partial<ReplicaHealth>) => ({
    record: null,
    self: a,
    nodes: [
      facts("a", { replicas: { data: health("a", left) } }),
      facts("b", { replicas: { data: health("b", right) } }),
      facts("w"),
    ],
  });
  const zero = { blank: "zero" } as const;
  assert.equal(says(first(zero, zero)), "take first-take a");
  assert.equal(says({ ...first(zero, zero), booting: true }), "wait booting -");
  assert.equal(says(first(zero, {})), "wait other-takes b");
  assert.equal(says(first({}, zero)), "take first-take a");
  assert.equal(says(first({}, {})), "take first-take a", "the same generation: the same data");
  const joined = first({ disk: "Outdated" }, {});
  assert.equal(says(joined), "wait other-takes b", "a member has what came after the other joined");
  assert.equal(says(first({ disk: "Outdated" }, { disk: "Outdated" })), "take first-take a");
  assert.equal(says(first({}, { generation: "other" })), "wait first-take-conflict -");
  assert.equal(says(first(zero, { disk: "Inconsistent" })), "wait first-take-conflict -");
  assert.equal(says(first(zero, { replicaId: "" })), "wait first-take-waits -");
  const unheard = { ...first(zero, zero), nodes: [facts("a"), facts("b", { alive: false })] };
  assert.equal(says(unheard), "wait first-take-waits -");
});
