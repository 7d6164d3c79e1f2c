/** A volume that changes hands under its clients. */
import assert from "node:assert/strict";
import { NbdConnection, NbdRequestError } from "../../src/cli/nbd_connection.ts";
import type { ExportConfig } from "../../src/config/types.ts";
import { NBD_CMD, NBD_ERROR } from "../../src/nbd/mod.ts";
import { ENGINES, must, randomBytes, Replica, toolTest, withRig } from "./fixtures.ts";
import { freePort, Pair } from "./pair.ts";
import { QemuIo } from "./qemu_io.ts";

const BLOCK = 4096;

/** One address for whichever replica is Primary, as a group's address gives it. */
function commonExport(): ExportConfig {
  const port = freePort();
  const tcp = { host: "127.0.0.1", port, tls: null, allow: [] };
  return { address: `tcp://127.0.0.1:${port}`, path: "", tcp };
}

/** Writes numbered blocks without pause, connects again whenever it has to, and checks them all. */
class ReconnectingClient {
  readonly acknowledged = new Map<number, number>();
  readonly errors = new Set<number>();
  reconnects = -1;
  #stopped = false;
  readonly #where: Deno.ConnectOptions;
  readonly #blocks: number;
  readonly #run: Promise<unknown>;

  constructor(where: Deno.ConnectOptions, from: number, blocks: number) {
    this.#where = where;
    this.#blocks = blocks;
    this.#run = this.#write(from);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#run;
  }

  async #write(from: number): Promise<void> {
    for (let round = 1, client: NbdConnection | null = null;; round++) {
      for (let n = 0; n < this.#blocks; n += 8) {
        for (let written = false; !written;) {
          if (this.#stopped) return await client?.close();
          client ??= await this.#connect();
          if (client === null) continue;
          const writer = client;
          const jobs = Array.from({ length: 8 }, (_, i) => this.#one(writer, from + n + i, round));
          const all = await Promise.all(jobs);
          written = all.every((ok) => ok);
          if (written) continue;
          await client.close();
          client = null;
        }
      }
    }
  }

  async #one(client: NbdConnection, block: number, round: number): Promise<boolean> {
    try {
      await client.write(block * BLOCK, blockOf(block, round), { fua: block % 16 === 0 });
      this.acknowledged.set(block, round);
      return true;
    } catch (error) {
      if (error instanceof NbdRequestError) this.errors.add(error.error);
      return false;
    }
  }

  async #connect(): Promise<NbdConnection | null> {
    try {
      const client = await NbdConnection.open(this.#where, "data");
      this.reconnects++;
      return client;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 10));
      return null;
    }
  }

  /** Every acknowledged write, or a later one, is there. */
  check(read: Uint8Array): void {
    for (const [block, round] of this.acknowledged) {
      const found = new DataView(read.buffer, read.byteOffset + block * BLOCK).getUint32(0);
      assert.ok(found >= round, `block ${block}: round ${found} where ${round} was acknowledged`);
      assert.deepEqual(
        read.subarray(block * BLOCK, (block + 1) * BLOCK),
        blockOf(block, found),
        `block ${block} is torn`,
      );
    }
  }
}

function blockOf(block: number, round: number): Uint8Array {
  const bytes = new Uint8Array(BLOCK).fill((block * 31 + round) & 0xff);
  new DataView(bytes.buffer).setUint32(0, round);
  return bytes;
}

async function readAll(where: Deno.ConnectOptions, length: number): Promise<Uint8Array> {
  const client = await NbdConnection.open(where, "data");
  const bytes = await client.read(0, length);
  await client.disconnect();
  return bytes;
}

for (const engine of ENGINES) {
  Deno.test(`${engine}: clients that reconnect go on across handovers, and lose nothing`, () =>
    withRig(async (rig) => {
      const where = commonExport();
      const { tcp } = where;
      const target = { hostname: tcp!.host, port: tcp!.port };
      const pair = await Pair.start(rig, { engine, export: where });
      await pair.promote(pair.a);
      await pair.connected();
      const clients = [0, 1, 2].map((n) => new ReconnectingClient(target, n * 256, 256));
      let [primary, secondary] = [pair.a, pair.b];
      for (let turn = 0; turn < 6; turn++) {
        await new Promise((resolve) => setTimeout(resolve, 300));
        const before = clients.map((client) => client.acknowledged.size);
        const forced = turn % 3 === 2;
        const clean = await pair.demote(primary, forced);
        if (!forced) assert.ok(clean, "in-flight requests were drained");
        await pair.promote(secondary);
        [primary, secondary] = [secondary, primary];
        await pair.connected();
        assert.ok(before.every((count) => count > 0));
      }
      await new Promise((resolve) => setTimeout(resolve, 300));
      for (const client of clients) await client.stop();
      const bytes = await readAll(target, 3 * 256 * BLOCK);
      for (const client of clients) {
        client.check(bytes);
        assert.ok(client.reconnects >= 6, `${client.reconnects} reconnects`);
        // Nothing but the word that the server goes.
        assert.deepEqual([...client.errors].filter((error) => error !== NBD_ERROR.ESHUTDOWN), []);
      }
      await pair.demote(primary, false);
      pair.assertSame();
    }));
}

