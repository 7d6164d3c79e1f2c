import { bad } from "./sample.ts";

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
  '30:12: groups.web.failback: "tonight" is not known here; write "never" or "now"',
]);

bad(
  "group without resources",
  [[`  "volume:data",\n  "volume:logs",\n  "ip:192.0.2.3/24",\n`, ""]],
  [
    '16:10: volumes.data: warning: no group has this volume, so it is never served; add "volume:data" to a group',
    '22:10: volumes.logs: warning: no group has this volume, so it is never served; add "volume:logs" to a group',
    "30:13: groups.web.resources: the array is empty; name at least 1 of the resources",
  ],
);
