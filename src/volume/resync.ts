/**
 * Copying the dirty blocks to the peer, while clients go on.
 *
 * Checksums first (`block_walk.ts`): the peer says which blocks differ, only those are sent, and it
 * makes blocks of zeroes by itself. Where hardly any are equal, as on a new disk, most batches are sent
 * without asking. Bits are cleared only after the peer has flushed what it has; until then a lost
 * session, or a peer that loses power, leaves them all set. The disk is walked once, upwards.
 *
 * Blocks that cannot be read here stay dirty, and everything else is copied: the replica stays outside
 * the in-sync set until a client has written them anew, or a later attempt reads them. Only where there
 * are many the disk counts as failed.
 */

import { BlockWalk, type WalkHost } from "./block_walk.ts";
import type { VolumeContext } from "./context.ts";
import { type Op, OpKind, OpState, type OpTable, PeerState } from "./in_flight.ts";
import { BLOCK_BYTES } from "./metadata/layout.ts";
import type { Pace } from "./pace.ts";
import type { WalkProgress } from "./types.ts";
import type { BlockSums, Runs } from "../wire/block_frames.ts";

/** Blocks copied before the peer is asked to flush, so that an interruption repeats little: 64 MiB. */
const CHECKPOINT_BLOCKS = 16_384;
/** Below this share of equal blocks asking costs more than it saves… */
const WORTH_ASKING = 0.02;
/** …but every so many batches it is tried again. */
const ASK_EVERY = 8;
/** From so many blocks on that cannot be read, the disk is not worth being served from. */
const MOST_UNREADABLE = 256;
/** Blocks that could not be read are tried again every so many milliseconds. */
const RETRY_EVERY = 10_000;

/** What a resync needs of the link. */
export interface ResyncHost extends WalkHost {
  /** Sends a FLUSH; sets `peer`, `frames` and `sentAt`. */
  send(op: Op): void;
  /** Every bit is cleared: the peer has it all, stable. */
  resynced(): void;
}

/** See the module comment. */
export class Resync extends BlockWalk {
  readonly #host: ResyncHost;
  /** Next block to look at. */
  #cursor = 0;
  /** Done since the last checkpoint began: pairs (first block, blocks). */
  #copied: number[] = [];
  #copiedBlocks = 0;
  /** Covered by the checkpoint that is under way; null: none is. */
  #checked: number[] | null = null;
  /** Share of equal blocks in the last batches that were compared; null: none was. */
  #equal: number | null = null;
  /** Batches since one was asked about. */
  #unasked = 0;
  /** To be read one by one: a batch with them could not be read. */
  #singly: number[] = [];
  /** Dirty blocks that cannot be read here. */
  readonly #unreadable = new Set<number>();
  /** When they were tried last, where nothing else is left; null: something is. */
  #stuckAt: number | null = null;

  /** Of one volume. */
  constructor(context: VolumeContext, table: OpTable, pace: Pace, host: ResyncHost) {
    super(context, table, pace, host, OpKind.Resync);
    this.#host = host;
  }

  /** Starts over the whole bitmap; the peer is ready. */
  begin(): void {
    this.#cursor = 0;
    this.#copied = [];
    this.#copiedBlocks = 0;
    this.#checked = null;
    this.#equal = null;
    this.#unasked = ASK_EVERY;
    this.#singly = [];
    this.#unreadable.clear();
    this.#stuckAt = null;
    this.go(this.context.bitmap.count);
    this.pump();
  }

  /** Whether nothing is left to copy but what cannot be read here. */
  get stuck(): boolean {
    return this.active && this.#stuckAt !== null;
  }

  /** What is stuck is told, not broken off. */
  override get stalledFor(): number {
    return this.stuck ? 0 : super.stalledFor;
  }

  override get progress(): WalkProgress {
    const { size } = this.#unreadable;
    return { ...super.progress, ...(size > 0 && { unreadableBytes: size * BLOCK_BYTES }) };
  }

  /** Time passed: what could not be read is tried again now and then. */
  override tick(): void {
    const { now } = this.context;
    // Each may take its disk seconds: one round after the other, and clients in between.
    const busy = this.#singly.length > 0 || this.underWay > 0;
    if (this.stuck && busy) this.#stuckAt = now;
    else if (this.stuck && now - this.#stuckAt! >= RETRY_EVERY) {
      this.#stuckAt = now;
      this.#singly = [...this.#unreadable];
    }
    super.tick();
  }

  /** The session is lost: bits of what was not flushed there stay. */
  stop(): void {
    this.halt();
    this.#copied = [];
    this.#checked = null;
  }

  /** FLUSHED for a checkpoint came. */
  checkpointed(op: Op): void {
    if (op.peer !== PeerState.Sent) return;
    this.table.free(op);
    const checked = this.#checked;
    this.#checked = null;
    if (checked !== null) {
      for (let i = 0; i < checked.length; i += 2) {
        this.context.bitmap.clear(checked[i]!, checked[i + 1]!);
      }
      this.context.bitmapWriter.flush(() => {});
    }
    this.pump();
  }

  /** The session in which it was sent is lost. */
  override lost(op: Op): void {
    if (op.kind === OpKind.Checkpoint) this.table.free(op);
    else super.lost(op);
  }

