import { bad } from "./sample.ts";

// Mistakes in `[nodes]`, and what the user reads about each.

bad("two nodes and no witness", [[
  `[nodes.w]\nwitness = true\nlinks = ["udp://192.0.2.9:6940"]\n`,
  "",
]], [
  "8:2: nodes: a majority needs at least 3 voters, and there are 2 nodes; add one with witness = true on a third machine",
]);

bad("witnesses only", [["[nodes.a]", "[nodes.a]\nwitness = true"], [
  "[nodes.b]",
  "[nodes.b]\nwitness = true",
]], [
  "8:2: nodes: every node is a witness, so none can run a group; remove a witness = true",
  "21:1: volumes.data.replicas.a: a is a witness and cannot hold a replica; name a node that has data",
  "22:1: volumes.data.replicas.b: b is a witness and cannot hold a replica; name a node that has data",
  "27:1: volumes.logs.replicas.a: a is a witness and cannot hold a replica; name a node that has data",
  "28:1: volumes.logs.replicas.b: b is a witness and cannot hold a replica; name a node that has data",
  "31:11: groups.web.prefer[0]: a is a witness and cannot run a group; name a node that has data",
]);

bad("node name that is no host name", [["[nodes.w]", '[nodes."-w"]']], [
  '12:8: nodes.-w: "-w" is not a host name; use letters, digits and hyphens, at most 63 between two dots',
]);

bad("node names that differ in case only", [["[nodes.w]", "[nodes.A]"]], [
  "12:8: nodes.A: host name a is already used by nodes.a (line 8); each needs its own",
]);

bad("node without links", [['["udp://192.0.2.9:6940"]', "[]"]], [
  "14:9: nodes.w.links: the array is empty; name at least 1 of the links",
]);

bad("node that is no table", [[
  `[nodes.w]\nwitness = true\nlinks = ["udp://192.0.2.9:6940"]\n`,
  `[nodes]\nw = "192.0.2.9"\n`,
]], ["13:5: nodes.w: a node is a table; write [nodes.w] and its links below"]);

bad("serial link", [['"udp://198.51.100.1:6940"', '"serial:/dev/ttyS0"']], [
  "9:34: nodes.a.links[1]: this version knows udp links only; remove the serial link",
]);

bad("link of another scheme", [['"udp://198.51.100.1:6940"', '"tcp://198.51.100.1:6940"']], [
  '9:34: nodes.a.links[1]: "tcp://198.51.100.1:6940" is not a link; write udp://HOST:PORT',
]);

bad("link to a name", [["udp://198.51.100.1:6940", "udp://serveur-a:6940"]], [
  '9:34: nodes.a.links[1]: "serveur-a" is not an IP address, and names are not looked up; write the address itself',
]);

bad("link without a port", [["udp://198.51.100.1:6940", "udp://198.51.100.1"]], [
  '9:34: nodes.a.links[1]: "198.51.100.1" is not HOST:PORT; write 192.0.2.1:6940 or [2001:db8::1]:6940',
]);

bad("link with a port out of range", [["udp://198.51.100.1:6940", "udp://198.51.100.1:70000"]], [
  "9:34: nodes.a.links[1]: port 70000 is not between 1 and 65535",
]);

bad("link to everywhere", [["udp://198.51.100.1:6940", "udp://0.0.0.0:6940"]], [
  "9:34: nodes.a.links[1]: 0.0.0.0 is the unspecified address; write the node's own address",
]);

bad("link with a zone", [["udp://198.51.100.1:6940", "udp://[fe80::1%eth0]:6940"]], [
  '9:34: nodes.a.links[1]: "fe80::1%eth0" is not an IP address, and zones are not supported; write a global address',
]);

bad("IPv6 link without brackets", [["udp://198.51.100.1:6940", "udp://2001:db8::1"]], [
  '9:34: nodes.a.links[1]: "2001:db8::1" is not HOST:PORT; write [2001:db8::1]:PORT',
]);

bad("links of one number in two families", [[
  "udp://198.51.100.2:6940",
  "udp://[2001:db8::2]:6940",
]], [
  "11:34: nodes.b.links[1]: this is IPv6 and nodes.a.links[1] is IPv4; links of the same number must be on one network",
]);

bad("one address for two nodes", [["udp://198.51.100.2:6940", "udp://192.0.2.1:6940"]], [
  "11:34: nodes.b.links[1]: address 192.0.2.1:6940 is already used by nodes.a.links[0] (line 9); each needs its own",
]);

bad("one address twice on a node", [["udp://198.51.100.2:6940", "udp://192.0.2.2:6940"]], [
  "11:34: nodes.b.links[1]: address 192.0.2.2:6940 is already used by nodes.b.links[0] (line 11); each needs its own",
]);

bad(
  "one host twice on a node is a warning",
  [["udp://198.51.100.2:6940", "udp://192.0.2.2:6950"]],
  ["11:34: nodes.b.links[1]: warning: nodes.b.links[0] has the same host, so both fail together; use an address on a second network"],
);

bad("one link on a data node is a warning", [[', "udp://198.51.100.2:6940"', ""]], [
  "10:8: nodes.b: warning: with one link only a cut cable looks like a dead node; add a link on a second network",
]);
