/** Two replicas with real Workers over loopback, and a record that stands in for the cluster. */
import assert from "node:assert/strict";
import type { ExportConfig, ReplicationProtocol } from "../../src/config/types.ts";
import type { EngineName } from "../../src/os/engine.ts";
import type { VolumeAsk } from "../../src/volume/types.ts";
import { MIB, randomHex, Replica, Rig, VOLUME_WORKER } from "./fixtures.ts";

export interface PairOptions {
  readonly engine?: EngineName;
  readonly protocol?: ReplicationProtocol;
  readonly size?: number;
  readonly timeout?: number;
  readonly io?: "direct" | "buffered";
  readonly freezeLimit?: number;
  /** Where the Primary, whichever it is, serves the volume. Default: a socket of each one's own. */
  readonly export?: ExportConfig;
  /** Reach b at this port in place of its own. */
  readonly through?: number;
  /** The link is encrypted. */
  readonly encrypt?: boolean;
  /** Further ports at which a may reach b, in order of preference. */
  readonly throughMore?: readonly number[];
  /** Where b listens; default: any free port. */
  readonly portB?: number;
  /** Disk of a, formatted by `formatReplica`, in place of a file of its own. */
  readonly diskA?: string;
}

/** A port that was free a moment ago. */
export function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return port;
}

/** What the cluster would do: one record, changed as the Primary asks. */
export class Pair {
  readonly rig: Rig;
  readonly ports: { readonly a: number; readonly b: number };
  a!: Replica;
  b!: Replica;
  epoch = 0;
  version = 0;
  generation = "";
  upToDate: string[] = [];
  /** Asks that were answered, for tests to look at. */
  readonly asked: VolumeAsk[] = [];
  /** Answer asks; off: only write them down. */
  answering = true;
  #options: PairOptions;
  #primary: Replica | null = null;
  #shrinking: string | null = null;

  constructor(rig: Rig, options: PairOptions = {}) {
    this.rig = rig;
    this.#options = options;
    this.ports = { a: freePort(), b: options.portB ?? freePort() };
  }

  static async start(rig: Rig, options: PairOptions = {}): Promise<Pair> {
    const pair = new Pair(rig, options);
    pair.startA(options.diskA !== undefined);
    pair.startB(false);
    await pair.reported();
    const ids = [pair.a, pair.b].map((replica) => replica.report.replicaId);
    assert.equal(pair.a.report.generation, pair.b.report.generation);
    pair.generation = pair.a.report.generation;
    pair.upToDate = ids;
    return pair;
  }

  /** Starts the replicas that an earlier run left, with the record that it left. */
  static async resume(
    rig: Rig,
    left: { epoch: number; version: number; generation: string; upToDate: string[] },
    options: PairOptions = {},
  ): Promise<Pair> {
    const pair = new Pair(rig, options);
    Object.assign(pair, left);
    pair.startA(true);
    pair.startB(true);
    await pair.reported();
    return pair;
  }

  startA(keepDisk: boolean): void {
    const port = this.#options.through ?? this.ports.b;
    const { throughMore: more } = this.#options;
    const peer = { node: "b", port, ...(more === undefined ? {} : { more }) };
    this.a = this.#start("a", this.ports.a, peer, keepDisk);
  }

  startB(keepDisk: boolean): void {
    this.b = this.#start("b", this.ports.b, { node: "a", port: this.ports.a }, keepDisk);
  }

  /** Both have said what they are. */
  async reported(): Promise<void> {
    for (const replica of [this.a, this.b]) {
      await replica.until(
        "the first report",
        () => replica.fatal !== null || replica.reports.length > 0,
      );
      assert.equal(replica.fatal, null);
    }
  }

  /** Makes one of them Primary in a new epoch. */
  async promote(replica: Replica): Promise<void> {
    this.epoch++;
    this.version++;
    this.#primary = replica;
    const { epoch, version } = this;
    replica.worker.order({
      type: "promote",
      epoch,
      version,
      lineage: "lineage",
      record: this.record,
    });
    replica.worker.lease(epoch, Infinity);
    this.#spread();
    await replica.until(
      `promoted to epoch ${epoch}`,
      () => replica.asks.some((ask) => ask.type === "promoted" && ask.epoch === epoch),
    );
  }

  async demote(replica: Replica, forced: boolean): Promise<boolean> {
    const before = replica.asks.length;
    const answer = () => replica.asks.slice(before).find((ask) => ask.type === "demoted");
    replica.worker.order({ type: "demote", forced });
    await replica.until("demoted", () => answer() !== undefined);
    this.#primary = null;
    return (answer() as Extract<VolumeAsk, { type: "demoted" }>).clean;
  }

  get record(): { generation: string; upToDate: string[] } {
    return { generation: this.generation, upToDate: [...this.upToDate] };
  }

  async connected(): Promise<void> {
    const primary = this.#primary!;
    await primary.until("connected", () => primary.report.peers[0]?.connection === "Connected");
  }

  /** Both files hold the same data. */
  assertSame(): void {
    const [a, b] = [this.a, this.b].map((replica) =>
      Deno.readFileSync(replica.disk).subarray(0, replica.size)
    ) as [Uint8Array, Uint8Array];
    if (equalBytes(a, b)) return;
    const at = a.findIndex((byte, index) => byte !== b[index]);
    throw new Error(`the replicas differ from byte ${at} on\n${this.a.story()}\n${this.b.story()}`);
  }

  #start(
    node: string,
    port: number,
    peer: { node: string; port: number; more?: readonly number[] },
    keepDisk: boolean,
  ): Replica {
    const { engine, protocol, size, timeout, io, freezeLimit, diskA } = this.#options;
    const replica = this.rig.start({
      node,
      port,
      peers: [peer],
      moduleUrl: VOLUME_WORKER,
      size: size ?? 64 * MIB,
      timeout: timeout ?? 2000,
      keepDisk,
      ...(node === "a" && diskA !== undefined ? { disk: diskA } : {}),
      ...(engine === undefined ? {} : { engine }),
      ...(protocol === undefined ? {} : { protocol }),
      ...(io === undefined ? {} : { io }),
      ...(this.#options.encrypt === true ? { encrypt: true } : {}),
      ...(freezeLimit === undefined ? {} : { freezeLimit }),
      ...(this.#options.export === undefined ? {} : { export: this.#options.export }),
    });
    replica.onAsk = (ask) => this.#ask(replica, ask);
    return replica;
  }

  #ask(from: Replica, ask: VolumeAsk): void {
    this.asked.push(ask);
    if (!this.answering || from !== this.#primary) return;
    if (ask.type === "shrink") {
      this.#shrinking = ask.replicaId;
      from.worker.order({ type: "mint", generation: randomHex() });
    } else if (ask.type === "minted") {
      this.generation = ask.generation;
      this.upToDate = this.upToDate.filter((id) => id !== this.#shrinking);
      this.version++;
      this.#spread();
    } else if (ask.type === "grow") {
      if (!this.upToDate.includes(ask.replicaId)) this.upToDate.push(ask.replicaId);
      this.version++;
      this.#spread();
    }
  }

  #spread(): void {
    for (const replica of [this.a, this.b]) {
      const mine = replica === this.#primary;
      const { epoch, version, record } = this;
      replica.worker.order({ type: "record", epoch, version, mine, record });
    }
  }
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  const [left, right] = [a, b].map((bytes) =>
    new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8)
  ) as [BigUint64Array, BigUint64Array];
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false;
  return true;
}
