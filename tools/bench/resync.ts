/**
 * `deno task bench:resync`: how fast a replica is brought up to date, against plain copies of the same
 * bytes on the same machine and disk, in interleaved rounds, medians.
 *
 * Scattered: 1 % of the volume's blocks, written at random while the replica was away, against `dd`
 * of as many bytes through a TCP connection into a file. Full: a new replica, against the slower of
 * `dd` to the disk and `nbdcopy` from a server on loopback TCP.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { createReplica } from "../../src/agent/volume_create.ts";
import { formatTable, printError, printLine } from "../../src/cli/output.ts";
import type { VolumeRecord } from "../../src/cluster/types.ts";
import type { VolumeConfig } from "../../src/config/types.ts";
import { benchVolume, exportUri, type Plane, planeStarter } from "./bascule.ts";
import { freePort, installed, output, Server } from "./processes.ts";

const MIB = 1 << 20;
const NODES = ["a", "b"] as const;
/** A resync that takes longer than this has failed, milliseconds. */
const PATIENCE = 120_000;

interface Round {
  readonly seconds: number;
  readonly wireBytes: number;
  /** That were dirty. */
  readonly bytes: number;
}

interface Settings {
  readonly rounds: number;
  readonly size: number;
  readonly fullSize: number;
  readonly directory: string;
}

function settings(): Settings {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      rounds: { type: "string", default: "5" },
      size: { type: "string", default: "10240" },
      "full-size": { type: "string", default: "2048" },
      directory: { type: "string", default: "/var/tmp" },
    },
  });
  const whole = (name: string, text: string) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < 0) throw new TypeError(`--${name} ${text}`);
    return value;
  };
  return {
    rounds: whole("rounds", values.rounds),
    size: whole("size", values.size) * MIB,
    fullSize: whole("full-size", values["full-size"]) * MIB,
    directory: values.directory,
  };
}

/** Bytes that left through the loopback interface, of everybody on the machine. */
function loopbackBytes(): number {
  const line = Deno.readTextFileSync("/proc/net/dev").split("\n").find((one) =>
    /^\s*lo:/.test(one)
  );
  return Number(line!.trim().split(/[:\s]+/)[9]);
}

/** A Primary whose replica comes and goes. */
class Pair {
  readonly volume: VolumeConfig;
  readonly primary: Plane;
  readonly #start: (node: string) => Plane;
  readonly #record: VolumeRecord;
  #replica: Plane | null = null;
  #version = 1;
  #ids: readonly string[];

  private constructor(
    volume: VolumeConfig,
    start: (node: string) => Plane,
    primary: Plane,
    ids: readonly string[],
    record: VolumeRecord,
  ) {
    this.volume = volume;
    this.#start = start;
    this.primary = primary;
    this.#ids = ids;
    this.#record = record;
  }

  static async start(directory: string, size: number): Promise<Pair> {
    const volume = benchVolume({
      transport: "unix",
      directory,
      size,
      io: "buffered",
      nodes: NODES,
    });
    const start = planeStarter(volume, undefined);
    const how = { force: false, keepData: false };
    const ids = NODES.map((node) => createReplica(volume, node, how).replicaId);
    const primary = start("a");
    const report = await primary.until((said) => said.report);
    const record = { generation: report.generation, upToDate: [ids[0]!] };
    const order = { type: "promote", epoch: 1, version: 1, lineage: "bench", record } as const;
    primary.tell({ order, lease: 1 });
    await primary.until((said) => said.ask?.type === "promoted" ? true : undefined);
    return new Pair(volume, start, primary, ids, record);
  }

  /** Starts the replica and waits until it has everything: how long the resync took, and its bytes. */
  async resync(): Promise<Round> {
    const { primary } = this;
    const from = primary.words;
    this.#replica = this.#start("b");
    const peer = (want: string) =>
      primary.until(
        (said) => said.report?.peers[0]?.connection === want ? said : undefined,
        from,
        PATIENCE,
      );
    const began = await peer("SyncSource");
    const before = loopbackBytes();
    const ended = await peer("Connected");
    const wireBytes = loopbackBytes() - before;
    await primary.until((said) => said.ask?.type === "grow" ? true : undefined, from);
    this.#tell(this.#ids);
    const bytes = began.report!.peers[0]!.resync!.totalBytes;
    return { seconds: (ended.at - began.at) / 1000, wireBytes, bytes };
  }

