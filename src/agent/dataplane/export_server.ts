/** Serves a volume to NBD clients on a unix socket or over TCP, for as long as it is Primary here. */
import { inNetwork } from "../../config/address.ts";
import {
  BASCULE_DIRTY,
  BASE_ALLOCATION,
  type ExportTable,
  exportTable,
  MAX_PAYLOAD,
  NBD_ERROR,
  type NbdError,
  type NbdExport,
  type NbdLimits,
  type NbdNegotiated,
  negotiatedWith,
} from "../../nbd/mod.ts";
import { parseIp } from "../../os/address.ts";
import type { Engine } from "../../os/engine.ts";
import { ERRNO, errnoText } from "../../os/errno.ts";
import { closeQuietly, OsError } from "../../os/libc.ts";
import { Slab } from "../../os/memory.ts";
import {
  listenTcp,
  listenUnix,
  peerEndpoint,
  socketPair,
  tuneTcp,
  widenSends,
} from "../../os/sockets.ts";
import type { RequestKind } from "../../volume/types.ts";
import type { BufferPool } from "./buffers.ts";
import type { IoStats } from "./io_stats.ts";
import type { ExportInit, PassedClient, TcpExportInit } from "./messages.ts";
import { CONNECTION_BYTES, CONNECTION_SLOTS, NbdConnection } from "./nbd_connection.ts";
import type { Completion, Operations } from "./operations.ts";
import { EXTENT_WORDS } from "./reply_sender.ts";

/** The one operation of the server's own. */
const ACCEPT = 0;
/** A client on the same machine gets several large answers without anybody waiting for it, bytes. */
const UNIX_SEND_BYTES = 1 << 20;
/** A TCP client that is silent for so long is asked whether it is still there, milliseconds. */
const KEEPALIVE = 30_000;
/** A TCP client that acknowledges nothing for so long is gone, milliseconds. */
const USER_TIMEOUT = 60_000;

/** What the server needs of the data plane. */
export interface ExportHost {
  readonly engine: Engine;
  readonly operations: Operations;
  readonly pool: BufferPool;
  readonly stats: IoStats;
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
  /** The same for the blocks that a peer may lack, with `STATE_DIRTY`. */
  dirty(offset: number, length: number, extents: Uint32Array, most: number): number;
  /** Is this range zeroed more quickly than zeroes are written? */
  zeroesFast(offset: number, length: number, keepAllocated: boolean): boolean;
  /** A shared socket: the export is served from now on, or no more. */
  serving(entry: NbdExport | null): void;
  /** Gives a client to the Worker of another volume, with its descriptor. */
  pass(client: PassedClient): void;
  /** Has TLS begin on `fd`; what it carries goes to and comes from `plain`. */
  beginTls(fd: number, plain: number): void;
  /** One line for the log. */
  note(level: "debug" | "warning", rule: string, text: string): void;
}

/** What is exported, and where. */
export interface ExportSettings extends ExportInit {
  readonly name: string;
  readonly size: number;
  /** Least alignment of requests, bytes. */
  readonly minimumBlock: number;
  readonly fastZero: boolean;
  readonly rotational: boolean;
  /** Does another replica exist, which may lack blocks? */
  readonly replicated: boolean;
  /** Bytes of buffers that clients may fill; the rest is for replication. */
  readonly budget: number;
}

/** The export's socket and all its clients. */
export class ExportServer implements Completion {
  readonly limits: NbdLimits = { optionBytes: 16 * 1024, options: 64 };
  readonly engine: Engine;
  readonly operations: Operations;
  readonly pool: BufferPool;
  readonly stats: IoStats;
  /** For one BLOCK_STATUS at a time. */
  readonly extents = new Uint32Array(EXTENT_WORDS);
  /** Bytes of the read that precedes a BLOCK_STATUS. */
  readonly gateBytes: number;
  readonly #host: ExportHost;
  readonly #settings: ExportSettings;
  readonly #own: NbdExport;
  #exports: ExportTable;
  readonly #slab: Slab;
  readonly #connections: (NbdConnection | null)[];
  readonly #touched = new Set<NbdConnection>();
  /** Connections that wait for a buffer, first come first served. */
  readonly #hungry: NbdConnection[] = [];
  #serving = false;
  #listener = -1;
  #accepting = false;
  /** When the volume froze; null while it serves. */
  #frozenAt: number | null = null;
  #refusal: NbdError = NBD_ERROR.OK;

