/** The server's side of one NBD connection, from the first byte to the last. */
import {
  EXTENDED_REQUEST_BYTES,
  HeaderStyle,
  MAX_PAYLOAD,
  NBD_CMD,
  NBD_FLAG,
  REQUEST_BYTES,
} from "./constants.ts";
import { NBD_ERROR, type NbdError } from "./errors.ts";
import { Handshake } from "./handshake.ts";
import { NbdRequest, RequestRules } from "./requests.ts";
import {
  type ExportTable,
  type NbdLimits,
  type NbdNegotiated,
  type NbdSink,
  type NbdTarget,
  TlsStage,
} from "./types.ts";

const enum Phase {
  Handshake,
  /** Gathering a request header. */
  Header,
  /** Gathering the payload of a BLOCK_STATUS. */
  Filter,
  /** A request is parsed and the sink has not taken it. */
  Offer,
  /** Bytes go to the target of a WRITE. */
  Payload,
  /** Bytes of a refused WRITE's payload are thrown away. */
  Drain,
  /** The handshake is done and another one serves the client, or does what follows STARTTLS. */
  Elsewhere,
  Closed,
}

const NO_BYTES = new Uint8Array(0);

/**
 * A pure state machine: bytes in through {@link NbdSession.consume} (or, for WRITE payloads,
 * received by the caller straight into the target and told by {@link NbdSession.received}),
 * requests out through the {@link NbdSink}. It buffers one request header, nothing else, once the
 * handshake is over; back-pressure is the caller not reading.
 *
 * ```
 * session.start();                                // greeting goes to sink.send
 * // after recv into slab[0, n):
 * at = session.consume(slab, at, n);              // at < n only if session.paused
 * if (session.wanted >= DIRECT)                   // the rest of a large payload
 *   recv(session.target.buffer, session.wantedAt, session.wanted) then session.received(got);
 * // when a buffer is free again:
 * if (session.paused && session.resume()) at = session.consume(slab, at, n);
 * ```
 */
export class NbdSession {
  readonly #sink: NbdSink;
  readonly #request = new NbdRequest();
  readonly #header = new Uint8Array(EXTENDED_REQUEST_BYTES);
  #headerFill = 0;
  /** Bytes of a request header of this connection. */
  #headerBytes = REQUEST_BYTES;
  /** The payload of a BLOCK_STATUS, being gathered. */
  #filter = NO_BYTES;
  #phase: Phase = Phase.Handshake;
  #handshake: Handshake | undefined;
  #negotiated: NbdNegotiated | undefined;
  #rules: RequestRules | undefined;
  #refusal: NbdError = NBD_ERROR.OK;
  #clientFlags = 0;
  /** What the request under way is to be refused with. */
  #verdict: NbdError = NBD_ERROR.OK;
  /** Payload bytes still to come, in `Payload` and `Drain`. */
  #left = 0;

  /** Where the payload of the current WRITE goes; meaningful while `wanted` > 0. */
  readonly target: NbdTarget = { slot: -1, buffer: NO_BYTES, at: 0 };

  /** `tls`: must STARTTLS come before all else? Default: it is refused. */
  constructor(exports: ExportTable, limits: NbdLimits, sink: NbdSink, tls = TlsStage.None) {
    this.#sink = sink;
    this.#handshake = new Handshake(exports, limits, tls);
  }

  /**
   * The session that goes on within TLS after `startTls`: it expects options, and knows of the time
   * before only which client flags were sent, since the greeting is not repeated.
   */
  static overTls(
    exports: ExportTable,
    limits: NbdLimits,
    sink: NbdSink,
    clientFlags: number,
  ): NbdSession {
    const session = new NbdSession(exports, limits, sink, TlsStage.Running);
    session.#expectHandshake().resume(clientFlags);
    return session;
  }

  /** The session of a client whose handshake somebody else has carried out. */
  static established(exports: ExportTable, sink: NbdSink, negotiated: NbdNegotiated): NbdSession {
    const session = new NbdSession(exports, { optionBytes: 0, options: 0 }, sink);
    session.#begin(negotiated);
    return session;
  }

  /** Client flags of a handshake under way, for {@link NbdSession.overTls}. */
  get clientFlags(): number {
    return this.#clientFlags;
  }

  /** Is the handshake still under way? */
  get negotiating(): boolean {
    return this.#phase === Phase.Handshake;
  }