  /** Ends the replica; the Primary goes on alone. */
  async part(): Promise<void> {
    await this.#replica?.stop();
    this.#replica = null;
    this.#tell([this.#ids[0]!]);
  }

  /** A new replica on the old one's disk, whose content counts for nothing. */
  renew(): void {
    const { replicaId } = createReplica(this.volume, "b", { force: true, keepData: false });
    this.#ids = [this.#ids[0]!, replicaId];
  }

  async stop(): Promise<void> {
    await this.#replica?.stop();
    await this.primary.stop();
  }

  #tell(upToDate: readonly string[]): void {
    const record = { ...this.#record, upToDate };
    const version = ++this.#version;
    this.primary.tell({ order: { type: "record", epoch: 1, version, mine: true, record } });
  }
}

/** Writes through the export. */
async function write(uri: string, ...how: readonly string[]): Promise<void> {
  const fixed = ["--name=fill", "--ioengine=nbd", `--uri=${uri}`, "--output-format=json"];
  await output("fio", [...fixed, ...how]);
}

/** Copies the first bytes of a file over those of another. */
async function dd(from: string, to: string, bytes: number): Promise<void> {
  const how = ["bs=1M", "iflag=count_bytes,fullblock", "conv=fsync,notrunc", "status=none"];
  await output("dd", [`if=${from}`, `of=${to}`, `count=${bytes}`, ...how]);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const before = performance.now();
  await work();
  return (performance.now() - before) / 1000;
}

const ACCEPT = `use IO::Socket::INET; my $l = IO::Socket::INET->new(Listen => 1,
  LocalAddr => "127.0.0.1", LocalPort => $ARGV[0]) or die $!; my $c = $l->accept;
  open(STDIN, "<&", $c); exec "dd", "of=$ARGV[1]", "bs=1M", "iflag=fullblock",
  "conv=fsync,notrunc", "status=none";`;
const CONNECT = `use IO::Socket::INET; my $c; for (1 .. 500) { last if $c =
  IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $ARGV[0]);
  select(undef, undef, undef, 0.01); } open(STDOUT, ">&", $c); print STDERR "go\\n";
  exec "dd", "if=$ARGV[1]", "bs=1M", "status=none";`;