  constructor(host: ExportHost, settings: ExportSettings) {
    this.#host = host;
    this.#settings = settings;
    this.engine = host.engine;
    this.operations = host.operations;
    this.pool = host.pool;
    this.stats = host.stats;
    this.gateBytes = Math.max(512, settings.minimumBlock);
    this.#connections = new Array(settings.connections).fill(null);
    this.#slab = Slab.allocate(settings.connections * CONNECTION_BYTES);
    this.#own = {
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
      contexts: settings.replicated ? [BASE_ALLOCATION, BASCULE_DIRTY] : [BASE_ALLOCATION],
    };
    this.#exports = exportTable([this.#own]);
  }

  /** The exports on this socket that are served now, those of other volumes included. */
  get exports(): ExportTable {
    return this.#exports;
  }

  /** Must a client begin TLS before all else? */
  get tls(): boolean {
    return this.#settings.tcp?.tls === true;
  }

  /** Is the volume being served? */
  get serving(): boolean {
    return this.#serving;
  }

  /** Clients connected. */
  get clients(): number {
    return this.#connections.reduce((sum, one) => sum + (one === null ? 0 : 1), 0);
  }

  /** What requests are answered with because the volume has been frozen for too long; OK: nothing. */
  get refusal(): NbdError {
    return this.#refusal;
  }

  /**
   * Makes the socket and takes clients; asks for the socket if it is shared. Throws an OsError that
   * names the path or address.
   */
  serve(): void {
    if (this.#serving) return;
    const { path, tcp, shared } = this.#settings;
    if (!shared) {
      this.#listener = tcp === null
        ? listenUnix(path)
        : listenTcp(tcp.host, tcp.port, { foreign: true });
      this.#accept();
    }
    this.#serving = true;
    if (shared) this.#host.serving(this.#own);
  }

  /** Takes clients from a shared socket; this descriptor of it belongs to the server from here on. */
  listen(fd: number): void {
    if (!this.#serving || this.#listener >= 0) return closeQuietly(fd);
    this.#listener = fd;
    this.#accept();
  }

  /** All exports on a shared socket. The empty name chooses none: what it meant would change. */
  share(exports: readonly NbdExport[]): void {
    this.#exports = { ...exportTable(exports), find: (name) => this.#find(name, exports) };
  }

  #find(name: string, exports: readonly NbdExport[]): NbdExport | undefined {
    return exports.find((entry) => entry.name === name && name !== "");
  }

  /** Removes the socket; clients are let go when what they have under way is answered. */
  leave(): void {
    if (!this.#serving) return;
    this.#serving = false;
    if (this.#listener >= 0) this.engine.close(this.#listener);
    this.#listener = -1;
    if (this.#settings.shared) this.#host.serving(null);
    else if (this.#settings.tcp === null) removeSocket(this.#settings.path);
    for (const connection of this.#connections) connection?.leave();
  }

  /** Ends every connection at once. */
  close(): void {
    this.leave();
    for (const connection of this.#connections) connection?.close(null);
  }

  /** Goes on with a client whose handshake another Worker has carried out. */
  adopt(client: PassedClient): void {
    const index = this.#connections.indexOf(null);
    if (!this.#serving || index < 0) return closeQuietly(client.fd);
    const negotiated = negotiatedWith(this.#own, client.style, client.contexts);
    const connection = this.#connect(client.fd, index);
    connection.goOn(negotiated, fromBase64(client.reply), fromBase64(client.rest));
  }

  /** The volume froze, or thawed. */
  frozen(frozen: boolean): void {
    if (frozen === (this.#frozenAt !== null)) return;
    this.#frozenAt = frozen ? this.stats.now : null;
    if (!frozen) this.#refuse(NBD_ERROR.OK);
  }

  /** The volume answers a request. */
  answer(request: number, errno: number): void {
    const connection = this.#connections[Math.floor(request / CONNECTION_SLOTS)];
    if (!connection) throw new Error(`an answer to request ${request} of no client`);
    connection.answered(request % CONNECTION_SLOTS, errno);
  }

  /** The volume begins with a request that it may have held back. */
  began(request: number): void {
    this.#connections[Math.floor(request / CONNECTION_SLOTS)]?.began(request % CONNECTION_SLOTS);
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

  /** Now and then: what took too long ends, and an accept that failed is tried again. */
  tick(): void {
    if (this.#listener >= 0 && !this.#accepting) this.#accept();
    // Of those who accept from a shared socket a new client wakes one, and that one may just leave.
    else if (this.#listener >= 0 && this.#settings.shared) this.engine.cancel(this.#listener);
    const { freezeLimit } = this.#settings;
    if (this.#frozenAt !== null && this.stats.now - this.#frozenAt >= freezeLimit) {
      this.#refuse(NBD_ERROR.EIO);
    }
    for (const connection of this.#connections) connection?.tick(this.#hungry.length > 0);
    this.stats.clients = this.clients;
  }

  completed(_what: number, result: number): void {
    this.#accepting = false;
    if (result >= 0) {
      this.#admit(result);
      if (this.#listener >= 0) this.#accept();
    } else if (this.#listener >= 0 && result === -ERRNO.ECANCELED) {
      this.#accept();
    } else if (this.#listener >= 0) {
      this.#host.note("warning", "export-accept", `a client was not taken: ${errnoText(result)}`);
    }
  }

  // What connections call.

  /** Is it this server that serves the export, and not the Worker of another volume? */
  serves(entry: NbdExport): boolean {
    return entry.name === this.#own.name;
  }

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

  /** Extents of a context by its name. */
  status(
    context: string,
    offset: number,
    length: number,
    extents: Uint32Array,
    most: number,
  ): number {
    return context === BASCULE_DIRTY
      ? this.#host.dirty(offset, length, extents, most)
      : this.#host.allocation(offset, length, extents, most);
  }

  /** See {@linkcode ExportHost.zeroesFast}. */
  zeroesFast(offset: number, length: number, keepAllocated: boolean): boolean {
    return this.#host.zeroesFast(offset, length, keepAllocated);
  }

  /** Has TLS begin on `fd`; returns the descriptor of what is within it. */
  beginTls(fd: number): number {
    const [own, plain] = socketPair();
    this.#host.beginTls(fd, plain);
    return own;
  }

  /** Gives a client of another volume away. */
  pass(fd: number, negotiated: NbdNegotiated, reply: Uint8Array, rest: Uint8Array): void {
    const { export: { name: volume }, style, contexts } = negotiated;
    this.#host.pass({
      volume,
      fd,
      style,
      contexts: contexts.map((context) => context.name),
      reply: reply.toBase64(),
      rest: rest.toBase64(),
    });
  }

  /** A client broke the rules and is being closed. */
  dropped(connection: NbdConnection, reason: string): void {
    this.#host.note(
      "debug",
      "export-client",
      `client ${connection.index} of ${this.#settings.address} was dropped: ${reason}`,
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

  #refuse(error: NbdError): void {
    if (error === this.#refusal) return;
    this.#refusal = error;
    if (error !== NBD_ERROR.OK) {
      const { freezeLimit } = this.#settings;
      this.#host.note(
        "warning",
        "export-freeze-limit",
        `I/O has been frozen for ${
          freezeLimit / 1000
        } s (freeze_limit): clients get errors until ` +
          `it thaws`,
      );
    }
    for (const connection of this.#connections) connection?.refuse(error);
  }

  #accept(): void {
    this.#accepting = true;
    this.engine.accept(this.#listener, this.operations.begin(this, ACCEPT));
  }

  #admit(fd: number): void {
    const index = this.#connections.indexOf(null);
    const { tcp, address, connections } = this.#settings;
    if (!this.#serving) return this.engine.close(fd);
    if (tcp !== null && !this.#admitTcp(fd, tcp)) return this.engine.close(fd);
    if (index < 0) {
      this.engine.close(fd);
      return this.#host.note(
        "warning",
        "export-accept",
        `${address} has ${connections} clients, one more was refused`,
      );
    }
    if (tcp === null) widenSends(fd, UNIX_SEND_BYTES);
    this.#connect(fd, index).start();
  }

  /** May this client come in? One that is gone already may not. */
  #admitTcp(fd: number, { allow }: TcpExportInit): boolean {
    try {
      tuneTcp(fd, { keepalive: KEEPALIVE, userTimeout: USER_TIMEOUT });
      const { host } = peerEndpoint(fd)!;
      const ip = [...parseIp(host)];
      if (allow.length === 0 || allow.some((network) => inNetwork(ip, network))) return true;
      this.#host.note(
        "warning",
        "export-refused",
        `${host} may not connect to ${this.#settings.address}: it is in no network of allow`,
      );
    } catch (error) {
      if (!(error instanceof OsError)) throw error;
    }
    return false;
  }

  #connect(fd: number, index: number): NbdConnection {
    const base = index * CONNECTION_BYTES;
    const connection = new NbdConnection(this, index, fd, this.#slab, base);
    this.#connections[index] = connection;
    return connection;
  }
}

function removeSocket(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.fromBase64(text);
}
