import assert from "node:assert/strict";
import { inNetwork, parseIp, parseNetwork } from "../../src/config/address.ts";
import { bad, configOf, edited } from "./sample.ts";

// `export` and `freeze_limit` of a volume.

/** The export of the volume `logs`, written so. */
function exportOf(value: string) {
  const config = configOf(edited(['size = "512MiB"', `size = "512MiB"\nexport = ${value}`]));
  return config.volumes[1]!.export;
}

Deno.test("configuration: an export on loopback needs neither TLS nor a list", () => {
  assert.deepEqual(exportOf('"tcp://127.0.0.1:10809"'), {
    address: "tcp://127.0.0.1:10809",
    path: "",
    tcp: { host: "127.0.0.1", port: 10809, tls: null, allow: [] },
  });
  assert.equal(exportOf('"tcp://[::1]:10809"').tcp?.host, "::1");
});

Deno.test("configuration: an export over TCP with TLS and a list of networks", () => {
  const { tcp, connections } = exportOf(
    '{ address = "tcp://0.0.0.0:10809", tls = { certificate = "/e/cert.pem", key = "/e/key.pem" }, ' +
      'allow = ["192.0.2.0/24", "198.51.100.7", "2001:db8::/32"], connections = 8 }',
  );
  assert.deepEqual(tcp?.tls, { certificate: "/e/cert.pem", key: "/e/key.pem" });
  assert.deepEqual(tcp?.allow.map(({ bytes, prefix }) => [bytes.slice(0, 4), prefix]), [
    [[192, 0, 2, 0], 24],
    [[198, 51, 100, 7], 32],
    [[0x20, 0x01, 0x0d, 0xb8], 32],
  ]);
  assert.equal(connections, 8);
});

Deno.test("configuration: an export in the clear says so", () => {
  const { tcp } = exportOf(
    '{ address = "tcp://192.0.2.3:10809", tls = "none", allow = ["192.0.2.0/24"] }',
  );
  assert.equal(tcp?.tls, null);
});

Deno.test("configuration: volumes share a socket, on equal terms", () => {
  const address = "unix:/run/bascule//data.sock";
  assert.equal(exportOf(`"${address}"`).path, "/run/bascule/data.sock");
  const tcp = '{ address = "tcp://127.0.0.1:10809", connections = 3 }';
  const both = configOf(edited(
    ['size = "20GiB"', `size = "20GiB"\nexport = ${tcp}`],
    ['size = "512MiB"', `size = "512MiB"\nexport = ${tcp}`],
  ));
  assert.deepEqual(both.volumes[0]!.export, both.volumes[1]!.export);
});

bad("a shared socket on unequal terms", [[
  'size = "512MiB"',
  'size = "512MiB"\nexport = { address = "unix:/run/bascule/data.sock", connections = 3 }',
]], [
  "24:10: volumes.logs.export: socket /run/bascule/data.sock is shared with volumes.data (line 16), whose tls, allow and connections differ; write the same for both",
]);

bad("an export that is neither a unix socket nor TCP", [[
  'size = "512MiB"',
  `size = "512MiB"\nexport = "tcp:0.0.0.0:10809"`,
]], [
  '24:10: volumes.logs.export: "tcp:0.0.0.0:10809" is neither a unix socket nor TCP; write unix:/run/bascule/NAME.sock or tcp://ADDRESS:10809',
]);

bad("an export over TCP by name", [[
  'size = "512MiB"',
  `size = "512MiB"\nexport = "tcp://localhost:10809"`,
]], [
  '24:10: volumes.logs.export: "localhost" is not an IP address, and names are not looked up; write the address itself',
]);

bad("an export that others can reach without a word on TLS", [[
  'size = "512MiB"',
  `size = "512MiB"\nexport = "tcp://192.0.2.3:10809"`,
]], [
  '24:10: volumes.logs.export: tcp://192.0.2.3:10809 can be reached from other machines and says nothing of TLS; write export = { address = "tcp://192.0.2.3:10809", tls = { certificate = "/etc/bascule/nbd.pem", key = "/etc/bascule/nbd-key.pem" }, allow = ["192.0.2.0/24"] }, or tls = "none" for a network that only trusted machines are on',
]);

