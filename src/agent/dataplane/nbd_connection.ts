/** One NBD client: bytes in, requests to the volume, replies out. */
import {
  blockStatusBytes,
  encodeBlockStatusChunk,
  encodeReadHeader,
  encodeReply,
  NBD_CMD,
  NBD_CMD_FLAG,
  type NbdError,
  nbdError,
  type NbdNegotiated,
  type NbdRequest,
  NbdSession,
  type NbdSink,
  type NbdTarget,
  REPLY_HEADER_BYTES,
} from "../../nbd/mod.ts";
import type { Slab } from "../../os/memory.ts";
import { RequestKind } from "../../volume/types.ts";
import type { ExportServer } from "./export_server.ts";
import type { Completion } from "./operations.ts";
import { RequestSlot, SlotState } from "./requests.ts";
import { SendRing } from "./send_ring.ts";

/** Requests that one client may have under way. */
export const CONNECTION_SLOTS = 128;
/** Bytes that one receive takes. */
const RECEIVE_BYTES = 32 * 1024;
/** From here on a payload is received straight into its buffer. */
const DIRECT_BYTES = 8 * 1024;
const RING_BYTES = 32 * 1024;
/** Extents of one BLOCK_STATUS reply. */
const STATUS_EXTENTS = 256;
const LONGEST_RECORD = blockStatusBytes(STATUS_EXTENTS);
/** CACHE is carried out by reading pieces of this size, in bytes. */
const CACHE_STEP = 1 << 20;

/** Bytes of the server's slab that one connection takes. */
export const CONNECTION_BYTES = RECEIVE_BYTES + RING_BYTES + CONNECTION_SLOTS * REPLY_HEADER_BYTES;

const enum What {
  Receive,
  ReceivePayload,
  /** From here on: bytes of the ring to free. */
  SendRing = 1 << 8,
  /** From here on: the slot whose data went out. */
  SendData = 1 << 20,
}

/** Only {@linkcode ExportServer} makes these. */
export class NbdConnection implements NbdSink, Completion {
  /** Place in the server's table, part of the request numbers. */
  readonly index: number;
  readonly #server: ExportServer;
  readonly #fd: number;
  readonly #session: NbdSession;
  readonly #slab: Slab;
  readonly #receiveAt: number;
  readonly #headersAt: number;
  readonly #ring: SendRing;
  readonly #slots: RequestSlot[] = [];
  readonly #free: RequestSlot[] = [];
  /** The slot whose payload is coming in. */
  #incoming: RequestSlot | null = null;
  /** CACHE requests whose next piece is due. */
  readonly #caching: RequestSlot[] = [];
  /** Reply bytes promised to requests under way. */
  #reserved = 0;
  /** Received and not yet consumed, while the session is paused. */
  #at = 0;
  #end = 0;
  /** Operations of the engine under way on this socket. */
  #operations = 0;
  #receiving = false;
  /** No more requests are taken; close when the last reply is out. */
  #leaving = false;
  #closed = false;
  #structured = false;

  /** `base`: first of {@linkcode CONNECTION_BYTES} bytes of the slab. */
  constructor(server: ExportServer, index: number, fd: number, slab: Slab, base: number) {
    this.#server = server;
    this.index = index;
    this.#fd = fd;
    this.#slab = slab;
    this.#receiveAt = base;
    this.#headersAt = base + RECEIVE_BYTES + RING_BYTES;
    this.#ring = new SendRing(slab, base + RECEIVE_BYTES, RING_BYTES, this.#startSend);
    for (let i = CONNECTION_SLOTS - 1; i >= 0; i--) {
      this.#slots[i] = new RequestSlot(i);
      this.#free.push(this.#slots[i]!);
    }
    this.#session = new NbdSession(server.exports, server.limits, this);
  }

  /** Greets the client and listens to it. */
  start(): void {
    this.#session.start();
    this.#receive();
  }

  /** Requests under way. */
  get inFlight(): number {
    return CONNECTION_SLOTS - this.#free.length;
  }

  // The session's calls.

