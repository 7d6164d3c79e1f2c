/** Several volumes, each with its own Worker, behind one socket. */
import assert from "node:assert/strict";
import { ExportSockets } from "../../src/agent/export_sockets.ts";
import { NbdConnection } from "../../src/cli/nbd_connection.ts";
import type { ExportConfig, VolumeConfig } from "../../src/config/types.ts";
import type { EngineName } from "../../src/os/engine.ts";
import { ENGINES, MIB, must, randomBytes, Replica, Rig, toolTest, withRig } from "./fixtures.ts";
import { freePort } from "./pair.ts";

const NAMES = ["alpha", "beta", "gamma"];

/** Three volumes that share a socket, with what ties them together in the agent. */
class Sharing {
  readonly sockets: ExportSockets;
  readonly replicas: readonly Replica[];
  readonly where: string | Deno.ConnectOptions;
  readonly #rig: Rig;

  constructor(rig: Rig, where: ExportConfig, engine: EngineName = "io_uring") {
    this.#rig = rig;
    const { tcp, path } = where;
    this.where = tcp === undefined ? path : { hostname: tcp.host, port: tcp.port };
    const configs = NAMES.map((name) => ({ name, export: where }) as VolumeConfig);
    this.sockets = new ExportSockets(configs, () => {});
    this.replicas = NAMES.map((name, index) => {
      const size = (8 + index) * MIB;
      const replica = rig.start({
        engine,
        node: name,
        volume: name,
        size,
        export: where,
        shared: true,
      });
      replica.worker.onServing = (entry) => this.sockets.serving(name, replica.worker, entry);
      replica.worker.onPass = (client) => this.sockets.pass(client);
      return replica;
    });
  }

  async serve(index: number): Promise<void> {
    const replica = this.replicas[index]!;
    await replica.until("ready", () => replica.ready !== null);
    await this.#rig.promote(replica);
  }

  async demote(index: number): Promise<void> {
    const replica = this.replicas[index]!;
    const before = replica.asks.length;
    replica.worker.order({ type: "demote", forced: false });
    await replica.until("demoted", () => replica.asks.length > before);
  }

  open(name: string): Promise<NbdConnection> {
    return NbdConnection.open(this.where, name, { contexts: ["base:allocation"] });
  }
}

async function withSharing(
  where: (rig: Rig) => ExportConfig,
  test: (sharing: Sharing, rig: Rig) => Promise<void>,
  engine: EngineName = "io_uring",
): Promise<void> {
  await withRig(async (rig) => {
    const sharing = new Sharing(rig, where(rig), engine);
    try {
      await test(sharing, rig);
    } finally {
      sharing.sockets.close();
    }
  });
}

function onUnix(rig: Rig): ExportConfig {
  const path = `${rig.directory}/shared.sock`;
  return { address: `unix:${path}`, path };
}

function onTcp(): ExportConfig {
  const port = freePort();
  const tcp = { host: "127.0.0.1", port, tls: null, allow: [] };
  return { address: `tcp://127.0.0.1:${port}`, path: "", tcp };
}

