/** Exports over TCP, in the clear and within TLS. */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { TlsRelay } from "../../src/agent/tls_relay.ts";
import { NbdConnection } from "../../src/cli/nbd_connection.ts";
import type { ExportConfig, IpNetwork, TlsConfig } from "../../src/config/types.ts";
import { makeCertificates } from "./certificates.ts";
import {
  AGENT_WORKER,
  ENGINES,
  MIB,
  must,
  randomBytes,
  run,
  toolTest,
  withRig,
} from "./fixtures.ts";
import { freePort } from "./pair.ts";

function tcpExport(
  port: number,
  { tls = null, allow = [], host = "127.0.0.1" }: {
    tls?: TlsConfig | null;
    allow?: readonly IpNetwork[];
    host?: string;
  } = {},
): ExportConfig {
  return { address: `tcp://${host}:${port}`, path: "", tcp: { host, port, tls, allow } };
}

for (const engine of ENGINES) {
  Deno.test(`${engine}: an export over TCP, IPv4 and IPv6, for many clients`, () =>
    withRig(async (rig) => {
      for (const host of ["127.0.0.1", "::1"]) {
        const port = freePort();
        const node = host === "::1" ? "v6" : "v4";
        const replica = await rig.serve({ engine, node, export: tcpExport(port, { host }) });
        const clients = await Promise.all(
          Array.from({ length: 4 }, () => NbdConnection.open({ hostname: host, port }, "data")),
        );
        const data = randomBytes(3 * MIB);
        await clients[0]!.write(1000, data);
        for (const client of clients) {
          assert.deepEqual(await client.read(1000, data.length), data);
          await client.disconnect();
        }
        await replica.worker.close();
        await assert.rejects(NbdConnection.open({ hostname: host, port }, "data"), /refused/);
      }
    }));
}

/** Client flags and the option STARTTLS, in hex. */
const STARTTLS = "0000000349484156454f50540000000500000000";

/** How a connection from this address begins: the server's greeting, or its end. */
function greeting(port: number, localAddress: string): Promise<string> {
  return new Promise((resolve) => {
    const socket: Socket = connect({ port, host: "127.0.0.1", localAddress });
    socket.once("data", (bytes: Uint8Array) => {
      socket.destroy();
      resolve(new TextDecoder().decode(bytes.subarray(0, 8)));
    });
    socket.once("error", () => {});
    socket.once("close", () => resolve("closed"));
  });
}

Deno.test("clients from networks that are not on the list are refused, and the log says who", () =>
  withRig(async (rig) => {
    const port = freePort();
    const allow = [{ bytes: [127, 0, 0, 0], prefix: 31 }, { bytes: [127, 9, 0, 0], prefix: 16 }];
    const replica = await rig.serve({ export: tcpExport(port, { allow }) });
    assert.equal(await greeting(port, "127.0.0.1"), "NBDMAGIC");
    assert.equal(await greeting(port, "127.9.8.7"), "NBDMAGIC");
    assert.equal(await greeting(port, "127.0.0.2"), "closed");
    assert.equal(await greeting(port, "127.8.0.1"), "closed");
    await replica.until(
      "a note",
      () =>
        replica.notes.some(({ rule, text }) =>
          rule === "export-refused" && text.includes("127.0.0.2")
        ),
    );
  }));

