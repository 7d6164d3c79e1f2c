/** An NBD server over a byte array: the session and the reply encoders, put to full use. */
import {
  blockStatusBytes,
  type ChunkStyle,
  encodeBlockStatusChunk,
  encodeDataChunk,
  encodeHoleChunk,
  encodeReadHeader,
  encodeReply,
  exportTable,
  HeaderStyle,
  NBD_CMD,
  NBD_CMD_FLAG,
  NBD_ERROR,
  NBD_STATE,
  type NbdError,
  type NbdExport,
  type NbdNegotiated,
  NbdRequest,
  NbdSession,
  type NbdSink,
  type NbdTarget,
  REPLY_BYTES,
  REPLY_HEADER_BYTES,
} from "../../src/nbd/mod.ts";
import { LIMITS } from "./fixtures.ts";

/** Extents of status are of this size, in bytes. */
const GRAIN = 4096;

/** One connection to `memory`; replies go to `output` when `answer` is called, not before. */
export class MemoryServer implements NbdSink {
  readonly session: NbdSession;
  readonly memory: Uint8Array;
  /** Reads answer in two chunks, holes told apart, where the client allows. */
  sparse = false;
  /** Reads of this offset fail. */
  badOffset = -1;
  ended: "finish" | "drop" | undefined;
  reason = "";
  readonly #output: (bytes: Uint8Array) => void;
  readonly #replies: (() => void)[] = [];
  readonly #writes = new Map<number, { request: NbdRequest; buffer: Uint8Array }>();
  #slot = 0;
  #negotiated: NbdNegotiated | undefined;

  constructor(entry: NbdExport, memory: Uint8Array, output: (bytes: Uint8Array) => void) {
    this.memory = memory;
    this.#output = output;
    this.session = new NbdSession(exportTable([entry]), LIMITS, this);
  }

  /** Replies that wait to be sent. */
  get waiting(): number {
    return this.#replies.length;
  }

  /** Send waiting replies, last request first if `reverse`. */
  answer(reverse = false): void {
    const replies = this.#replies.splice(0);
    for (const send of reverse ? replies.reverse() : replies) send();
  }

  send(bytes: Uint8Array): void {
    this.#output(bytes);
  }

  startTls(): void {
    throw new Error("this server has no TLS");
  }

  established(negotiated: NbdNegotiated, reply: Uint8Array): boolean {
    this.#negotiated = negotiated;
    this.#output(reply);
    return true;
  }

  request(current: NbdRequest): boolean {
    const taken = copyOf(current);
    const { offset, length } = taken;
    switch (taken.type) {
      case NBD_CMD.READ:
        if (offset === this.badOffset) return this.reject(taken, NBD_ERROR.EIO);
        this.#replies.push(() => this.#read(taken));
        return true;
      case NBD_CMD.BLOCK_STATUS:
        this.#replies.push(() => this.#blockStatus(taken));
        return true;
      case NBD_CMD.TRIM:
      case NBD_CMD.WRITE_ZEROES:
        this.memory.fill(0, offset, offset + length);
    }
    return this.reject(taken, NBD_ERROR.OK);
  }

  write(current: NbdRequest, target: NbdTarget): boolean {
    target.slot = this.#slot++;
    target.buffer = new Uint8Array(current.length);
    target.at = 0;
    this.#writes.set(target.slot, { request: copyOf(current), buffer: target.buffer });
    return true;
  }

  writeReady(slot: number): void {
    const { request, buffer } = this.#writes.get(slot)!;
    this.#writes.delete(slot);
    this.memory.set(buffer, request.offset);
    this.reject(request, NBD_ERROR.OK);
  }

  reject(current: NbdRequest, error: NbdError): boolean {
    const to = copyOf(current);
    this.#replies.push(() =>
      this.#emit(REPLY_BYTES, (view) => encodeReply(view, 0, to, error, this.#style))
    );
    return true;
  }

  finish(): void {
    this.answer();
    this.ended = "finish";
  }

  drop(reason: string): void {
    this.ended = "drop";
    this.reason = reason;
  }

  get #style(): HeaderStyle {
    return this.#negotiated!.style;
  }

  get #chunks(): ChunkStyle {
    return this.#style === HeaderStyle.Extended ? this.#style : HeaderStyle.Structured;
  }

  #emit(space: number, encode: (view: DataView) => number): void {
    const buffer = new Uint8Array(space);
    this.#output(buffer.subarray(0, encode(new DataView(buffer.buffer))));
  }

  #read(to: NbdRequest): void {
    const { offset, length } = to;
    const whole = !this.sparse || this.#style === HeaderStyle.Simple ||
      (to.flags & NBD_CMD_FLAG.DF) !== 0;
    if (whole) {
      this.#emit(REPLY_HEADER_BYTES, (view) => encodeReadHeader(view, 0, to, this.#style));
      this.#output(this.memory.slice(offset, offset + length));
      return;
    }
    for (let at = 0; at < length;) {
      const count = Math.min(GRAIN - (offset + at) % GRAIN, length - at);
      const from = offset + at;
      const done = at + count === length;
      const data = this.memory.slice(from, from + count);
      if (data.every((byte) => byte === 0)) {
        this.#emit(48, (view) => encodeHoleChunk(view, 0, to, from, count, done, this.#chunks));
      } else {
        this.#emit(
          REPLY_HEADER_BYTES,
          (view) => encodeDataChunk(view, 0, to, from, count, done, this.#chunks),
        );
        this.#output(data);
      }
      at += count;
    }
  }

  #blockStatus(to: NbdRequest): void {
    const one = (to.flags & NBD_CMD_FLAG.REQ_ONE) !== 0;
    const extents: number[] = [];
    for (let at = 0; at < to.length && !(one && at > 0);) {
      const from = to.offset + at;
      const count = Math.min(GRAIN - from % GRAIN, to.length - at);
      const zero = this.memory.subarray(from, from + count).every((byte) => byte === 0);
      extents.push(count, zero ? NBD_STATE.HOLE | NBD_STATE.ZERO : 0);
      at += count;
    }
    const pairs = Uint32Array.from(extents);
    const count = pairs.length / 2;
    const wanted = this.#negotiated!.contexts.filter((_, i) => (to.contexts & (1 << i)) !== 0);
    wanted.forEach(({ id }, index, all) => {
      const last = index === all.length - 1;
      this.#emit(
        blockStatusBytes(count),
        (view) => encodeBlockStatusChunk(view, 0, to, id, pairs, count, last, this.#chunks),
      );
    });
  }
}

function copyOf(request: NbdRequest): NbdRequest {
  return Object.assign(new NbdRequest(), request);
}
