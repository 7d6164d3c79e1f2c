/** Volumes beyond what 31 bits can number. */
import assert from "node:assert/strict";
import { NbdConnection } from "../../src/cli/nbd_connection.ts";
import { MIB, randomBytes, withRig } from "./fixtures.ts";
import { LinkProxy } from "./link_proxy.ts";
import { freePort, Pair } from "./pair.ts";

const TIB = 2 ** 40;
/** More than 2^31 blocks; a file of ext4 holds less than 16 TiB. */
const SIZE = 9 * TIB;

Deno.test("a volume of 9 TiB in sparse files: its far blocks are replicated and resynced", () =>
  withRig(async (rig) => {
    const port = freePort();
    const proxy = new LinkProxy(port);
    try {
      const options = { size: SIZE, timeout: 3000, through: proxy.port, portB: port };
      const pair = await Pair.start(rig, options);
      await pair.promote(pair.a);
      await pair.connected();
      const client = await NbdConnection.open(pair.a.socket, "data");
      const places = [0, 2 * TIB - 5, 4 * TIB + 4096, 8 * TIB - MIB, SIZE - 128 * 1024];
      const data = places.map(() => randomBytes(128 * 1024));
      try {
        for (const [i, at] of places.entries()) if (i % 2 === 0) await client.write(at, data[i]!);
        await client.flush();
        proxy.open = false;
        proxy.cut();
        // What b misses becomes dirty bits in the far half of the bitmap.
        await Promise.all(places.map((at, i) => i % 2 === 1 && client.write(at, data[i]!)));
        await client.write(SIZE - 128 * 1024, data[4]!);
        const { a } = pair;
        await a.until("dirty bits", () => (a.report.peers[0]?.outOfSyncBytes ?? 0) > 0);
        proxy.open = true;
        await a.until("b is back in the set", () => pair.upToDate.length === 2, 60_000);
        await pair.connected();
        await client.flush();
      } finally {
        await client.close();
      }
      for (const { disk } of [pair.a, pair.b]) {
        const file = Deno.openSync(disk);
        for (const [i, at] of places.entries()) {
          const found = new Uint8Array(128 * 1024);
          file.seekSync(at, Deno.SeekMode.Start);
          for (let got = 0; got < found.length;) got += file.readSync(found.subarray(got))!;
          assert.deepEqual(found, data[i], `${disk} at ${at}`);
        }
        file.close();
      }
    } finally {
      await proxy.close();
    }
  }));
