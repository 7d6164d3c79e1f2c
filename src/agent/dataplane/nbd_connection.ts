/** One NBD client: bytes in, requests to the volume, replies out. */
import {
  NBD_CMD,
  NBD_CMD_FLAG,
  NBD_ERROR,
  type NbdError,
  nbdError,
  type NbdNegotiated,
  type NbdRequest,
  NbdSession,
  type NbdSink,
  type NbdTarget,
  REPLY_BYTES,
  TlsStage,
} from "../../nbd/mod.ts";
import type { Slab } from "../../os/memory.ts";
import { endSending } from "../../os/sockets.ts";
import { RequestKind } from "../../volume/types.ts";
import type { ExportServer } from "./export_server.ts";
import type { Completion } from "./operations.ts";
import { LONGEST_RECORD, ReplySender, senderBytes, type SendOwner } from "./reply_sender.ts";
import { RequestSlot, SlotState } from "./requests.ts";

/** Requests that one client may have under way. */
export const CONNECTION_SLOTS = 128;
/** Bytes that one receive takes. */
const RECEIVE_BYTES = 32 * 1024;
/** From here on a payload is received straight into its buffer. */
const DIRECT_BYTES = 8 * 1024;
/** CACHE is carried out by reading pieces of this size, in bytes. */
const CACHE_STEP = 1 << 20;
/** A client has so long for its handshake, TLS included, milliseconds. */
const HANDSHAKE_PATIENCE = 10_000;
/** A client that was told to go is waited for so long, milliseconds. */
const FAREWELL_PATIENCE = 2000;
/** A client that reads none of its answers for so long gives up its buffers to those that wait. */
const READING_PATIENCE = 20_000;

/** Bytes of the server's slab that one connection takes. */
export const CONNECTION_BYTES = RECEIVE_BYTES + senderBytes(CONNECTION_SLOTS);

const enum What {
  Receive,
  ReceivePayload,
}

/** Only {@linkcode ExportServer} makes these. */
export class NbdConnection implements NbdSink, SendOwner, Completion {
  /** Place in the server's table, part of the request numbers. */
  readonly index: number;
  readonly #server: ExportServer;
  #session: NbdSession;
  readonly #slab: Slab;
  readonly #receiveAt: number;
  readonly #replies: ReplySender;
  readonly #slots: RequestSlot[] = [];
  readonly #free: RequestSlot[] = [];
  /** The slot whose payload is coming in. */
  #incoming: RequestSlot | null = null;
  /** CACHE requests whose next piece is due. */
  readonly #caching: RequestSlot[] = [];
  /** Received and not yet consumed, while the session is paused. */
  #at = 0;
  #end = 0;
  #receiving = false;
  /** No more requests are taken; close when the last reply is out. */
  #leaving = false;
  /** All is sent; what the client may still send is read and thrown away until it hangs up. */
  #farewell = false;
  #closed = false;
  /** STARTTLS was granted: TLS begins when the answer is sent. */
  #tlsDue = false;
  /** The client is another volume's, and goes there when the answers to its options are sent. */
  #passing: { readonly negotiated: NbdNegotiated; readonly reply: Uint8Array } | null = null;
  /** When it came, or was told to go, milliseconds. */
  #phaseSince: number;

  /** `base`: first of {@linkcode CONNECTION_BYTES} bytes of the slab. */
  constructor(server: ExportServer, index: number, fd: number, slab: Slab, base: number) {
    this.#server = server;
    this.index = index;
    this.#slab = slab;
    this.#receiveAt = base;
    this.#replies = new ReplySender(server, this, fd, slab, base + RECEIVE_BYTES);
    for (let i = CONNECTION_SLOTS - 1; i >= 0; i--) {
      this.#slots[i] = new RequestSlot(i);
      this.#free.push(this.#slots[i]!);
    }
    const tls = server.tls ? TlsStage.Required : TlsStage.None;
    this.#session = new NbdSession(server.exports, server.limits, this, tls);
    this.#phaseSince = server.stats.now;
  }

  /** Greets the client and listens to it. */
  start(): void {
    this.#session.start();
    this.#receive();
  }

  /** Goes on after a handshake that another one has carried out. */
  goOn(negotiated: NbdNegotiated, reply: Uint8Array, rest: Uint8Array): void {
    this.#session = NbdSession.established(this.#server.exports, this, negotiated);
    this.established(negotiated, reply);
    this.#slab.bytes.set(rest, this.#receiveAt);
    this.#at = this.#receiveAt;
    this.#end = this.#receiveAt + rest.length;
    this.#consume();
    this.#server.touch(this);
  }

  /** Requests under way. */
  get inFlight(): number {
    return CONNECTION_SLOTS - this.#free.length;
  }

  // The session's calls.

  /** Handshake bytes. A client that leaves a whole ring of them unread is no client. */
  send(bytes: Uint8Array): void {
    if (!this.#replies.handshake(bytes)) {
      return this.close("it does not read the answers to its options");
    }
    this.#server.touch(this);
  }

  startTls(): void {
    this.#tlsDue = true;
    this.#server.touch(this);
  }

