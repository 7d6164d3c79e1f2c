import assert from "node:assert/strict";
import { createReplica } from "../../src/agent/volume_create.ts";
import { resizeReplica } from "../../src/agent/volume_resize.ts";
import { runCli } from "../../src/cli/cli.ts";
import { parseConfig } from "../../src/config/parse.ts";
import type { VolumeConfig } from "../../src/config/types.ts";
import { encodeTransaction, LOG_EMPTY } from "../../src/volume/metadata/activity_log.ts";
import { DirtyBitmap } from "../../src/volume/metadata/bitmap.ts";
import { readMetadata } from "../../src/volume/metadata/format.ts";
import { geometry, logTransactionOffset, metadataSize } from "../../src/volume/metadata/layout.ts";
import { randomBytes } from "../dataplane/fixtures.ts";

const MIB = 1 << 20;
const SMALL = 8 * MIB;
const LARGE = 12 * MIB;
const LAYOUT = geometry(SMALL, 67);

function toml(directory: string, size: number, metaDisk?: string): string {
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
size = "${size / MIB}MiB"
al_extents = 67
export = "unix:${directory}/run/data.sock"
[volumes.data.replicas]
a = { disk = "${directory}/disk", address = "127.0.0.1:6941"${meta} }
b = { disk = "${directory}/disk-b", address = "127.0.0.2:6941" }
[groups.g]
prefer = ["a"]
resources = ["volume:data"]
`;
}

/** A replica that was killed with writes under way, and everything needed to look at it. */
class Killed {
  readonly directory = Deno.makeTempDirSync({ prefix: "bascule-resize-" });
  readonly data = randomBytes(SMALL);
  readonly #external: boolean;

  constructor(external: boolean) {
    this.#external = external;
    createReplica(this.volume(SMALL), "a", { force: false, keepData: false });
    this.#write(this.disk, 0, this.data);
    const table = new Int32Array(67).fill(LOG_EMPTY);
    table[3] = 1;
    const page = new Uint8Array(4096);
    encodeTransaction(LAYOUT, LAYOUT.logRing, table, [3], page);
    const meta = external ? 0 : SMALL;
    this.#write(this.meta, meta + logTransactionOffset(LAYOUT, LAYOUT.logRing), page);
    const bitmap = new DirtyBitmap(LAYOUT, 0);
    bitmap.set(100, 3);
    bitmap.encodePage(0, page);
    this.#write(this.meta, meta + bitmap.pageOffset(0), page);
    // Somebody's leftovers where the volume is to grow.
    const end = external ? SMALL : SMALL + LAYOUT.bytes;
    this.#write(this.disk, end, randomBytes(LARGE - end + MIB));
  }

  get disk(): string {
    return `${this.directory}/disk`;
  }

  get meta(): string {
    return this.#external ? `${this.directory}/meta` : this.disk;
  }

  volume(size: number): VolumeConfig {
    const text = toml(this.directory, size, this.#external ? this.meta : undefined);
    const { config, problems } = parseConfig(text, "test.toml");
    if (config === undefined) throw new Error(JSON.stringify(problems));
    return config.volumes[0]!;
  }

  /** What an agent would make of it at this size; throws what it would say. */
  open(size: number): void {
    const bytes = Deno.readFileSync(this.meta).subarray(this.#external ? 0 : size);
    const found = readMetadata(bytes.slice(0, metadataSize(size, 67)), { volume: "data", size });
    assert.deepEqual(found.damage, []);
    const dirty = (block: number) =>
      found.bitmaps[0]!.has(block) || found.logExtents.includes(Math.floor(block / 1024));
    for (const block of [100, 102, 1024, 2047]) assert.ok(dirty(block), `${block}`);
    assert.ok(!dirty(99) && !dirty(SMALL / 4096 + 5));
    const data = Deno.readFileSync(this.disk);
    assert.ok(equal(data.subarray(0, SMALL), this.data), "data were lost");
    assert.ok(data.subarray(SMALL, size).every((byte) => byte === 0), "what is new is not zero");
  }

  remove(): void {
    Deno.removeSync(this.directory, { recursive: true });
  }

  #write(path: string, offset: number, bytes: Uint8Array): void {
    const file = Deno.openSync(path, { write: true });
    file.seekSync(offset, Deno.SeekMode.Start);
    for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
    file.close();
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < b.length; i++) if (a[i] !== b[i]) return false;
  return a.length === b.length;
}

class Crash extends Error {}

for (const external of [false, true]) {
  const where = external ? "external" : "internal";
  Deno.test(`a replica with ${where} metadata grows, interrupted before any write`, () => {
    for (let writes = 0;; writes++) {
      const replica = new Killed(external);
      try {
        let left = writes;
        const interrupt = () => {
          if (left-- === 0) throw new Crash();
        };
        let whole = true;
        try {
          resizeReplica(replica.volume(LARGE), "a", undefined, interrupt);
        } catch (error) {
          if (!(error instanceof Crash)) throw error;
          whole = false;
        }
        if (whole) {
          replica.open(LARGE);
          assert.ok(writes >= (external ? 4 : 15), `only ${writes} writes`);
          return;
        }
        const small = opens(replica, SMALL);
        const large = opens(replica, LARGE);
        assert.ok(!(small && large), "it could be opened at both sizes");
        const again = resizeReplica(replica.volume(LARGE), "a");
        assert.equal(again.unchanged, large);
        replica.open(LARGE);
      } finally {
        replica.remove();
      }
    }
  });
}

function opens(replica: Killed, size: number): boolean {
  try {
    replica.open(size);
    return true;
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    assert.match((error as Error).message, /bascule volume resize/);
    return false;
  }
}

Deno.test("what cannot grow is refused with the mend, and the command line says what it did", async () => {
  const replica = new Killed(false);
  try {
    const resize = (size: number) => () => resizeReplica(replica.volume(size), "a");
    assert.equal(resizeReplica(replica.volume(SMALL), "a").unchanged, true);
    assert.throws(resize(4 * MIB), /no replica of volume data below .* a volume only grows/);
    const file = `${replica.directory}/bascule.toml`;
    Deno.writeTextFileSync(file, toml(replica.directory, LARGE));
    const bascule = (...args: string[]) => runCli(["-c", file, "--node", "a", ...args]);
    assert.equal(await bascule("volume", "resize", "data", "--from", "1 potato"), 2);
    assert.equal(await bascule("volume", "resize", "data", "--from", "6MiB"), 1);
    assert.equal(await bascule("volume", "resize", "data", "--from", "8MiB"), 0);
    assert.equal(await bascule("volume", "resize", "data"), 0);
    replica.open(LARGE);
  } finally {
    replica.remove();
  }
});