/** `dd` of a file through a TCP connection into another, stable at the end: seconds. */
async function ddOverTcp(source: string, target: string): Promise<number> {
  const port = String(freePort());
  const end = (script: string, path: string) =>
    new Deno.Command("perl", { args: ["-e", script, port, path], stdin: "null", stderr: "piped" })
      .spawn();
  const receiver = end(ACCEPT, target);
  const sender = end(CONNECT, source);
  const said = sender.stderr.getReader();
  // It says so when it is connected: what came before is no copying.
  await said.read();
  const seconds = await timed(() => receiver.status);
  await said.cancel();
  await receiver.stderr.cancel();
  await sender.status;
  return seconds;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

async function scattered(directory: string, { size, rounds }: Settings): Promise<string[]> {
  const pair = await Pair.start(directory, size);
  const bytes = Math.floor(size / 100 / 4096) * 4096;
  const uri = exportUri(pair.volume);
  try {
    await dd("/dev/urandom", `${directory}/source`, bytes);
    await ddOverTcp(`${directory}/source`, `${directory}/target`);
    const ours: Round[] = [];
    const plain: number[] = [];
    // The same blocks in every round, with other content. The first round is none that counts: after
    // it both disks have room for these blocks, as they have after any length of use.
    for (let round = 0; round <= rounds; round++) {
      await write(
        uri,
        "--rw=randwrite",
        "--bs=4k",
        `--size=${size}`,
        `--io_size=${bytes}`,
        "--iodepth=32",
        "--randseed=1",
        `--buffer_pattern=${1000 + round}`,
      );
      await output("sync", []);
      const found = await pair.resync();
      await pair.part();
      const theirs = await ddOverTcp(`${directory}/source`, `${directory}/target`);
      if (round === 0) continue;
      ours.push(found);
      plain.push(theirs);
      printError(`scattered: round ${round} of ${rounds}`);
    }
    const wire = median(ours.map(({ wireBytes, bytes }) => wireBytes / bytes));
    const [mine, theirs] = [median(ours.map(({ seconds }) => seconds)), median(plain)];
    return [
      `1 % of ${size / MIB} MiB`,
      `${(median(ours.map(({ bytes }) => bytes)) / MIB).toFixed(1)} MiB`,
      `${mine.toFixed(3)} s`,
      `dd over TCP ${theirs.toFixed(3)} s`,
      `${(mine / theirs).toFixed(2)} × its time (goal 1.25)`,
      `${wire.toFixed(3)} × the dirty bytes (goal 1.1)`,
    ];
  } finally {
    await pair.stop();
  }
}

async function full(directory: string, { fullSize: size, rounds }: Settings): Promise<string[]> {
  const pair = await Pair.start(directory, size);
  const [source] = pair.volume.replicas;
  const copy = `${directory}/copy`;
  try {
    await write(exportUri(pair.volume), "--rw=write", "--bs=1m", "--iodepth=4", "--refill_buffers");
    const ours: Round[] = [];
    const disk: number[] = [];
    const copied: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await output("sync", []);
      pair.renew();
      ours.push(await pair.resync());
      await pair.part();
      disk.push(await timed(() => dd("/dev/zero", copy, size)));
      const port = freePort();
      const args = [
        "-f",
        "raw",
        "-r",
        "-t",
        "-e",
        "4",
        "-b",
        "127.0.0.1",
        "-p",
        String(port),
        source!.disk,
      ];
      const server = new Server("qemu-nbd", args);
      await server.listening({ port });
      copied.push(
        await timed(() => output("nbdcopy", ["--flush", `nbd://127.0.0.1:${port}`, copy])),
      );
      await server.stop();
      printError(`full: round ${round + 1} of ${rounds}`);
    }
    const rate = (seconds: number) => size / MIB / seconds;
    const mine = rate(median(ours.map(({ seconds }) => seconds)));
    const [toDisk, nbdcopy] = [rate(median(disk)), rate(median(copied))];
    return [
      `all of ${size / MIB} MiB`,
      `${size / MIB} MiB`,
      `${mine.toFixed(0)} MiB/s`,
      `dd to disk ${toDisk.toFixed(0)} MiB/s, nbdcopy ${nbdcopy.toFixed(0)} MiB/s`,
      `${(100 * mine / Math.min(toDisk, nbdcopy)).toFixed(0)} % of the slower (goal 80 %)`,
      `${(median(ours.map(({ wireBytes }) => wireBytes)) / size).toFixed(3)} × the bytes`,
    ];
  } finally {
    await pair.stop();
  }
}

async function main(): Promise<number> {
  let how: Settings;
  try {
    how = settings();
  } catch (error) {
    const usage =
      "deno task bench:resync [--rounds N] [--size MIB] [--full-size MIB] [--directory DIR]";
    printError(`${error instanceof Error ? error.message : error}\n${usage}`);
    return 2;
  }
  const missing = ["fio", "nbdcopy", "qemu-nbd", "perl", "dd"].filter((tool) => !installed(tool));
  if (missing.length > 0) {
    printError(
      `nothing can be measured without ${
        missing.join(", ")
      }: apt install fio libnbd-bin qemu-utils perl`,
    );
    return 1;
  }
  const rows: string[][] = [];
  for (const [part, wanted] of [[scattered, how.size], [full, how.fullSize]] as const) {
    if (wanted === 0) continue;
    const directory = Deno.makeTempDirSync({ dir: how.directory, prefix: "bascule-bench-" });
    try {
      rows.push(await part(directory, how));
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  }
  const header = ["RESYNC", "BYTES", "OURS", "BESIDE", "TIME OR RATE", "ON THE WIRE"];
  for (const line of formatTable(header, rows)) printLine(line);
  return 0;
}

Deno.exit(await main());
