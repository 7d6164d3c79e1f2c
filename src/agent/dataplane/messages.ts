/**
 * What the main thread and a volume's Worker say to each other.
 *
 * To the Worker: one {@linkcode WorkerInit} by `postMessage`, then {@linkcode WorkerOrder}s as
 * length-prefixed JSON through a socket pair, because a Worker that waits in the kernel gets no
 * messages. From the Worker: {@linkcode WorkerMessage}s by `postMessage`, which does not need its
 * event loop.
 *
 * @module
 */
import type { Note } from "../../cluster/types.ts";
import type {
  IpNetwork,
  ReplicationAddress,
  ReplicationProtocol,
  ResyncSettings,
  SplitBrainPolicy,
  VerifySettings,
} from "../../config/types.ts";
import type { HeaderStyle, NbdExport } from "../../nbd/mod.ts";
import type { EngineName } from "../../os/engine.ts";
import type { VolumeAsk, VolumeOrder, VolumeReport } from "../../volume/types.ts";

/** Where a peer's replica listens. `peer` arguments of the volume index the list of these. */
export interface PeerAddress {
  readonly node: string;
  /** In order of preference. */
  readonly addresses: readonly ReplicationAddress[];
}

/** Everything a Worker needs to serve its volume; a structured clone of plain data. */
export interface WorkerInit {
  readonly type: "bascule-data-plane";
  readonly cluster: string;
  readonly volume: string;
  readonly node: string;
  readonly size: number;
  readonly protocol: ReplicationProtocol;
  readonly soleBoot: boolean;
  readonly alExtents: number | "auto";
  /** Milliseconds, as in the configuration. */
  readonly timeout: number;
  readonly resync: ResyncSettings;
  readonly verify: VerifySettings;
  readonly afterSplitBrain: SplitBrainPolicy;
  readonly encrypt: boolean;
  readonly onIoError: "detach" | "hand-over";
  readonly io: "direct" | "buffered";
  readonly disk: string;
  /** `internal` or a path. */
  readonly metaDisk: string;
  readonly export: ExportInit;
  /** Counters and latencies, as `io_stats.ts` lays them out. */
  readonly stats: SharedArrayBuffer;
  /** Own replication addresses; port 0 takes a free one (the `ready` message tells which). */
  readonly listen: readonly ReplicationAddress[];
  readonly peers: readonly PeerAddress[];
  readonly activeKey: number;
  readonly keys: ReadonlyMap<number, Uint8Array>;
  readonly bootId: string;
  /** Which engine to prefer; undefined: the best. */
  readonly engine: EngineName | undefined;
  /** The Worker's end of the socket pair; the Worker closes it. */
  readonly orders: number;
  readonly lease: SharedArrayBuffer;
}

/** Where and how clients are served. */
export interface ExportInit {
  /** As written in the configuration. */
  readonly address: string;
  /** Path of the unix socket; empty for TCP. */
  readonly path: string;
  readonly tcp: TcpExportInit | null;
  /** Clients at a time. */
  readonly connections: number;
  /** Several volumes have this socket: the main thread makes it, and clients may have to be passed on. */
  readonly shared: boolean;
  /** After so many milliseconds without thawing, clients get errors. */
  readonly freezeLimit: number;
}

/** An export over TCP. */
export interface TcpExportInit {
  readonly host: string;
  readonly port: number;
  /** Empty: anybody. */
  readonly allow: readonly IpNetwork[];
  /** Everything but STARTTLS is refused before TLS. */
  readonly tls: boolean;
}

/**
 * A client whose handshake was carried out by the Worker of another volume on the same socket. The
 * descriptor changes hands with it. Byte strings are in base64.
 */
export interface PassedClient {
  readonly volume: string;
  readonly fd: number;
  readonly style: HeaderStyle;
  /** Names of the metadata contexts that it selected. */
  readonly contexts: readonly string[];
  /** The last answer of the handshake, still to be sent. */
  readonly reply: string;
  /** What it sent after that. */
  readonly rest: string;
}

/** What goes through the socket pair. `wake` says only that the lease changed. */
export type WorkerOrder =
  | { readonly type: "order"; readonly order: VolumeOrder }
  | { readonly type: "wake" }
  /** A listening socket that several volumes share; the Worker closes it. */
  | { readonly type: "listen"; readonly fd: number }
  /** All exports on the shared socket, this one included. */
  | { readonly type: "exports"; readonly exports: readonly NbdExport[] }
  | { readonly type: "client"; readonly client: PassedClient }
  /** End, with the clean mark; a Primary is demoted by force. */
  | { readonly type: "end" };

/** What the Worker is when it serves. */
export interface WorkerReady {
  readonly engine: EngineName;
  /** Why it is this engine. */
  readonly reason: string;
  /** The replication port that it listens on. */
  readonly port: number;
}

/** What the Worker posts. */
export type WorkerMessage =
  /** It listens: what is posted to a Worker that still loads its modules is lost. */
  | { readonly type: "loaded" }
  | { readonly type: "ready"; readonly ready: WorkerReady }
  | { readonly type: "report"; readonly report: VolumeReport }
  | { readonly type: "ask"; readonly ask: VolumeAsk }
  | { readonly type: "note"; readonly note: Note }
  /** The export is served from now on, or, without one, no more. Said of shared sockets. */
  | { readonly type: "serving"; readonly export: NbdExport | null }
  /** For the Worker of another volume. */
  | { readonly type: "pass"; readonly client: PassedClient }
  /** TLS is to begin on `fd`; what it carries goes to and comes from `plain`. Both change hands. */
  | { readonly type: "tls"; readonly fd: number; readonly plain: number }
  /** Nothing follows; everything is closed. */
  | { readonly type: "ended" }
  /** It could not start or go on. Nothing follows. */
  | { readonly type: "fatal"; readonly reason: string };

/** Longest order, in bytes of JSON: far above any record. */
export const MAX_ORDER_BYTES = 1 << 20;

/** An order on the socket pair: 4 bytes length (big-endian), then JSON. */
export function encodeOrder(order: WorkerOrder): Uint8Array<ArrayBuffer> {
  const json = new TextEncoder().encode(JSON.stringify(order));
  if (json.length > MAX_ORDER_BYTES) {
    throw new RangeError(`an order of ${json.length} bytes is longer than ${MAX_ORDER_BYTES}`);
  }
  const bytes = new Uint8Array(4 + json.length);
  new DataView(bytes.buffer).setUint32(0, json.length);
  bytes.set(json, 4);
  return bytes;
}

/** Puts received pieces together to orders. */
export class OrderReader {
  #pending = new Uint8Array(0);

  /** Takes bytes (copied) and calls `take` for every whole order. */
  push(bytes: Uint8Array, take: (order: WorkerOrder) => void): void {
    const joined = new Uint8Array(this.#pending.length + bytes.length);
    joined.set(this.#pending);
    joined.set(bytes, this.#pending.length);
    const view = new DataView(joined.buffer);
    let at = 0;
    while (joined.length - at >= 4) {
      const length = view.getUint32(at);
      if (length > MAX_ORDER_BYTES) throw new Error(`an order of ${length} bytes is out of step`);
      if (joined.length - at < 4 + length) break;
      const json = new TextDecoder().decode(joined.subarray(at + 4, at + 4 + length));
      at += 4 + length;
      take(JSON.parse(json) as WorkerOrder);
    }
    this.#pending = joined.slice(at);
  }
}
