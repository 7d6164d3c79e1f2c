/** Replicas, Workers and tools for the tests of the data plane; everything is gone after `close`. */
import { DEFAULT_RESYNC, DEFAULT_VERIFY } from "../../src/config/resync.ts";
import { VolumeWorker } from "../../src/agent/dataplane/handle.ts";
import type { WorkerReady } from "../../src/agent/dataplane/messages.ts";
import type { Note } from "../../src/cluster/types.ts";
import type {
  Config,
  ExportConfig,
  ReplicationProtocol,
  VolumeConfig,
} from "../../src/config/types.ts";
import type { EngineName } from "../../src/os/engine.ts";
import { formatMetadata } from "../../src/volume/metadata/format.ts";
import { internalMetadataOffset, metadataSize } from "../../src/volume/metadata/layout.ts";
import type { VolumeAsk, VolumeReport } from "../../src/volume/types.ts";

/** The Worker module of the NBD tests. */
export const LOCAL_WORKER = new URL("./local_worker.ts", import.meta.url).href;
/** The Worker module of the replication tests. */
export const VOLUME_WORKER = new URL("./volume_worker.ts", import.meta.url).href;
/** The program itself. */
export const MAIN_MODULE = new URL("../../main.ts", import.meta.url).href;
/** The program's Worker module, without the command line. */
export const AGENT_WORKER = new URL("./agent_worker.ts", import.meta.url).href;

export const MIB = 1 << 20;

/** Engines that this kernel has. */
export const ENGINES: readonly EngineName[] = ["io_uring", "epoll"];

export interface ReplicaOptions {
  readonly node?: string;
  readonly size?: number;
  readonly io?: "direct" | "buffered";
  readonly protocol?: ReplicationProtocol;
  readonly port?: number;
  readonly peers?: readonly { node: string; port: number; more?: readonly number[] }[];
  readonly engine?: EngineName;
  readonly moduleUrl?: string;
  readonly timeout?: number;
  readonly encrypt?: boolean;
  /** Default `data`. */
  readonly volume?: string;
  /** Default: a unix socket in the rig's directory. */
  readonly export?: ExportConfig;
  readonly shared?: boolean;
  readonly freezeLimit?: number;
  /** Leave the disk as it is. */
  readonly keepDisk?: boolean;
  readonly disk?: string;
  /** Every byte of the cluster's key. Default 7. */
  readonly key?: number;
}

/** One replica with its Worker, and everything that the Worker said. */
export class Replica {
  readonly node: string;
  readonly disk: string;
  readonly socket: string;
  readonly size: number;
  readonly worker: VolumeWorker;
  readonly reports: VolumeReport[] = [];
  readonly asks: VolumeAsk[] = [];
  readonly notes: Note[] = [];
  fatal: string | null = null;
  ready: WorkerReady | null = null;
  onAsk: (ask: VolumeAsk) => void = () => {};
  #woken: () => void = () => {};

  constructor(directory: string, options: ReplicaOptions) {
    this.node = options.node ?? "a";
    this.size = options.size ?? 64 * MIB;
    this.disk = options.disk ?? `${directory}/${this.node}.img`;
    this.socket = `${directory}/${this.node}.sock`;
    const name = options.volume ?? "data";
    if (options.keepDisk !== true) formatReplica(this.disk, this.size, randomHex(), name);
    const volume: VolumeConfig = {
      name,
      size: this.size,
      protocol: options.protocol ?? "C",
      export: options.export ?? { address: `unix:${this.socket}`, path: this.socket },
      afterPowerLoss: "wait",
      soleBoot: false,
      io: options.io ?? "buffered",
      timeout: options.timeout ?? 2000,
      freezeLimit: options.freezeLimit ?? 60_000,
      encrypt: options.encrypt === true,
      onIoError: "detach",
      alExtents: "auto",
      resync: DEFAULT_RESYNC,
      verify: DEFAULT_VERIFY,
      afterSplitBrain: "disconnect",
      replicas: [
        { node: this.node, disk: this.disk, metaDisk: "internal", ...at(options.port ?? 0) },
        ...(options.peers ?? []).map(({ node, port, more }) => ({
          node,
          disk: "/nowhere",
          metaDisk: "internal",
          ...at(port),
          ...(more === undefined ? {} : { more: more.map(at) }),
        })),
      ],
    };
    this.worker = VolumeWorker.start({
      config: { cluster: { name: "test" } } as Config,
      volume,
      node: this.node,
      keys: { active: 1, keys: new Map([[1, new Uint8Array(32).fill(options.key ?? 7)]]) },
      bootId: "boot",
      moduleUrl: options.moduleUrl ?? LOCAL_WORKER,
      shared: options.shared === true,
      ...(options.engine === undefined ? {} : { engine: options.engine }),
    });
    this.worker.onReady = (ready) => this.#heard(() => this.ready = ready);
    this.worker.onReport = (report) => this.#heard(() => this.reports.push(report));
    this.worker.onNote = (note) => this.#heard(() => this.notes.push(note));
    this.worker.onFatal = (reason) => this.#heard(() => this.fatal = reason);
    this.worker.onAsk = (ask) =>
      this.#heard(() => {
        this.asks.push(ask);
        this.onAsk(ask);
      });
  }

  get report(): VolumeReport {
    const report = this.reports.at(-1);
    if (report === undefined) throw new Error("no report yet");
    return report;
  }

  /** Waits until the condition holds, for at most so many milliseconds. */
  async until(what: string, condition: () => boolean, patience = 60_000): Promise<void> {
    const deadline = performance.now() + patience;
    while (!condition()) {
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`${this.node}: not in time: ${what}\n${this.story()}`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#woken = resolve;
      const timer = setTimeout(resolve, Math.min(left, 100));
      await promise;
      clearTimeout(timer);
    }
  }

  /** What was heard, for messages. */
  story(): string {
    return [
      `fatal: ${this.fatal}`,
      `last report: ${JSON.stringify(this.reports.at(-1))}`,
      ...this.asks.map((ask) => `ask ${JSON.stringify(ask)}`),
      ...this.notes.map((note) => `${note.level} ${note.rule}: ${note.text}`),
    ].join("\n");
  }

  #heard(change: () => void): void {
    change();
    this.#woken();
  }
}

