/**
 * The demonstration's client must count only what was acknowledged and must notice what is lost:
 * otherwise "0 lost" means nothing.
 */
import assert from "node:assert/strict";
import {
  ANSWER_HEADER,
  Operation,
  readFull,
  RECORD_SIZE,
  recordContent,
  recordHash,
  REQUEST_HEADER,
  writeFull,
} from "../../src/demo/record_protocol.ts";

Deno.test("every record has content of its own, for each index and each writing", () => {
  const hashes = new Set<string>();
  for (let index = 0; index < 40; index++) {
    for (let generation = 0; generation < 3; generation++) {
      const content = recordContent(index, generation);
      assert.equal(content.length, RECORD_SIZE);
      assert.ok(content.some((byte) => byte !== 0), "a lost record reads as zeroes");
      hashes.add(recordHash(content));
    }
  }
  assert.equal(hashes.size, 120);
});

/** A service that forgets one record after it acknowledged it. */
async function forgetfulService(listener: Deno.TcpListener, forgotten: number): Promise<void> {
  const records = new Map<number, Uint8Array>();
  for await (const conn of listener) {
    const header = new Uint8Array(REQUEST_HEADER);
    const view = new DataView(header.buffer);
    try {
      while (await readFull(conn, header)) {
        const index = view.getUint32(4);
        if (view.getUint32(0) === Operation.write) {
          const content = new Uint8Array(RECORD_SIZE);
          await readFull(conn, content);
          if (index !== forgotten) records.set(index, content);
          await writeFull(conn, new Uint8Array(ANSWER_HEADER));
        } else {
          const answer = new Uint8Array(ANSWER_HEADER + RECORD_SIZE);
          answer.set(records.get(index) ?? new Uint8Array(RECORD_SIZE), ANSWER_HEADER);
          await writeFull(conn, answer);
        }
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
    } finally {
      conn.close();
    }
  }
}

Deno.test("the client finds an acknowledged record that is gone", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const service = forgetfulService(listener, 3);
  const script = `
    import { runLoadClient } from ${
    JSON.stringify(new URL("../../src/demo/load_client.ts", import.meta.url).href)
  };
    await runLoadClient(["127.0.0.1"], ${port}, 8);`;
  const client = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", `data:application/typescript,${encodeURIComponent(script)}`],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const input = client.stdin.getWriter();
  const order = (text: string) => input.write(new TextEncoder().encode(`${text}\n`));
  await order("load");
  let acknowledged = 0;
  let verdict: unknown;
  let paused = false;
  let rest = "";
  for await (const chunk of client.stdout.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const report of lines.map((line) => JSON.parse(line))) {
      if (report.type === "progress" && report.acknowledged >= 8 && !paused) {
        paused = true;
        await order("pause");
      }
      if (report.type === "paused") {
        acknowledged = report.acknowledged;
        await order("verify");
      }
      if (report.type === "verified") {
        verdict = report;
        await input.close();
      }
    }
  }
  await client.status;
  listener.close();
  await service;
  assert.ok(acknowledged >= 8);
  assert.deepEqual(verdict, { type: "verified", records: 8, bytes: 8 * RECORD_SIZE, lost: 1 });
});
