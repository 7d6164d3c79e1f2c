/** A server behind its socket, fed with streams that are almost right. */
import assert from "node:assert/strict";
import { NbdConnection } from "../../src/cli/nbd_connection.ts";
import { fuzzStreams } from "../nbd/fuzzer.ts";
import { ENGINES, MIB, randomBytes, Replica, withRig } from "./fixtures.ts";

/** How long a slice takes, in milliseconds. */
const SLICE = 6000;
const CLIENTS = 12;

/** Says one stream, hears what comes, and goes, now in order and now not. */
async function converse(replica: Replica, stream: Uint8Array, hasty: boolean): Promise<void> {
  const conn = await Deno.connect({ transport: "unix", path: replica.socket });
  const listening = (async () => {
    const sink = new Uint8Array(65_536);
    while (await conn.read(sink) !== null);
  })().catch(() => {});
  try {
    for (let at = 0; at < stream.length;) at += await conn.write(stream.subarray(at));
    if (!hasty) {
      await conn.closeWrite();
      await listening;
    }
  } catch (error) {
    const gone = error instanceof Deno.errors.BrokenPipe ||
      error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.NotConnected;
    if (!gone) throw error;
  } finally {
    conn.close();
    await listening;
  }
}

function descriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

for (const engine of ENGINES) {
  Deno.test(`${engine}: damaged streams leave nothing behind and harm nobody`, () =>
    withRig(async (rig) => {
      const replica = await rig.serve({ engine, size: 80 * MIB });
      const before = descriptors();
      const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
      const streams = fuzzStreams(seed);
      const until = performance.now() + SLICE;
      let conversations = 0;
      let messages = 0;
      const talk = async () => {
        while (performance.now() < until && replica.fatal === null) {
          const { value } = streams.next();
          conversations++;
          messages += value!.messages;
          await converse(replica, value!.stream, conversations % 3 === 0);
        }
      };
      await Promise.all(Array.from({ length: CLIENTS }, talk));
      assert.equal(replica.fatal, null, `seed ${seed}: ${replica.story()}`);
      assert.ok(conversations > 50, `${conversations} conversations, ${messages} messages`);
      // All buffers can be had again, and all descriptors are back.
      const client = await NbdConnection.open(replica.socket, "data");
      const data = randomBytes(32 * MIB);
      await Promise.all([client.write(0, data), client.write(40 * MIB, data)]);
      assert.deepEqual(await client.read(40 * MIB, data.length), data);
      await client.disconnect();
      await replica.until("everybody is gone", () => replica.worker.stats().clients === 0);
      for (let tries = 0; descriptors() > before; tries++) {
        assert.ok(tries < 100, `${descriptors()} descriptors, ${before} before`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }));
}