  /** Send the greeting. Call once, when the connection is accepted. */
  start(): void {
    this.#sink.send(this.#expectHandshake().greeting());
  }

  /** What the handshake agreed on; undefined before. */
  get negotiated(): NbdNegotiated | undefined {
    return this.#negotiated;
  }

  /** The sink said "not now": {@link resume} before more bytes are consumed. */
  get paused(): boolean {
    return this.#phase === Phase.Offer;
  }

  /** No call of the sink follows, whatever is consumed. */
  get closed(): boolean {
    return this.#phase === Phase.Closed || this.#phase === Phase.Elsewhere;
  }

  /** Payload bytes that the caller may receive straight into `target`; 0 outside of a payload. */
  get wanted(): number {
    return this.#phase === Phase.Payload ? this.#left : 0;
  }

  /** Index in `target.buffer` of the next payload byte; meaningful while `wanted` > 0. */
  get wantedAt(): number {
    return this.target.at + this.#request.length - this.#left;
  }

  /**
   * Take `bytes[start, end)`, the next bytes of the stream. Returns the index of the first byte not
   * taken: `end`, or less if the session paused. Nothing of `bytes` is kept by reference.
   */
  consume(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end) {
      switch (this.#phase) {
        case Phase.Handshake:
          at = this.#negotiate(bytes, at, end);
          break;
        case Phase.Header:
          at = this.#gather(bytes, at, end);
          break;
        case Phase.Payload: {
          const count = Math.min(this.#left, end - at);
          this.target.buffer.set(bytes.subarray(at, at + count), this.wantedAt);
          at += count;
          this.#payload(count);
          break;
        }
        case Phase.Drain: {
          const count = Math.min(this.#left, end - at);
          at += count;
          this.#left -= count;
          if (this.#left === 0) this.#offer();
          break;
        }
        case Phase.Filter:
          at = this.#gatherFilter(bytes, at, end);
          break;
        case Phase.Offer:
        case Phase.Elsewhere:
          return at;
        case Phase.Closed:
          return end;
      }
    }
    return at;
  }

  /** `count` (1 … `wanted`) payload bytes were received into `target` at `wantedAt`. */
  received(count: number): void {
    if (!(count > 0 && count <= this.wanted)) {
      throw new Error(`${count} payload bytes received where ${this.wanted} are wanted`);
    }
    this.#payload(count);
  }

  /** Offer the waiting request again. True if the session takes bytes now. */
  resume(): boolean {
    if (this.#phase === Phase.Offer) this.#offer();
    return this.#phase !== Phase.Offer;
  }

  /**
   * Every request from here on is answered with this error, until OK says to go on. ESHUTDOWN, after
   * which there is no going on, refuses options too, ABORT excepted. A WRITE whose payload is under
   * way is still carried out.
   */
  refuse(error: NbdError): void {
    this.#refusal = error;
    if (error === NBD_ERROR.ESHUTDOWN) this.#handshake?.shutdown();
  }

  #negotiate(bytes: Uint8Array, start: number, end: number): number {
    const handshake = this.#expectHandshake();
    const at = handshake.consume(bytes, start, end);
    const outcome = handshake.outcome;
    const output = handshake.takeOutput();
    if (outcome?.kind === "established") {
      this.#begin(outcome.negotiated);
      if (!this.#sink.established(outcome.negotiated, output)) this.#phase = Phase.Elsewhere;
      return at;
    }
    if (output.length > 0) this.#sink.send(output);
    switch (outcome?.kind) {
      case undefined:
        break;
      case "tls":
        this.#clientFlags = outcome.clientFlags;
        // What was sent before the answer came in the clear: it must not be taken as from within.
        if (at < end) {
          this.#drop("bytes follow STARTTLS before it was granted");
          break;
        }
        this.#close();
        this.#sink.startTls();
        break;
      case "aborted":
        this.#finish();
        break;
      case "broken":
        this.#drop(outcome.reason);
        break;
    }
    return at;
  }

  #begin(negotiated: NbdNegotiated): void {
    this.#negotiated = negotiated;
    this.#rules = new RequestRules(negotiated);
    this.#handshake = undefined;
    if (negotiated.style === HeaderStyle.Extended) this.#headerBytes = EXTENDED_REQUEST_BYTES;
    this.#phase = Phase.Header;
  }

  #gather(bytes: Uint8Array, start: number, end: number): number {
    const whole = this.#headerBytes;
    if (this.#headerFill === 0 && end - start >= whole) {
      this.#parse(bytes, start);
      return start + whole;
    }
    const count = Math.min(whole - this.#headerFill, end - start);
    this.#header.set(bytes.subarray(start, start + count), this.#headerFill);
    this.#headerFill += count;
    if (this.#headerFill === whole) {
      this.#headerFill = 0;
      this.#parse(this.#header, 0);
    }
    return start + count;
  }

  #parse(bytes: Uint8Array, at: number): void {
    const request = this.#request;
    const whole = this.#headerBytes === REQUEST_BYTES
      ? request.parse(bytes, at)
      : request.parseExtended(bytes, at);
    if (!whole) return this.#drop("a request does not begin with its magic");
    if (request.type === NBD_CMD.DISC) return this.#finish();
    if (request.payload > MAX_PAYLOAD) {
      return this.#drop(`a payload of ${request.payload} bytes is longer than 32 MiB`);
    }
    if (request.payload > 0 && request.type === NBD_CMD.BLOCK_STATUS && this.#filters()) {
      this.#filter = new Uint8Array(request.payload);
      this.#left = request.payload;
      this.#phase = Phase.Filter;
      return;
    }
    this.#offer();
  }

  /** May this BLOCK_STATUS name contexts, and is its payload of a length that can be such a list? */
  #filters(): boolean {
    const { flags, contexts } = this.#negotiated!;
    return (flags & NBD_FLAG.BLOCK_STATUS_PAYLOAD) !== 0 &&
      this.#request.payload <= 8 + 4 * contexts.length;
  }

