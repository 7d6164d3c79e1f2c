/** Disks that must not be served, and what the operator is told. */
import assert from "node:assert/strict";
import { metadataSize } from "../../src/volume/metadata/layout.ts";
import { formatReplica, MIB, type ReplicaOptions, Rig, withRig } from "./fixtures.ts";

async function refusal(rig: Rig, options: ReplicaOptions): Promise<string> {
  const replica = rig.start({ keepDisk: true, ...options });
  await replica.until("an answer", () => replica.fatal !== null || replica.ready !== null);
  assert.equal(replica.ready, null, "it serves");
  return replica.fatal!;
}

function sparse(path: string, size: number, content: [number, Uint8Array][] = []): string {
  const file = Deno.openSync(path, { create: true, write: true });
  file.truncateSync(size);
  for (const [offset, bytes] of content) {
    file.seekSync(offset, Deno.SeekMode.Start);
    file.writeSync(bytes);
  }
  file.close();
  return path;
}

const WHOLE = 64 * MIB + metadataSize(64 * MIB, "auto");
const text = (value: string) => new TextEncoder().encode(value);

Deno.test("a disk that is not there", () =>
  withRig(async (rig) => {
    assert.match(await refusal(rig, {}), /a\.img does not exist: .*bascule volume create/);
  }));

Deno.test("a disk that is a directory", () =>
  withRig(async (rig) => {
    const said = await refusal(rig, { disk: rig.directory });
    assert.match(said, /neither a file nor a block device/);
  }));

Deno.test("a disk that is too small", () =>
  withRig(async (rig) => {
    const disk = sparse(`${rig.directory}/small`, 64 * MIB);
    const said = await refusal(rig, { disk });
    assert.match(said, new RegExp(`has ${64 * MIB} bytes, volume data needs ${WHOLE}.*enlarge`));
  }));

Deno.test("a disk without metadata", () =>
  withRig(async (rig) => {
    const disk = sparse(`${rig.directory}/empty`, WHOLE);
    assert.match(await refusal(rig, { disk }), /no metadata.*volume create/);
  }));

Deno.test("a disk that holds something else", () =>
  withRig(async (rig) => {
    const ext4 = sparse(`${rig.directory}/ext4`, WHOLE, [[0x438, Uint8Array.of(0x53, 0xef)]]);
    assert.match(
      await refusal(rig, { disk: ext4 }),
      /ext4 holds an ext2, ext3 or ext4 file system/,
    );
    const luks = sparse(`${rig.directory}/luks`, WHOLE, [[0, Uint8Array.fromHex("4c554b53babe")]]);
    assert.match(await refusal(rig, { disk: luks }), /a LUKS container.*name the right disk/);
  }));

Deno.test("a replica of another size", () =>
  withRig(async (rig) => {
    const disk = `${rig.directory}/other`;
    formatReplica(disk, 64 * MIB);
    Deno.truncateSync(disk, 4 * WHOLE);
    const said = await refusal(rig, { disk, size: 128 * MIB });
    assert.match(said, /no metadata|was made for/);
  }));

Deno.test("a disk that another Worker serves", () =>
  withRig(async (rig) => {
    const first = await rig.serve();
    const said = await refusal(rig, { node: "b", disk: first.disk });
    assert.match(said, /a\.img is in use by another process/);
    // The first is none the worse, and lets go of the disk when it ends.
    assert.equal(first.fatal, null);
    await first.worker.close();
    const second = rig.start({ node: "b", disk: first.disk, keepDisk: true });
    await second.until("ready", () => second.ready !== null);
  }));

Deno.test("an address that is taken", () =>
  withRig(async (rig) => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    try {
      const { port } = listener.addr as Deno.NetAddr;
      formatReplica(`${rig.directory}/a.img`, 64 * MIB);
      const said = await refusal(rig, { port });
      assert.match(said, new RegExp(`bind 127.0.0.1:${port}: EADDRINUSE`));
      // Nothing is held any more.
      const again = rig.start({ keepDisk: true });
      await again.until("ready", () => again.ready !== null);
    } finally {
      listener.close();
    }
  }));

Deno.test("a path for the export that is no socket stays what it is", () =>
  withRig(async (rig) => {
    Deno.writeTextFileSync(`${rig.directory}/a.sock`, text("mine").toHex());
    const replica = rig.start();
    await replica.until("ready", () => replica.ready !== null);
    replica.worker.order({
      type: "promote",
      epoch: 1,
      version: 1,
      lineage: "l",
      record: { generation: "g", upToDate: ["r"] },
    });
    await replica.until("a refusal", () => replica.fatal !== null);
    assert.match(replica.fatal!, /a\.sock.*no socket/);
    assert.equal(Deno.readTextFileSync(`${rig.directory}/a.sock`), text("mine").toHex());
  }));
