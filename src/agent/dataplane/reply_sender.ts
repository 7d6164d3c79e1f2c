/** What goes out to one NBD client: answers to its options, replies, data. */
import {
  blockStatusBytes,
  encodeBlockStatusChunk,
  encodeReadHeader,
  encodeReply,
  HeaderStyle,
  NBD_CMD_FLAG,
  type NbdContext,
  type NbdError,
  type NbdReplyTo,
  REPLY_BYTES,
  REPLY_HEADER_BYTES,
} from "../../nbd/mod.ts";
import type { Slab } from "../../os/memory.ts";
import type { ExportServer } from "./export_server.ts";
import type { Completion } from "./operations.ts";
import type { RequestSlot } from "./requests.ts";
import { SendRing } from "./send_ring.ts";

/** Extents of one context in a BLOCK_STATUS reply. */
const STATUS_EXTENTS = 256;
/** Longest record of the ring, bytes: a chunk of BLOCK_STATUS. */
export const LONGEST_RECORD = blockStatusBytes(STATUS_EXTENTS);
const RING_BYTES = 32 * 1024;
/** Extents that `ExportServer.extents` has room for: pairs of length and flags. */
export const EXTENT_WORDS = 2 * STATUS_EXTENTS;

/** Bytes of the server's slab that it takes, for a connection with so many slots. */
export function senderBytes(slots: number): number {
  return RING_BYTES + slots * REPLY_HEADER_BYTES;
}

/** Where in `What` the numbers begin: bytes of the ring to free, or the slot whose data went out. */
const enum What {
  Ring = 0,
  Data = 1 << 20,
}

/** Who is told of sends that ended. */
export interface SendOwner {
  /** The data of this request are out, or never will be. */
  dataSent(slot: number): void;
  /** A send has ended. */
  sent(failed: boolean): void;
}

/**
 * Gathers replies, and sends them when it is told to. Each request under way has room for its reply
 * reserved, so that an answer never waits.
 */
export class ReplySender implements Completion {
  /** The socket; another one once TLS has begun. */
  fd: number;
  style = HeaderStyle.Simple;
  /** Bytes promised to requests under way. */
  reserved = 0;
  /** Sends under way. */
  sends = 0;
  /** When the last send ended, or the first of those under way began; milliseconds. */
  since = 0;
  readonly #server: ExportServer;
  readonly #owner: SendOwner;
  readonly #slab: Slab;
  readonly #headersAt: number;
  readonly #ring: SendRing;

  /** `base`: first of its bytes of the slab. */
  constructor(server: ExportServer, owner: SendOwner, fd: number, slab: Slab, base: number) {
    this.#server = server;
    this.#owner = owner;
    this.fd = fd;
    this.#slab = slab;
    this.#headersAt = base + RING_BYTES;
    this.#ring = new SendRing(slab, base, RING_BYTES, this.#startSend);
  }

  /** Can so many bytes be promised? */
  hasRoom(bytes: number): boolean {
    return this.#ring.hasRoom(this.reserved + bytes, LONGEST_RECORD);
  }

  /** Bytes of the handshake; false: there is no room, for a client that does not read. */
  handshake(bytes: Uint8Array): boolean {
    for (let at = 0; at < bytes.length; at += LONGEST_RECORD) {
      const piece = bytes.subarray(at, at + LONGEST_RECORD);
      if (!this.#ring.hasRoom(piece.length, LONGEST_RECORD)) return false;
      const offset = this.#ring.reserve(piece.length);
      this.#slab.bytes.set(piece, offset);
      this.#ring.commit(piece.length);
    }
    return true;
  }

  /** The reply without data to a request. There must be room. */
  reply(to: NbdReplyTo, error: NbdError): void {
    const at = this.#ring.reserve(REPLY_BYTES);
    this.#ring.commit(encodeReply(this.#slab.view, at, to, error, this.style));
  }

  /** The reply to a BLOCK_STATUS: a chunk for each of these contexts that it wants. */
  status(slot: RequestSlot, contexts: readonly NbdContext[]): void {
    const { extents } = this.#server;
    const most = (slot.flags & NBD_CMD_FLAG.REQ_ONE) !== 0 ? 1 : STATUS_EXTENTS;
    const style = this.style === HeaderStyle.Extended ? this.style : HeaderStyle.Structured;
    const wanted = contexts.filter((_, index) => (slot.contexts & (1 << index)) !== 0);
    for (const [index, { id, name }] of wanted.entries()) {
      const count = this.#server.status(name, slot.offset, slot.length, extents, most);
      const done = index === wanted.length - 1;
      const at = this.#ring.reserve(LONGEST_RECORD);
      const { view } = this.#slab;
      this.#ring.commit(
        encodeBlockStatusChunk(view, at, slot, id, extents, count, done, style),
      );
    }
  }

  /** The header and the data of a READ. */
  data(slot: RequestSlot): void {
    const { engine, operations, pool } = this.#server;
    const at = this.#headersAt + slot.index * REPLY_HEADER_BYTES;
    const header = encodeReadHeader(this.#slab.view, at, slot, this.style);
    this.#begin();
    const tag = operations.begin(this, What.Data + slot.index);
    const from = pool.offset(slot.buffer);
    engine.sendTwo(this.fd, this.#slab, at, header, pool.slab, from, slot.length, tag);
  }

  /** Sends what was gathered. */
  flush(): void {
    this.#ring.flush();
  }

  completed(what: number, result: number): void {
    this.sends--;
    this.since = this.#server.stats.now;
    if (what >= What.Data) this.#owner.dataSent(what - What.Data);
    else this.#ring.release(what - What.Ring);
    this.#owner.sent(result < 0);
  }

  #begin(): void {
    if (this.sends++ === 0) this.since = this.#server.stats.now;
  }

  readonly #startSend = (slab: Slab, offset: number, length: number, freed: number): void => {
    this.#begin();
    const tag = this.#server.operations.begin(this, What.Ring + freed);
    this.#server.engine.send(this.fd, slab, offset, length, tag);
  };
}
