/**
 * The activity log in memory: which extents may be written now.
 *
 * An extent enters the log before the first write to it, here or on the wire, and that entry is
 * durable first. It may leave when a flush that followed its last write succeeded here and on the
 * connected peer; for a peer that is not connected, the blocks written become dirty bits, durable
 * before the extent leaves. Extents stay as long as the place is not needed, so hot ones cost
 * nothing; a flush makes every calm extent replaceable at once, so a load of random writes beyond the
 * log pays for one flush per many extents.
 */

import type { Op } from "./in_flight.ts";
import { encodeTransaction, LOG_EMPTY, LOG_UPDATES_MAX } from "./metadata/activity_log.ts";
import type { DirtyBitmap } from "./metadata/bitmap.ts";
import {
  BLOCK_BYTES,
  EXTENT_BLOCKS,
  EXTENT_BYTES,
  type Geometry,
  logTransactionOffset,
  META_PAGE_BYTES,
} from "./metadata/layout.ts";
import type { BitmapWriter, WriteMetadata } from "./metadata_writer.ts";

const enum SlotState {
  Free = 0,
  /** Its transaction is not durable yet. */
  Entering = 1,
  /** May hold writes that are not stable everywhere. */
  Unstable = 2,
  /** Replaceable. */
  Stable = 3,
}

const MAP_WORDS = EXTENT_BLOCKS / 32;

/** What the log needs of its surroundings. */
export interface LogHost {
  /** Starts an operation that flushes here and on the connected peer; `flushed` follows. */
  startLogFlush(asOf: number): void;
  /** The operation's extents are durable in the log. */
  logged(op: Op): void;
}

/** See the module comment. */
export class ActivityLog {
  readonly #layout: Geometry;
  readonly #write: WriteMetadata;
  readonly #host: LogHost;
  /** The peer's bitmap and its writer; null when the volume has no peer. */
  readonly #bitmap: DirtyBitmap | null;
  readonly #bitmapWriter: BitmapWriter | null;
  readonly #table: Int32Array;
  readonly #slotOf: Int32Array;
  readonly #state: Uint8Array;
  readonly #inFlight: Uint16Array;
  readonly #ticket: Float64Array;
  /** The log's clock at the end of the slot's last write. */
  readonly #lastDone: Float64Array;
  /** Per slot, the blocks written since all was stable: 1024 bits. */
  readonly #written: Uint32Array;
  /** Slots in state Unstable, dense, and each one's place in that list. */
  readonly #unstable: number[] = [];
  readonly #unstableAt: Int32Array;
  readonly #free: number[];
  #stable = 0;
  #hand = 0;
  #clock = 0;
  #sequence: number;
  readonly #page = new Uint8Array(META_PAGE_BYTES);
  /** Slots to be written, and how many of them each coming transaction takes. */
  #updates: number[] = [];
  #openTicket = 1;
  #openCount = 0;
  #doneTicket = 0;
  #writing = false;
  readonly #waitingForTicket: Op[] = [];
  readonly #waitingForSlot: Op[] = [];
  #flushing = false;

  /** An empty log; `sequence` is that of the newest transaction on the disk. */
  constructor(
    layout: Geometry,
    write: WriteMetadata,
    host: LogHost,
    sequence: number,
    bitmap: DirtyBitmap | null,
    bitmapWriter: BitmapWriter | null,
  ) {
    this.#layout = layout;
    this.#write = write;
    this.#host = host;
    this.#sequence = sequence;
    this.#bitmap = bitmap;
    this.#bitmapWriter = bitmapWriter;
    const slots = layout.logSlots;
    this.#table = new Int32Array(slots).fill(LOG_EMPTY);
    this.#slotOf = new Int32Array(layout.extents).fill(-1);
    this.#state = new Uint8Array(slots);
    this.#inFlight = new Uint16Array(slots);
    this.#ticket = new Float64Array(slots);
    this.#lastDone = new Float64Array(slots);
    this.#written = new Uint32Array(slots * MAP_WORDS);
    this.#unstableAt = new Int32Array(slots).fill(-1);
    this.#free = Array.from({ length: slots }, (_, i) => slots - 1 - i);
  }

  /** Value of the log's clock: what a flush that starts now covers. */
  get clock(): number {
    return this.#clock;
  }

  /** Sequence number from which transactions count, once this log is to be empty. */
  get logFrom(): number {
    return this.#sequence + 1;
  }

