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
import type { ReplicationProtocol } from "../../config/types.ts";
import type { EngineName } from "../../os/engine.ts";
import type { VolumeAsk, VolumeOrder, VolumeReport } from "../../volume/types.ts";

/** Where a peer's replica listens. `peer` arguments of the volume index the list of these. */
export interface PeerAddress {
  readonly node: string;
  readonly host: string;
  readonly port: number;
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
  readonly io: "direct" | "buffered";
  readonly disk: string;
  /** `internal` or a path. */
  readonly metaDisk: string;
  /** Path of the export's unix socket. */
  readonly exportPath: string;
  /** Own replication address; port 0 takes a free one (the `ready` message tells which). */
  readonly listen: { readonly host: string; readonly port: number };
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

/** What goes through the socket pair. `wake` says only that the lease changed. */
export type WorkerOrder =
  | { readonly type: "order"; readonly order: VolumeOrder }
  | { readonly type: "wake" }
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
