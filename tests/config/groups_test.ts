import assert from "node:assert/strict";
import { bad, configOf, edited } from "./sample.ts";

// Mistakes in `[groups]`, and what the user reads about each.

bad("volume in no group is a warning", [[`  "volume:logs",\n`, ""]], [
  '22:10: volumes.logs: warning: no group has this volume, so it is never served; add "volume:logs" to a group',
]);

bad("volume in two groups", [[
  "[groups.web]",
  `[groups.other]\nresources = ["volume:logs"]\n[groups.web]`,
]], [
  "34:3: groups.web.resources[1]: volume logs is already used by groups.other.resources[0] (line 29); each needs its own",
]);

bad("volumes without a common node", [[
  `b = { disk = "/dev/sdb", address = "192.0.2.2:6941" }\n`,
  "",
], [`a = { disk = "/dev/sdc", address = "192.0.2.1:6942" }\n`, ""]], [
  "28:13: groups.web.resources: no node has a replica of all of data, logs; give them one in common or split the group",
]);

bad("unknown volume", [["volume:logs", "volume:log"]], [
  '22:10: volumes.logs: warning: no group has this volume, so it is never served; add "volume:logs" to a group',
  '32:3: groups.web.resources[1]: there is no volume "log"; did you mean "logs"?',
]);

bad("prefer names an unknown node", [['["a"]', '["serveur-a"]']], [
  '29:11: groups.web.prefer[0]: there is no node "serveur-a"; the nodes are a, b, w',
]);

bad("prefer names a witness", [['["a"]', '["w"]']], [
  "29:11: groups.web.prefer[0]: w is a witness and cannot run a group; name a node that has data",
]);

bad("prefer names a node twice", [['["a"]', '["a", "b", "a"]']], [
  "29:21: groups.web.prefer[2]: a is already named in groups.web.prefer[0]; remove one",
]);

bad("prefer names a node without a replica", [[
  `b = { disk = "/dev/sdb", address = "192.0.2.2:6941" }\n`,
  "",
], ['["a"]', '["b"]']], [
  "28:11: groups.web.prefer[0]: b has no replica of the group's volumes; the nodes that can run it are a",
]);

bad("failback of another time", [["resources = [", `failback = "tonight"\nresources = [`]], [
  '30:12: groups.web.failback: "tonight" is not known here; write "never", "now" or a duration such as "10m"',
]);

bad("failures forgotten at once", [["resources = [", `failure_timeout = "0s"\nresources = [`]], [
  '30:19: groups.web.failure_timeout: "0s" is not known here; write "never" or a duration such as "10m"',
]);

Deno.test("configuration: a group goes back after a calm time and forgets failures", () => {
  const of = (lines: string) =>
    configOf(edited(["resources = [", `${lines}\nresources = [`])).groups[0];
  assert.deepEqual(of('failback = "90s"')?.failback, { after: 90_000 });
  assert.deepEqual(of('failback = "now"')?.failback, "now");
  assert.equal(of('failure_timeout = "1h"')?.failureTimeout, 3_600_000);
  assert.equal(of('failure_timeout = "never"')?.failureTimeout, Infinity);
});

bad(
  "group without resources",
  [[`  "volume:data",\n  "volume:logs",\n  "ip:192.0.2.3/24",\n`, ""]],
  [
    '16:10: volumes.data: warning: no group has this volume, so it is never served; add "volume:data" to a group',
    '22:10: volumes.logs: warning: no group has this volume, so it is never served; add "volume:logs" to a group',
    "30:13: groups.web.resources: the array is empty; name at least 1 of the resources",
  ],
);
