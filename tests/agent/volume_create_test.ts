import assert from "node:assert/strict";
import { createReplica } from "../../src/agent/volume_create.ts";
import { readReplica } from "../../src/agent/volume_inspect.ts";
import type { VolumeConfig } from "../../src/config/types.ts";
import { readMetadata } from "../../src/volume/metadata/format.ts";
import { metadataSize } from "../../src/volume/metadata/layout.ts";
import { parseConfig } from "../../src/config/parse.ts";
import { runCli } from "../../src/cli/cli.ts";

const MIB = 1 << 20;
const SIZE = 64 * MIB;
const META = metadataSize(SIZE, "auto");
const HOW = { force: false, keepData: false };

function withDirectory(test: (directory: string) => void | Promise<void>): () => Promise<void> {
  return async () => {
    const directory = Deno.makeTempDirSync({ prefix: "bascule-create-" });
    try {
      await test(directory);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  };
}

function toml(directory: string, metaDisk?: string): string {
  const meta = metaDisk === undefined ? "" : `, meta_disk = "${metaDisk}"`;
  return `
[cluster]
name = "test"
key_file = "${directory}/key"
keepalive = "200ms"
deadtime = "1s"
quorum = "majority"
[paths]
state = "${directory}/state"
runtime = "${directory}/run"
[nodes.a]
links = ["udp://127.0.0.1:6940"]
[nodes.b]
links = ["udp://127.0.0.2:6940"]
[nodes.w]
witness = true
links = ["udp://127.0.0.3:6940"]
[volumes.data]
size = "64MiB"
export = "unix:${directory}/run/data.sock"
[volumes.data.replicas]
a = { disk = "${directory}/disk", address = "127.0.0.1:6941"${meta} }
b = { disk = "${directory}/disk-b", address = "127.0.0.2:6941" }
[groups.g]
prefer = ["a"]
resources = ["volume:data"]
`;
}

function volumeIn(directory: string, metaDisk?: string): VolumeConfig {
  const { config, problems } = parseConfig(toml(directory, metaDisk), "test.toml");
  if (config === undefined) throw new Error(JSON.stringify(problems));
  return config.volumes[0]!;
}

function writeInto(path: string, offset: number, bytes: Uint8Array): void {
  const file = Deno.openSync(path, { write: true, create: true });
  file.seekSync(offset, Deno.SeekMode.Start);
  file.writeSync(bytes);
  file.close();
}

Deno.test(
  "a new file is sparse, zero, and has good metadata",
  withDirectory((directory) => {
    const volume = volumeIn(directory);
    const created = createReplica(volume, "a", HOW);
    assert.equal(created.newFile, true);
    assert.equal(created.blank, "zero");
    const info = Deno.statSync(`${directory}/disk`);
    assert.equal(info.size, SIZE + META);
    assert.ok(info.blocks! * 512 < 8 * MIB, "it is not sparse");
    assert.equal(info.mode! & 0o777, 0o600);
    const region = Deno.readFileSync(`${directory}/disk`).subarray(SIZE);
    const { superblock, damage } = readMetadata(region, { volume: "data", size: SIZE });
    assert.deepEqual(damage, []);
    assert.equal(superblock.replicaId, created.replicaId);
    assert.equal(superblock.clean, true);
    const shown = readReplica(volume, "a");
    assert.equal(shown.replicaId, created.replicaId);
    assert.equal(shown.state, "Consistent");
  }),
);

Deno.test(
  "two new replicas share a generation and no id",
  withDirectory((directory) => {
    const volume = volumeIn(directory);
    createReplica(volume, "a", HOW);
    createReplica(volume, "b", HOW);
    const [a, b] = [readReplica(volume, "a"), readReplica(volume, "b")];
    assert.equal(a.generation, b.generation);
    assert.notEqual(a.replicaId, b.replicaId);
  }),
);

Deno.test(
  "a replica is not made twice, and --force says what is lost first",
  withDirectory((directory) => {
    const volume = volumeIn(directory);
    const first = createReplica(volume, "a", HOW);
    const again = () => createReplica(volume, "a", HOW);
    assert.throws(
      again,
      new RegExp(`replica of volume data already \\(id ${first.replicaId}.*--force`),
    );
    assert.throws(
      () => createReplica(volume, "a", { ...HOW, keepData: true }),
      /replica of volume data already/,
    );
    assert.equal(readReplica(volume, "a").replicaId, first.replicaId);
    const second = createReplica(volume, "a", { ...HOW, force: true });
    assert.notEqual(second.replicaId, first.replicaId);
    assert.equal(readReplica(volume, "a").replicaId, second.replicaId);
  }),
);

Deno.test(
  "data and file systems are not overwritten",
  withDirectory((directory) => {
    const volume = volumeIn(directory);
    const disk = `${directory}/disk`;
    const cases: [string, number, Uint8Array, RegExp][] = [
      ["one byte far inside", 40 * MIB + 5, Uint8Array.of(1), /holds data: .*--keep-data.*--force/],
      ["ext4", 0x438, Uint8Array.of(0x53, 0xef), /holds an ext2, ext3 or ext4 file system/],
      ["xfs", 0, new TextEncoder().encode("XFSB"), /holds an XFS file system/],
      ["swap", 4086, new TextEncoder().encode("SWAPSPACE2"), /holds swap space/],
    ];
    for (const [what, offset, bytes, expected] of cases) {
      writeInto(disk, offset, bytes);
      const before = Deno.readFileSync(disk);
      assert.throws(() => createReplica(volume, "a", HOW), expected, what);
      assert.deepEqual(Deno.readFileSync(disk), before, what);
      Deno.removeSync(disk);
    }
  }),
);

Deno.test(
  "--force empties a file first",
  withDirectory((directory) => {
    const volume = volumeIn(directory);
    writeInto(`${directory}/disk`, 10 * MIB, new Uint8Array(MIB).fill(5));
    const created = createReplica(volume, "a", { ...HOW, force: true });
    assert.equal(created.blank, "zero");
    const data = Deno.readFileSync(`${directory}/disk`).subarray(0, SIZE);
    assert.ok(data.every((byte) => byte === 0));
  }),
);

Deno.test(
  "--keep-data keeps every byte, and needs a disk",
  withDirectory((directory) => {
    const volume = volumeIn(directory);
    const keep = { ...HOW, keepData: true };
    assert.throws(() => createReplica(volume, "a", keep), /does not exist/);
    const data = new Uint8Array(SIZE - 5000).map((_, index) => index * 7);
    Deno.writeFileSync(`${directory}/disk`, data);
    const created = createReplica(volume, "a", keep);
    assert.equal(created.blank, "no");
    assert.equal(readReplica(volume, "a").blank, "no");
    const now = Deno.readFileSync(`${directory}/disk`);
    assert.deepEqual(now.subarray(0, data.length), data);
    assert.ok(now.subarray(data.length, SIZE).every((byte) => byte === 0));
  }),
);

Deno.test(
  "--keep-data does not put metadata over data, and may put them elsewhere",
  withDirectory((directory) => {
    const data = new Uint8Array(SIZE + 2 * MIB).fill(9);
    Deno.writeFileSync(`${directory}/disk`, data);
    const keep = { ...HOW, keepData: true };
    assert.throws(
      () => createReplica(volumeIn(directory), "a", keep),
      /data from byte 67108864 on, where the metadata would go: .*meta_disk/,
    );
    const volume = volumeIn(directory, `${directory}/meta`);
    createReplica(volume, "a", keep);
    assert.deepEqual(Deno.readFileSync(`${directory}/disk`), data);
    assert.equal(Deno.statSync(`${directory}/meta`).size, META);
    assert.equal(readReplica(volume, "a").blank, "no");
    assert.throws(() => createReplica(volume, "a", keep), /meta holds a replica/);
  }),
);

Deno.test(
  "what cannot be made leaves nothing behind",
  withDirectory((directory) => {
    Deno.writeTextFileSync(`${directory}/meta`, "somebody's notes");
    const volume = volumeIn(directory, `${directory}/meta`);
    assert.throws(() => createReplica(volume, "a", HOW), /meta, the meta_disk, holds data/);
    assert.throws(() => Deno.statSync(`${directory}/disk`), Deno.errors.NotFound);
    assert.equal(Deno.readTextFileSync(`${directory}/meta`), "somebody's notes");
    assert.throws(() => createReplica(volume, "w", HOW), /no replica on w: run this on a and b/);
    const nowhere = volumeIn(`${directory}/missing`);
    assert.throws(() => createReplica(nowhere, "a", HOW), /mkdir -p .*missing/);
  }),
);

Deno.test(
  "the command line makes a replica once, and shows it",
  withDirectory(async (directory) => {
    const file = `${directory}/bascule.toml`;
    Deno.writeTextFileSync(file, toml(directory));
    const bascule = (...args: string[]) => runCli(["-c", file, "--node", "a", ...args]);
    assert.equal(await bascule("volume", "status"), 1);
    assert.equal(await bascule("volume", "create", "data"), 0);
    assert.equal(await bascule("volume", "create", "data"), 1);
    assert.equal(await bascule("volume", "create", "nothing"), 2);
    assert.equal(await bascule("volume", "status"), 0);
    assert.equal(await bascule("volume", "status", "data", "--json"), 0);
    assert.equal(await bascule("volume", "status", "nothing"), 2);
  }),
);
