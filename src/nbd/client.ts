/** The client's side of one NBD connection: requests to bytes, bytes to finished requests. */
import { Reader } from "./bytes.ts";
import { ClientHandshake, type NbdClientOptions, type NbdExportInfo } from "./client_handshake.ts";
import {
  EXTENDED_REQUEST_BYTES,
  MAX_EXTENTS,
  NBD_CMD,
  NBD_CMD_FLAG,
  NBD_MAGIC,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE,
  REQUEST_BYTES,
} from "./constants.ts";
import { NBD_ERROR } from "./errors.ts";
import { Gatherer } from "./gatherer.ts";
import { encodeExtendedRequest, encodeRequest } from "./requests.ts";

/** What an {@link NbdClient} calls, synchronously, from its constructor, `consume` and `submit`. */
export interface NbdClientEvents {
  /** Bytes to send, in order; they must not be changed before they are sent. */
  send(bytes: Uint8Array): void;
  /** The handshake is done. */
  ready(info: NbdExportInfo): void;
  /** A request is answered: see its `error`. */
  done(request: NbdPending): void;
  /** The server refused the export or broke the protocol: close. No further calls follow. */
  failed(reason: string): void;
}

/** Consecutive bytes of the export with one status in one metadata context. */
export interface NbdExtent {
  readonly context: string;
  /** Bytes. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
  /** For `base:allocation`, of `NBD_STATE`. */
  readonly flags: number;
}

/** What to ask of the server. */
export interface NbdSubmission {
  /** One of `NBD_CMD`, except DISC. */
  readonly type: number;
  /** Of `NBD_CMD_FLAG`; default 0. */
  readonly flags?: number;
  /** Bytes; default 0. */
  readonly offset?: number;
  /** Bytes; default that of `data`, else 0. */
  readonly length?: number;
  /** WRITE: the payload. READ: where the data goes, `length` bytes. Must stay until it is done. */
  readonly data?: Uint8Array;
}

/** A request under way, or answered. */
export interface NbdPending {
  readonly cookie: number;
  readonly type: number;
  readonly offset: number;
  readonly length: number;
  /** READ: the data. */
  readonly data: Uint8Array;
  /** The server's error value, 0 if all went well; meaningful when done. */
  readonly error: number;
  /** The server's words about the error; may be empty. */
  readonly message: string;
  /** BLOCK_STATUS: what was told, context by context. */
  readonly extents: readonly NbdExtent[];
}

/** A pending request as the decoder fills it. */
interface Pending extends NbdPending {
  error: number;
  message: string;
  readonly extents: NbdExtent[];
  /** READ: bytes of the range that chunks have brought so far. */
  covered: number;
}

const NO_BYTES = new Uint8Array(0);

/** Longest payload of a chunk other than data: a block status of the most extents allowed. */
const MAX_CHUNK = 8 + 16 * MAX_EXTENTS;

/**
 * A pure state machine: feed it what the socket brings, send what it says. Any number of requests
 * may be under way; each is known by its cookie. It trusts the server no further than the protocol
 * goes: a reply that breaks it ends in `failed`, never in a throw or in bytes outside `data`.
 */
export class NbdClient {
  readonly #events: NbdClientEvents;
  readonly #gatherer = new Gatherer();
  readonly #pending = new Map<number, Pending>();
  #cookie = 0;
  #info: NbdExportInfo | undefined;
  #ended = false;

