/** Serves a volume to NBD clients on a unix socket, for as long as it is Primary here. */
import {
  BASE_ALLOCATION,
  type ExportTable,
  exportTable,
  MAX_PAYLOAD,
  type NbdLimits,
} from "../../nbd/mod.ts";
import type { Engine } from "../../os/engine.ts";
import { errnoText } from "../../os/errno.ts";
import { Slab } from "../../os/memory.ts";
import { listenUnix } from "../../os/sockets.ts";
import type { RequestKind } from "../../volume/types.ts";
import type { BufferPool } from "./buffers.ts";
import {
  CONNECTION_BYTES,
  CONNECTION_SLOTS,
  EXTENT_WORDS,
  NbdConnection,
} from "./nbd_connection.ts";
import type { Completion, Operations } from "./operations.ts";

/** Clients at a time. */
const MAX_CONNECTIONS = 64;
/** The one operation of the server's own. */
const ACCEPT = 0;

/** What the server needs of the data plane. */
export interface ExportHost {
  readonly engine: Engine;
  readonly operations: Operations;
  readonly pool: BufferPool;
  /** Hands a request to the volume; `answer` of the server follows. */
  request(
    request: number,
    kind: RequestKind,
    offset: number,
    length: number,
    buffer: number,
    fua: boolean,
  ): void;
  /** Fills pairs (length, NBD state flags) for at most `most` extents; returns how many. */
  allocation(offset: number, length: number, extents: Uint32Array, most: number): number;
  /** One line for the log. */
  note(level: "debug" | "warning", rule: string, text: string): void;
}

/** What is exported, and where. */
export interface ExportSettings {
  readonly name: string;
  readonly size: number;
  readonly path: string;
  /** Least alignment of requests, bytes. */
  readonly minimumBlock: number;
  readonly fastZero: boolean;
  readonly rotational: boolean;
  /** Bytes of buffers that clients may fill; the rest is for replication. */
  readonly budget: number;
}

/** The export's socket and all its clients. */
export class ExportServer implements Completion {
  readonly exports: ExportTable;
  readonly limits: NbdLimits = { optionBytes: 16 * 1024, options: 64 };
  readonly engine: Engine;
  readonly operations: Operations;
  readonly pool: BufferPool;
  /** For one BLOCK_STATUS at a time. */
  readonly extents = new Uint32Array(EXTENT_WORDS);
  /** Bytes of the read that precedes a BLOCK_STATUS. */
  readonly gateBytes: number;
  readonly #host: ExportHost;
  readonly #settings: ExportSettings;
  readonly #slab: Slab;
  readonly #connections: (NbdConnection | null)[] = new Array(MAX_CONNECTIONS).fill(null);
  readonly #touched = new Set<NbdConnection>();
  /** Connections that wait for a buffer, first come first served. */
  readonly #hungry: NbdConnection[] = [];
  #listener = -1;
  #accepting = false;

  constructor(host: ExportHost, settings: ExportSettings) {
    this.#host = host;
    this.#settings = settings;
    this.engine = host.engine;
    this.operations = host.operations;
    this.pool = host.pool;
    this.gateBytes = Math.max(512, settings.minimumBlock);
    this.#slab = Slab.allocate(MAX_CONNECTIONS * CONNECTION_BYTES);
    this.exports = exportTable([{
      name: settings.name,
      description: `bascule volume ${settings.name}`,
      size: settings.size,
      readOnly: false,
      rotational: settings.rotational,
      flush: true,
      fua: true,
      trim: true,
      writeZeroes: true,
      fastZero: settings.fastZero,
      cache: true,
      multiConn: true,
      minimumBlock: settings.minimumBlock,
      preferredBlock: 4096,
      maximumPayload: MAX_PAYLOAD,
      contexts: [BASE_ALLOCATION],
    }]);
  }

  /** Is the socket there? */
  get serving(): boolean {
    return this.#listener >= 0;
  }

  /** Clients connected. */
  get clients(): number {
    return this.#connections.reduce((sum, one) => sum + (one === null ? 0 : 1), 0);
  }

  /** Makes the socket and takes clients. Throws an OsError that names the path. */
  serve(): void {
    if (this.serving) return;
    this.#listener = listenUnix(this.#settings.path);
    this.#accept();
  }

