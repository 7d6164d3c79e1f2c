/** An NBD client over a unix socket or TCP, with promises. */
import {
  NBD_CMD,
  NBD_CMD_FLAG,
  NbdClient,
  type NbdClientOptions,
  nbdErrorName,
  type NbdExportInfo,
  type NbdExtent,
  type NbdPending,
  type NbdSubmission,
} from "../nbd/mod.ts";

/** The server answered a request with an error. */
export class NbdRequestError extends Error {
  override readonly name = "NbdRequestError";
  /** The error value as sent, of `NBD_ERROR`. */
  readonly error: number;

  constructor(request: NbdPending) {
    const command = COMMAND_NAMES.get(request.type) ?? `command ${request.type}`;
    const words = request.message === "" ? "" : `: ${request.message}`;
    super(
      `NBD ${command} at ${request.offset}, ${request.length} bytes: ` +
        `${nbdErrorName(request.error)}${words}`,
    );
    this.error = request.error;
  }
}

/** The connection is gone, or was never made; what is under way may or may not have been done. */
export class NbdConnectionError extends Error {
  override readonly name = "NbdConnectionError";
}

const COMMAND_NAMES = new Map<number, string>(
  Object.entries(NBD_CMD).map(([name, value]) => [value, name]),
);

/** Size of the receive buffer, in bytes. */
const RECEIVE_BYTES = 256 * 1024;

interface Waiter {
  resolve(request: NbdPending): void;
  reject(error: Error): void;
}

/**
 * One connection to one export. Requests may be issued without waiting for one another; they are
 * answered in any order. Every method rejects with {@link NbdRequestError} if the server says so
 * and with {@link NbdConnectionError} if the connection ends first. Buffers passed in must not be
 * changed until the promise is settled.
 */
export class NbdConnection {
  readonly #conn: Deno.Conn;
  readonly #client: NbdClient;
  readonly #waiters = new Map<number, Waiter>();
  readonly #ready = Promise.withResolvers<NbdExportInfo>();
  readonly #queue: Uint8Array[] = [];
  #sending: Promise<void> | undefined;
  readonly #receiving: Promise<void>;
  #ended: NbdConnectionError | undefined;
  #closed = false;
  #idle: PromiseWithResolvers<void> | undefined;
  #info: NbdExportInfo | undefined;