/** Tries until it works: what happens on the main thread and in Workers takes a moment. */
async function soon(what: string, check: () => Promise<void>): Promise<void> {
  for (let tries = 0;; tries++) {
    const failure = await check().then(() => null, (error: unknown) => error);
    if (failure === null) return;
    if (tries === 100) throw new Error(`not in time: ${what}`, { cause: failure });
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

for (const engine of ENGINES) {
  for (const [kind, where] of [["a unix socket", onUnix], ["TCP", onTcp]] as const) {
    Deno.test(`${engine}: clients of three volumes on ${kind} get the one that they name`, () =>
      withSharing(where, async (sharing) => {
        for (const index of NAMES.keys()) await sharing.serve(index);
        await soon("all are there", async () => (await sharing.open("gamma")).disconnect());
        // Whichever Worker takes a connection, many of them go through every pair.
        const clients = await Promise.all(
          Array.from({ length: 24 }, (_, n) => sharing.open(NAMES[n % 3]!)),
        );
        const data = clients.map(() => randomBytes(70_000));
        await Promise.all(clients.map((client, n) => client.write(n * 80_000, data[n]!)));
        for (const [n, client] of clients.entries()) {
          assert.equal(client.info.size, sharing.replicas[n % 3]!.size);
          assert.deepEqual(await client.read(n * 80_000, 70_000), data[n]);
          assert.ok((await client.blockStatus(0, 4096)).length > 0);
        }
        for (const client of clients) await client.disconnect();
        for (const [index, replica] of sharing.replicas.entries()) {
          assert.equal(replica.fatal, null);
          const disk = Deno.readFileSync(replica.disk);
          for (let n = index; n < 24; n += 3) {
            assert.deepEqual(disk.subarray(n * 80_000, n * 80_000 + 70_000), data[n]);
          }
        }
      }, engine));
  }
}

Deno.test("a volume is on the shared socket while it is Primary, and the socket while one is", () =>
  withSharing(onUnix, async (sharing) => {
    const path = sharing.where as string;
    const there = () => {
      try {
        return Deno.lstatSync(path).isSocket;
      } catch {
        return false;
      }
    };
    assert.equal(there(), false);
    await sharing.serve(1);
    await soon("beta", async () => (await sharing.open("beta")).disconnect());
    assert.equal(Deno.lstatSync(path).mode! & 0o777, 0o600);
    await assert.rejects(sharing.open("alpha"), /no export has this name/);
    // The empty name would mean something else when the next volume comes.
    await assert.rejects(sharing.open(""), /no export has this name/);
    await sharing.serve(0);
    await soon("alpha", async () => (await sharing.open("alpha")).disconnect());
    const beta = await sharing.open("beta");
    await sharing.demote(0);
    await soon("alpha gone", () => assert.rejects(sharing.open("alpha"), /no export has/));
    await beta.write(0, randomBytes(4096));
    await beta.disconnect();
    await sharing.demote(1);
    await soon("no socket", () => Promise.resolve(assert.equal(there(), false)));
    await sharing.serve(2);
    await soon("gamma", async () => (await sharing.open("gamma")).disconnect());
  }));

Deno.test("a client that says more before it is answered loses nothing on its way to the other", () =>
  withSharing(onUnix, async (sharing) => {
    await sharing.serve(0);
    await sharing.serve(1);
    await soon("beta", async () => (await sharing.open("beta")).disconnect());
    // Client flags, GO for beta without waiting for anything, then a READ and a FLUSH.
    const name = new TextEncoder().encode("beta").toHex();
    const go = `00000003 49484156454f5054 00000007 0000000a 00000004 ${name} 0000`;
    const read = "25609513 0000 0000 0000000000000001 0000000000000000 00000010";
    const flush = "25609513 0000 0003 0000000000000002 0000000000000000 00000000";
    const stream = Uint8Array.fromHex(`${go}${read}${flush}`.replaceAll(" ", ""));
    for (let round = 0; round < 8; round++) {
      const conn = await Deno.connect({ transport: "unix", path: sharing.where as string });
      try {
        await conn.write(stream);
        // Greeting, one information reply, ACK, then two replies, in any order.
        const expected = 18 + 32 + 20 + 32 + 16;
        const got = new Uint8Array(expected);
        for (let at = 0; at < expected;) {
          const count = await conn.read(got.subarray(at));
          assert.notEqual(count, null, `the server hung up after ${at} bytes`);
          at += count!;
        }
        const replies = got.subarray(18 + 32 + 20);
        assert.equal(replies.toHex().split("67446698").length, 3);
      } finally {
        conn.close();
      }
    }
  }));

toolTest(
  ["nbdinfo"],
  "other makes of clients list the exports of a shared socket",
  () =>
    withSharing(onUnix, async (sharing) => {
      for (const index of NAMES.keys()) await sharing.serve(index);
      await soon("gamma", async () => (await sharing.open("gamma")).disconnect());
      const uri = `nbd+unix:///?socket=${sharing.where}`;
      const list = JSON.parse(await must("nbdinfo", ["--list", "--json", uri]));
      const names = list.exports.map((entry: Record<string, unknown>) => entry["export-name"]);
      assert.deepEqual(names, NAMES);
      const sizes = list.exports.map((entry: Record<string, unknown>) => entry["export-size"]);
      assert.deepEqual(sizes, sharing.replicas.map((replica) => replica.size));
    }),
);
