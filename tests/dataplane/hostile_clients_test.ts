import assert from "node:assert/strict";
import { NbdConnection } from "../../src/cli/nbd_connection.ts";
import { encodeRequest, NBD_CMD, REQUEST_BYTES } from "../../src/nbd/mod.ts";
import { ENGINES, MIB, randomBytes, Replica, withRig } from "./fixtures.ts";

/** A client that says what it likes. */
class RawClient {
  readonly #conn: Deno.UnixConn;

  private constructor(conn: Deno.UnixConn) {
    this.#conn = conn;
  }

  static async connect(replica: Replica): Promise<RawClient> {
    return new RawClient(await Deno.connect({ transport: "unix", path: replica.socket }));
  }

  /** Through the handshake by EXPORT_NAME, which is the shortest. */
  static async established(replica: Replica): Promise<RawClient> {
    const client = await RawClient.connect(replica);
    await client.read(18);
    const name = new TextEncoder().encode("data");
    const hello = new Uint8Array(4 + 16 + name.length);
    const view = new DataView(hello.buffer);
    view.setUint32(0, 3);
    view.setUint32(4, 0x49484156);
    view.setUint32(8, 0x454f5054);
    view.setUint32(12, 1);
    view.setUint32(16, name.length);
    hello.set(name, 20);
    await client.write(hello);
    await client.read(10);
    return client;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
  }

  async read(length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    for (let got = 0; got < length;) {
      const count = await this.#conn.read(bytes.subarray(got));
      if (count === null) throw new Error(`the server hung up after ${got} of ${length} bytes`);
      got += count;
    }
    return bytes;
  }

  /** Reads until the server hangs up; fails if it does not within five seconds. */
  async ended(): Promise<void> {
    const sink = new Uint8Array(65536);
    const timer = setTimeout(() => this.close(), 5000);
    try {
      for (let count = 0; count < 10_000; count++) {
        if (await this.#conn.read(sink) === null) return;
      }
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionReset) return;
      throw error;
    } finally {
      clearTimeout(timer);
    }
    throw new Error("the server goes on talking");
  }

