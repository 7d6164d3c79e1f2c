/** The server's side of one NBD connection, from the first byte to the last. */
import { MAX_PAYLOAD, NBD_CMD, REQUEST_BYTES } from "./constants.ts";
import { NBD_ERROR } from "./errors.ts";
import { Handshake } from "./handshake.ts";
import { NbdRequest, RequestRules } from "./requests.ts";
import type { ExportTable, NbdLimits, NbdNegotiated, NbdSink, NbdTarget } from "./types.ts";

const enum Phase {
  Handshake,
  /** Gathering a request header. */
  Header,
  /** A request is parsed and the sink has not taken it. */
  Offer,
  /** Bytes go to the target of a WRITE. */
  Payload,
  /** Bytes of a refused WRITE's payload are thrown away. */
  Drain,
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
  readonly #header = new Uint8Array(REQUEST_BYTES);
  #headerFill = 0;
  #phase: Phase = Phase.Handshake;
  #handshake: Handshake | undefined;
  #negotiated: NbdNegotiated | undefined;
  #rules: RequestRules | undefined;
  #stopping = false;
  /** Payload bytes still to come, in `Payload` and `Drain`. */
  #left = 0;

  /** Where the payload of the current WRITE goes; meaningful while `wanted` > 0. */
  readonly target: NbdTarget = { slot: -1, buffer: NO_BYTES, at: 0 };

  constructor(exports: ExportTable, limits: NbdLimits, sink: NbdSink) {
    this.#sink = sink;
    this.#handshake = new Handshake(exports, limits);
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

  /** `finish` or `drop` was called; further bytes are ignored. */
  get closed(): boolean {
    return this.#phase === Phase.Closed;
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
          if (this.#left === 0) this.#phase = Phase.Header;
          break;
        }
        case Phase.Offer:
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
   * The server is going down: every option but ABORT and every request from here on is answered
   * with a shutdown error. A WRITE whose payload is under way is still carried out.
   */
  shutdown(): void {
    this.#stopping = true;
    this.#handshake?.shutdown();
  }

  #negotiate(bytes: Uint8Array, start: number, end: number): number {
    const handshake = this.#expectHandshake();
    const at = handshake.consume(bytes, start, end);
    const output = handshake.takeOutput();
    if (output.length > 0) this.#sink.send(output);
    const outcome = handshake.outcome;
    switch (outcome?.kind) {
      case undefined:
        break;
      case "established":
        this.#negotiated = outcome.negotiated;
        this.#rules = new RequestRules(outcome.negotiated);
        this.#handshake = undefined;
        this.#phase = Phase.Header;
        this.#sink.established(outcome.negotiated);
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

  #gather(bytes: Uint8Array, start: number, end: number): number {
    if (this.#headerFill === 0 && end - start >= REQUEST_BYTES) {
      this.#parse(bytes, start);
      return start + REQUEST_BYTES;
    }
    const count = Math.min(REQUEST_BYTES - this.#headerFill, end - start);
    this.#header.set(bytes.subarray(start, start + count), this.#headerFill);
    this.#headerFill += count;
    if (this.#headerFill === REQUEST_BYTES) {
      this.#headerFill = 0;
      this.#parse(this.#header, 0);
    }
    return start + count;
  }

  #parse(bytes: Uint8Array, at: number): void {
    const request = this.#request;
    if (!request.parse(bytes, at)) return this.#drop("a request does not begin with its magic");
    if (request.type === NBD_CMD.DISC) return this.#finish();
    if (request.type === NBD_CMD.WRITE && request.length > MAX_PAYLOAD) {
      return this.#drop(`a WRITE of ${request.length} bytes is longer than 32 MiB`);
    }
    this.#offer();
  }

  /** Judge the request and hand it to the sink; on "not now" stay in `Offer`. */
  #offer(): void {
    const request = this.#request;
    this.#phase = Phase.Offer;
    const error = this.#stopping ? NBD_ERROR.ESHUTDOWN : this.#rules!.check(request);
    if (error !== NBD_ERROR.OK) {
      if (!this.#sink.reject(request, error)) return;
      this.#left = request.type === NBD_CMD.WRITE ? request.length : 0;
      this.#phase = this.#left > 0 ? Phase.Drain : Phase.Header;
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
