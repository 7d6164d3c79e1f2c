import { bad } from "./sample.ts";

// Mistakes in resources, and what the user reads about each.

bad("resource of a later version: mount", [['"ip:192.0.2.3/24"', '"mount:/srv"']], [
  "33:3: groups.web.resources[2]: resources of kind mount are not in this version; the kinds are volume, ip, process, command",
]);

bad("resource of a later version: systemd", [['"ip:192.0.2.3/24"', '"systemd:nginx"']], [
  "33:3: groups.web.resources[2]: resources of kind systemd are not in this version; the kinds are volume, ip, process, command",
]);

bad("resource of a later version: ocf", [['"ip:192.0.2.3/24"', '"ocf:heartbeat:IPaddr2"']], [
  "33:3: groups.web.resources[2]: resources of kind ocf are not in this version; the kinds are volume, ip, process, command",
]);

bad("resource of a later version: lsb", [['"ip:192.0.2.3/24"', '"lsb:apache2"']], [
  "33:3: groups.web.resources[2]: resources of kind lsb are not in this version; the kinds are volume, ip, process, command",
]);

bad("resource of a later version: heartbeat", [['"ip:192.0.2.3/24"', '"heartbeat:IPaddr"']], [
  "33:3: groups.web.resources[2]: resources of kind heartbeat are not in this version; the kinds are volume, ip, process, command",
]);

bad("resource of an unknown kind", [['"ip:192.0.2.3/24"', '"volum:data"']], [
  '33:3: groups.web.resources[2]: "volum" is no kind of resource; the kinds are volume, ip, process, command; did you mean "volume"?',
]);

bad("resource that is an address only", [['"ip:192.0.2.3/24"', '"192.0.2.3/24"']], [
  '33:3: groups.web.resources[2]: "192.0.2.3/24" is no kind of resource; the kinds are volume, ip, process, command',
]);

bad("resource that is a number", [['"ip:192.0.2.3/24"', "3"]], [
  '33:3: groups.web.resources[2]: write "KIND:NAME" or a table { kind = "…", … }',
]);

bad("table without a kind", [['"ip:192.0.2.3/24"', '{ address = "192.0.2.3/24" }']], [
  '33:3: groups.web.resources[2]: this resource has no kind; add kind = "…", one of volume, ip, process, command',
]);

bad("process and command in the one-line form", [[
  '"ip:192.0.2.3/24"',
  '"process:web", "command:web"',
]], [
  '33:3: groups.web.resources[2]: a process needs the table form; write { kind = "process", name = "web", command = ["/usr/bin/web"] }',
  '33:18: groups.web.resources[3]: a command needs the table form; write { kind = "command", name = "web", start = ["/usr/bin/web", "start"], stop = […] }',
]);

bad("process without name and command", [['"ip:192.0.2.3/24"', '{ kind = "process" }']], [
  '33:3: groups.web.resources[2].name: this key is missing; add name = "web"',
  '33:3: groups.web.resources[2].command: this key is missing; add command = ["/usr/bin/web"]',
]);

bad("command without its keys", [['"ip:192.0.2.3/24"', '{ kind = "command", name = "x" }']], [
  '33:3: groups.web.resources[2].start: this key is missing; add start = ["/usr/bin/web", "start"]',
  '33:3: groups.web.resources[2].stop: this key is missing; add stop = ["/usr/bin/web", "stop"]',
]);

bad("one name twice", [[
  '"ip:192.0.2.3/24"',
  '{ kind = "process", name = "x", command = ["x"] }, { kind = "command", name = "x", start = ["x"], stop = ["x"] }',
]], [
  "33:81: groups.web.resources[3].name: resource name x is already used by groups.web.resources[2].name (line 33); each needs its own",
]);

bad("command as one string", [[
  '"ip:192.0.2.3/24"',
  '{ kind = "process", name = "x", command = "/usr/bin/x -p 80" }',
]], [
  '33:45: groups.web.resources[2].command: a command is an array, no shell reads it; write ["/usr/bin/x", "-p", "80"]',
]);

bad("monitor without a probe", [[
  '"ip:192.0.2.3/24"',
  '{ kind = "process", name = "x", command = ["x"], monitor_interval = "5s" }',
]], [
  "33:71: groups.web.resources[2].monitor_interval: there is nothing to monitor with; add health = […]",
]);

bad("options that are wrong", [[
  '"ip:192.0.2.3/24"',
  '{ kind = "process", name = "x", command = [""], user = "a b", directory = "x", environment = { "a-b" = "c" }, restarts = -1 }',
]], [
  "33:45: groups.web.resources[2].command: the program's name is empty; name one",
  '33:58: groups.web.resources[2].user: "a b" is not a user; write a name or a number',
  '33:77: groups.web.resources[2].directory: "x" is not absolute; start it with /',
  '33:98: groups.web.resources[2].environment.a-b: "a-b" cannot be a variable; use letters, digits and underscores',
  "33:124: groups.web.resources[2].restarts: -1 is not between 0 and 1000",
]);

bad("monitor of a volume", [[
  '"volume:logs"',
  '{ kind = "volume", volume = "logs", monitor_interval = "5s" }',
]], [
  "32:39: groups.web.resources[1].monitor_interval: unknown key; the keys here are kind, volume, start_timeout, stop_timeout, restarts, restart_window",
]);

bad("interface name", [[
  '"ip:192.0.2.3/24"',
  '{ kind = "ip", address = "192.0.2.3/24", interface = "much-too-long-name" }',
]], [
  '33:56: groups.web.resources[2].interface: "much-too-long-name" cannot be an interface; see ip link',
]);

bad("address without a prefix", [["ip:192.0.2.3/24", "ip:192.0.2.3"]], [
  '33:3: groups.web.resources[2]: "192.0.2.3" has no prefix length; write for example 192.0.2.3/24',
]);

bad("prefix of the wrong family", [["ip:192.0.2.3/24", "ip:192.0.2.3/33"]], [
  '33:3: groups.web.resources[2]: prefix length "33" is not between 1 and 32 (IPv4)',
]);

bad("network address", [["ip:192.0.2.3/24", "ip:192.0.2.0/24"]], [
  "33:3: groups.web.resources[2]: 192.0.2.0 is the network address of its /24; choose a host's address",
]);

bad("broadcast address", [["ip:192.0.2.3/24", "ip:192.0.2.255/24"]], [
  "33:3: groups.web.resources[2]: 192.0.2.255 is the broadcast address of its /24; choose a host's address",
]);

bad("multicast address", [["ip:192.0.2.3/24", "ip:224.0.0.1/24"]], [
  "33:3: groups.web.resources[2]: 224.0.0.1 is a multicast address; choose a host's address",
]);

bad("subnet-router anycast address", [["ip:192.0.2.3/24", "ip:2001:db8::/64"]], [
  "33:3: groups.web.resources[2]: 2001:db8:: is the subnet-router anycast address of its /64; choose a host's address",
]);

bad("address that is a node's own", [["ip:192.0.2.3/24", "ip:192.0.2.1/24"]], [
  "33:3: groups.web.resources[2]: 192.0.2.1 is a node's own address, nodes.a.links[0] (line 9); an address that moves must be another one",
]);

bad("one address in two groups", [[
  "[groups.web]",
  `[groups.other]\nresources = ["ip:192.0.2.3/25"]\n[groups.web]`,
]], [
  "35:3: groups.web.resources[2]: floating address 192.0.2.3 is already used by groups.other.resources[0] (line 29); each needs its own",
]);
