/**
 * Copying the dirty blocks to the peer, while clients go on.
 *
 * Runs of neighbouring dirty blocks are read and sent in order of their offset, a bounded number at a
 * time. Each holds its range like a read until the peer has answered: it starts when the overlapping
 * writes are done, and later writes to the range wait for it, so the peer gets them in order. Bits
 * are cleared only after the peer has flushed what it was sent; until then a lost session, or a peer
 * that loses power, leaves them all set.
 */

import type { VolumeContext } from "./context.ts";
import { type Op, OpKind, OpState, type OpTable, PeerState } from "./in_flight.ts";
import { BLOCK_BYTES } from "./metadata/layout.ts";
import { makeTag, TagKind } from "./tags.ts";
import type { BufferHandle } from "./types.ts";

/** Blocks of one RESYNC frame at most: 128 KiB. */
export const RESYNC_BLOCKS = 32;
/** Frames under way at once: while clients are served, and while they are idle. */
const WINDOW_BUSY = 4;
const WINDOW_IDLE = 16;
/** Blocks copied before the peer is asked to flush, so that an interruption repeats little: 64 MiB. */
const CHECKPOINT_BLOCKS = 16_384;

/** What a resync needs of the link. */
export interface ResyncHost {
  /** Sends a RESYNC frame from this buffer, or a FLUSH; sets `peer`, `frames` and `sentAt`. */
  send(op: Op): void;
  /** Every bit is cleared: the peer has it all, stable. */
  resynced(): void;
  /** Takes its turn among the operations: `Resync.start` follows when it comes. */
  unblocked(op: Op): void;
}

/** See the module comment. */
export class Resync {
  readonly #context: VolumeContext;
  readonly #table: OpTable;
  readonly #host: ResyncHost;
  #active = false;
  /** Next block to look at. */
  #cursor = 0;
  #underWay = 0;
  /** Copied since the last checkpoint began: pairs (first block, blocks). */
  #copied: number[] = [];
  #copiedBlocks = 0;
  /** Covered by the checkpoint that is under way; null: none is. */
  #checked: number[] | null = null;
  #total = 0;
  #done = 0;
  /** Distinguishes the copies of this session from those of earlier ones. */
  #run = 0;
  /** A free buffer is awaited. */
  #starved = false;

  /** Of one volume. */
  constructor(context: VolumeContext, table: OpTable, host: ResyncHost) {
    this.#context = context;
    this.#table = table;
    this.#host = host;
  }

  /** Whether blocks are still to be copied in this session. */
  get active(): boolean {
    return this.#active;
  }