toolTest(
  ["openssl", "nbdinfo", "nbdcopy", "qemu-io"],
  "within TLS other makes of clients work",
  () =>
    withRig(async (rig) => {
      const { directory, tls } = await makeCertificates(`${rig.directory}/pki`);
      const relay = new TlsRelay(() => {}, AGENT_WORKER);
      const port = freePort();
      const replica = rig.start({ export: tcpExport(port, { tls }) });
      replica.worker.onTls = (fd, plain) => relay.begin(fd, plain, tls);
      await relay.start();
      await replica.until("ready", () => replica.ready !== null);
      await rig.promote(replica);
      try {
        const uri = `nbds://localhost:${port}/data?tls-certificates=${directory}`;
        const info = JSON.parse(await must("nbdinfo", ["--json", uri]));
        assert.equal(info.TLS, true);
        assert.equal(info.exports[0]["export-size"], replica.size);

        const [source, copy] = [`${rig.directory}/source`, `${rig.directory}/copy`];
        const data = randomBytes(replica.size);
        Deno.writeFileSync(source, data);
        await must("nbdcopy", ["--flush", source, uri]);
        await must("nbdcopy", [uri, copy]);
        assert.deepEqual(Deno.readFileSync(copy), data);

        const said = await must("qemu-io", [
          ...["--object", `tls-creds-x509,id=tls0,dir=${directory},endpoint=client`],
          ...["--image-opts", "-c", "write -P 0x5a 4k 1M", "-c", "read -P 0x5a 4k 1M"],
          `driver=nbd,host=localhost,port=${port},export=data,tls-creds=tls0`,
        ]);
        assert.doesNotMatch(said, /Pattern verification failed|error/i);

        // In the clear nothing is told, not even names.
        const plain = await run("nbdinfo", ["--list", `nbd://localhost:${port}/`]);
        assert.notEqual(plain.code, 0);
        assert.doesNotMatch(plain.output, /data|67108864/);
        await assert.rejects(
          NbdConnection.open({ hostname: "127.0.0.1", port }, "data"),
          /served over TLS only/,
        );
        // Garbage in place of TLS ends that connection only.
        const noise = connect({ port, host: "127.0.0.1" });
        noise.on("error", () => {});
        noise.on("data", () => {});
        noise.write(Uint8Array.fromHex(STARTTLS));
        await new Promise((resolve) => setTimeout(resolve, 300));
        noise.write(randomBytes(100_000));
        await new Promise((resolve) => noise.once("close", resolve));
        // A client that trusts another authority goes away, and the next one is served as ever.
        const strangers = await makeCertificates(`${rig.directory}/others`);
        const other = `nbds://localhost:${port}/data?tls-certificates=${strangers.directory}`;
        assert.notEqual((await run("nbdinfo", [other])).code, 0);
        await must("nbdinfo", [uri]);
      } finally {
        relay.close();
      }
    }),
);

toolTest(
  ["openssl"],
  "handshakes that get nowhere end by themselves, and the place is free again",
  () =>
    withRig(async (rig) => {
      const { tls } = await makeCertificates(`${rig.directory}/pki`);
      const relay = new TlsRelay(() => {}, AGENT_WORKER);
      const port = freePort();
      const replica = rig.start({ export: { ...tcpExport(port, { tls }), connections: 3 } });
      replica.worker.onTls = (fd, plain) => relay.begin(fd, plain, tls);
      await relay.start();
      await replica.until("ready", () => replica.ready !== null);
      await rig.promote(replica);
      const began = performance.now();
      const sleepers: Socket[] = [];
      const ends: Promise<number>[] = [];
      // One that says nothing, one that stops within its options, one that stops within TLS.
      for (const words of ["", "0000000349484156", STARTTLS]) {
        const socket = connect({ port, host: "127.0.0.1" });
        sleepers.push(socket);
        socket.on("error", () => {});
        socket.on("data", () => {});
        socket.write(Uint8Array.fromHex(words));
        ends.push(
          new Promise((resolve) => socket.once("close", () => resolve(performance.now() - began))),
        );
      }
      try {
        const times = await Promise.all(ends);
        assert.ok(times.every((time) => time > 8000 && time < 14_000), times.join(" "));
        // All three places can be had again.
        const again = await Promise.all(
          Array.from({ length: 3 }, () => greeting(port, "127.0.0.1")),
        );
        assert.deepEqual(again, ["NBDMAGIC", "NBDMAGIC", "NBDMAGIC"]);
      } finally {
        for (const socket of sleepers) socket.destroy();
        relay.close();
      }
    }),
);

toolTest(
  ["openssl", "nbdinfo"],
  "a certificate that cannot be read is told; a new one is taken",
  () =>
    withRig(async (rig) => {
      const notes: string[] = [];
      const relay = new TlsRelay((_level, _rule, text) => notes.push(text), AGENT_WORKER);
      const port = freePort();
      const tls = { certificate: `${rig.directory}/pki/server-cert.pem`, key: "" };
      const files = { ...tls, key: `${rig.directory}/pki/server-key.pem` };
      const replica = rig.start({ export: tcpExport(port, { tls: files }) });
      replica.worker.onTls = (fd, plain) => relay.begin(fd, plain, files);
      await relay.start();
      await replica.until("ready", () => replica.ready !== null);
      await rig.promote(replica);
      try {
        const uri = `nbds://localhost:${port}/data?tls-certificates=${rig.directory}/pki`;
        assert.notEqual((await run("nbdinfo", [uri])).code, 0);
        await makeCertificates(`${rig.directory}/pki`);
        await must("nbdinfo", [uri]);
        assert.match(notes.join("\n"), /server-cert\.pem cannot be read .*: put the file there/);
        Deno.renameSync(`${rig.directory}/pki`, `${rig.directory}/old`);
        await makeCertificates(`${rig.directory}/pki`);
        await must("nbdinfo", [uri]);
      } finally {
        relay.close();
      }
    }),
);