  #gatherFilter(bytes: Uint8Array, start: number, end: number): number {
    const filter = this.#filter;
    const count = Math.min(this.#left, end - start);
    filter.set(bytes.subarray(start, start + count), filter.length - this.#left);
    this.#left -= count;
    if (this.#left > 0) return start + count;
    const request = this.#request;
    request.payload = 0;
    // A malformed filter leaves nothing to ask about, which is refused like any empty request.
    if (!request.filter(filter, this.#negotiated!.contexts)) request.length = 0;
    this.#filter = NO_BYTES;
    this.#offer();
    return start + count;
  }

  /** Judge the request and hand it to the sink; on "not now" stay in `Offer`. */
  #offer(): void {
    const request = this.#request;
    this.#phase = Phase.Offer;
    const error = this.#judge(request);
    if (error !== NBD_ERROR.OK) {
      this.#verdict = error;
      if (request.payload > 0) {
        // The answer comes after the payload: libnbd does not look for it before all is sent.
        this.#left = request.payload;
        request.payload = 0;
        this.#phase = Phase.Drain;
      } else if (this.#sink.reject(request, error)) {
        this.#verdict = NBD_ERROR.OK;
        this.#phase = Phase.Header;
      }
    } else if (request.type === NBD_CMD.WRITE) {
      if (!this.#sink.write(request, this.target)) return;
      const { at, buffer } = this.target;
      if (!(at >= 0 && at + request.length <= buffer.length)) {
        throw new Error(
          `a payload of ${request.length} bytes does not fit at ${at} of ${buffer.length}`,
        );
      }
      this.#left = request.length;
      this.#phase = Phase.Payload;
    } else if (this.#sink.request(request)) {
      this.#phase = Phase.Header;
    }
  }

  /** What is wrong with the request; once something was found, it stays. */
  #judge(request: NbdRequest): NbdError {
    if (this.#verdict !== NBD_ERROR.OK) return this.#verdict;
    return this.#refusal !== NBD_ERROR.OK ? this.#refusal : this.#rules!.check(request);
  }

  #payload(count: number): void {
    this.#left -= count;
    if (this.#left > 0) return;
    this.#phase = Phase.Header;
    this.target.buffer = NO_BYTES;
    this.#sink.writeReady(this.target.slot);
  }

  #finish(): void {
    this.#close();
    this.#sink.finish();
  }

  #drop(reason: string): void {
    this.#close();
    this.#sink.drop(reason);
  }

  #close(): void {
    this.#phase = Phase.Closed;
    this.#handshake = undefined;
    this.target.buffer = NO_BYTES;
  }

  #expectHandshake(): Handshake {
    if (this.#handshake === undefined) throw new Error("the NBD handshake is over");
    return this.#handshake;
  }
}
