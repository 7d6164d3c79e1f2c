import assert from "node:assert/strict";
import { diffConfigs, type Differences } from "../../src/config/diff.ts";
import { configOf, type Edit, edited } from "./sample.ts";

function differences(edits: readonly Edit[], node = "a"): Differences {
  return diffConfigs(configOf(edited()), configOf(edited(...edits)), node);
}

const NOTHING = { live: [], restart: [], refused: [] };

Deno.test("two readings of one file do not differ", () => {
  assert.deepEqual(differences([]), NOTHING);
});

Deno.test("placement and pings are taken over by a running agent", () => {
  const { live, ...rest } = differences([
    ['prefer = ["a"]', 'prefer = ["b"]\nfailback = "10m"\nfailure_timeout = "never"'],
    ['quorum = "majority"', 'quorum = "majority"\nping = ["192.0.2.254"]'],
  ]);
  assert.deepEqual(rest, { restart: [], refused: [] });
  assert.deepEqual(live, [
    'groups.web.prefer was ["a"], becomes ["b"]',
    'groups.web.failback was "never", becomes {"after":600000}',
    'groups.web.failure_timeout was 600000, becomes "never"',
    'groups.web.ping was [], becomes ["192.0.2.254"]',
  ]);
});

Deno.test("another witness is taken over live; a node's own links need its restart", () => {
  const swapped = differences([["[nodes.w]", "[nodes.v]"]]);
  assert.deepEqual(swapped, {
    live: ["nodes.w is taken out", "nodes.v is new"],
    restart: [],
    refused: [],
  });
  const moved: Edit[] = [["192.0.2.9:6940", "192.0.2.8:6940"]];
  assert.equal(differences(moved, "a").live.length, 1);
  assert.equal(differences(moved, "w").restart.length, 1);
});

Deno.test("a node that is not named any more is told so", () => {
  const { restart } = differences([["[nodes.w]", "[nodes.v]"]], "w");
  assert.deepEqual(restart, ["nodes.w: it is this node, and it is not named any more"]);
});

Deno.test("resources, volumes and new groups need a restart", () => {
  const { restart, refused, live } = differences([
    ['  "ip:192.0.2.3/24",\n', '  "ip:192.0.2.4/24",\n'],
    ['"20GiB"', '"20GiB"\nprotocol = "B"'],
  ]);
  assert.deepEqual([live, refused], [[], []]);
  assert.equal(restart.length, 2);
  assert.match(restart[0]!, /^volumes\.data\.protocol was "C", becomes "B"$/);
  assert.match(restart[1]!, /^groups\.web\.resources was /);
});

Deno.test("what would let two owners be, or misunderstand each other, is refused with the mend", () => {
  const { refused, live, restart } = differences([
    ['deadtime = "1s"', 'deadtime = "3s"'],
    ['name = "web"', 'name = "other"'],
    ['"20GiB"', '"30GiB"'],
  ]);
  assert.deepEqual(live, []);
  // What follows from the deadtime by default changes with it.
  assert.ok(restart.every((line) => /warntime|initdead|shrink_after|timeout/.test(line)));
  assert.equal(refused.length, 3);
  assert.match(refused[0]!, /cluster\.name .*stop every agent, copy the file/);
  assert.match(refused[1]!, /cluster\.deadtime was 1000, becomes 3000: leases of two lengths/);
  assert.match(refused[2]!, /volumes\.data\.size .*does not change by a push/);
});

Deno.test("a pair's nodes do not change while it runs", () => {
  const pair = edited(
    ['quorum = "majority"', 'quorum = "survivor"'],
    ['[nodes.w]\nwitness = true\nlinks = ["udp://192.0.2.9:6940"]\n', ""],
  );
  const renamed = pair.replaceAll("[nodes.b]", "[nodes.c]").replaceAll("\nb = {", "\nc = {");
  const { refused } = diffConfigs(configOf(pair), configOf(renamed), "a");
  assert.equal(refused.length, 2);
  assert.match(
    refused[0]!,
    /nodes\.b is taken out: a pair .*give the new machine the old one's name/,
  );
});