  private constructor(conn: Deno.Conn, options: NbdClientOptions) {
    this.#conn = conn;
    this.#client = new NbdClient(options, {
      send: (bytes) => this.#send(bytes),
      ready: (info) => {
        this.#info = info;
        this.#ready.resolve(info);
      },
      done: (request) => this.#done(request),
      failed: (reason) => {
        this.#settle(reason);
        // A refused export leaves an ABORT to be sent first: see `open`.
        if (this.#info !== undefined) this.#shut();
      },
    });
    this.#receiving = this.#receive();
  }

  /** Connect to a unix socket's path, or over TCP, and negotiate. Rejects if that fails, and says why. */
  static async open(
    where: string | Deno.ConnectOptions,
    exportName = "",
    options: Omit<NbdClientOptions, "exportName"> = {},
  ): Promise<NbdConnection> {
    const conn = await connect(where).catch((error) => {
      const place = typeof where === "string" ? where : `${where.hostname}:${where.port}`;
      throw new NbdConnectionError(`cannot connect to ${place}: ${messageOf(error)}`);
    });
    const connection = new NbdConnection(conn, { exportName, ...options });
    try {
      await connection.#ready.promise;
    } catch (error) {
      await connection.#sending;
      await connection.close();
      throw error;
    }
    return connection;
  }

  /** Size, flags and block sizes of the export. */
  get info(): NbdExportInfo {
    return this.#info!;
  }

  /** Read `length` bytes, into `into` if it is given. */
  async read(
    offset: number,
    length: number,
    into: Uint8Array = new Uint8Array(length),
  ): Promise<Uint8Array> {
    const data = into.subarray(0, length);
    return (await this.#submit({ type: NBD_CMD.READ, offset, length, data })).data;
  }

  /** Write; with `fua` the data is on stable storage when the promise resolves. */
  async write(offset: number, data: Uint8Array, { fua = false } = {}): Promise<void> {
    await this.#submit({ type: NBD_CMD.WRITE, flags: flagIf(fua, NBD_CMD_FLAG.FUA), offset, data });
  }

  /** Put every write that was answered before this call on stable storage. */
  async flush(): Promise<void> {
    await this.#submit({ type: NBD_CMD.FLUSH });
  }

  /** Tell that the range is no longer needed. */
  async trim(offset: number, length: number, { fua = false } = {}): Promise<void> {
    await this.#submit({
      type: NBD_CMD.TRIM,
      flags: flagIf(fua, NBD_CMD_FLAG.FUA),
      offset,
      length,
    });
  }

  /** Make the range read as zeroes; `noHole`: keep it allocated; `fastZero`: ENOTSUP if slow. */
  async writeZeroes(
    offset: number,
    length: number,
    { fua = false, noHole = false, fastZero = false } = {},
  ): Promise<void> {
    const flags = flagIf(fua, NBD_CMD_FLAG.FUA) | flagIf(noHole, NBD_CMD_FLAG.NO_HOLE) |
      flagIf(fastZero, NBD_CMD_FLAG.FAST_ZERO);
    await this.#submit({ type: NBD_CMD.WRITE_ZEROES, flags, offset, length });
  }

  /** Tell that the range will be read soon. */
  async cache(offset: number, length: number): Promise<void> {
    await this.#submit({ type: NBD_CMD.CACHE, offset, length });
  }

  /** Extents of the range in the contexts that `open` selected; at least one for each. */
  async blockStatus(
    offset: number,
    length: number,
    { one = false } = {},
  ): Promise<readonly NbdExtent[]> {
    const flags = flagIf(one, NBD_CMD_FLAG.REQ_ONE);
    return (await this.#submit({ type: NBD_CMD.BLOCK_STATUS, flags, offset, length })).extents;
  }

  /** Let requests under way finish, take leave of the server, close. */
  async disconnect(): Promise<void> {
    if (this.#waiters.size > 0) {
      this.#idle ??= Promise.withResolvers();
      await this.#idle.promise;
    }
    this.#client.disconnect();
    await this.#sending;
    await this.close();
  }

  /** Close at once; requests under way reject. */
  async close(): Promise<void> {
    this.#end("closed by the client");
    await this.#receiving;
    await this.#sending;
  }

  #submit(submission: NbdSubmission): Promise<NbdPending> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      const request = this.#client.submit(submission);
      this.#waiters.set(request.cookie, { resolve, reject });
    });
  }

  #done(request: NbdPending): void {
    const waiter = this.#waiters.get(request.cookie)!;
    this.#waiters.delete(request.cookie);
    if (request.error === 0) waiter.resolve(request);
    else waiter.reject(new NbdRequestError(request));
    if (this.#waiters.size === 0) this.#idle?.resolve();
  }

  #send(bytes: Uint8Array): void {
    this.#queue.push(bytes);
    this.#sending ??= this.#drainQueue();
  }

  async #drainQueue(): Promise<void> {
    try {
      for (let head = this.#queue.shift(); head !== undefined; head = this.#queue.shift()) {
        for (let at = 0; at < head.length;) at += await this.#conn.write(head.subarray(at));
      }
    } catch (error) {
      this.#end(messageOf(error));
    } finally {
      this.#sending = undefined;
    }
  }

  async #receive(): Promise<void> {
    const buffer = new Uint8Array(RECEIVE_BYTES);
    try {
      for (;;) {
        const count = await this.#conn.read(buffer);
        if (count === null) return this.#end("the server closed the connection");
        this.#client.consume(buffer.subarray(0, count));
      }
    } catch (error) {
      this.#end(messageOf(error));
    }
  }

  #end(reason: string): void {
    this.#settle(reason);
    this.#shut();
  }

  #shut(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue.length = 0;
    this.#conn.close();
  }

  /** The connection is of no more use, for the first reason given. */
  #settle(reason: string): void {
    if (this.#ended !== undefined) return;
    const error = new NbdConnectionError(`NBD connection: ${reason}`);
    this.#ended = error;
    // Nobody waits for readiness any more once it was told.
    this.#ready.promise.catch(() => {});
    this.#ready.reject(error);
    for (const waiter of this.#waiters.values()) waiter.reject(error);
    this.#waiters.clear();
    this.#idle?.resolve();
  }
}

async function connect(where: string | Deno.ConnectOptions): Promise<Deno.Conn> {
  if (typeof where === "string") return await Deno.connect({ transport: "unix", path: where });
  const conn = await Deno.connect(where);
  conn.setNoDelay(true);
  return conn;
}

function flagIf(condition: boolean, flag: number): number {
  return condition ? flag : 0;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
