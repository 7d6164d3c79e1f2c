import assert from "node:assert/strict";
import fc from "fast-check";
import {
  formatIp,
  formatMac,
  parseIp,
  parseIpv4,
  parseIpv6,
  parseMac,
} from "../../src/os/address.ts";
import { libc } from "../../src/os/libc.ts";
import {
  decodeInetSockaddr,
  encodeInetSockaddr,
  encodeUnixSockaddr,
  listenTcp,
  listenUnix,
} from "../../src/os/sockets.ts";

const hex = (bytes: Uint8Array) => bytes.toHex();

Deno.test("IPv4 and IPv6 addresses are read and written in their one form", () => {
  for (
    const [text, canonical] of [
      ["192.0.2.1", "192.0.2.1"],
      ["::", "::"],
      ["::1", "::1"],
      ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
      ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
      ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
      ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
      ["fe80::", "fe80::"],
      ["::ffff:192.0.2.1", "::ffff:c000:201"],
    ] as const
  ) assert.equal(formatIp(parseIp(text)), canonical);
  for (const bad of ["1.2.3", "1.2.3.256", "01.2.3.4", "1.2.3.4.5", "", " 1.2.3.4"]) {
    assert.equal(parseIpv4(bad), undefined, bad);
  }
  for (
    const bad of [
      ":::",
      "1::2::3",
      "1:2:3:4:5:6:7",
      "1:2:3:4:5:6:7:8:9",
      "12345::",
      "g::",
      "1:2:3:4:5:6:7::8",
      "1.2.3.4::",
      ":1::",
      "",
    ]
  ) assert.equal(parseIpv6(bad), undefined, bad);
  fc.assert(fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
    assert.deepEqual([...parseIp(formatIp(bytes))], [...bytes]);
  }));
  assert.equal(formatMac(parseMac("02:00:5E:10:00:ff")), "02:00:5e:10:00:ff");
  assert.throws(() => parseMac("02:00:5e:10:00"), RangeError);
});

Deno.test("socket addresses have the kernel's layout", () => {
  assert.equal(hex(encodeInetSockaddr("192.0.2.1", 6941)), "02001b1dc00002010000000000000000");
  assert.equal(
    hex(encodeInetSockaddr("2001:db8::1", 80)),
    "0a00005000000000" + "20010db8000000000000000000000001" + "00000000",
  );
  assert.equal(hex(encodeInetSockaddr("fe80::1%lo", 80)).slice(-8), "01000000");
  assert.throws(
    () => encodeInetSockaddr("fe80::1%nosuchif", 80),
    /if_nametoindex nosuchif: ENODEV/,
  );
  assert.throws(() => encodeInetSockaddr("localhost", 80), /not an IPv4 or IPv6 address/);
  assert.throws(() => encodeInetSockaddr("::1", 65536), /not a port/);
  assert.deepEqual(decodeInetSockaddr(encodeInetSockaddr("2001:db8::7", 1)), {
    host: "2001:db8::7",
    port: 1,
  });
  assert.equal(hex(encodeUnixSockaddr("/a")), "01002f6100");
  assert.throws(() => encodeUnixSockaddr("/" + "x".repeat(107)), /has 108 bytes/);
  assert.equal(decodeInetSockaddr(encodeUnixSockaddr("/a")), undefined);
});

Deno.test("a stale unix socket is replaced; a live one and a plain file are not", () => {
  const directory = Deno.makeTempDirSync();
  try {
    const path = `${directory}/control.sock`;
    const first = listenUnix(path);
    assert.throws(() => listenUnix(path), /somebody listens.*EADDRINUSE/);
    libc.close(first);
    assert.ok(Deno.lstatSync(path).isSocket, "closing leaves the name");
    const second = listenUnix(path);
    assert.equal(Deno.lstatSync(path).mode! & 0o777, 0o600);
    libc.close(second);
    const file = `${directory}/file`;
    Deno.writeTextFileSync(file, "precious");
    assert.throws(() => listenUnix(file), /no socket.*EADDRINUSE/);
    assert.equal(Deno.readTextFileSync(file), "precious");
    assert.throws(() => listenUnix(`${directory}/none/x`), { code: "ENOENT" });
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("a busy TCP port is told with its address", () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  try {
    const { port } = listener.addr as Deno.NetAddr;
    assert.throws(() => listenTcp("127.0.0.1", port), {
      message: `bind 127.0.0.1:${port}: EADDRINUSE (Address already in use)`,
    });
  } finally {
    listener.close();
  }
  assert.throws(() => listenTcp("192.0.2.1", 0), { code: "EADDRNOTAVAIL" });
});
