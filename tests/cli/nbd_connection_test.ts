import assert from "node:assert/strict";
import {
  NbdConnection,
  NbdConnectionError,
  NbdRequestError,
} from "../../src/cli/nbd_connection.ts";
import { NBD_ERROR } from "../../src/nbd/mod.ts";
import { DATA } from "../nbd/fixtures.ts";
import { MemoryServer } from "../nbd/memory_server.ts";

interface Harness {
  readonly path: string;
  readonly memory: Uint8Array;
  /** The server of the last connection. */
  server: MemoryServer | undefined;
  /** Replies are held back while true. */
  held: boolean;
  /** Close the last connection under the client. */
  cut(): void;
}

/** Serve memory on a unix socket in a directory of its own while `run` runs. */
async function serving(run: (harness: Harness) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "nbd-" });
  const path = `${directory}/s`;
  const listener = Deno.listen({ transport: "unix", path });
  const connections: Promise<void>[] = [];
  let last: Deno.Conn | undefined;
  const harness: Harness = {
    path,
    memory: new Uint8Array(DATA.size),
    server: undefined,
    held: false,
    cut: () => last?.close(),
  };
  const accepting = (async () => {
    for await (const conn of listener) {
      last = conn;
      connections.push(serve(conn, harness));
    }
  })();
  try {
    await run(harness);
  } catch (error) {
    // The client is still there, and its server would wait for it.
    harness.cut();
    throw error;
  } finally {
    listener.close();
    await accepting;
    await Promise.all(connections);
    await Deno.remove(directory, { recursive: true });
  }
}

async function serve(conn: Deno.Conn, harness: Harness): Promise<void> {
  const output: Uint8Array[] = [];
  const server = new MemoryServer(DATA, harness.memory, (part) => output.push(part));
  harness.server = server;
  server.session.start();
  const slab = new Uint8Array(1 << 16);
  try {
    for (;;) {
      if (!harness.held) server.answer(true);
      for (const part of output.splice(0)) {
        for (let at = 0; at < part.length;) at += await conn.write(part.subarray(at));
      }
      const count = server.ended === undefined ? await conn.read(slab) : null;
      if (count === null) break;
      server.session.consume(slab, 0, count);
    }
    conn.close();
  } catch {
    // The test cut the connection, or the client left.
    try {
      conn.close();
    } catch {
      // Closed already.
    }
  }
}

Deno.test("a connection reads what it wrote, many requests at a time", async () => {
  await serving(async ({ path, memory }) => {
    const connection = await NbdConnection.open(path, "data", { contexts: ["base:allocation"] });
    assert.equal(connection.info.size, DATA.size);
    const blocks = Array.from({ length: 40 }, (_, i) => new Uint8Array(20000).fill(i + 1));
    await Promise.all(
      blocks.map((block, i) => connection.write(i * 20000, block, { fua: i % 2 === 0 })),
    );
    await connection.flush();
    const back = await Promise.all(blocks.map((_, i) => connection.read(i * 20000, 20000)));
    back.forEach((data, i) => assert.ok(data.length === 20000 && data.every((b) => b === i + 1)));
    await connection.trim(0, 4096);
    await connection.writeZeroes(20000, 4096, { noHole: true });
    await connection.cache(0, 4096);
    assert.ok(memory.subarray(20000, 24096).every((byte) => byte === 0));
    const [first] = await connection.blockStatus(0, 8192);
    assert.deepEqual(first, { context: "base:allocation", offset: 0, length: 4096, flags: 3 });
    const into = new Uint8Array(100);
    assert.equal((await connection.read(5000, 50, into)).buffer, into.buffer);
    assert.deepEqual([into[49], into[50]], [1, 0]);
    await connection.disconnect();
  });
});

Deno.test("errors of the server reject the request and leave the connection usable", async () => {
  await serving(async ({ path }) => {
    const connection = await NbdConnection.open(path);
    await assert.rejects(
      connection.write(DATA.size, new Uint8Array(512)),
      (error) =>
        error instanceof NbdRequestError && error.error === NBD_ERROR.ENOSPC &&
        error.message ===
          `NBD WRITE at ${DATA.size}, 512 bytes: ENOSPC: the range ends beyond the volume`,
    );
    assert.equal((await connection.read(0, 512)).length, 512);
    await connection.disconnect();
  });
});

Deno.test("an export that is not there, and a socket that is not there, are told", async () => {
  const used: Harness[] = [];
  await serving(async (harness) => {
    used.push(harness);
    await assert.rejects(
      NbdConnection.open(harness.path, "none"),
      /export "none" is refused: no export has this name/,
    );
    await assert.rejects(
      NbdConnection.open(`${harness.path}.none`),
      (error) => error instanceof NbdConnectionError && /cannot connect to/.test(error.message),
    );
  });
  assert.equal(used[0]?.server?.ended, "finish", "the client took leave by ABORT");
});

Deno.test("a connection that is cut rejects what is under way and what follows", async () => {
  await serving(async (harness) => {
    const connection = await NbdConnection.open(harness.path);
    harness.held = true;
    const reads = [connection.read(0, 512), connection.read(512, 512)];
    const settled = Promise.allSettled(reads);
    while (harness.server!.waiting < 2) await new Promise((resolve) => setTimeout(resolve, 1));
    harness.cut();
    for (const result of await settled) {
      assert.ok(result.status === "rejected" && result.reason instanceof NbdConnectionError);
    }
    await assert.rejects(connection.flush(), NbdConnectionError);
    await connection.close();
    await connection.close();
  });
});

Deno.test("disconnect waits for what is under way, close does not", async () => {
  await serving(async (harness) => {
    const first = await NbdConnection.open(harness.path);
    const write = first.write(0, new Uint8Array(100000).fill(9));
    await first.disconnect();
    await write;
    assert.equal(harness.memory[99999], 9);

    const second = await NbdConnection.open(harness.path);
    harness.held = true;
    const read = assert.rejects(second.read(0, 512), /closed by the client/);
    await second.close();
    await read;
  });
});