  /** Handshake bytes. A client that leaves a whole ring of them unread is no client. */
  send(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += LONGEST_RECORD) {
      const piece = bytes.subarray(at, at + LONGEST_RECORD);
      if (!this.#ring.hasRoom(piece.length, LONGEST_RECORD)) {
        return this.close("it does not read the answers to its options");
      }
      const offset = this.#ring.reserve(piece.length);
      this.#slab.bytes.set(piece, offset);
      this.#ring.commit(piece.length);
    }
    this.#server.touch(this);
  }

  established(negotiated: NbdNegotiated): void {
    this.#structured = negotiated.structured;
  }

  request(request: NbdRequest): boolean {
    switch (request.type) {
      case NBD_CMD.READ: {
        const slot = this.#take(request, request.length);
        if (slot === null) return false;
        this.#submit(slot, RequestKind.Read, slot.offset, slot.length);
        return true;
      }
      case NBD_CMD.FLUSH: {
        const slot = this.#take(request, 0);
        if (slot === null) return false;
        this.#submit(slot, RequestKind.Flush, 0, 0);
        return true;
      }
      case NBD_CMD.TRIM: {
        const slot = this.#take(request, 0);
        if (slot === null) return false;
        this.#submit(slot, RequestKind.Trim, slot.offset, slot.length);
        return true;
      }
      case NBD_CMD.WRITE_ZEROES: {
        const slot = this.#take(request, 0);
        if (slot === null) return false;
        const keep = (request.flags & NBD_CMD_FLAG.NO_HOLE) !== 0;
        const kind = keep ? RequestKind.ZeroAllocated : RequestKind.Zero;
        this.#submit(slot, kind, slot.offset, slot.length);
        return true;
      }
      case NBD_CMD.CACHE: {
        const slot = this.#take(request, Math.min(request.length, CACHE_STEP));
        if (slot === null) return false;
        this.#submit(slot, RequestKind.Read, slot.offset, Math.min(slot.length, CACHE_STEP));
        return true;
      }
      case NBD_CMD.BLOCK_STATUS: {
        // The read asks whether this replica may answer at all, and waits for writes under way.
        const gate = Math.min(request.length, this.#server.gateBytes);
        const slot = this.#take(request, gate, LONGEST_RECORD);
        if (slot === null) return false;
        this.#submit(slot, RequestKind.Read, slot.offset, gate);
        return true;
      }
      default:
        throw new Error(`NBD command ${request.type} came through the session`);
    }
  }

  write(request: NbdRequest, target: NbdTarget): boolean {
    const slot = this.#take(request, request.length);
    if (slot === null) return false;
    slot.state = SlotState.Receiving;
    this.#incoming = slot;
    target.slot = slot.index;
    target.buffer = this.#server.pool.slab.bytes;
    target.at = this.#server.pool.offset(slot.buffer);
    return true;
  }

  writeReady(index: number): void {
    const slot = this.#slots[index]!;
    this.#incoming = null;
    this.#submit(slot, RequestKind.Write, slot.offset, slot.length);
  }

  reject(request: NbdRequest, error: NbdError): boolean {
    if (!this.#ring.hasRoom(this.#reserved + REPLY_HEADER_BYTES, LONGEST_RECORD)) return false;
    const at = this.#ring.reserve(REPLY_HEADER_BYTES);
    this.#ring.commit(encodeReply(this.#slab.view, at, request, error, this.#structured));
    this.#server.touch(this);
    return true;
  }

  finish(): void {
    this.#leaving = true;
    this.#server.touch(this);
  }

  drop(reason: string): void {
    this.close(reason);
  }

  // The server's calls.

  /** The volume's answer to a request of this connection. */
  answered(index: number, errno: number): void {
    const slot = this.#slots[index]!;
    if (slot.state !== SlotState.Submitted) {
      throw new Error(`request slot ${index} was answered in state ${slot.state}`);
    }
    if (this.#closed) return this.#release(slot);
    if (slot.type === NBD_CMD.CACHE && errno === 0 && slot.length > slot.progress + CACHE_STEP) {
      this.#caching.push(slot);
      return this.#server.touch(this);
    }
    if (slot.type === NBD_CMD.READ && errno === 0) return this.#sendData(slot);
    const { view } = this.#slab;
    if (slot.type === NBD_CMD.BLOCK_STATUS && errno === 0) {
      const at = this.#ring.reserve(LONGEST_RECORD);
      this.#ring.commit(this.#encodeStatus(slot, at));
    } else {
      const at = this.#ring.reserve(REPLY_HEADER_BYTES);
      const error = nbdError(errno, slot.flags);
      this.#ring.commit(encodeReply(view, at, slot, error, this.#structured));
    }
    this.#release(slot);
    this.#server.touch(this);
  }

  /** Once a turn, if touched: sends what was gathered, goes on with what waited. */
  turn(): void {
    if (this.#caching.length > 0) this.#cacheOn();
    if (this.#closed) return this.#settle();
    this.#ring.flush();
    if (this.#session.paused) {
      if (this.#session.resume()) this.#consume();
      this.#ring.flush();
    }
    this.#receive();
    this.#settle();
  }

  /** Refuses new requests, and closes when those under way are answered. */
  leave(): void {
    this.#session.shutdown();
    this.#leaving = true;
    this.#server.touch(this);
  }

  /** Ends at once; requests under way finish without an answer. */
  close(reason: string | null): void {
    if (this.#closed) return;
    this.#closed = true;
    if (reason !== null) this.#server.dropped(this, reason);
    this.#server.engine.close(this.#fd);
    this.#server.touch(this);
  }

  completed(what: number, result: number): void {
    this.#operations--;
    if (what >= What.SendData) this.#release(this.#slots[what - What.SendData]!);
    else if (what >= What.SendRing) this.#ring.release(what - What.SendRing);
    else return this.#received(what, result);
    if (result < 0) this.close(null);
    this.#server.touch(this);
  }

  // Inside.

  readonly #startSend = (slab: Slab, offset: number, length: number, freed: number): void => {
    this.#operations++;
    const tag = this.#server.operations.begin(this, What.SendRing + freed);
    this.#server.engine.send(this.#fd, slab, offset, length, tag);
  };

  #receive(): void {
    if (this.#closed || this.#receiving || this.#session.paused || this.#session.closed) return;
    this.#receiving = true;
    this.#operations++;
    const { engine, operations, pool } = this.#server;
    const wanted = this.#session.wanted;
    if (wanted >= DIRECT_BYTES) {
      const tag = operations.begin(this, What.ReceivePayload);
      engine.recvAll(this.#fd, pool.slab, this.#session.wantedAt, wanted, tag);
    } else {
      const tag = operations.begin(this, What.Receive);
      engine.recv(this.#fd, this.#slab, this.#receiveAt, RECEIVE_BYTES, tag);
    }
  }

  #received(what: number, result: number): void {
    this.#receiving = false;
    if (this.#closed || this.#session.closed) return this.#server.touch(this);
    // Without a client nobody is left to hear of what is under way.
    if (result <= 0) return this.close(null);
    if (what === What.ReceivePayload) {
      this.#receivedPayload(result);
    } else {
      this.#at = this.#receiveAt;
      this.#end = this.#receiveAt + result;
      this.#consume();
    }
    this.#server.touch(this);
  }

  #receivedPayload(count: number): void {
    if (count < this.#session.wanted) return this.close("it hung up within a WRITE");
    this.#session.received(count);
  }

  #consume(): void {
    if (this.#at < this.#end) {
      this.#at = this.#session.consume(this.#slab.bytes, this.#at, this.#end);
    }
  }

  /** A slot with a buffer of `bytes` (0: none), or null: not now. */
  #take(request: NbdRequest, bytes: number, reply = REPLY_HEADER_BYTES): RequestSlot | null {
    if (this.#free.length === 0) return null;
    if (!this.#ring.hasRoom(this.#reserved + reply, LONGEST_RECORD)) return null;
    let buffer = -1;
    if (bytes > 0) {
      buffer = this.#server.acquire(this, bytes);
      if (buffer < 0) return null;
    }
    const slot = this.#free.pop()!;
    slot.fill(request, buffer, reply);
    this.#reserved += reply;
    return slot;
  }

  #submit(slot: RequestSlot, kind: RequestKind, offset: number, length: number): void {
    slot.state = SlotState.Submitted;
    const fua = (slot.flags & NBD_CMD_FLAG.FUA) !== 0;
    this.#server.submit(this, slot.index, kind, offset, length, slot.buffer, fua);
  }

  #release(slot: RequestSlot): void {
    if (slot.buffer >= 0) this.#server.pool.release(slot.buffer);
    slot.buffer = -1;
    slot.state = SlotState.Free;
    this.#reserved -= slot.reserved;
    slot.reserved = 0;
    this.#free.push(slot);
    this.#server.touch(this);
  }

  /** The next pieces of CACHE requests; not asked for within an answer of the volume. */
  #cacheOn(): void {
    for (let slot = this.#caching.pop(); slot !== undefined; slot = this.#caching.pop()) {
      if (this.#closed) {
        this.#release(slot);
        continue;
      }
      slot.progress += CACHE_STEP;
      const length = Math.min(slot.length - slot.progress, CACHE_STEP);
      this.#submit(slot, RequestKind.Read, slot.offset + slot.progress, length);
    }
  }

  #sendData(slot: RequestSlot): void {
    const { engine, operations, pool } = this.#server;
    const at = this.#headersAt + slot.index * REPLY_HEADER_BYTES;
    const header = encodeReadHeader(this.#slab.view, at, slot, this.#structured);
    slot.state = SlotState.Sending;
    this.#operations++;
    const tag = operations.begin(this, What.SendData + slot.index);
    const from = pool.offset(slot.buffer);
    engine.sendTwo(this.#fd, this.#slab, at, header, pool.slab, from, slot.length, tag);
  }

  #encodeStatus(slot: RequestSlot, at: number): number {
    const one = (slot.flags & NBD_CMD_FLAG.REQ_ONE) !== 0;
    const extents = this.#server.extents;
    const most = one ? 1 : STATUS_EXTENTS;
    const count = this.#server.allocation(slot.offset, slot.length, extents, most);
    const id = this.#session.negotiated!.contexts[0]!.id;
    return encodeBlockStatusChunk(this.#slab.view, at, slot, id, extents, count, true);
  }

  /** Closes, and tells the server, when nothing is left to be done. */
  #settle(): void {
    if (this.#leaving && !this.#closed && this.#sendsIdle()) this.close(null);
    if (!this.#closed || this.#operations > 0) return;
    if (this.#incoming !== null) {
      const slot = this.#incoming;
      this.#incoming = null;
      this.#release(slot);
    }
    if (this.inFlight === 0) this.#server.removed(this);
  }

  #sendsIdle(): boolean {
    const waiting = this.inFlight - (this.#incoming === null ? 0 : 1);
    return waiting === 0 && this.#operations - (this.#receiving ? 1 : 0) === 0;
  }
}

/** Extents that `ExportServer.extents` has room for: pairs of length and flags. */
export const EXTENT_WORDS = 2 * STATUS_EXTENTS;
