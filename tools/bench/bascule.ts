/** Our own data planes as contenders: one alone, or two that replicate over loopback TCP. */
import { DEFAULT_RESYNC, DEFAULT_VERIFY } from "../../src/config/resync.ts";
import { createReplica } from "../../src/agent/volume_create.ts";
import type { Config, VolumeConfig } from "../../src/config/types.ts";
import type { EngineName } from "../../src/os/engine.ts";
import type { VolumeAsk, VolumeReport } from "../../src/volume/types.ts";
import type { Running } from "./contenders.ts";
import { freePort, Server } from "./processes.ts";
import type { ServeOptions, ServeOrder } from "./serve.ts";

/** What a plane says. */
export interface Said {
  readonly ready?: { readonly engine: string; readonly reason: string };
  readonly report?: VolumeReport;
  readonly ask?: VolumeAsk;
  readonly fatal?: string;
  /** When it was heard, `performance.now()`. */
  readonly at: number;
}

/** One data plane process, and its newest words. */
export class Plane {
  readonly server: Server;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #said: Said[] = [];
  readonly #hearing: Promise<void>;
  #heard: () => void = () => {};

  constructor(options: ServeOptions) {
    const module = new URL("./serve.ts", import.meta.url).href;
    const args = ["run", "-A", "--quiet", "--no-check", module];
    this.server = new Server(Deno.execPath(), args, { talk: true });
    this.#input = this.server.child.stdin.getWriter();
    this.#hearing = this.#hear();
    this.#send(options);
  }

  /** One line to the process. */
  tell(order: ServeOrder): void {
    this.#send(order);
  }

  /** Words so far, for `from` of `until`. */
  get words(): number {
    return this.#said.length;
  }

  /** The first word, of those after `from`, for which `find` gives something. */
  async until<T>(find: (said: Said) => T | undefined, from = 0, patience = 30_000): Promise<T> {
    const deadline = performance.now() + patience;
    while (performance.now() < deadline) {
      for (const said of this.#said.slice(from)) {
        if (said.fatal !== undefined) throw new Error(said.fatal);
        const found = find(said);
        if (found !== undefined) return found;
      }
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
        setTimeout(resolve, 50);
      });
    }
    throw new Error(`the data plane says ${JSON.stringify(this.#said.at(-1))}`);
  }

  /** Ends the process in order. */
  async stop(): Promise<void> {
    await this.#input.close();
    await this.server.child.status;
    await this.#hearing;
    await this.server.stop();
  }

  #send(what: unknown): void {
    this.#input.write(new TextEncoder().encode(`${JSON.stringify(what)}\n`)).catch(() => {});
  }

  async #hear(): Promise<void> {
    let rest = "";
    for await (const piece of this.server.child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop()!;
      const at = performance.now();
      for (const line of lines) this.#said.push({ ...JSON.parse(line) as Said, at });
      this.#heard();
    }
  }
}

/** How to run our data planes. */
export interface PlaneOptions {
  readonly directory: string;
  readonly size: number;
  readonly io: "direct" | "buffered";
  readonly transport: "unix" | "tcp";
  readonly engine?: EngineName;
  readonly nodes: readonly string[];
  /** Default `auto`. */
  readonly alExtents?: number;
  readonly encrypt?: boolean;
}

/** The volume that is measured. */
export function benchVolume(options: PlaneOptions): VolumeConfig {
  const { directory, size, io, nodes, transport } = options;
  const path = `${directory}/bascule.sock`;
  const port = transport === "tcp" ? freePort() : 0;
  return {
    name: "bench",
    size,
    protocol: "C",
    export: port === 0 ? { address: `unix:${path}`, path } : {
      address: `tcp://127.0.0.1:${port}`,
      path: "",
      tcp: { host: "127.0.0.1", port, tls: null, allow: [] },
    },
    afterPowerLoss: "wait",
    soleBoot: false,
    io,
    freezeLimit: 60_000,
    timeout: 10_000,
    onIoError: "detach",
    alExtents: options.alExtents ?? "auto",
    encrypt: options.encrypt === true,
    resync: DEFAULT_RESYNC,
    verify: DEFAULT_VERIFY,
    afterSplitBrain: "disconnect",
    replicas: nodes.map((node) => ({
      node,
      disk: `${directory}/${node}.img`,
      metaDisk: "internal",
      host: "127.0.0.1",
      port: freePort(),
    })),
  };
}

/** Starts data planes of a volume, one node's at a time. */
export function planeStarter(
  volume: VolumeConfig,
  engine: EngineName | undefined,
): (node: string) => Plane {
  // Data planes read nothing else of the configuration.
  const config = { cluster: { name: "bench" } } as Config;
  const key = crypto.getRandomValues(new Uint8Array(32)).toHex();
  const chosen = engine === undefined ? {} : { engine };
  return (node) => new Plane({ config, volume, node, key, bootId: "bench", ...chosen });
}

/** Where clients find it. */
export function exportUri({ name, export: { path, tcp } }: VolumeConfig): string {
  return tcp ? `nbd://${tcp.host}:${tcp.port}/${name}` : `nbd+unix:///${name}?socket=${path}`;
}

/** Starts one data plane for each node; the first is Primary of all. */
export async function startPlanes(options: PlaneOptions): Promise<Running> {
  const { io, engine, nodes } = options;
  const volume = benchVolume(options);
  const start = planeStarter(volume, engine);
  const planes: Plane[] = [];
  const ids: string[] = [];
  try {
    for (const node of nodes) {
      const how = { force: false, keepData: false };
      ids.push(createReplica(volume, node, how).replicaId);
      planes.push(start(node));
    }
    const [primary] = planes as [Plane];
    const reports = await Promise.all(planes.map((plane) => plane.until((said) => said.report)));
    const record = { generation: reports[0]!.generation, upToDate: ids };
    const order = { type: "promote", epoch: 1, version: 1, lineage: "bench", record } as const;
    primary.tell({ order, lease: 1 });
    await primary.until((said) => said.ask?.type === "promoted" ? true : undefined);
    if (nodes.length > 1) {
      await primary.until((said) =>
        said.report?.peers[0]?.connection === "Connected" ? true : undefined
      );
    }
    const { engine: chosen } = await primary.until((said) => said.ready);
    return {
      uri: exportUri(volume),
      detail: `${chosen}, ${io} I/O`,
      servers: planes.map((plane) => plane.server),
      stop: async () => {
        for (const plane of planes) await plane.stop();
      },
    };
  } catch (error) {
    for (const plane of planes) await plane.stop();
    throw error;
  }
}