  /** Bytes copied and in all, for status. */
  get progress(): { readonly doneBytes: number; readonly totalBytes: number } {
    return { doneBytes: this.#done * BLOCK_BYTES, totalBytes: this.#total * BLOCK_BYTES };
  }

  /** Starts over the whole bitmap; the peer is ready. */
  begin(): void {
    this.#active = true;
    this.#run++;
    this.#cursor = 0;
    this.#copied = [];
    this.#copiedBlocks = 0;
    this.#checked = null;
    this.#total = this.#context.bitmap.count;
    this.#done = 0;
    this.pump();
  }

  /** The session is lost: bits of what was not flushed there stay. */
  stop(): void {
    this.#active = false;
    this.#copied = [];
    this.#checked = null;
    this.#starved = false;
  }

  /** Starts what the window allows. */
  pump(): void {
    const window = this.#table.clients > 0 ? WINDOW_BUSY : WINDOW_IDLE;
    while (this.#active && !this.#starved && this.#underWay < window) {
      const first = this.#context.bitmap.next(this.#cursor);
      if (first < 0) break;
      const blocks = this.#context.bitmap.runLength(first, RESYNC_BLOCKS);
      const buffer = this.#context.io.acquire(blocks * BLOCK_BYTES);
      if (buffer < 0) {
        this.#starved = true;
        return;
      }
      if (!this.#copy(first, blocks, buffer)) return;
    }
    this.#checkpoint();
  }

  /** A buffer may be had again. */
  bufferFree(): void {
    this.#starved = false;
    this.pump();
  }

  /** The turn of a copy has come. */
  start(op: Op): void {
    if (!this.#active || op.asOf !== this.#run) {
      this.#end(op);
      return;
    }
    op.state = OpState.Running;
    this.#context.dataIoBegan();
    this.#context.io.read(
      makeTag(TagKind.Operation, op.index),
      op.offset,
      op.length,
      op.buffer,
      0,
    );
  }

  /** The blocks were read. */
  localDone(op: Op, errno: number): void {
    if (errno !== 0) {
      this.#context.fail(`reading ${op.length} bytes at ${op.offset} failed`, errno);
      return;
    }
    op.localDone = true;
    if (!this.#active || op.asOf !== this.#run) {
      this.#end(op);
      return;
    }
    this.#host.send(op);
    this.#context.io.release(op.buffer);
    op.buffer = -1;
  }

  /** RESYNCED, or FLUSHED for a checkpoint, came. */
  answered(op: Op): void {
    if (op.peer !== PeerState.Sent) return;
    op.peer = PeerState.Answered;
    if (op.kind === OpKind.Checkpoint) {
      this.#table.free(op);
      this.#clear();
    } else {
      const first = op.offset / BLOCK_BYTES;
      const blocks = op.length / BLOCK_BYTES;
      this.#copied.push(first, blocks);
      this.#copiedBlocks += blocks;
      this.#done += blocks;
      this.#end(op);
    }
    this.pump();
  }

  /** The session in which it was sent is lost. */
  lost(op: Op): void {
    if (op.kind === OpKind.Checkpoint) this.#table.free(op);
    else if (op.state === OpState.Running && op.localDone) this.#end(op);
    // One that is being read or waits for its turn ends when that is over.
  }

  #copy(first: number, blocks: number, buffer: BufferHandle): boolean {
    const op = this.#table.take(
      OpKind.Resync,
      -1,
      first * BLOCK_BYTES,
      blocks * BLOCK_BYTES,
    );
    if (op === null) {
      this.#context.io.release(buffer);
      return false;
    }
    this.#cursor = first + blocks;
    op.buffer = buffer;
    op.chunkLength = op.length;
    op.asOf = this.#run;
    this.#underWay++;
    if (this.#table.enter(op)) this.start(op);
    return true;
  }

  /** Forgets what was under way: the role has ended by force, and nothing is in flight any more. */
  abandon(): void {
    this.stop();
    this.#underWay = 0;
    for (const op of this.#table.ops) {
      if (op.kind !== OpKind.Resync || op.state === OpState.Free || op.buffer < 0) continue;
      this.#context.io.release(op.buffer);
      op.buffer = -1;
    }
  }

  #end(op: Op): void {
    if (op.buffer >= 0) this.#context.io.release(op.buffer);
    this.#underWay--;
    this.#table.leave(op, (one) => this.#host.unblocked(one));
    this.#table.free(op);
  }

  #checkpoint(): void {
    if (!this.#active || this.#checked !== null) return;
    const last = this.#underWay === 0 && this.#context.bitmap.next(this.#cursor) < 0;
    if (!last && this.#copiedBlocks < CHECKPOINT_BLOCKS) return;
    if (this.#copied.length === 0) {
      if (last) this.#finish();
      return;
    }
    const op = this.#table.take(OpKind.Checkpoint, -1, 0, 0);
    if (op === null) return;
    this.#checked = this.#copied;
    this.#copied = [];
    this.#copiedBlocks = 0;
    op.state = OpState.Running;
    op.localDone = true;
    this.#host.send(op);
  }

  #clear(): void {
    const checked = this.#checked;
    if (checked === null) return;
    this.#checked = null;
    for (let i = 0; i < checked.length; i += 2) {
      this.#context.bitmap.clear(checked[i]!, checked[i + 1]!);
    }
    this.#context.bitmapWriter.flush(() => {});
  }

  #finish(): void {
    if (this.#context.bitmap.count > 0) {
      // A flush that began before this session found the peer wanting, and set bits behind.
      this.#cursor = 0;
      this.#total = this.#done + this.#context.bitmap.count;
      this.pump();
      return;
    }
    this.#active = false;
    this.#context.changed = true;
    this.#host.resynced();
  }
}
