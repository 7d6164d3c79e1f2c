/** What an {@link NbdSession} is told and what it calls: exports, limits, the sink. */
import type { HeaderStyle } from "./constants.ts";
import type { NbdError } from "./errors.ts";
import type { NbdRequest } from "./requests.ts";

/** One export, as the data plane offers it. */
export interface NbdExport {
  readonly name: string;
  /** For people; may be empty. */
  readonly description: string;
  /** Bytes; a safe integer. Read at every request, so it may grow while clients are connected. */
  readonly size: number;
  /** Writes are answered with EPERM. */
  readonly readOnly: boolean;
  readonly rotational: boolean;
  readonly flush: boolean;
  readonly fua: boolean;
  readonly trim: boolean;
  readonly writeZeroes: boolean;
  /** FAST_ZERO is judged honestly: ENOTSUP unless zeroing is quicker than writing zeroes. */
  readonly fastZero: boolean;
  readonly cache: boolean;
  /** A flush on one connection covers completed writes of all connections. */
  readonly multiConn: boolean;
  /** Requests must be multiples of this: a power of two, 1 … 65536. */
  readonly minimumBlock: number;
  /** A power of two, at least 512 and at least `minimumBlock`. */
  readonly preferredBlock: number;
  /** Longest READ or WRITE, in bytes: `preferredBlock` … 32 MiB. Below 32 MiB, clients that do not
   * ask for block sizes may see errors. */
  readonly maximumPayload: number;
  /** Metadata contexts for BLOCK_STATUS, `namespace:leaf`, e.g. `base:allocation`; may be empty. */
  readonly contexts: readonly string[];
}

/** The exports that this server offers now. */
export interface ExportTable {
  /** In the order that clients see. */
  list(): Iterable<NbdExport>;
  /** The export of that name; `""` asks for the default one. */
  find(name: string): NbdExport | undefined;
}

/** Bounds on what a client may cost during the handshake. */
export interface NbdLimits {
  /** Longest option data that is kept, in bytes; longer ones are skipped and answered TOO_BIG. */
  readonly optionBytes: number;
  /** After so many options without a choice of export the connection is dropped. */
  readonly options: number;
}

/** A metadata context that the client selected; `id` goes into its BLOCK_STATUS chunk. */
export interface NbdContext {
  readonly id: number;
  readonly name: string;
}

/** What a connection knows of TLS. */
export const enum TlsStage {
  /** There is none: STARTTLS is refused. */
  None,
  /** Every option but STARTTLS and ABORT is refused until TLS runs (FORCEDTLS). */
  Required,
  /** It runs. */
  Running,
}

/** The outcome of a handshake. */
export interface NbdNegotiated {
  readonly export: NbdExport;
  /** Transmission flags as sent. */
  readonly flags: number;
  /** How requests and replies look. */
  readonly style: HeaderStyle;
  /** Empty: BLOCK_STATUS is refused. A BLOCK_STATUS reply has one chunk for each. */
  readonly contexts: readonly NbdContext[];
}

/**
 * Where the payload of a WRITE goes. The session owns one such object and hands it to
 * {@link NbdSink.write}, which sets all fields; the session reads them until the payload is whole.
 */
export interface NbdTarget {
  /** The sink's own number for the request, given back in {@link NbdSink.writeReady}. */
  slot: number;
  buffer: Uint8Array;
  /** Index in `buffer` of the payload's first byte; `request.length` bytes must fit after it. */
  at: number;
}

/**
 * What a session calls, synchronously, from within `consume`, `received` and `resume`. Calls must
 * not enter the session again. The `request` object is reused for every request: copy what is
 * needed later. A call that returns `false` says "not now": the session pauses and repeats the
 * call on `resume()`.
 */
export interface NbdSink {
  /** Handshake bytes to send, in order. The array belongs to the sink from here on. */
  send(bytes: Uint8Array): void;
  /**
   * The client was granted STARTTLS and the answer is sent: TLS begins with the next byte. No further
   * calls follow; {@link NbdSession.overTls} makes the session that goes on within TLS.
   */
  startTls(): void;
  /**
   * The handshake is done, once the client has `reply`, which belongs to the sink; requests follow.
   * `false`: the connection goes elsewhere. Then no further calls follow, and `consume` returns the
   * index of the first byte after the handshake.
   */
  established(negotiated: NbdNegotiated, reply: Uint8Array): boolean;
  /**
   * A valid READ, FLUSH, TRIM, CACHE, WRITE_ZEROES or BLOCK_STATUS: within the export, aligned, not
   * empty (FLUSH excepted), a READ no longer than `maximumPayload`. The others may be up to 4 GiB.
   */
  request(request: NbdRequest): boolean;
  /** A valid WRITE: say where its payload goes. Followed by `writeReady` or the connection's end. */
  write(request: NbdRequest, target: NbdTarget): boolean;
  /** The payload of the WRITE in `slot` is whole. */
  writeReady(slot: number): void;
  /** Answer this request with this error; nothing is to be done. */
  reject(request: NbdRequest, error: NbdError): boolean;
  /**
   * The client takes leave in good order (DISC or ABORT): answer what is in flight, send what
   * `send` queued, then close. No further calls follow.
   */
  finish(): void;
  /** The client broke the protocol: close at once. No further calls follow. */
  drop(reason: string): void;
}