/** A directory with replicas in it. */
export class Rig {
  readonly directory: string;
  readonly #replicas: Replica[] = [];

  /** In a directory of its own, or in one that somebody else removes. */
  constructor(directory = Deno.makeTempDirSync({ prefix: "bascule-dataplane-" })) {
    this.directory = directory;
  }

  start(options: ReplicaOptions = {}): Replica {
    const replica = new Replica(this.directory, options);
    this.#replicas.push(replica);
    return replica;
  }

  /** A local replica that is Primary and serves its export. */
  async serve(options: ReplicaOptions = {}): Promise<Replica> {
    const replica = this.start(options);
    await replica.until("ready", () => replica.ready !== null || replica.fatal !== null);
    if (replica.fatal !== null) throw new Error(replica.fatal);
    await this.promote(replica);
    return replica;
  }

  /** Makes a replica that passes requests on to its disk Primary. */
  async promote(replica: Replica): Promise<void> {
    const before = replica.asks.length;
    const promoted = () => replica.asks.slice(before).some((ask) => ask.type === "promoted");
    replica.worker.order({
      type: "promote",
      epoch: 1,
      version: 1,
      lineage: "l",
      record: { generation: "g", upToDate: ["r"] },
    });
    replica.worker.lease(1, Infinity);
    await replica.until("promoted", promoted);
  }

  async close(): Promise<void> {
    await Promise.all(this.#replicas.map((replica) => replica.worker.close()));
    Deno.removeSync(this.directory, { recursive: true });
  }
}

/** Runs a test with a rig that is always closed. */
export async function withRig(test: (rig: Rig) => Promise<void>): Promise<void> {
  const rig = new Rig();
  try {
    await test(rig);
  } finally {
    await rig.close();
  }
}

/** Makes a sparse file with fresh metadata. */
export function formatReplica(
  path: string,
  size: number,
  replicaId = randomHex(),
  volume = "data",
): void {
  const file = Deno.openSync(path, { create: true, write: true, truncate: true });
  try {
    file.truncateSync(size + metadataSize(size, "auto"));
    const chunks = formatMetadata({
      volume,
      size,
      alExtents: "auto",
      replicaId,
      storage: randomHex(),
      generation: randomHex(),
      blank: "zero",
      bootId: "boot",
    });
    for (const { offset, bytes } of chunks) {
      file.seekSync(internalMetadataOffset(size) + offset, Deno.SeekMode.Start);
      file.writeSync(bytes);
    }
  } finally {
    file.close();
  }
}

/** Is this program installed? */
export function hasTool(name: string): boolean {
  return (Deno.env.get("PATH") ?? "").split(":").some((directory) => {
    try {
      return Deno.statSync(`${directory}/${name}`).isFile;
    } catch {
      return false;
    }
  });
}

/** A test that needs programs of others; without them it says so and does nothing. */
export function toolTest(tools: readonly string[], name: string, test: () => Promise<void>): void {
  const missing = tools.filter((tool) => !hasTool(tool));
  if (missing.length === 0) {
    Deno.test(name, test);
  } else {
    Deno.test({
      name: `not run here (needs ${missing.join(", ")}): ${name}`,
      ignore: true,
      fn() {},
    });
  }
}

/** Runs a program to its end, for at most `seconds`, and returns what it said. */
export async function run(
  command: string,
  args: readonly string[],
  seconds = 30,
): Promise<{ code: number; output: string; stdout: string }> {
  const child = new Deno.Command(command, {
    args: [...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(seconds * 1000),
  });
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  const text = decoder.decode(stdout);
  return { code, stdout: text, output: `${text}${decoder.decode(stderr)}` };
}

/** Runs a program that must succeed; returns what it said on standard output. */
export async function must(
  command: string,
  args: readonly string[],
  seconds = 30,
): Promise<string> {
  const { code, stdout, output } = await run(command, args, seconds);
  if (code !== 0) throw new Error(`${command} ${args.join(" ")}: exit code ${code}\n${output}`);
  return stdout;
}

/** Bytes that nobody guesses; more than 64 KiB repeat, with another start each time. */
export function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  const noise = crypto.getRandomValues(new Uint8Array(65_521));
  for (let at = 0; at < length; at += noise.length) {
    bytes.set(noise.subarray(0, Math.min(noise.length, length - at)), at);
  }
  return bytes;
}

/** Sixteen random hex digits. */
export function randomHex(): string {
  return crypto.getRandomValues(new Uint8Array(8)).toHex();
}

function at(port: number): { host: string; port: number } {
  return { host: "127.0.0.1", port };
}