bad("an export that everybody may write to", [[
  'size = "512MiB"',
  `size = "512MiB"\nexport = { address = "tcp://0.0.0.0:10809", tls = "none" }`,
]], [
  '24:10: volumes.logs.export: whoever reaches tcp://0.0.0.0:10809 could read and write the volume; write export = { address = "tcp://0.0.0.0:10809", allow = ["192.0.2.0/24"], … } with the networks of its clients',
]);

bad("client certificates and pre-shared keys", [[
  'size = "512MiB"',
  'size = "512MiB"\nexport = { address = "tcp://127.0.0.1:10809", tls = { clients = "/ca.pem", psk = "/k", key = "k.pem" } }',
]], [
  '24:53: volumes.logs.export.tls.certificate: this key is missing; add certificate = "/etc/bascule/nbd.pem"',
  "24:55: volumes.logs.export.tls.clients: client certificates are not supported, the TLS of this program's runtime takes them without proof of their keys; remove the key, and let allow say who may connect",
  "24:76: volumes.logs.export.tls.psk: pre-shared keys are not supported, the TLS of this program's runtime has none; write certificate and key, and let allow say who may connect",
  '24:94: volumes.logs.export.tls.key: "k.pem" is not absolute; start it with /',
]);

bad("mistakes in the table of an export", [[
  'size = "512MiB"',
  'size = "512MiB"\nexport = { address = "unix:/run/x.sock", tls = "none", allow = ["10.0.0.1/8"], connections = 0, alow = [] }',
]], [
  "24:48: volumes.logs.export.tls: a unix socket takes no tls, its file mode says who may connect; remove the key",
  "24:64: volumes.logs.export.allow: a unix socket takes no allow, its file mode says who may connect; remove the key",
  '24:65: volumes.logs.export.allow[0]: "10.0.0.1/8" names a host in the network; write 10.0.0.0/8',
  "24:94: volumes.logs.export.connections: 0 is not between 1 and 1024",
  '24:97: volumes.logs.export.alow: unknown key; did you mean "allow"?',
]);

bad("an export on an address of a link", [[
  'size = "512MiB"',
  'size = "512MiB"\nexport = { address = "tcp://192.0.2.1:6941", tls = "none", allow = ["192.0.2.0/24"] }',
]], [
  "24:10: volumes.logs.export: address 192.0.2.1:6941 is already used by volumes.data.replicas.a.address (line 19); each needs its own",
]);

bad("a freeze limit shorter than a failover", [[
  'size = "512MiB"',
  'size = "512MiB"\nfreeze_limit = "1s"',
]], ["24:16: volumes.logs.freeze_limit: 1s is too short; the shortest is 2s"]);

Deno.test("networks hold the addresses of their family that agree in the prefix", () => {
  const holds = (network: string, ip: string) => {
    const read = parseNetwork(network);
    assert.ok("value" in read, network);
    return inNetwork(parseIp(ip)!.bytes, read.value);
  };
  assert.ok(holds("192.0.2.0/24", "192.0.2.255"));
  assert.ok(!holds("192.0.2.0/24", "192.0.3.0"));
  assert.ok(holds("192.0.2.128/25", "192.0.2.200"));
  assert.ok(!holds("192.0.2.128/25", "192.0.2.127"));
  assert.ok(holds("0.0.0.0/0", "203.0.113.9"));
  assert.ok(!holds("0.0.0.0/0", "::1"));
  assert.ok(holds("2001:db8::/32", "2001:db8:ffff::1"));
  assert.ok(!holds("2001:db8::/33", "2001:db8:ffff::1"));
  assert.ok(holds("198.51.100.7", "198.51.100.7"));
  assert.ok(!holds("198.51.100.7", "198.51.100.6"));
  for (const wrong of ["192.0.2.0/33", "192.0.2.0/", "host/8", "192.0.2.1/24", "::1/-1"]) {
    assert.ok("error" in parseNetwork(wrong), wrong);
  }
});
