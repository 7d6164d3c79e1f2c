/**
 * The data plane: what serves the volumes, request by request, apart from the agent's main thread.
 *
 * Each volume has a Worker that waits in the kernel and nowhere else: clients' NBD connections, the
 * disk and the replication links are on one {@linkcode Engine}. In the Worker:
 *
 * - `worker.ts` is the entry, `data_plane.ts` the event loop that ties the parts together;
 * - `disk.ts` opens a disk or says why not, `disk_io.ts` is the disk half of the volume's I/O;
 * - `export_server.ts`, `nbd_connection.ts`, `reply_sender.ts`: the export's socket and its clients;
 *   `io_stats.ts` counts and times what they ask for;
 * - `replica_listener.ts`, `replica_link.ts`: replication over TCP, `meta_area.ts` the metadata;
 * - `buffers.ts`, `operations.ts`: memory and completions, both without allocation per request.
 *
 * Here is the main thread's side of it: {@linkcode VolumeWorker}.
 *
 * @module
 */
import type { Note } from "../../cluster/types.ts";
import type { ClusterKeys } from "../../config/key_file.ts";
import {
  type Config,
  DEFAULT_CONNECTIONS,
  type ReplicaConfig,
  type ReplicationAddress,
  type VolumeConfig,
} from "../../config/types.ts";
import { boottimeMs } from "../../os/clock.ts";
import { closeQuietly } from "../../os/libc.ts";
import type { EngineName } from "../../os/engine.ts";
import type { VolumeAsk, VolumeOrder, VolumeReport } from "../../volume/types.ts";
import type { NbdExport } from "../../nbd/mod.ts";
import { type IoSnapshot, IoStats } from "./io_stats.ts";
import { LeaseCell } from "./lease_cell.ts";
import type { PassedClient, WorkerInit, WorkerMessage, WorkerReady } from "./messages.ts";
import { OrderPipe } from "./order_pipe.ts";

/** What {@linkcode VolumeWorker.start} needs. */
export interface VolumeWorkerOptions {
  readonly config: Config;
  /** A volume of it that has a replica on `node`. */
  readonly volume: VolumeConfig;
  readonly node: string;
  readonly keys: ClusterKeys;
  /** Linux boot id. */
  readonly bootId: string;
  /** Other volumes here have the same socket. Default false. */
  readonly shared?: boolean;
  /** The module that calls `serveDataPlane` in a Worker. Default: the program's main module. */
  readonly moduleUrl?: string;
  /** Default: the best that the kernel offers. */
  readonly engine?: EngineName;
}

/** A Worker that has not ended so long after it was told to is left alone, in milliseconds. */
const CLOSE_PATIENCE = 10_000;

/**
 * One volume's Worker, seen from the main thread. The callbacks may be set at any time before the
 * next turn of the event loop; after `onFatal` or the end of `close` none is called.
 */
export class VolumeWorker {
  /** The volume's state changed. */
  onReport: (report: VolumeReport) => void = () => {};
  /** The volume asks the cluster, or answers an order. */
  onAsk: (ask: VolumeAsk) => void = () => {};
  /** One line for log and journal. */
  onNote: (note: Note) => void = () => {};
  /** The Worker could not start or go on: what, where, the mend. It is gone. */
  onFatal: (reason: string) => void = () => {};
  /** The export is served from now on, or, without one, no more. Called for shared sockets. */
  onServing: (entry: NbdExport | null) => void = () => {};
  /** A client that another volume's Worker is to serve. Its descriptor belongs to the callee. */
  onPass: (client: PassedClient) => void = ({ fd }) => closeQuietly(fd);
  /** TLS is to begin on `fd`, for `plain`. Both descriptors belong to the callee. */
  onTls: (fd: number, plain: number) => void = (...both) => both.forEach(closeQuietly);
  /** The disk is open and the replication port is bound. */
  onReady: (ready: WorkerReady) => void = () => {};

  readonly #worker: Worker;
  readonly #pipe: OrderPipe;
  readonly #lease = new LeaseCell();
  readonly #stats = new IoStats();
  readonly #ended = Promise.withResolvers<void>();
  /** Waits for the Worker to have loaded its modules; null once it is sent. */
  #init: WorkerInit | null;
  #over = false;

  /** Starts the Worker; whatever goes wrong in it comes by `onFatal`. */
  static start(options: VolumeWorkerOptions): VolumeWorker {
    return new VolumeWorker(options);
  }

