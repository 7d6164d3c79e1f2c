/** The sending side of a replication link: frames in order, short ones together. */
import type { Slab } from "../../os/memory.ts";
import { MAX_HEAD_BYTES } from "../../wire/block_frames.ts";
import { SEAL_BYTES, type Sealer } from "../../wire/link_seal.ts";
import { REPLICATION_HEADER_BYTES } from "../../wire/replication.ts";
import type { Completion } from "./operations.ts";
import type { ReplicationHost } from "./replication.ts";
import { SendRing } from "./send_ring.ts";

/** Longest record in the ring: what is longer goes in pieces. */
const RECORD_BYTES = 4096;

interface Send {
  freed: number;
  buffer: number;
}

/** What did not fit into the ring, in order. */
interface Waiting {
  readonly bytes: Uint8Array;
  /** Payload that follows, or -1. */
  readonly buffer: number;
  readonly from: number;
  readonly length: number;
}

/**
 * Headers and control frames are gathered in a ring; a payload is sent from its buffer, which is held
 * until then. What the ring cannot take waits here: how much that can be is bounded by the requests
 * under way, not by this class.
 */
export class FrameSender implements Completion {
  readonly #host: ReplicationHost;
  readonly #fd: number;
  readonly #ring: SendRing;
  readonly #ended: (result: number) => void;
  readonly #sends: Send[] = [];
  readonly #free: number[] = [];
  readonly #scratch = new Uint8Array(REPLICATION_HEADER_BYTES + MAX_HEAD_BYTES);
  readonly #scratchView = new DataView(this.#scratch.buffer);
  #waiting: Waiting[] = [];
  #sealer: Sealer | null = null;
  #busy = 0;
  #closed = false;
  /** Payload of the flush under way. */
  #buffer = -1;
  #from = 0;
  #length = 0;

  /** `ended` hears the result of every send, after its memory was given back. */
  constructor(
    host: ReplicationHost,
    fd: number,
    slab: Slab,
    base: number,
    size: number,
    ended: (result: number) => void,
  ) {
    this.#host = host;
    this.#fd = fd;
    this.#ended = ended;
    this.#ring = new SendRing(slab, base, size, this.#start);
  }

  /** The engine still has sends of this link. */
  get busy(): boolean {
    return this.#busy > 0;
  }

  /** The header of the next frame is to be encoded at 0 of this. */
  get header(): DataView {
    return this.#scratchView;
  }

  /** From now on everything is sealed. */
  encrypt(sealer: Sealer): void {
    this.#sealer = sealer;
  }

  /** The encoded header and this head are a whole frame. */
  commitHeader(head: Uint8Array): void {
    if (this.#sealer !== null) this.bytes(this.#headed(head));
    else this.#append(this.#headed(head), -1, 0, 0);
  }

  /** Header and head are followed by `length` bytes at `from` of the pool, in this buffer. */
  commitWithPayload(head: Uint8Array, buffer: number, from: number, length: number): void {
    if (this.#sealer !== null) {
      this.bytes(this.#headed(head));
      this.bytes(this.#host.pool.slab.bytes.subarray(from, from + length));
      return;
    }
    this.#host.pool.retain(buffer);
    this.#append(this.#headed(head), buffer, from, length);
  }

  #headed(head: Uint8Array): Uint8Array {
    this.#scratch.set(head, REPLICATION_HEADER_BYTES);
    return this.#scratch.subarray(0, REPLICATION_HEADER_BYTES + head.length);
  }

  /** Any bytes: control frames, the challenge. */
  bytes(bytes: Uint8Array): void {
    const sealer = this.#sealer;
    if (sealer === null) return this.#pieces(bytes);
    if (this.#closed) return;
    for (let at = 0; at < bytes.length; at += SEAL_BYTES) {
      this.#pieces(sealer.seal(bytes.subarray(at, at + SEAL_BYTES)));
    }
  }

  #pieces(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += RECORD_BYTES) {
      this.#append(bytes.subarray(at, at + RECORD_BYTES), -1, 0, 0);
    }
  }

  /** Hands what was gathered to the kernel. */
  flush(): void {
    this.#ring.flush();
  }

  /** The descriptor is closed: nothing more is started, what waits is dropped. */
  close(): void {
    this.#closed = true;
    for (const { buffer } of this.#waiting) if (buffer >= 0) this.#host.pool.release(buffer);
    this.#waiting = [];
  }

  completed(what: number, result: number): void {
    const send = this.#sends[what]!;
    this.#busy--;
    this.#free.push(what);
    this.#ring.release(send.freed);
    if (send.buffer >= 0) this.#host.pool.release(send.buffer);
    send.buffer = -1;
    if (!this.#closed && this.#waiting.length > 0 && result >= 0) this.#refill();
    this.#ended(result);
  }

  #append(bytes: Uint8Array, buffer: number, from: number, length: number): void {
    if (this.#closed) {
      if (buffer >= 0) this.#host.pool.release(buffer);
    } else if (this.#waiting.length > 0 || !this.#ring.hasRoom(bytes.length, RECORD_BYTES)) {
      // What was gathered must be under way, or nothing would ever make room.
      this.#ring.flush();
      this.#waiting.push({ bytes: bytes.slice(), buffer, from, length });
    } else {
      this.#put(bytes, buffer, from, length);
    }
  }

  #put(bytes: Uint8Array, buffer: number, from: number, length: number): void {
    const at = this.#ring.reserve(bytes.length);
    this.#ring.slab.bytes.set(bytes, at);
    this.#ring.commit(bytes.length);
    if (buffer < 0) return;
    this.#buffer = buffer;
    this.#from = from;
    this.#length = length;
    this.#ring.flush();
  }

  #refill(): void {
    let taken = 0;
    for (const { bytes, buffer, from, length } of this.#waiting) {
      if (!this.#ring.hasRoom(bytes.length, RECORD_BYTES)) break;
      this.#put(bytes, buffer, from, length);
      taken++;
    }
    this.#waiting.splice(0, taken);
    this.#ring.flush();
  }

  readonly #start = (slab: Slab, offset: number, length: number, freed: number): void => {
    const { engine, operations, pool } = this.#host;
    const index = this.#free.pop() ?? this.#sends.push({ freed: 0, buffer: -1 }) - 1;
    const send = this.#sends[index]!;
    send.freed = freed;
    send.buffer = this.#buffer;
    this.#busy++;
    const tag = operations.begin(this, index);
    if (this.#buffer < 0) {
      engine.send(this.#fd, slab, offset, length, tag);
    } else {
      this.#buffer = -1;
      const { slab: data } = pool;
      engine.sendTwo(this.#fd, slab, offset, length, data, this.#from, this.#length, tag);
    }
  };
}