  override abandon(): void {
    this.stop();
    super.abandon();
  }

  protected more(): boolean {
    // What the first one shows is worth the wait.
    if (this.#equal === null && this.underWay > 0) return false;
    return this.#singly.length > 0 || this.#nextBlock() >= 0;
  }

  protected next(most: number): Runs {
    const single = this.#singly.shift();
    if (single !== undefined) return [single, 1];
    const runs: number[] = [];
    for (let left = most; left > 0;) {
      const first = this.#nextBlock();
      if (first < 0) break;
      const blocks = this.#runLength(first, left);
      runs.push(first, blocks);
      left -= blocks;
      this.#cursor = first + blocks;
    }
    return runs;
  }

  protected unreadable(op: Op, errno: number): void {
    const { context } = this;
    const what = `reading ${op.length} bytes at ${op.offset} failed`;
    if (op.blocks > 1) {
      // Which of them it was, the error does not say.
      for (let i = 0; i < op.runs.length; i += 2) {
        for (let n = 0; n < op.runs[i + 1]!; n++) this.#singly.push(op.runs[i]! + n);
      }
    } else if (this.#unreadable.has(op.runs[0]!)) {
      // As before.
    } else if (this.#unreadable.size < MOST_UNREADABLE) {
      this.#unreadable.add(op.runs[0]!);
      const text = `block ${op.runs[0]} cannot be read here: it stays out of sync`;
      context.note("error", "read-error", text, { block: op.runs[0]!, errno });
    } else {
      this.end(op);
      return context.fail(`${what}, after ${MOST_UNREADABLE} blocks more`, errno);
    }
    this.end(op);
    this.pump();
  }

  protected read(op: Op, sums: BlockSums): void {
    if (op.blocks === 1) this.#unreadable.delete(op.runs[0]!);
    const ask = ++this.#unasked >= ASK_EVERY || (this.#equal ?? 1) >= WORTH_ASKING ||
      sums.zeroes.includes(1);
    if (ask) {
      this.#unasked = 0;
      this.ask(op, sums, false);
      return;
    }
    this.send(op, new Uint8Array(op.blocks).fill(1));
  }

  protected compared(op: Op, differs: Uint8Array, equal: number): void {
    const share = equal / op.blocks;
    this.#equal = this.#equal === null ? share : 0.7 * this.#equal + 0.3 * share;
    this.done += equal;
    this.pace.done(equal * BLOCK_BYTES);
    if (equal < op.blocks) this.send(op, differs);
    else this.#finishBatch(op);
  }

  protected copied(op: Op): void {
    this.done += op.blocks;
    this.pace.done(op.blocks * BLOCK_BYTES);
    this.#finishBatch(op);
  }

  protected settle(): void {
    if (!this.active || this.#checked !== null) return;
    const last = this.underWay === 0 && !this.more();
    if (!last && this.#copiedBlocks < CHECKPOINT_BLOCKS) return;
    if (this.#copied.length === 0) {
      if (last) this.#finish();
      return;
    }
    const op = this.table.take(OpKind.Checkpoint, -1, 0, 0);
    if (op === null) return;
    this.#checked = this.#copied;
    this.#copied = [];
    this.#copiedBlocks = 0;
    op.state = OpState.Running;
    op.localDone = true;
    this.#host.send(op);
  }

  #finishBatch(op: Op): void {
    for (const one of op.whole) this.#copied.push(one);
    for (let i = 1; i < op.whole.length; i += 2) this.#copiedBlocks += op.whole[i]!;
    this.end(op);
  }

  #finish(): void {
    const { bitmap } = this.context;
    for (const block of this.#unreadable) {
      // A client has written it anew.
      if (!bitmap.has(block)) this.#unreadable.delete(block);
    }
    if (bitmap.count > this.#unreadable.size) {
      // A flush that began before this session found the peer wanting, and set bits behind.
      this.#cursor = 0;
      this.#stuckAt = null;
      this.total = this.done + bitmap.count;
      this.pump();
      return;
    }
    if (bitmap.count > 0) {
      this.#stick();
      return;
    }
    this.halt();
    this.context.changed = true;
    this.#host.resynced();
  }

  /** Everything is copied that can be read. */
  #stick(): void {
    if (this.#stuckAt !== null) return;
    const { context } = this;
    this.#stuckAt = context.now;
    context.changed = true;
    const blocks = this.#unreadable.size;
    const text =
      `all is copied but ${blocks} blocks that cannot be read here: the replica stays out ` +
      `of the in-sync set until they are written anew`;
    context.note("error", "resync-incomplete", text, { blocks });
  }

  /** The next dirty block that may be readable; -1: there is none. */
  #nextBlock(): number {
    const { bitmap } = this.context;
    let block = bitmap.next(this.#cursor);
    while (block >= 0 && this.#unreadable.has(block)) block = bitmap.next(block + 1);
    return block;
  }

  /** Dirty blocks from `first` on, at most so many, that may be readable. */
  #runLength(first: number, most: number): number {
    const blocks = this.context.bitmap.runLength(first, most);
    if (this.#unreadable.size === 0) return blocks;
    let length = 1;
    while (length < blocks && !this.#unreadable.has(first + length)) length++;
    return length;
  }
}
