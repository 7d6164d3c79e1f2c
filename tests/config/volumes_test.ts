import { bad } from "./sample.ts";

// Mistakes in `[volumes]`, and what the user reads about each.

bad("size that is not a multiple of 4096", [['"512MiB"', '"1000KB"']], [
  '23:8: volumes.logs.size: 1000000 bytes is not a multiple of 4096; write "980KiB"',
]);

bad("size in a misspelled unit", [['"512MiB"', '"512mib"']], [
  '23:8: volumes.logs.size: "mib" is not a unit of size; write MiB',
]);

bad("size of zero", [['"512MiB"', '"0MiB"']], [
  "23:8: volumes.logs.size: a volume of size 0 holds nothing; give it a size",
]);

bad("size that is too large", [['"512MiB"', '"9000TiB"']], [
  '23:8: volumes.logs.size: "9000TiB" is too large; the largest size is 8191TiB',
]);

bad("size above what the metadata can number", [['"512MiB"', '"17TiB"']], [
  "23:8: volumes.logs.size: a volume has at most 16TiB; split it into several volumes",
]);

bad("size without a unit", [['"512MiB"', "512"]], [
  '23:8: volumes.logs.size: "512" has no unit; write "512GiB" or "512MiB"',
]);

bad("words that are not on the list", [[
  'size = "512MiB"',
  `size = "512MiB"\nprotocol = "D"\nio = "fast"\nafter_power_loss = "maybe"\nal_extents = "some"\nsole_boot = 1`,
]], [
  '24:12: volumes.logs.protocol: "D" is not known here; write "A" or "B" or "C"',
  '25:6: volumes.logs.io: "fast" is not known here; write "buffered" or "direct"',
  '26:20: volumes.logs.after_power_loss: "maybe" is not known here; write "wait" or "go"',
  '27:14: volumes.logs.al_extents: "some" is not "auto" or a number from 67 to 65534',
  "28:13: volumes.logs.sole_boot: this is an integer; write true or false",
]);

bad("activity log out of range", [['size = "512MiB"', `size = "512MiB"\nal_extents = 7`]], [
  "24:14: volumes.logs.al_extents: 7 is not between 67 and 65534",
]);

bad("resync settings out of range", [[
  'size = "512MiB"',
  `size = "512MiB"\nresync = { floor_percent = 0, latency_factor = 0, rate_max = "100KiB", stall = "1ms", rat_max = 1 }`,
]], [
  "24:28: volumes.logs.resync.floor_percent: 0 is not between 1 and 100",
  "24:48: volumes.logs.resync.latency_factor: 0 is not between 1 and 100",
  '24:62: volumes.logs.resync.rate_max: 100KiB a second is too little, a resync would take days; the least is "1MiB"',
  "24:80: volumes.logs.resync.stall: 1ms is too short; the shortest is 1s",
  '24:87: volumes.logs.resync.rat_max: unknown key; did you mean "rate_max"?',
]);

bad("export with a relative path", [[
  'size = "512MiB"',
  `size = "512MiB"\nexport = "unix:logs.sock"`,
]], ['24:10: volumes.logs.export: "logs.sock" is not absolute; start it with /']);

bad("export with a path too long", [[
  'size = "512MiB"',
  `size = "512MiB"\nexport = "unix:/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"`,
]], [
  "24:10: volumes.logs.export: socket path /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx has 108 bytes and the system allows 107; choose a shorter one",
]);

bad("default export with a path too long", [[
  "[cluster]",
  `[paths]\nruntime = "/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"\n[cluster]`,
]], [
  "18:10: volumes.data: socket path /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx/data.sock has 109 bytes and the system allows 107; choose a shorter one",
  "24:10: volumes.logs: socket path /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx/logs.sock has 109 bytes and the system allows 107; choose a shorter one",
]);

bad("kernel device", [['size = "512MiB"', `size = "512MiB"\ndevice = "/dev/nbd0"`]], [
  "24:1: volumes.logs.device: attaching a kernel device is not in this version; remove the key and connect an NBD client to the export",
]);

bad("volume without replicas", [[
  `[volumes.logs.replicas]\na = { disk = "/dev/sdc", address = "192.0.2.1:6942" }\nb = { disk = "/dev/sdc", address = "192.0.2.2:6942" }\n`,
  "",
]], ["22:10: volumes.logs.replicas: this table is missing; add [volumes.logs.replicas]"]);

bad("three replicas", [[
  `b = { disk = "/dev/sdc", address = "192.0.2.2:6942" }\n`,
  `b = { disk = "/dev/sdc", address = "192.0.2.2:6942" }\nw = { disk = "/dev/sdc", address = "192.0.2.9:6942" }\n`,
]], [
  '24:15: volumes.logs.replicas: 3 replicas; a volume has 1 or 2, one line each: NODE = { disk = "/dev/sdb", address = "192.0.2.1:6941" }',
  "27:1: volumes.logs.replicas.w: w is a witness and cannot hold a replica; name a node that has data",
]);

bad(
  "replica on an unknown node",
  [['b = { disk = "/dev/sdc"', 'serveur-b = { disk = "/dev/sdc"']],
  ['26:1: volumes.logs.replicas.serveur-b: there is no node "serveur-b"; the nodes are a, b, w'],
);

bad("disk that is not absolute", [['a = { disk = "/dev/sdc"', 'a = { disk = "sdc"']], [
  '25:14: volumes.logs.replicas.a.disk: "sdc" is not absolute; start it with /',
]);

bad("one disk for two volumes", [['a = { disk = "/dev/sdc"', 'a = { disk = "/dev//sdb"']], [
  "25:14: volumes.logs.replicas.a.disk: disk /dev/sdb of a is already used by volumes.data.replicas.a.disk (line 19); each needs its own",
]);

bad("metadata on another volume's disk", [[
  'a = { disk = "/dev/sdc"',
  'a = { meta_disk = "/dev/sdb", disk = "/dev/sdc"',
]], [
  "25:19: volumes.logs.replicas.a.meta_disk: disk /dev/sdb of a is already used by volumes.data.replicas.a.disk (line 19); each needs its own",
]);

bad("one replication address twice", [["192.0.2.1:6942", "192.0.2.1:6941"]], [
  "25:36: volumes.logs.replicas.a.address: address 192.0.2.1:6941 is already used by volumes.data.replicas.a.address (line 19); each needs its own",
]);

bad(
  "one replication address twice in a list",
  [['"192.0.2.1:6942"', '["192.0.2.1:6942", "192.0.2.2:6941"]']],
  [
    "25:55: volumes.logs.replicas.a.address[1]: address 192.0.2.2:6941 is already used by volumes.data.replicas.b.address (line 20); each needs its own",
  ],
);

bad("an empty list of replication addresses", [['"192.0.2.1:6942"', "[]"]], [
  "25:36: volumes.logs.replicas.a.address: the array is empty; name at least 1 of the addresses",
]);

bad("replication on a link's address", [["192.0.2.1:6942", "192.0.2.1:6940"]], [
  "25:36: volumes.logs.replicas.a.address: address 192.0.2.1:6940 is already used by nodes.a.links[0] (line 9); each needs its own",
]);

bad("replicas in two families", [["192.0.2.2:6942", "[2001:db8::2]:6942"]], [
  "26:36: volumes.logs.replicas.b.address: this is IPv6 and volumes.logs.replicas.a.address is IPv4; both replicas must be on one network",
]);

bad("replication address without a port", [["192.0.2.2:6942", "2001:db8::2"]], [
  '26:36: volumes.logs.replicas.b.address: "2001:db8::2" is not HOST:PORT; write [2001:db8::2]:PORT',
]);
