import assert from "node:assert/strict";
import { NbdConnection, NbdRequestError } from "../../src/cli/nbd_connection.ts";
import { BASE_ALLOCATION } from "../../src/nbd/mod.ts";
import { ENGINES, MIB, randomBytes, Replica, withRig } from "./fixtures.ts";

async function withClient(replica: Replica, use: (client: NbdConnection) => Promise<void>) {
  const client = await NbdConnection.open(replica.socket, "data", { contexts: [BASE_ALLOCATION] });
  try {
    await use(client);
  } finally {
    await client.close();
  }
}

for (const engine of ENGINES) {
  Deno.test(`${engine}: what was written is read, at any alignment and length`, () =>
    withRig(async (rig) => {
      const replica = await rig.serve({ engine });
      assert.equal(replica.ready?.engine, engine);
      await withClient(replica, async (client) => {
        assert.equal(client.info.size, replica.size);
        const ranges: [number, number][] = [
          [0, 1],
          [4095, 2],
          [8192, 4096],
          [100_001, 70_000],
          [2 * MIB, 3 * MIB + 5],
          [replica.size - 1, 1],
          [16 * MIB, 32 * MIB],
        ];
        for (const [offset, length] of ranges) {
          const data = randomBytes(length);
          await client.write(offset, data, { fua: length < 4096 });
          assert.deepEqual(await client.read(offset, length), data, `${offset}+${length}`);
        }
        await client.flush();
      });
    }));

  Deno.test(`${engine}: many requests at once from many connections`, () =>
    withRig(async (rig) => {
      const replica = await rig.serve({ engine });
      const clients = await Promise.all(
        Array.from({ length: 8 }, () => NbdConnection.open(replica.socket, "data")),
      );
      try {
        const data = randomBytes(8 * MIB);
        const piece = 20_000;
        const jobs: Promise<void>[] = [];
        for (let at = 0, n = 0; at < data.length; at += piece, n++) {
          jobs.push(clients[n % 8]!.write(at, data.subarray(at, at + piece)));
        }
        await Promise.all(jobs);
        const read = new Uint8Array(data.length);
        await Promise.all(
          Array.from({ length: Math.ceil(data.length / piece) }, (_, n) => {
            const into = read.subarray(n * piece, (n + 1) * piece);
            return clients[(n + 3) % 8]!.read(n * piece, into.length, into);
          }),
        );
        assert.deepEqual(read, data);
      } finally {
        for (const client of clients) await client.close();
      }
    }));

  Deno.test(`${engine}: zeroes, holes, cache and block status`, () =>
    withRig(async (rig) => {
      const replica = await rig.serve({ engine });
      await withClient(replica, async (client) => {
        await client.write(0, new Uint8Array(4 * MIB).fill(7));
        await client.trim(MIB, MIB);
        await client.writeZeroes(3 * MIB + 10, 5000, { noHole: true });
        const expected = new Uint8Array(4 * MIB).fill(7).fill(0, MIB, 2 * MIB);
        expected.fill(0, 3 * MIB + 10, 3 * MIB + 5010);
        assert.deepEqual(await client.read(0, 4 * MIB), expected);
        await client.cache(0, 3 * MIB + 1);
        const extents = await client.blockStatus(0, 8 * MIB);
        const described = extents.map(({ length, flags }) => [length, flags]);
        assert.deepEqual(described, [[MIB, 0], [MIB, 3], [2 * MIB, 0], [4 * MIB, 3]]);
        const one = await client.blockStatus(MIB, 3 * MIB, { one: true });
        assert.deepEqual(one.map(({ length, flags }) => [length, flags]), [[MIB, 3]]);
      });
    }));

  Deno.test(`${engine}: direct I/O asks for whole blocks and refuses others`, () =>
    withRig(async (rig) => {
      const replica = await rig.serve({ engine, io: "direct" });
      await withClient(replica, async (client) => {
        assert.equal(client.info.minimumBlock, 4096);
        const data = randomBytes(5 * 4096);
        await client.write(3 * 4096, data);
        assert.deepEqual(await client.read(3 * 4096, data.length), data);
        await assert.rejects(client.write(100, new Uint8Array(100)), NbdRequestError);
        assert.deepEqual(await client.read(3 * 4096, data.length), data);
      });
    }));

  Deno.test(`${engine}: a demoted volume lets its clients go and takes them again`, () =>
    withRig(async (rig) => {
      const replica = await rig.serve({ engine });
      const client = await NbdConnection.open(replica.socket, "data");
      try {
        await client.write(0, new Uint8Array([1, 2, 3]));
        replica.worker.order({ type: "demote", forced: false });
        await replica.until("demoted", () => replica.asks.some(({ type }) => type === "demoted"));
        await assert.rejects(async () => {
          for (;;) await client.read(0, 3);
        });
        assert.throws(() => Deno.lstatSync(replica.socket), Deno.errors.NotFound);
        await assert.rejects(NbdConnection.open(replica.socket, "data"));
      } finally {
        await client.close();
      }
      await rig.promote(replica);
      await withClient(replica, async (again) => {
        assert.deepEqual(await again.read(0, 3), new Uint8Array([1, 2, 3]));
      });
    }));
}

Deno.test("the export is for its owner alone, and gone with the Worker", () =>
  withRig(async (rig) => {
    const replica = await rig.serve();
    assert.equal(Deno.lstatSync(replica.socket).mode! & 0o777, 0o600);
    await replica.worker.close();
    assert.throws(() => Deno.lstatSync(replica.socket), Deno.errors.NotFound);
    assert.equal(replica.fatal, null);
  }));

Deno.test("a socket that a killed run left is replaced", () =>
  withRig(async (rig) => {
    Deno.listen({ transport: "unix", path: `${rig.directory}/a.sock` }).close();
    const listener = Deno.listen({ transport: "unix", path: `${rig.directory}/left.sock` });
    Deno.renameSync(`${rig.directory}/left.sock`, `${rig.directory}/a.sock`);
    listener.close();
    const replica = await rig.serve();
    await withClient(replica, async (client) => {
      assert.equal((await client.read(0, 10)).length, 10);
    });
  }));