  /**
   * The operation's present chunk is to be written: true if its extents are durable in the log,
   * else `host.logged(op)` follows.
   */
  acquire(op: Op): boolean {
    if (!this.#tryAcquire(op)) {
      this.#waitingForSlot.push(op);
      this.#wantFlush();
      return false;
    }
    if (op.ticket <= this.#doneTicket) return true;
    this.#waitingForTicket.push(op);
    this.#writeNext();
    return false;
  }

  /** The operation's present chunk is done everywhere, or its dirty bits are set. */
  release(op: Op): void {
    const done = ++this.#clock;
    const [first, last] = extentsOf(op);
    for (let extent = first; extent <= last; extent++) {
      const slot = this.#slotOf[extent]!;
      if (slot < 0 || this.#inFlight[slot] === 0) {
        throw new Error(`extent ${extent} left the activity log under a write`);
      }
      this.#inFlight[slot]!--;
      this.#lastDone[slot] = done;
    }
    if (this.#waitingForSlot.length > 0) this.#wantFlush();
  }

  /** Whether an operation waits for a place. */
  get starved(): boolean {
    return this.#waitingForSlot.length > 0;
  }

  /** A flush asked for by `startLogFlush` ended: see {@linkcode flushed}. */
  logFlushed(asOf: number, peerCovered: boolean): void {
    this.#flushing = false;
    this.flushed(asOf, peerCovered);
  }

  /**
   * A flush that began at `asOf` succeeded here; `peerCovered`: on the peer too, or there is none.
   * Extents without later writes become replaceable.
   */
  flushed(asOf: number, peerCovered: boolean): void {
    const calm: number[] = [];
    for (const slot of this.#unstable) {
      if (this.#inFlight[slot] === 0 && this.#lastDone[slot]! <= asOf) calm.push(slot);
    }
    for (const slot of calm) {
      if (!peerCovered) this.#spill(slot);
      this.#written.fill(0, slot * MAP_WORDS, (slot + 1) * MAP_WORDS);
    }
    // Bits set earlier, for writes that the peer missed, also go before the extents that cover them.
    if (this.#bitmapWriter === null) this.#settle(calm, asOf);
    else this.#bitmapWriter.flush(() => this.#settle(calm, asOf));
  }

  /** Everything written and not known to be stable on the peer becomes dirty bits, in memory. */
  spillAll(): void {
    for (const slot of this.#unstable) this.#spill(slot);
    for (let slot = 0; slot < this.#layout.logSlots; slot++) {
      if (this.#state[slot] === SlotState.Entering) this.#spill(slot);
    }
  }

  /** Nobody waits any more: the role has ended by force. */
  abandon(): void {
    this.#waitingForTicket.length = 0;
    this.#waitingForSlot.length = 0;
  }

  /** Forgets everything: the superblock's `logFrom` empties the log on the disk. */
  reset(): void {
    const slots = this.#layout.logSlots;
    this.#table.fill(LOG_EMPTY);
    this.#slotOf.fill(-1);
    this.#state.fill(0);
    this.#inFlight.fill(0);
    this.#written.fill(0);
    this.#unstable.length = 0;
    this.#unstableAt.fill(-1);
    this.#free.length = 0;
    for (let slot = slots - 1; slot >= 0; slot--) this.#free.push(slot);
    this.#stable = 0;
    this.#updates = [];
    this.#openCount = 0;
    this.#waitingForTicket.length = 0;
    this.#waitingForSlot.length = 0;
    this.#flushing = false;
  }

  /** Writes the whole ring anew, empty, over transactions that have rotted. */
  rewrite(done: () => void, left = this.#layout.logRing): void {
    if (left === 0) {
      done();
      return;
    }
    const sequence = ++this.#sequence;
    encodeTransaction(this.#layout, sequence, this.#table, [], this.#page);
    this.#write(
      logTransactionOffset(this.#layout, sequence),
      this.#page,
      () => this.rewrite(done, left - 1),
    );
  }

  #spill(slot: number): void {
    const first = this.#table[slot]! * EXTENT_BLOCKS;
    this.#bitmap?.setMap(first, this.#written, slot * MAP_WORDS, MAP_WORDS);
  }

  #settle(calm: readonly number[], asOf: number): void {
    for (const slot of calm) {
      if (
        this.#state[slot] === SlotState.Unstable && this.#inFlight[slot] === 0 &&
        this.#lastDone[slot]! <= asOf
      ) {
        this.#setUnstable(slot, false);
        this.#state[slot] = SlotState.Stable;
        this.#stable++;
      }
    }
    while (this.#waitingForSlot.length > 0) {
      const op = this.#waitingForSlot[0]!;
      if (!this.#tryAcquire(op)) {
        this.#wantFlush();
        break;
      }
      this.#waitingForSlot.shift();
      if (op.ticket <= this.#doneTicket) this.#host.logged(op);
      else this.#waitingForTicket.push(op);
    }
    this.#writeNext();
  }

  #wantFlush(): void {
    if (this.#flushing) return;
    // Pointless while every extent has a write under way: the next release asks again.
    const useful = this.#unstable.some((slot) => this.#inFlight[slot] === 0);
    if (!useful) return;
    this.#flushing = true;
    this.#host.startLogFlush(this.#clock);
  }

  #tryAcquire(op: Op): boolean {
    const [first, last] = extentsOf(op);
    let missing = 0;
    let ownStable = 0;
    for (let extent = first; extent <= last; extent++) {
      const slot = this.#slotOf[extent]!;
      if (slot < 0) missing++;
      else if (this.#state[slot] === SlotState.Stable) ownStable++;
    }
    if (missing > 0) {
      // First come, first served: a later one does not take places from under one that waits.
      if (this.#waitingForSlot.length > 0 && this.#waitingForSlot[0] !== op) return false;
      if (missing > this.#free.length + this.#stable - ownStable) return false;
    }
    let ticket = 0;
    for (let extent = first; extent <= last; extent++) {
      const slot = this.#slotOf[extent]!;
      if (slot < 0) continue;
      if (this.#state[slot] === SlotState.Stable) {
        this.#state[slot] = SlotState.Unstable;
        this.#stable--;
        this.#setUnstable(slot, true);
      }
      this.#inFlight[slot]!++;
      ticket = Math.max(ticket, this.#ticket[slot]!);
    }
    for (let extent = first; missing > 0 && extent <= last; extent++) {
      if (this.#slotOf[extent]! >= 0) continue;
      ticket = Math.max(ticket, this.#enter(extent));
      missing--;
    }
    op.ticket = ticket;
    this.#markWritten(op);
    return true;
  }

  #enter(extent: number): number {
    const slot = this.#free.pop() ?? this.#evict();
    this.#table[slot] = extent;
    this.#slotOf[extent] = slot;
    this.#state[slot] = SlotState.Entering;
    this.#inFlight[slot] = 1;
    if (this.#openCount === LOG_UPDATES_MAX) {
      this.#openTicket++;
      this.#openCount = 0;
    }
    this.#openCount++;
    this.#updates.push(slot);
    this.#ticket[slot] = this.#openTicket;
    const spare = this.#free.length + this.#stable;
    if (this.#layout.logSlots < this.#layout.extents && spare < this.#layout.logSlots >>> 3) {
      this.#wantFlush();
    }
    return this.#openTicket;
  }

  #evict(): number {
    const slots = this.#layout.logSlots;
    for (let i = 0; i < slots; i++) {
      const slot = this.#hand;
      this.#hand = (this.#hand + 1) % slots;
      if (this.#state[slot] === SlotState.Stable) {
        this.#stable--;
        this.#slotOf[this.#table[slot]!] = -1;
        return slot;
      }
    }
    throw new Error("the activity log has no replaceable extent, though it counted one");
  }

  #markWritten(op: Op): void {
    const from = op.offset + op.chunkOffset;
    const firstBlock = Math.floor(from / BLOCK_BYTES);
    const lastBlock = Math.floor((from + op.chunkLength - 1) / BLOCK_BYTES);
    for (let block = firstBlock; block <= lastBlock; block++) {
      const slot = this.#slotOf[Math.floor(block / EXTENT_BLOCKS)]!;
      const bit = block % EXTENT_BLOCKS;
      this.#written[slot * MAP_WORDS + (bit >>> 5)]! |= 1 << (bit & 31);
    }
  }

  #setUnstable(slot: number, unstable: boolean): void {
    if (unstable) {
      this.#unstableAt[slot] = this.#unstable.length;
      this.#unstable.push(slot);
      return;
    }
    const last = this.#unstable.pop()!;
    const place = this.#unstableAt[slot]!;
    if (last !== slot) {
      this.#unstable[place] = last;
      this.#unstableAt[last] = place;
    }
    this.#unstableAt[slot] = -1;
  }

  /** One transaction at a time; all extents that wait meanwhile share the next. */
  #writeNext(): void {
    if (this.#writing || this.#updates.length === 0) return;
    const batch = this.#updates.splice(0, LOG_UPDATES_MAX);
    const ticket = this.#ticket[batch[0]!]!;
    if (ticket === this.#openTicket) {
      this.#openTicket++;
      this.#openCount = 0;
    }
    this.#writing = true;
    const sequence = ++this.#sequence;
    encodeTransaction(this.#layout, sequence, this.#table, batch, this.#page);
    this.#write(logTransactionOffset(this.#layout, sequence), this.#page, () => {
      this.#writing = false;
      if (ticket > this.#doneTicket) this.#doneTicket = ticket;
      for (const slot of batch) {
        if (this.#state[slot] === SlotState.Entering && this.#ticket[slot] === ticket) {
          this.#state[slot] = SlotState.Unstable;
          this.#setUnstable(slot, true);
        }
      }
      const ready: Op[] = [];
      let kept = 0;
      for (const op of this.#waitingForTicket) {
        if (op.ticket <= this.#doneTicket) ready.push(op);
        else this.#waitingForTicket[kept++] = op;
      }
      this.#waitingForTicket.length = kept;
      for (const op of ready) this.#host.logged(op);
      this.#writeNext();
    });
  }
}

function extentsOf(op: Op): [number, number] {
  const from = op.offset + op.chunkOffset;
  return [
    Math.floor(from / EXTENT_BYTES),
    Math.floor((from + op.chunkLength - 1) / EXTENT_BYTES),
  ];
}