  close(): void {
    try {
      this.#conn.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }
}

function request(type: number, offset: number, length: number, cookie = 1): Uint8Array {
  const bytes = new Uint8Array(REQUEST_BYTES);
  const fields = { type, flags: 0, cookieHi: 0, cookieLo: cookie, offset, length };
  encodeRequest(new DataView(bytes.buffer), 0, fields);
  return bytes;
}

/** A good client is served as ever. */
async function assertServes(replica: Replica, length = 100_000): Promise<void> {
  const client = await NbdConnection.open(replica.socket, "data");
  try {
    const data = randomBytes(length);
    await client.write(0, data);
    assert.deepEqual(await client.read(0, length), data);
  } finally {
    await client.close();
  }
  assert.equal(replica.fatal, null);
}

for (const engine of ENGINES) {
  Deno.test(`${engine}: garbage in the handshake ends that connection only`, () =>
    withRig(async (rig) => {
      const replica = await rig.serve({ engine });
      const pieces = [
        new TextEncoder().encode("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        randomBytes(100_000),
        new Uint8Array(5000),
        new Uint8Array(64).fill(255),
      ];
      for (const piece of pieces) {
        const client = await RawClient.connect(replica);
        await client.write(piece).catch(() => {});
        await client.ended();
        client.close();
      }
      const silent = await RawClient.connect(replica);
      silent.close();
      await assertServes(replica);
    }));

  Deno.test(`${engine}: garbage and lengths beyond all bounds in place of requests`, () =>
    withRig(async (rig) => {
      const replica = await rig.serve({ engine });
      const endings = [
        randomBytes(50_000),
        request(NBD_CMD.WRITE, 0, 0xffff_ffff),
        request(NBD_CMD.WRITE, 0, 33 * MIB),
      ];
      for (const bytes of endings) {
        const client = await RawClient.established(replica);
        await client.write(bytes).catch(() => {});
        await client.ended();
        client.close();
      }
      // Wrong, but in step: answered with an error, and the connection goes on.
      const client = await RawClient.established(replica);
      const wrong = [
        request(NBD_CMD.READ, 0, 0xffff_ffff),
        request(NBD_CMD.READ, replica.size, 1),
        request(NBD_CMD.TRIM, replica.size - 1, 2),
        request(4711, 0, 1),
      ];
      for (const bytes of wrong) {
        await client.write(bytes);
        const reply = new DataView((await client.read(16)).buffer);
        assert.equal(reply.getUint32(0), 0x67446698);
        assert.notEqual(reply.getUint32(4), 0);
      }
      await client.write(request(NBD_CMD.READ, 0, 10));
      assert.equal((await client.read(26)).length, 26);
      client.close();
      await assertServes(replica);
    }));

  Deno.test(`${engine}: clients that hang up within a WRITE leave no buffer behind`, () =>
    withRig(async (rig) => {
      const replica = await rig.serve({ engine, size: 80 * MIB });
      await assertServes(replica, 5 * MIB);
      // More than all buffers together, had they been kept.
      for (let i = 0; i < 40; i++) {
        const client = await RawClient.established(replica);
        await client.write(request(NBD_CMD.WRITE, 40 * MIB, 4 * MIB));
        await client.write(randomBytes(i % 2 === 0 ? 100 : 300_000));
        client.close();
      }
      const client = await NbdConnection.open(replica.socket, "data");
      try {
        const data = randomBytes(32 * MIB);
        await Promise.all([client.write(0, data), client.write(40 * MIB, data)]);
        assert.deepEqual(await client.read(40 * MIB, data.length), data);
      } finally {
        await client.close();
      }
    }));

  Deno.test(`${engine}: clients that hang up before their answers leave no buffer behind`, () =>
    withRig(async (rig) => {
      const replica = await rig.serve({ engine });
      for (let i = 0; i < 20; i++) {
        const client = await RawClient.established(replica);
        for (let n = 0; n < 8; n++) await client.write(request(NBD_CMD.READ, n * MIB, MIB, n));
        client.close();
      }
      await assertServes(replica, 32 * MIB);
    }));

  Deno.test(`${engine}: a client that does not read is held back, and loses nothing`, () =>
    withRig(async (rig) => {
      const replica = await rig.serve({ engine });
      const greedy = await RawClient.established(replica);
      const count = 3000;
      const asked = (async () => {
        for (let n = 0; n < count; n++) {
          await greedy.write(request(NBD_CMD.READ, (n % 64) * 4096, 64 * 1024, n));
        }
      })();
      // Another one is served meanwhile.
      await assertServes(replica);
      const cookies = new Set<number>();
      for (let n = 0; n < count; n++) {
        const reply = new DataView((await greedy.read(16 + 64 * 1024)).buffer);
        assert.equal(reply.getUint32(0), 0x67446698);
        assert.equal(reply.getUint32(4), 0);
        cookies.add(reply.getUint32(12));
      }
      await asked;
      assert.equal(cookies.size, count);
      greedy.close();
    }));

  Deno.test(`${engine}: more clients than there are places are refused, not served badly`, () =>
    withRig(async (rig) => {
      const replica = await rig.serve({ engine });
      const crowd: RawClient[] = [];
      for (let i = 0; i < 64; i++) {
        const client = await RawClient.connect(replica);
        await client.read(18);
        crowd.push(client);
      }
      const late = await RawClient.connect(replica);
      await late.ended();
      late.close();
      await replica.until("a note", () => replica.notes.some((note) => note.level === "warning"));
      for (const client of crowd) client.close();
      for (let tries = 0;; tries++) {
        const failure = await assertServes(replica).then(() => null, (error: unknown) => error);
        if (failure === null) break;
        if (tries === 20) throw failure;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }));
}

Deno.test("a client that sits on all buffers and reads nothing is let go when others wait", () =>
  withRig(async (rig) => {
    const replica = await rig.serve({ size: 80 * MIB });
    // Two answers of 32 MiB are all that clients may have in memory.
    const greedy = await RawClient.established(replica);
    await greedy.write(request(NBD_CMD.READ, 0, 32 * MIB, 1));
    await greedy.write(request(NBD_CMD.READ, 0, 32 * MIB, 2));
    const patient = await NbdConnection.open(replica.socket, "data");
    try {
      const began = performance.now();
      const data = randomBytes(MIB);
      await patient.write(0, data);
      assert.deepEqual(await patient.read(0, MIB), data);
      const took = performance.now() - began;
      assert.ok(took < 40_000, `it waited ${took} ms`);
      assert.ok(replica.notes.some(({ text }) => text.includes("does not read its answers")));
    } finally {
      await patient.close();
      greedy.close();
    }
  }));
