import assert from "node:assert/strict";
import { bad, configOf, type Edit, edited, problemsOf } from "./sample.ts";

// Mistakes in `[cluster]` and keys in general, and what the user reads about each.

bad("duration without a unit", [['"1s"', '"90"']], [
  '5:12: cluster.deadtime: "90" has no unit; write "90ms" or "90s"',
]);

bad("duration as a number", [['"200ms"', "200"]], [
  '4:13: cluster.keepalive: "200" has no unit; write "200ms" or "200s"',
]);

bad("duration in an unknown unit", [['"1s"', '"1 day"']], [
  '5:12: cluster.deadtime: "day" is not a unit of time; use one of ms, s, m, h',
]);

bad("duration that is no duration", [['"1s"', '"soon"']], [
  '5:12: cluster.deadtime: "soon" is not a duration; write a number and a unit, as in "200ms"',
]);

bad("duration that is not whole", [['"1s"', '"1000.5ms"']], [
  '5:12: cluster.deadtime: "1000.5ms" is not a whole number of milliseconds; round it',
]);

bad("duration that is too long", [['"1s"', '"600h"']], [
  '5:12: cluster.deadtime: "600h" is too long; the longest duration is 24 days ("576h")',
]);

bad("keepalive of zero", [['"200ms"', '"0ms"']], [
  "4:13: cluster.keepalive: 0ms is too short; the shortest is 10ms",
]);

bad("deadtime below twice the keepalive", [['"1s"', '"300ms"']], [
  '5:12: cluster.deadtime: 300ms is shorter than twice the keepalive, or one lost packet is a death; write at least "400ms"',
]);

bad("warntime outside keepalive and deadtime", [[
  'deadtime = "1s"',
  `warntime = "100ms"\ndeadtime = "1s"`,
]], ['5:12: cluster.warntime: 100ms is shorter than the keepalive; write at least "200ms"']);

bad("warntime after deadtime", [['deadtime = "1s"', `warntime = "2s"\ndeadtime = "1s"`]], [
  '5:12: cluster.warntime: 2s is longer than the deadtime; write at most "1s"',
]);

bad("initdead and shrink_after before deadtime", [[
  'deadtime = "1s"',
  `deadtime = "1s"\ninitdead = "500ms"\nshrink_after = "999ms"`,
]], [
  '6:12: cluster.initdead: 500ms is shorter than the deadtime; write at least "1s"',
  '7:16: cluster.shrink_after: 999ms is shorter than the deadtime; write at least "1s"',
]);

const NO_WITNESS: Edit = [`[nodes.w]\nwitness = true\nlinks = ["udp://192.0.2.9:6940"]\n`, ""];
const FENCES: readonly Edit[] = [
  ["[nodes.a]", '[nodes.a]\nfence = { command = ["/sbin/off", "a"] }'],
  ["[nodes.b]", '[nodes.b]\nfence = [{ command = ["/sbin/off", "b"], timeout = "5s" }]'],
];

bad("survivor mode is named with its risk", [['"majority"', '"survivor"'], NO_WITNESS], [
  '6:10: cluster.quorum: warning: a cut between the two nodes makes both serve: addresses are doubled, the data part, and the writes of one side are lost in the end; "fencing", or "majority" with a witness, does not',
]);

bad("booting alone is named with its risk", [
  ['"majority"', '"survivor"\nboot_alone = true'],
  NO_WITNESS,
], [
  '6:10: cluster.quorum: warning: a cut between the two nodes makes both serve: addresses are doubled, the data part, and the writes of one side are lost in the end; "fencing", or "majority" with a witness, does not',
  "7:14: cluster.boot_alone: warning: a node that boots while the other is down serves what it has, which may lack everything that the other wrote alone",
]);

bad("fencing without a fence command", [['"majority"', '"fencing"'], NO_WITNESS], [
  '8:8: nodes.a.fence: this key is missing, and with quorum = "fencing" the other node must be able to switch a off; add fence = { command = ["/usr/local/sbin/power", "off"] }, a command that exits with 0 only when the machine is certainly off or was reset by power',
  '10:8: nodes.b.fence: this key is missing, and with quorum = "fencing" the other node must be able to switch b off; add fence = { command = ["/usr/local/sbin/power", "off"] }, a command that exits with 0 only when the machine is certainly off or was reset by power',
]);

bad("fencing with a witness", [['"majority"', '"fencing"'], ...FENCES], [
  '8:2: nodes: quorum = "fencing" is for exactly two nodes that hold data, and w is a witness; write quorum = "majority", which is safer, or remove all but two nodes',
]);

bad("a fence command that is no absolute path, and an empty list of methods", [
  ['"majority"', '"fencing"'],
  NO_WITNESS,
  ["[nodes.a]", '[nodes.a]\nfence = { command = ["ipmitool", "off"] }'],
  ["[nodes.b]", "[nodes.b]\nfence = []"],
], [
  '9:21: nodes.a.fence.command: "ipmitool" is not absolute; start it with /, so that it is the same program wherever the agent was started',
  "12:9: nodes.b.fence: the array is empty; name at least 1 of the methods",
]);