  /** Removes the socket; clients are let go when what they have under way is answered. */
  leave(): void {
    if (!this.serving) return;
    this.engine.close(this.#listener);
    this.#listener = -1;
    try {
      Deno.removeSync(this.#settings.path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    for (const connection of this.#connections) connection?.leave();
  }

  /** Ends every connection at once. */
  close(): void {
    this.leave();
    for (const connection of this.#connections) connection?.close(null);
  }

  /** The volume answers a request. */
  answer(request: number, errno: number): void {
    const connection = this.#connections[Math.floor(request / CONNECTION_SLOTS)];
    if (!connection) throw new Error(`an answer to request ${request} of no client`);
    connection.answered(request % CONNECTION_SLOTS, errno);
  }

  /** A buffer became free. */
  bufferFree(): void {
    if (this.#hungry.length > 0) this.touch(this.#hungry[0]!);
  }

  /** Once a turn of the loop: replies leave, what waited goes on. */
  turn(): void {
    for (const connection of this.#touched) {
      this.#touched.delete(connection);
      connection.turn();
    }
  }

  /** Gives the memory back; only after every connection has ended. */
  free(): void {
    this.#slab.free();
  }

  /** Now and then: listens again after an accept failed (no descriptor was left, …). */
  tick(): void {
    if (this.serving && !this.#accepting) this.#accept();
  }

  completed(_what: number, result: number): void {
    this.#accepting = false;
    if (result >= 0) {
      this.#admit(result);
      if (this.serving) this.#accept();
    } else if (this.serving) {
      this.#host.note("warning", "export-accept", `a client was not taken: ${errnoText(result)}`);
    }
  }

  // What connections call.

  /** This connection has something to do at the end of the turn. */
  touch(connection: NbdConnection): void {
    this.#touched.add(connection);
  }

  /** A buffer within the clients' budget, or -1: the connection is told when to try again. */
  acquire(connection: NbdConnection, length: number): number {
    const first = this.#hungry[0];
    if (first !== undefined && first !== connection) return this.#wait(connection);
    const within = this.pool.used + length <= this.#settings.budget;
    const buffer = within ? this.pool.acquire(length) : -1;
    if (buffer < 0) return this.#wait(connection);
    if (first === connection) {
      this.#hungry.shift();
      this.bufferFree();
    }
    return buffer;
  }

  /** Hands a request on. */
  submit(
    connection: NbdConnection,
    slot: number,
    kind: RequestKind,
    offset: number,
    length: number,
    buffer: number,
    fua: boolean,
  ): void {
    const request = connection.index * CONNECTION_SLOTS + slot;
    this.#host.request(request, kind, offset, length, buffer, fua);
  }

  /** See {@linkcode ExportHost.allocation}. */
  allocation(offset: number, length: number, extents: Uint32Array, most: number): number {
    return this.#host.allocation(offset, length, extents, most);
  }

  /** A client broke the rules and is being closed. */
  dropped(connection: NbdConnection, reason: string): void {
    this.#host.note(
      "debug",
      "export-client",
      `client ${connection.index} of ${this.#settings.path} was dropped: ${reason}`,
    );
  }

  /** Nothing of this connection is left. */
  removed(connection: NbdConnection): void {
    this.#connections[connection.index] = null;
    this.#touched.delete(connection);
    const at = this.#hungry.indexOf(connection);
    if (at < 0) return;
    this.#hungry.splice(at, 1);
    this.bufferFree();
  }

  #wait(connection: NbdConnection): number {
    if (!this.#hungry.includes(connection)) this.#hungry.push(connection);
    return -1;
  }

  #accept(): void {
    this.#accepting = true;
    this.engine.accept(this.#listener, this.operations.begin(this, ACCEPT));
  }

  #admit(fd: number): void {
    const index = this.#connections.indexOf(null);
    if (index < 0 || !this.serving) {
      this.engine.close(fd);
      if (this.serving) {
        this.#host.note(
          "warning",
          "export-accept",
          `${this.#settings.path} has ${MAX_CONNECTIONS} clients, one more was refused`,
        );
      }
      return;
    }
    const base = index * CONNECTION_BYTES;
    const connection = new NbdConnection(this, index, fd, this.#slab, base);
    this.#connections[index] = connection;
    connection.start();
  }
}
