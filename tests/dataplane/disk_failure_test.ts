/** Real disks that fail, cannot read, or fill up under a Primary with clients. */
import assert from "node:assert/strict";
import { NbdConnection } from "../../src/cli/nbd_connection.ts";
import { formatReplica, MIB, must, randomBytes, type Rig, toolTest, withRig } from "./fixtures.ts";
import { Pair } from "./pair.ts";

const SIZE = 64 * MIB;
const PIECE = 256 * 1024;

/** A disk in a directory of the rig that fails by `fail` and works again by `mend`. */
class FailingDisk {
  readonly path: string;
  readonly #trigger: string;
  readonly #mount: string;
  readonly #child: Deno.ChildProcess;

  private constructor(rig: Rig, what: string) {
    const image = `${rig.directory}/real.img`;
    formatReplica(image, SIZE);
    this.#trigger = `${rig.directory}/trigger`;
    this.#mount = `${rig.directory}/fuse`;
    this.path = `${this.#mount}/nbd`;
    Deno.mkdirSync(this.#mount);
    const error = [`error-${what}=EIO`, `error-${what}-rate=100%`, `error-file=${this.#trigger}`];
    const server = ["nbdkit", "-s", "--exit-with-parent", "--filter=error", "file", image];
    this.#child = new Deno.Command("nbdfuse", {
      args: [this.#mount, "--command", ...server, ...error],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  static async with(
    rig: Rig,
    what: "pwrite" | "pread",
    test: (disk: FailingDisk) => Promise<void>,
  ) {
    const disk = new FailingDisk(rig, what);
    try {
      for (let tries = 0; !exists(disk.path); tries++) {
        assert.ok(tries < 200, "nbdfuse does not mount");
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
      await test(disk);
    } finally {
      // The Worker still has the disk open: a server that waits for that would wait for ever.
      await must("fusermount3", ["-u", "-z", disk.#mount]);
      disk.#child.kill("SIGKILL");
      await disk.#child.status;
    }
  }

  fail(): void {
    Deno.writeTextFileSync(this.#trigger, "");
  }

  mend(): void {
    Deno.removeSync(this.#trigger);
  }
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

async function writePieces(client: NbdConnection, first: number, count: number) {
  const data = randomBytes(count * PIECE);
  for (let n = 0; n < count; n += 4) {
    const jobs = [n, n + 1, n + 2, n + 3].filter((one) => one < count).map((one) =>
      client.write((first + one) * PIECE, data.subarray(one * PIECE, (one + 1) * PIECE))
    );
    await Promise.all(jobs);
  }
  return data;
}

/** What the file of a replica holds. */
function held(path: string, offset: number, length: number): Uint8Array {
  return Deno.readFileSync(path).subarray(offset, offset + length);
}

/** The set as the cluster would keep it when the Primary's own replica leaves. */
function letItLeave(pair: Pair): void {
  const { a } = pair;
  const before = a.onAsk;
  a.onAsk = (ask) => {
    if (ask.type !== "shrink" || ask.replicaId !== a.report.replicaId) return before(ask);
    pair.asked.push(ask);
    pair.upToDate = pair.upToDate.filter((id) => id !== ask.replicaId);
    pair.version++;
    const { epoch, version, record } = pair;
    a.worker.order({ type: "record", epoch, version, mine: true, record });
    pair.b.worker.order({ type: "record", epoch, version, mine: false, record });
  };
}

toolTest(
  ["nbdkit", "nbdfuse", "fusermount3"],
  "a Primary whose disk fails under load goes on through its peer: nothing is lost or refused",
  () =>
    withRig((rig) =>
      FailingDisk.with(rig, "pwrite", async (disk) => {
        const pair = await Pair.start(rig, { diskA: disk.path, timeout: 5000 });
        letItLeave(pair);
        await pair.promote(pair.a);
        await pair.connected();
        const client = await NbdConnection.open(pair.a.socket, "data");
        try {
          const before = await writePieces(client, 0, 20);
          disk.fail();
          const after = await writePieces(client, 20, 60);
          const again = await writePieces(client, 5, 10);
          await client.flush();
          assert.equal(pair.a.report.disk, "Diskless");
          assert.equal(pair.a.report.throughPeer, true);
          assert.deepEqual(pair.upToDate, [pair.b.report.replicaId]);
          const expected = new Uint8Array(80 * PIECE);
          expected.set(before);
          expected.set(after, 20 * PIECE);
          expected.set(again, 5 * PIECE);
          assert.deepEqual(await client.read(0, expected.length), expected);
          assert.deepEqual(held(pair.b.disk, 0, expected.length), expected);
        } finally {
          await client.close();
        }
      })
    ),
);

toolTest(
  ["nbdkit", "nbdfuse", "fusermount3"],
  "what the disk cannot read comes from the peer, and the disk stays",
  () =>
    withRig((rig) =>
      FailingDisk.with(rig, "pread", async (disk) => {
        const pair = await Pair.start(rig, { diskA: disk.path, timeout: 5000, io: "direct" });
        await pair.promote(pair.a);
        await pair.connected();
        const client = await NbdConnection.open(pair.a.socket, "data");
        try {
          const data = await writePieces(client, 0, 12);
          await client.flush();
          disk.fail();
          assert.deepEqual(await client.read(0, data.length), data);
          disk.mend();
          assert.equal(pair.a.report.disk, "UpToDate");
          assert.match(pair.a.notes.map(({ rule }) => rule).join(" "), /read-error.*read-repaired/);
          assert.deepEqual(pair.upToDate.length, 2);
        } finally {
          await client.close();
        }
      })
    ),
);

/** A file system of so many MiB in a directory of the rig. */
async function withSmall(rig: Rig, test: (directory: string) => Promise<void>): Promise<void> {
  const small = `${rig.directory}/small`;
  Deno.mkdirSync(small);
  await must("mount", ["-t", "tmpfs", "-o", "size=16m", "tmpfs", small]);
  try {
    await test(small);
  } finally {
    await must("umount", ["--lazy", small]);
  }
}

toolTest(
  ["mount", "umount"],
  "a full file system under the Primary's file stops nobody",
  () =>
    withRig((rig) =>
      withSmall(rig, async (small) => {
        const diskA = `${small}/a.img`;
        formatReplica(diskA, SIZE);
        const pair = await Pair.start(rig, { diskA, timeout: 5000 });
        letItLeave(pair);
        await pair.promote(pair.a);
        await pair.connected();
        const client = await NbdConnection.open(pair.a.socket, "data");
        try {
          const data = await writePieces(client, 0, 120);
          await client.flush();
          assert.equal(pair.a.report.throughPeer, true);
          assert.deepEqual(await client.read(0, data.length), data);
        } finally {
          await client.close();
        }
      })
    ),
);

toolTest(
  ["mount", "umount"],
  "a full file system under a sole replica: writes wait for room",
  () =>
    withRig((rig) =>
      withSmall(rig, async (small) => {
        const diskA = `${small}/a.img`;
        formatReplica(diskA, SIZE);
        const pair = await Pair.start(rig, { diskA, timeout: 5000 });
        pair.upToDate = [pair.a.report.replicaId];
        await pair.b.worker.close();
        await pair.promote(pair.a);
        const client = await NbdConnection.open(pair.a.socket, "data");
        try {
          let done = false;
          const writing = writePieces(client, 0, 120).finally(() => done = true);
          const rules = () => pair.a.notes.map(({ rule }) => rule);
          await pair.a.until("the disk is full", () => rules().includes("disk-full"));
          assert.equal(done, false);
          await must("mount", ["-o", "remount,size=128m", small]);
          const data = await writing;
          assert.deepEqual(await client.read(0, data.length), data);
          assert.ok(rules().includes("disk-room"));
          assert.equal(pair.a.report.disk, "UpToDate");
        } finally {
          await client.close();
        }
      })
    ),
);
