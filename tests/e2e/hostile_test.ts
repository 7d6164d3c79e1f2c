/** Bad input to every socket of a running agent. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { sealFrame } from "../../src/wire/frame.ts";
import { type Cluster, withCluster } from "./cluster.ts";
import type { Message } from "./hostile_sender.ts";
import { blocks, Ledger } from "./ledger.ts";
import { e2eTest, must } from "./network.ts";

/** Bytes before the first packet of a pcap file, before each packet, and of its headers. */
const [PCAP_HEADER, PACKET_HEADER, ETHERNET_IP_UDP] = [24, 16, 14 + 20 + 8];

/** Heartbeats as they came from beta to alpha. */
async function capture(cluster: Cluster): Promise<Uint8Array[]> {
  const { network } = cluster;
  const file = `${network.directory}/heartbeats.pcap`;
  const filter = `udp dst port 6940 and src host ${network.address("beta", 0)}`.split(" ");
  const command = ["tcpdump", "-Z", "root", "-i", "eth0", "-c", "10", "-w", file, ...filter];
  await must(network.on("alpha", command));
  const bytes = Deno.readFileSync(file);
  const view = new DataView(bytes.buffer);
  const found: Uint8Array[] = [];
  for (let at = PCAP_HEADER; at < bytes.length;) {
    const length = view.getUint32(at + 8, true);
    at += PACKET_HEADER;
    found.push(bytes.slice(at + ETHERNET_IP_UDP, at + length));
    at += length;
  }
  assert.equal(found.length, 10);
  return found;
}

/** Sends from the machine of the witness, which is on both networks. */
async function send(cluster: Cluster, messages: readonly Message[]): Promise<void> {
  const script = new URL("./hostile_sender.ts", import.meta.url).pathname;
  const [program = "", ...args] = cluster.network.on("witness", [
    Deno.execPath(),
    "run",
    "-A",
    "--quiet",
    "--no-config",
    script,
  ]);
  const child = new Deno.Command(program, { args, stdin: "piped", stdout: "null" }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(messages)));
  await writer.close();
  assert.equal((await child.status).code, 0);
}

function noise(length: number): Uint8Array {
  return randomBytes(length);
}

/** One client that sends garbage, and does not read what comes back. */
async function spoil(socket: string, bytes: Uint8Array): Promise<void> {
  const connection = await Deno.connect({ transport: "unix", path: socket });
  try {
    await connection.write(bytes);
  } catch {
    // The agent had heard enough.
  }
  connection.close();
}

e2eTest(
  "garbage, forgeries and replays change nothing, and are counted",
  ["tcpdump"],
  () =>
    withCluster({}, async (cluster) => {
      // Breaks when a decoder throws, a replay is a sign of life, or garbage holds up good clients.
      const { alpha, network } = cluster;
      await cluster.start();
      const epoch = await cluster.epoch(alpha);
      const ledger = new Ledger();
      const client = await alpha.nbd();
      await ledger.writeAll(client, blocks(0, 64));
      const genuine = await capture(cluster);
      const before = (await alpha.status())!;
      const entries = alpha.journal().length;

      const heartbeat = (bytes: Uint8Array): Message => ({
        transport: "udp",
        host: network.address("alpha", 0),
        port: 6940,
        hex: bytes.toHex(),
      });
      const forged = genuine.map((frame) => {
        const copy = frame.slice();
        copy[copy.length - 40]! ^= 1;
        return copy;
      });
      const body = {
        type: "REFUSED",
        register: "cluster",
        ballot: { n: 1, node: "beta", incarnation: 1 },
        why: "ballot",
      } as const;
      const foreign = sealFrame(1, noise(32), "another-cluster", {
        node: "beta",
        incarnation: 1,
        seq: 1,
        protocol: 1,
        // Never looked at: what is not of this cluster is dropped before its body is read.
        body: body as never,
      });
      await send(cluster, [
        ...[1, 39, 40, 1400, 20_000].map((length) => heartbeat(noise(length))),
        ...genuine.map((frame) => heartbeat(frame.subarray(0, frame.length - 10))),
        ...forged.map(heartbeat),
        ...genuine.map(heartbeat),
        heartbeat(foreign),
      ]);
      const volume = { transport: "tcp", host: network.address("alpha", 1), port: 6941 } as const;
      await send(cluster, [
        { ...volume, hex: noise(200_000).toHex() },
        { ...volume, hex: "00" },
        { ...volume, hex: "ff".repeat(65_536) },
        { ...volume, hex: "" },
      ]);
      const open: Deno.Conn[] = [];
      try {
        await spoil(alpha.socket, noise(100_000));
        // A client flag that nobody knows; then the good magic with an option of 4 GiB.
        await spoil(alpha.socket, new Uint8Array(4).fill(0xff));
        await spoil(alpha.socket, Uint8Array.fromHex("0000000349484156454f505400000007ffffffff"));
        for (let each = 0; each < 5; each++) {
          open.push(await Deno.connect({ transport: "unix", path: alpha.socket }));
        }

        await cluster.until("what was refused is counted", async () => {
          const frames = (await alpha.status())?.frames ?? {};
          const grown = (cause: string) => (frames[cause] ?? 0) - (before.frames?.[cause] ?? 0);
          return grown("hmac") >= 10 && grown("replayed") >= 10 && grown("cluster") >= 1 &&
            grown("magic") + grown("short") >= 5;
        });
        assert.ok(alpha.journal().some(({ rule }) => rule === "frames-refused"));

        await ledger.writeAll(client, blocks(32, 64));
        await client.flush();
        await ledger.verify(client);
        await client.disconnect();
      } finally {
        for (const connection of open) connection.close();
      }
      assert.ok(await alpha.alive());
      assert.equal(await cluster.epoch(alpha), epoch);
      await cluster.waitForOwner(alpha);
      await cluster.waitInSync(alpha);
      const noted = alpha.journal().slice(entries).map(({ rule }) => rule);
      for (const rule of ["peer-dead", "peer-alive", "peer-restart", "depose", "take"]) {
        assert.ok(!noted.includes(rule), `the journal notes ${rule}`);
      }
    }),
);