/** A client that speaks without reading, then reads what came until the end. */
async function burst(
  replica: Replica,
  requests: number,
): Promise<{ ok: number; shutdown: number }> {
  const conn = await Deno.connect({ transport: "unix", path: replica.socket });
  const readable = conn.readable.getReader();
  const writer = conn.writable.getWriter();
  const name = new TextEncoder().encode("data").toHex();
  const hello = Uint8Array.fromHex(
    `0000000349484156454f505400000007${"0000000a"}00000004${name}0000`,
  );
  await writer.write(hello);
  let seen: Uint8Array = new Uint8Array(0);
  const take = async () => {
    const { value } = await readable.read();
    if (value === undefined) return false;
    seen = Uint8Array.from([...seen, ...value]);
    return true;
  };
  while (seen.length < 70) assert.ok(await take());
  const order = { type: "demote", forced: false } as const;
  const frames = Array.from({ length: requests }, (_, n) => {
    const header = new Uint8Array(28 + BLOCK);
    const view = new DataView(header.buffer);
    view.setUint32(0, 0x25609513);
    view.setUint16(6, NBD_CMD.WRITE);
    view.setUint32(12, n);
    view.setUint32(20, n * BLOCK);
    view.setUint32(24, BLOCK);
    return header;
  });
  const half = frames.length / 2;
  await writer.write(Uint8Array.from(frames.slice(0, half).flatMap((frame) => [...frame])));
  replica.worker.order(order);
  // The server may be gone by then.
  await writer.write(Uint8Array.from(frames.slice(half).flatMap((frame) => [...frame]))).catch(
    () => {},
  );
  while (await take().catch(() => false));
  const counts = { ok: 0, shutdown: 0 };
  for (let at = 70; at + 16 <= seen.length; at += 16) {
    const view = new DataView(seen.buffer, at);
    assert.equal(view.getUint32(0), 0x67446698);
    const error = view.getUint32(4);
    if (error === 0) counts.ok++;
    else if (error === NBD_ERROR.ESHUTDOWN) counts.shutdown++;
    else assert.fail(`error ${error}`);
  }
  await writer.close().catch(() => {});
  readable.releaseLock();
  return counts;
}

Deno.test("a demotion answers what is under way, refuses what follows, and hangs up in order", () =>
  withRig(async (rig) => {
    const replica = await rig.serve();
    const { ok, shutdown } = await burst(replica, 400);
    assert.ok(ok > 0 && ok + shutdown <= 400, `${ok} done, ${shutdown} refused`);
    await replica.until("demoted", () => replica.asks.some((ask) => ask.type === "demoted"));
    assert.equal(replica.fatal, null);
  }));

toolTest(
  ["qemu-io"],
  "qemu with reconnect-delay sees a pause, not an error",
  () =>
    withRig(async (rig) => {
      const where = commonExport();
      const pair = await Pair.start(rig, { export: where });
      await pair.promote(pair.a);
      await pair.connected();
      const qemu = new QemuIo([
        "qemu-io",
        "--image-opts",
        `driver=nbd,host=127.0.0.1,port=${where.tcp!.port},export=data,reconnect-delay=30`,
      ]);
      const patterns = Array.from({ length: 24 }, (_, n) => [n + 1, n * 64] as const);
      try {
        for (const [pattern, at] of patterns.slice(0, 12)) {
          await qemu.done(`write -P ${pattern} ${at}k 64k`);
        }
        await pair.demote(pair.a, false);
        const [next, ...rest] = patterns.slice(12);
        const waiting = qemu.done(`write -P ${next![0]} ${next![1]}k 64k`);
        await new Promise((resolve) => setTimeout(resolve, 1000));
        await pair.promote(pair.b);
        await waiting;
        for (const [pattern, at] of rest) await qemu.done(`write -P ${pattern} ${at}k 64k`);
        for (const [pattern, at] of patterns) await qemu.done(`read -P ${pattern} ${at}k 64k`);
      } finally {
        await qemu.quit();
      }
      assert.doesNotMatch(qemu.said, /verification failed|error|shutdown/i);
      assert.ok(pair.b.worker.stats().requests.read.requests >= 24);
      await pair.demote(pair.b, false);
      pair.assertSame();
    }),
);

toolTest(
  ["nbdkit", "nbdcopy", "cmp"],
  "nbdkit's retry filter carries a copy across a handover",
  () =>
    withRig(async (rig) => {
      const where = commonExport();
      const pair = await Pair.start(rig, { export: where });
      await pair.promote(pair.a);
      await pair.connected();
      const [source, copy] = [`${rig.directory}/source`, `${rig.directory}/copy`];
      Deno.writeFileSync(source, randomBytes(pair.a.size));
      const proxied = (command: string) =>
        must("nbdkit", [
          ...["-U", "-", "--filter=retry", "nbd", "hostname=127.0.0.1", `port=${where.tcp!.port}`],
          ...["export=data", "retries=20", "retry-delay=1", "retry-exponential=no"],
          ...["--run", command],
        ], 120);
      const copying = proxied(`nbdcopy --requests=4 --request-size=262144 "${source}" "$uri"`);
      await pair.a.until(
        "it copies",
        () => pair.a.worker.stats().requests.write.requests > 8,
      );
      await pair.demote(pair.a, false);
      await pair.promote(pair.b);
      await copying;
      assert.ok(pair.b.worker.stats().requests.write.requests > 0, "all was copied before");
      await proxied(`nbdcopy "$uri" "${copy}"`);
      await must("cmp", [source, copy]);
      await pair.demote(pair.b, false);
      pair.assertSame();
    }),
);

Deno.test("a client between two requests is let go at once", () =>
  withRig(async (rig) => {
    const replica = await rig.serve();
    const idle = await NbdConnection.open(replica.socket, "data");
    const began = performance.now();
    replica.worker.order({ type: "demote", forced: false });
    await assert.rejects(
      async () => {
        for (;;) {
          await idle.read(0, 512);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      },
      (error: Error) => /closed|ESHUTDOWN|reset|Broken pipe/.test(error.message),
    );
    assert.ok(performance.now() - began < 1500);
    await idle.close();
  }));