  established(negotiated: NbdNegotiated, reply: Uint8Array): boolean {
    if (!this.#server.serves(negotiated.export)) {
      this.#passing = { negotiated, reply };
      this.#server.touch(this);
      return false;
    }
    this.#replies.style = negotiated.style;
    this.send(reply);
    if (this.#server.refusal !== NBD_ERROR.OK) this.refuse(this.#server.refusal);
    return true;
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
        const keep = (request.flags & NBD_CMD_FLAG.NO_HOLE) !== 0;
        if ((request.flags & NBD_CMD_FLAG.FAST_ZERO) !== 0) {
          const fast = this.#server.zeroesFast(request.offset, request.length, keep);
          if (!fast) return this.reject(request, NBD_ERROR.ENOTSUP);
        }
        const slot = this.#take(request, 0);
        if (slot === null) return false;
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
        const chunks = this.#session.negotiated!.contexts.length;
        const slot = this.#take(request, gate, chunks * LONGEST_RECORD);
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
    const refusal = this.#server.refusal;
    if (refusal === NBD_ERROR.OK) {
      return this.#submit(slot, RequestKind.Write, slot.offset, slot.length);
    }
    this.#replies.reply(slot, refusal);
    this.#release(slot);
  }

  reject(request: NbdRequest, error: NbdError): boolean {
    if (!this.#replies.hasRoom(REPLY_BYTES)) return false;
    this.#replies.reply(request, error);
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
    if (slot.state === SlotState.Overdue) return this.#release(slot);
    if (slot.state !== SlotState.Submitted) {
      throw new Error(`request slot ${index} was answered in state ${slot.state}`);
    }
    if (this.#closed) return this.#release(slot);
    if (slot.type === NBD_CMD.CACHE && errno === 0 && slot.length > slot.progress + CACHE_STEP) {
      this.#caching.push(slot);
      return this.#server.touch(this);
    }
    const bytes = slot.type === NBD_CMD.BLOCK_STATUS ? 0 : slot.length;
    this.#server.stats.answered(slot.kind, slot.since, bytes, errno !== 0);
    if (slot.type === NBD_CMD.READ && errno === 0) {
      slot.state = SlotState.Sending;
      return this.#replies.data(slot);
    }
    if (slot.type === NBD_CMD.BLOCK_STATUS && errno === 0) {
      this.#replies.status(slot, this.#session.negotiated!.contexts);
    } else this.#replies.reply(slot, nbdError(errno, slot.flags));
    this.#release(slot);
    this.#server.touch(this);
  }

  /** The volume begins with a request of this connection. */
  began(index: number): void {
    const slot = this.#slots[index]!;
    if (slot.begun || slot.state !== SlotState.Submitted) return;
    slot.begun = true;
    this.#server.stats.started(slot.kind, slot.since);
  }

  /**
   * Answers what waits for the volume, and what comes from here on, with this error; with OK, goes on.
   * What the volume does with the former later is nobody's business any more.
   */
  refuse(error: NbdError): void {
    if (this.#closed || this.#leaving) return;
    this.#session.refuse(error);
    for (const slot of this.#slots) {
      if (error === NBD_ERROR.OK || slot.state !== SlotState.Submitted) continue;
      this.#server.stats.answered(slot.kind, slot.since, 0, true);
      this.#replies.reply(slot, error);
      slot.state = SlotState.Overdue;
    }
    this.#server.touch(this);
  }

  /** Now and then. `crowded`: others wait for buffers. */
  tick(crowded: boolean): void {
    if (this.#closed) return;
    const { now } = this.#server.stats;
    const since = now - this.#phaseSince;
    if (this.#farewell && since >= FAREWELL_PATIENCE) return this.close(null);
    const negotiating = this.#session.negotiating || this.#tlsDue || this.#passing !== null;
    if (negotiating && since >= HANDSHAKE_PATIENCE) {
      return this.close(`its handshake took more than ${HANDSHAKE_PATIENCE / 1000} s`);
    }
    const { sends, since: sending } = this.#replies;
    if (crowded && sends > 0 && now - sending >= READING_PATIENCE) {
      this.close("it does not read its answers, and others wait for the memory");
    }
  }

  /** Once a turn, if touched: sends what was gathered, goes on with what waited. */
  turn(): void {
    if (this.#caching.length > 0) this.#cacheOn();
    if (this.#closed) return this.#settle();
    this.#replies.flush();
    if (this.#tlsDue || this.#passing !== null) this.#handOver();
    if (this.#session.paused) {
      if (this.#session.resume()) this.#consume();
      this.#replies.flush();
    }
    this.#receive();
    this.#settle();
  }

  /** Refuses new requests, and closes when those under way are answered. */
  leave(): void {
    this.#session.refuse(NBD_ERROR.ESHUTDOWN);
    this.#leaving = true;
    this.#server.touch(this);
  }

  /** Ends at once; requests under way finish without an answer. */
  close(reason: string | null): void {
    if (this.#closed) return;
    this.#closed = true;
    if (reason !== null) this.#server.dropped(this, reason);
    this.#server.engine.close(this.#replies.fd);
    this.#server.touch(this);
  }

  completed(what: number, result: number): void {
    this.#received(what, result);
  }

  dataSent(index: number): void {
    this.#release(this.#slots[index]!);
  }

  sent(failed: boolean): void {
    if (failed) this.close(null);
    this.#server.touch(this);
  }

  // Inside.

  /**
   * What is sent is sent: TLS begins below this connection, or the client goes to the Worker that
   * serves it.
   */
  #handOver(): void {
    if (this.#replies.sends > 0) return;
    const { fd } = this.#replies;
    this.#server.engine.disown(fd);
    if (this.#passing !== null) {
      const { negotiated, reply } = this.#passing;
      this.#passing = null;
      const rest = this.#slab.bytes.slice(this.#at, this.#end);
      this.#server.pass(fd, negotiated, reply, rest);
      this.#closed = true;
      return;
    }
    this.#tlsDue = false;
    this.#replies.fd = this.#server.beginTls(fd);
    const { exports, limits } = this.#server;
    this.#session = NbdSession.overTls(exports, limits, this, this.#session.clientFlags);
    if (this.#leaving) this.#session.refuse(NBD_ERROR.ESHUTDOWN);
  }

  #receive(): void {
    if (this.#closed || this.#receiving) return;
    if (!this.#farewell && (this.#session.paused || this.#session.closed)) return;
    this.#receiving = true;
    const { fd } = this.#replies;
    const { engine, operations, pool } = this.#server;
    const wanted = this.#session.wanted;
    if (wanted >= DIRECT_BYTES && !this.#farewell) {
      const tag = operations.begin(this, What.ReceivePayload);
      engine.recvAll(fd, pool.slab, this.#session.wantedAt, wanted, tag);
    } else {
      const tag = operations.begin(this, What.Receive);
      engine.recv(fd, this.#slab, this.#receiveAt, RECEIVE_BYTES, tag);
    }
  }

  #received(what: number, result: number): void {
    this.#receiving = false;
    if (this.#farewell && result > 0) return this.#server.touch(this);
    if (this.#closed || this.#session.closed && !this.#farewell) return this.#server.touch(this);
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
  #take(request: NbdRequest, bytes: number, reply = REPLY_BYTES): RequestSlot | null {
    if (this.#free.length === 0) return null;
    if (!this.#replies.hasRoom(reply)) return null;
    let buffer = -1;
    if (bytes > 0) {
      buffer = this.#server.acquire(this, bytes);
      if (buffer < 0) return null;
    }
    const slot = this.#free.pop()!;
    slot.fill(request, buffer, reply);
    this.#replies.reserved += reply;
    return slot;
  }

  #submit(slot: RequestSlot, kind: RequestKind, offset: number, length: number): void {
    slot.state = SlotState.Submitted;
    slot.kind = kind;
    // A CACHE goes on in steps.
    if (slot.progress === 0) slot.since = this.#server.stats.now;
    const fua = (slot.flags & NBD_CMD_FLAG.FUA) !== 0;
    this.#server.submit(this, slot.index, kind, offset, length, slot.buffer, fua);
  }

  #release(slot: RequestSlot): void {
    if (slot.buffer >= 0) this.#server.pool.release(slot.buffer);
    slot.buffer = -1;
    slot.state = SlotState.Free;
    this.#replies.reserved -= slot.reserved;
    slot.reserved = 0;
    this.#free.push(slot);
    this.#server.touch(this);
  }

  /** The next pieces of CACHE requests; not asked for within an answer of the volume. */
  #cacheOn(): void {
    for (let slot = this.#caching.pop(); slot !== undefined; slot = this.#caching.pop()) {
      if (this.#closed || slot.state === SlotState.Overdue) {
        this.#release(slot);
        continue;
      }
      slot.progress += CACHE_STEP;
      const length = Math.min(slot.length - slot.progress, CACHE_STEP);
      this.#submit(slot, RequestKind.Read, slot.offset + slot.progress, length);
    }
  }

  /** Closes, and tells the server, when nothing is left to be done. */
  #settle(): void {
    if (this.#leaving && !this.#closed && this.#sendsIdle()) this.#endOfService();
    if (!this.#closed || this.#receiving || this.#replies.sends > 0) return;
    if (this.#incoming !== null) {
      const slot = this.#incoming;
      this.#incoming = null;
      this.#release(slot);
    }
    if (this.inFlight === 0) this.#server.removed(this);
  }

  /**
   * All answers are sent. To close with requests of the client unread would reset the connection and
   * could take the answers with it; so its end is waited for, unless it has said goodbye.
   */
  #endOfService(): void {
    if (this.#farewell) return;
    if (this.#session.closed) return this.close(null);
    this.#farewell = true;
    this.#phaseSince = this.#server.stats.now;
    endSending(this.#replies.fd);
    this.#receive();
  }

  #sendsIdle(): boolean {
    const waiting = this.inFlight - (this.#incoming === null ? 0 : 1);
    return waiting === 0 && this.#replies.sends === 0;
  }
}
