/** A group of two volumes of which no node holds all the newest data: who takes what, and for whom. */
import assert from "node:assert/strict";
import { decide, type NodeFacts, type OwnershipInput } from "../../src/cluster/ownership.ts";
import type { GroupRecord } from "../../src/cluster/types.ts";
import { makeConfig } from "./configs.ts";
import { CALM, factsAbout, GENERATION, healthOf } from "./decisions.ts";

const CONFIG = makeConfig();
const [DATA] = CONFIG.volumes;
const LOGS = { ...DATA!, name: "logs" };

const health = healthOf;

function facts(node: string, change: Partial<NodeFacts> = {}): NodeFacts {
  const replicas = node === "w"
    ? {}
    : { data: health(`${node}-data`), logs: health(`${node}-logs`) };
  return factsAbout(node, { incarnation: 2, replicas, ...change });
}

/** `a` alone is up to date of data, `b` alone of logs. */
function record(change: Partial<GroupRecord> = {}): GroupRecord {
  const generation = GENERATION;
  return {
    version: 9,
    epoch: 3,
    owner: { node: "a", incarnation: 1 },
    volumes: {
      data: { generation, upToDate: ["a-data"] },
      logs: { generation, upToDate: ["b-logs"] },
    },
    ...change,
  };
}

/** As `a` sees it: its own earlier run owned the group. */
function input(change: Partial<OwnershipInput> = {}): OwnershipInput {
  return {
    group: CONFIG.groups[0]!,
    volumes: [DATA!, LOGS],
    self: { node: "a", incarnation: 2 },
    nodes: [facts("a"), facts("b"), facts("w")],
    record: record(),
    ...CALM,
    ...change,
  };
}

function says(change: Partial<OwnershipInput>): string {
  const { action, to, leaves = {}, why } = decide(input(change));
  assert.ok(why.text.length > 10);
  const left = Object.entries(leaves).map(([volume, replica]) => `${volume}=${replica}`);
  return [action, why.rule, to ?? "-", ...left].join(" ");
}

/** For as long as a part is waited for. */
const LASTS = { waitedFor: 1000 };

Deno.test("the last owner takes its part first, and says for whom; the other lets it, for a while", () => {
  assert.equal(says({}), "wait resync-first-soon a", "it may be only a moment");
  assert.equal(says(LASTS), "take resync-first a logs=b-logs");
  const { why } = decide(input(LASTS));
  assert.match(why.text, /a takes the group to bring data to b, which has the rest/);
  const b = { self: { node: "b", incarnation: 2 } };
  assert.equal(says({ ...b, ...LASTS }), "wait after-you a");
  assert.equal(says({ ...b, waitedFor: 1400 }), "take resync-first b data=a-data");
});

Deno.test("nobody takes a part before all its replicas have told how they are", () => {
  // Breaks when a restart takes a part, and leaves the rest to others, because one volume opened first.
  const early = facts("a", { replicas: { data: health("a-data") } });
  assert.equal(says({ ...LASTS, nodes: [early, facts("b")] }), "wait no-candidate -");
  const unread = facts("a", { replicas: { data: health("a-data"), logs: health("") } });
  assert.equal(says({ ...LASTS, nodes: [unread, facts("b")] }), "wait no-candidate -");
  const go = [{ ...DATA!, afterPowerLoss: "go" as const }, LOGS];
  assert.equal(says({ ...LASTS, volumes: go, initdeadPassed: false }), "wait no-candidate -");
  assert.equal(says({ ...LASTS, volumes: go }), "take resync-first a logs=b-logs");
});

Deno.test("whoever holds everything takes as ever", () => {
  const both = record({
    volumes: {
      ...record().volumes,
      logs: { generation: GENERATION, upToDate: ["a-logs"] },
    },
  });
  assert.equal(says({ record: both }), "take take a");
});

Deno.test("nobody takes a part that leads nowhere", () => {
  const b = (change: Partial<NodeFacts>) => ({ nodes: [facts("a"), facts("b", change)] });
  const logs = health("b-logs");
  assert.equal(says(b({ alive: false })), "wait no-candidate -", "the other half is away");
  assert.equal(says(b({ standby: true })), "wait no-candidate -");
  assert.equal(
    says(b({ replicas: { data: health("b-data"), logs: health("another") } })),
    "wait no-candidate -",
    "a blank disk is in its place",
  );
  // It could not receive data; but a may receive logs.
  const noDisk = { data: health("b-data", { disk: "Diskless" }), logs };
  assert.equal(says({ ...b({ replicas: noDisk }), ...LASTS }), "wait other-takes b");
  const noLogs = facts("a", {
    replicas: { data: health("a-data"), logs: health("a-logs", { disk: "Diskless" }) },
  });
  assert.equal(
    says({ nodes: [noLogs, facts("b", { replicas: noDisk })] }),
    "wait no-candidate -",
  );
});

Deno.test("the owner of a part keeps it until another node holds everything, then lets it have it", () => {
  const owner = {
    serving: true,
    part: ["data"],
    record: record({ owner: { node: "a", incarnation: 2 } }),
  };
  assert.equal(says(owner), "none resync-first -");
  const { volumes } = owner.record;
  const grown = {
    ...owner.record,
    volumes: { ...volumes, data: { ...volumes["data"]!, upToDate: ["a-data", "b-data"] } },
  };
  assert.equal(says({ ...owner, record: grown }), "release resynced b");
  assert.equal(
    says({ ...owner, nodes: [facts("a"), facts("b", { alive: false })] }),
    "none resync-first -",
  );
  const noDisk = { data: health("b-data", { disk: "Diskless" }), logs: health("b-logs") };
  assert.equal(
    says({ ...owner, nodes: [facts("a"), facts("b", { replicas: noDisk })] }),
    "release resync-first-ends -",
    "the other way may lead somewhere",
  );
});