  constructor(options: NbdClientOptions, events: NbdClientEvents) {
    this.#events = events;
    new ClientHandshake(options, this.#gatherer, {
      send: (bytes) => events.send(bytes),
      ready: (info) => {
        this.#info = info;
        this.#expectReply();
        events.ready(info);
      },
      failed: (reason) => this.#fail(reason),
    });
  }

  /** Requests under way, in the order of their submission. */
  get pending(): Iterable<NbdPending> {
    return this.#pending.values();
  }

  /** The next bytes from the server; nothing of them is kept by reference. */
  consume(bytes: Uint8Array): void {
    this.#gatherer.consume(bytes);
  }

  /** Send a request. Throws before `ready`, after the end, and if `data` and `length` disagree. */
  submit(submission: NbdSubmission): NbdPending {
    const { type, flags = 0, offset = 0, data = NO_BYTES } = submission;
    const length = submission.length ?? data.length;
    if (this.#info === undefined) throw new Error("an NBD request before the handshake is done");
    if (this.#ended) throw new Error("an NBD request after the end of its connection");
    const carries = type === NBD_CMD.READ || type === NBD_CMD.WRITE;
    if (data.length !== (carries ? length : 0)) {
      throw new Error(`an NBD request of ${length} bytes with a buffer of ${data.length}`);
    }
    const pending: Pending = {
      cookie: ++this.#cookie,
      type,
      offset,
      length,
      data: type === NBD_CMD.READ ? data : NO_BYTES,
      error: NBD_ERROR.OK,
      message: "",
      extents: [],
      covered: 0,
    };
    this.#pending.set(pending.cookie, pending);
    this.#sendRequest(type, flags, pending);
    if (type === NBD_CMD.WRITE && length > 0) this.#events.send(data);
    return pending;
  }

  /** Take leave of the server (DISC); to be called when nothing is under way. */
  disconnect(): void {
    if (this.#ended || this.#info === undefined) return;
    this.#sendRequest(NBD_CMD.DISC, 0, { cookie: ++this.#cookie, offset: 0, length: 0 });
    this.#ended = true;
    this.#gatherer.stop();
  }

  #sendRequest(
    type: number,
    flags: number,
    { cookie, offset, length }: Pick<NbdPending, "cookie" | "offset" | "length">,
  ): void {
    const cookieHi = Math.floor(cookie / 0x1_0000_0000);
    const fields = { type, flags, cookieHi, cookieLo: cookie >>> 0, offset, length };
    const extended = this.#info?.extended === true;
    const header = new Uint8Array(extended ? EXTENDED_REQUEST_BYTES : REQUEST_BYTES);
    const view = new DataView(header.buffer);
    if (extended) {
      const payload = type === NBD_CMD.WRITE ? NBD_CMD_FLAG.PAYLOAD_LEN : 0;
      encodeExtendedRequest(view, 0, { ...fields, flags: flags | payload });
    } else {
      encodeRequest(view, 0, fields);
    }
    this.#events.send(header);
  }

  #expectReply(): void {
    this.#gatherer.expect(new Uint8Array(16), (header) => this.#reply(new Reader(header)));
  }

  #reply(header: Reader): void {
    const magic = header.uint32();
    if (this.#info!.extended) {
      if (magic !== NBD_MAGIC.EXTENDED_REPLY) this.#badMagic(magic);
      else this.#extendedReply(header);
    } else if (magic === NBD_MAGIC.SIMPLE_REPLY) {
      const error = header.uint32();
      this.#withPending(header.uint64(), (pending) => this.#simpleReply(pending, error));
    } else if (magic === NBD_MAGIC.STRUCTURED_REPLY && this.#info!.structured) {
      const flags = header.uint16();
      const type = header.uint16();
      this.#withPending(header.uint64(), (pending) => {
        this.#gatherer.expect(new Uint8Array(4), (bytes) => {
          const done = (flags & NBD_REPLY_FLAG_DONE) !== 0;
          this.#chunk(pending, type, new Reader(bytes).uint32(), done);
        });
      });
    } else {
      this.#badMagic(magic);
    }
  }

  #badMagic(magic: number): void {
    this.#fail(`a reply begins with 0x${magic.toString(16)}`);
  }

  #extendedReply(header: Reader): void {
    const done = (header.uint16() & NBD_REPLY_FLAG_DONE) !== 0;
    const type = header.uint16();
    this.#withPending(header.uint64(), (pending) => {
      this.#gatherer.expect(new Uint8Array(16), (bytes) => {
        const rest = new Reader(bytes);
        if (rest.uint64() !== pending.offset) return this.#fail("a reply of another offset");
        this.#chunk(pending, type, rest.uint64(), done);
      });
    });
  }

  #withPending(cookie: number, then: (pending: Pending) => void): void {
    const pending = this.#pending.get(cookie);
    if (pending === undefined) return this.#fail(`a reply to request ${cookie}, which is not open`);
    then(pending);
  }

  #simpleReply(pending: Pending, error: number): void {
    pending.error = error;
    const read = pending.type === NBD_CMD.READ;
    if (this.#info!.structured && read) return this.#fail("a simple reply to a structured READ");
    if (!read || error !== NBD_ERROR.OK) return this.#done(pending);
    this.#gatherer.expect(pending.data, () => this.#done(pending));
  }

  #chunk(pending: Pending, type: number, length: number, done: boolean): void {
    if (type === NBD_REPLY_TYPE.OFFSET_DATA) return this.#dataChunk(pending, length, done);
    if (length > MAX_CHUNK) return this.#fail(`a chunk of type ${type} with ${length} bytes`);
    this.#gatherer.expect(new Uint8Array(length), (payload) => {
      if (!this.#smallChunk(pending, type, new Reader(payload))) {
        return this.#fail(`a malformed or unexpected chunk of type ${type}`);
      }
      this.#chunkDone(pending, done);
    });
  }

  #dataChunk(pending: Pending, length: number, done: boolean): void {
    if (length < 9) return this.#fail(`a data chunk of ${length} bytes`);
    this.#gatherer.expect(new Uint8Array(8), (bytes) => {
      const range = this.#range(pending, new Reader(bytes).uint64(), length - 8);
      if (range === undefined) return this.#fail("a data chunk outside of its request");
      this.#gatherer.expect(range, () => this.#chunkDone(pending, done));
    });
  }

  /** Account for a chunk of a READ; its place in the data, or undefined if it is out of bounds. */
  #range(pending: Pending, offset: number, length: number): Uint8Array | undefined {
    const at = offset - pending.offset;
    if (pending.type !== NBD_CMD.READ || at < 0 || at + length > pending.length) return undefined;
    pending.covered += length;
    return pending.data.subarray(at, at + length);
  }

  /** A chunk that is not data; false if it is not valid. */
  #smallChunk(pending: Pending, type: number, payload: Reader): boolean {
    switch (type) {
      case NBD_REPLY_TYPE.NONE:
        return payload.complete;
      case NBD_REPLY_TYPE.OFFSET_HOLE: {
        const offset = payload.uint64();
        const length = payload.uint32();
        if (!payload.complete || length === 0) return false;
        return this.#range(pending, offset, length)?.fill(0) !== undefined;
      }
      case NBD_REPLY_TYPE.BLOCK_STATUS:
        return !this.#info!.extended && this.#blockStatus(pending, payload);
      case NBD_REPLY_TYPE.BLOCK_STATUS_EXT:
        return this.#info!.extended && this.#extendedBlockStatus(pending, payload);
      default:
        return type >= 0x8000 && this.#errorChunk(pending, payload);
    }
  }

  #blockStatus(pending: Pending, payload: Reader): boolean {
    const context = this.#info!.contexts.get(payload.uint32());
    if (pending.type !== NBD_CMD.BLOCK_STATUS || context === undefined) return false;
    if (payload.left === 0 || payload.left % 8 !== 0) return false;
    let offset = pending.offset;
    while (payload.left > 0) {
      const length = payload.uint32();
      if (length === 0) return false;
      pending.extents.push({ context, offset, length, flags: payload.uint32() });
      offset += length;
    }
    return true;
  }

  #extendedBlockStatus(pending: Pending, payload: Reader): boolean {
    const context = this.#info!.contexts.get(payload.uint32());
    const count = payload.uint32();
    if (pending.type !== NBD_CMD.BLOCK_STATUS || context === undefined) return false;
    if (count === 0 || payload.left !== 16 * count) return false;
    let offset = pending.offset;
    for (let i = 0; i < count; i++) {
      const length = payload.uint64();
      if (length === 0) return false;
      pending.extents.push({ context, offset, length, flags: payload.uint64() });
      offset += length;
    }
    return true;
  }

  /** Any error chunk, of known type or not; what follows the message is passed over. */
  #errorChunk(pending: Pending, payload: Reader): boolean {
    const error = payload.uint32();
    const length = payload.uint16();
    if (!payload.intact || error === NBD_ERROR.OK || length > payload.left) return false;
    if (pending.error === NBD_ERROR.OK) {
      pending.error = error;
      pending.message = payload.string(length);
    }
    return payload.intact;
  }

  #chunkDone(pending: Pending, done: boolean): void {
    if (!done) return this.#expectReply();
    const covered = pending.type !== NBD_CMD.READ || pending.covered === pending.length;
    if (pending.error === NBD_ERROR.OK && !covered) {
      return this.#fail(`a READ of ${pending.length} bytes got ${pending.covered}`);
    }
    this.#done(pending);
  }

  #done(pending: Pending): void {
    this.#pending.delete(pending.cookie);
    this.#expectReply();
    this.#events.done(pending);
  }

  #fail(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#gatherer.stop();
    this.#events.failed(reason);
  }
}
