/** The process is killed with writes in flight. */
import assert from "node:assert/strict";
import { NbdConnection } from "../../src/cli/nbd_connection.ts";
import { MIB, randomBytes, withRig } from "./fixtures.ts";
import { Pair } from "./pair.ts";

const PIECE = 8192;

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let text = "";
  while (!text.includes("\n")) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the child ended after "${text}"`);
    text += decoder.decode(value, { stream: true });
  }
  await reader.cancel();
  return text.split("\n")[0]!;
}

for (const taker of ["a", "b"] as const) {
  Deno.test(`after kill -9 of both, ${taker} takes over with every acknowledged write`, () =>
    withRig(async (rig) => {
      const module = new URL("./crash_child.ts", import.meta.url).href;
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--quiet", "--no-check", module, rig.directory],
        stdout: "piped",
      }).spawn();
      /** Place and content of what was acknowledged, newest last. */
      const acknowledged = new Map<number, Uint8Array>();
      const attempted = new Map<number, Uint8Array[]>();
      let left;
      try {
        left = JSON.parse(await firstLine(child.stdout));
        const client = await NbdConnection.open(left.socket, "data");
        try {
          const writer = async (lane: number) => {
            for (let n = 0;; n++) {
              // Each lane has its own places and overwrites them again and again.
              const at = lane * 2 * MIB + (n % 100) * PIECE;
              const data = randomBytes(PIECE);
              attempted.set(at, [...attempted.get(at) ?? [], data]);
              await client.write(at, data);
              acknowledged.set(at, data);
              attempted.set(at, []);
            }
          };
          const lanes = Array.from({ length: 16 }, (_, lane) => writer(lane).catch(() => {}));
          await new Promise((resolve) => setTimeout(resolve, 700));
          child.kill("SIGKILL");
          await Promise.all(lanes);
        } finally {
          await client.close();
        }
      } finally {
        try {
          child.kill("SIGKILL");
        } catch {
          // It is gone already.
        }
        await child.status;
      }
      assert.ok(acknowledged.size > 50, `${acknowledged.size} writes were acknowledged`);

      const pair = await Pair.resume(rig, left);
      // Unplanned: the set is the taker alone, the other one comes back by resync.
      const replica = pair[taker];
      pair.upToDate = [replica.report.replicaId];
      await pair.promote(replica);
      await replica.until("the other one is back in the set", () => pair.upToDate.length === 2);
      const client = await NbdConnection.open(replica.socket, "data");
      try {
        for (const [at, data] of acknowledged) {
          const found = await client.read(at, PIECE);
          // A write that nobody heard of may have come later, whole or in part.
          if ((attempted.get(at) ?? []).length > 0) continue;
          assert.deepEqual(found, data, `the write at ${at} is lost`);
        }
        await client.flush();
      } finally {
        await client.close();
      }
      pair.assertSame();
    }));
}