bad("keys of another mode have no effect", [
  ['"majority"', '"majority"\nfence_delay = "1s"\nboot_alone = false'],
  FENCES[0]!,
], [
  '7:15: cluster.fence_delay: warning: it has no effect with quorum = "majority"; remove it',
  '8:14: cluster.boot_alone: warning: it has no effect with quorum = "majority"; remove it',
  '11:9: nodes.a.fence: warning: nobody is fenced with quorum = "majority"; remove it',
]);

Deno.test("configuration: fencing takes one method or several, in their order", () => {
  const { cluster, nodes } = configOf(edited(
    ['"majority"', '"fencing"\nfence_delay = "2s"'],
    NO_WITNESS,
    ...FENCES,
  ));
  assert.equal(cluster.fenceDelay, 2000);
  assert.deepEqual(nodes.map(({ fence }) => fence), [
    [{ command: ["/sbin/off", "a"], timeout: 30_000 }],
    [{ command: ["/sbin/off", "b"], timeout: 5000 }],
  ]);
});

Deno.test("configuration: a majority has up to 16 voters, any of them witnesses", () => {
  const more = Array.from(
    { length: 13 },
    (_, i) => `[nodes.w${i}]\nwitness = true\nlinks = ["udp://192.0.2.${20 + i}:6940"]\n`,
  );
  const text = edited(["[nodes.w]", more.join("") + "[nodes.w]"]);
  assert.equal(configOf(text).nodes.length, 16);
  const tooMany = text.replace(
    "[nodes.w]",
    '[nodes.x]\nlinks = ["udp://192.0.2.50:6940"]\n[nodes.w]',
  );
  assert.match(problemsOf(tooMany).join("\n"), /17 nodes are too many; a cluster has at most 16/);
});

bad("quorum that is no mode", [['"majority"', '"most"']], [
  '6:10: cluster.quorum: "most" is not known here; write "majority" or "fencing" or "survivor"',
]);

bad("cluster name", [['"web"', '"we b"']], [
  '2:8: cluster.name: "we b" cannot be a name; use at most 64 letters, digits, dots, hyphens and underscores, a letter or digit first',
]);

bad("relative key file", [['"/etc/bascule/key"', '"key"']], [
  '3:12: cluster.key_file: "key" is not absolute; start it with /',
]);

bad("path with dots", [['"/etc/bascule/key"', '"/etc/../key"']], [
  '3:12: cluster.key_file: "/etc/../key" holds ".."; write it out',
]);

bad("unknown key with a near one", [["key_file", "keyfile"]], [
  '1:2: cluster.key_file: this key is missing; add key_file = "/etc/bascule/key"',
  '3:1: cluster.keyfile: unknown key; did you mean "key_file"?',
]);

bad("unknown key with none near", [["quorum =", "colour = 1\nquorum ="]], [
  "6:1: cluster.colour: unknown key; the keys here are name, key_file, keepalive, deadtime, warntime, initdead, shrink_after, ping, ping_interval, ping_settle, realtime, quorum, fence_delay, boot_alone",
]);

bad("unknown table", [["[groups.web]", "[group.web]"]], [
  '16:10: volumes.data: warning: no group has this volume, so it is never served; add "volume:data" to a group',
  '22:10: volumes.logs: warning: no group has this volume, so it is never served; add "volume:logs" to a group',
  '28:2: group: unknown key; did you mean "groups"?',
]);

bad("wrong types", [["witness = true", 'witness = "yes"'], ['"web"', "7"], ['"1s"', "true"]], [
  "2:8: cluster.name: this is an integer; write a string in quotes",
  '5:12: cluster.deadtime: this is a boolean; write a string such as "200ms"',
  "12:8: nodes.w: warning: with one link only a cut cable looks like a dead node; add a link on a second network",
  "13:11: nodes.w.witness: this is a string; write true or false",
]);

bad("ping targets that are none", [[
  'quorum = "majority"',
  'ping = ["router", "0.0.0.0", "192.0.2.254", "192.0.2.254"]\nquorum = "majority"',
]], [
  '6:9: cluster.ping[0]: "router" is not an IP address; names are not looked up, write the address of a router or a switch',
  "6:19: cluster.ping[1]: 0.0.0.0 is the unspecified address; write the address of one machine",
  "6:45: cluster.ping[3]: 192.0.2.254 is already named in cluster.ping[2]",
]);

bad("pings too often, moves too soon", [[
  'quorum = "majority"',
  'ping_interval = "10ms"\nping_settle = "2s"\nquorum = "majority"',
]], [
  "6:17: cluster.ping_interval: 10ms is too short; the shortest is 200ms",
  '7:15: cluster.ping_settle: 2s is shorter than three pings, or one lost packet moves a group; write at least "3s"',
]);

Deno.test("configuration: groups ask the cluster's ping targets or their own", () => {
  const of = (groupLine: string) =>
    configOf(edited(
      ['quorum = "majority"', 'ping = ["192.0.2.254", "2001:DB8::1"]\nquorum = "majority"'],
      ['prefer = ["a"]', `prefer = ["a"]\n${groupLine}`],
    )).groups[0]?.ping;
  assert.deepEqual(of(""), ["192.0.2.254", "2001:db8::1"]);
  assert.deepEqual(of('ping = ["192.0.2.250"]'), ["192.0.2.250"]);
  assert.deepEqual(of("ping = []"), []);
});