  private constructor(options: VolumeWorkerOptions) {
    this.#pipe = new OrderPipe((reason) => this.#fatal(`the data plane hangs: ${reason}`));
    this.#worker = new Worker(options.moduleUrl ?? Deno.mainModule, {
      type: "module",
      name: `volume ${options.volume.name}`,
    });
    this.#worker.onmessage = (event) => this.#message(event.data as WorkerMessage);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fatal(`the data plane broke down: ${event.message}`);
    };
    this.#init = workerInit(
      options,
      this.#pipe.workerEnd,
      this.#lease.buffer,
      this.#stats.buffer,
    );
  }

  /** Counters and latencies since the Worker started. */
  stats(): IoSnapshot {
    return this.#stats.snapshot();
  }

  /** A listening socket that several volumes share: the Worker takes clients from this descriptor. */
  listen(fd: number): void {
    if (this.#over) closeQuietly(fd);
    else this.#pipe.send({ type: "listen", fd });
  }

  /** All exports that are served on the shared socket. */
  exports(exports: readonly NbdExport[]): void {
    if (!this.#over) this.#pipe.send({ type: "exports", exports });
  }

  /** A client from the Worker of another volume. */
  adopt(client: PassedClient): void {
    if (this.#over) closeQuietly(client.fd);
    else this.#pipe.send({ type: "client", client });
  }

  /** Passes an order on. It is carried out in order, and answered by `onAsk`. */
  order(order: VolumeOrder): void {
    if (!this.#over) this.#pipe.send({ type: "order", order });
  }

  /** The lease of the volume's group, in milliseconds of CLOCK_BOOTTIME, which a suspend does not stop; Infinity: sole. */
  lease(epoch: number, until: number): void {
    if (this.#over) return;
    if (this.#lease.write(epoch, until, boottimeMs())) this.#pipe.send({ type: "wake" });
  }

  /**
   * Ends the Worker, with the clean mark. A Primary, which should have been demoted before, lets its
   * clients go by force. Resolves when it is over; if it does not end in time, by `onFatal`.
   */
  async close(): Promise<void> {
    if (this.#over) return;
    this.#pipe.send({ type: "end" });
    const timer = setTimeout(
      () => this.#fatal("the data plane does not end: the disk does not answer"),
      CLOSE_PATIENCE,
    );
    await this.#ended.promise;
    clearTimeout(timer);
  }

  #message(message: WorkerMessage): void {
    if (message.type === "pass") return this.onPass(message.client);
    if (message.type === "tls") return this.onTls(message.fd, message.plain);
    if (this.#over) return;
    switch (message.type) {
      case "loaded":
        if (this.#init !== null) this.#worker.postMessage(this.#init);
        this.#init = null;
        return;
      case "ready":
        return this.onReady(message.ready);
      case "report":
        return this.onReport(message.report);
      case "ask":
        return this.onAsk(message.ask);
      case "note":
        return this.onNote(message.note);
      case "serving":
        return this.onServing(message.export);
      case "fatal":
        return this.#fatal(message.reason);
      case "ended":
        return this.#end();
    }
  }

  #fatal(reason: string): void {
    if (this.#over) return;
    this.#end();
    this.onFatal(reason);
  }

  #end(): void {
    this.#over = true;
    this.#worker.terminate();
    if (this.#init !== null) closeQuietly(this.#init.orders);
    this.#pipe.close();
    this.#ended.resolve();
  }
}

function addressesOf({ host, port, more }: ReplicaConfig): readonly ReplicationAddress[] {
  return [{ host, port }, ...more ?? []];
}

function workerInit(
  options: VolumeWorkerOptions,
  orders: number,
  lease: SharedArrayBuffer,
  stats: SharedArrayBuffer,
): WorkerInit {
  const { config, volume, node, keys } = options;
  const { address, path, tcp, connections } = volume.export;
  const own = volume.replicas.find((replica) => replica.node === node);
  if (own === undefined) {
    throw new Error(`volume ${volume.name} has no replica on node ${node}`);
  }
  return {
    type: "bascule-data-plane",
    cluster: config.cluster.name,
    volume: volume.name,
    node,
    size: volume.size,
    protocol: volume.protocol,
    soleBoot: volume.soleBoot,
    alExtents: volume.alExtents,
    timeout: volume.timeout,
    resync: volume.resync,
    verify: volume.verify,
    afterSplitBrain: volume.afterSplitBrain,
    encrypt: volume.encrypt === true,
    onIoError: volume.onIoError,
    io: volume.io,
    disk: own.disk,
    metaDisk: own.metaDisk,
    export: {
      address,
      path,
      tcp: tcp === undefined ? null : {
        host: tcp.host,
        port: tcp.port,
        allow: tcp.allow,
        tls: tcp.tls !== null,
      },
      connections: connections ?? DEFAULT_CONNECTIONS,
      shared: options.shared === true,
      freezeLimit: volume.freezeLimit,
    },
    stats,
    listen: addressesOf(own),
    peers: volume.replicas
      .filter((replica) => replica.node !== node)
      .map((replica) => ({ node: replica.node, addresses: addressesOf(replica) })),
    activeKey: keys.active,
    keys: keys.keys,
    bootId: options.bootId,
    engine: options.engine,
    orders,
    lease,
  };
}
