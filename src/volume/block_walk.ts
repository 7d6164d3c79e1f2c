/**
 * Going once over blocks of the volume together with the peer, while clients go on.
 *
 * A batch of runs is read here; its checksums go to the peer, which compares its own blocks and says
 * which differ. Each batch holds its blocks like a read until the peer has answered: it starts when
 * the overlapping writes are done, and later writes to these blocks wait for it, so both sides
 * look at the same moment. What follows is for the resync and the verify to say.
 */

import type { VolumeContext } from "./context.ts";
import { type Op, OpKind, OpState, type OpTable, PeerState } from "./in_flight.ts";
import { BLOCK_BYTES } from "./metadata/layout.ts";
import type { Pace } from "./pace.ts";
import { makeTag, TagKind } from "./tags.ts";
import { FrameKind, type WalkProgress } from "./types.ts";
import { FLAG_COMPARE } from "../wire/replication.ts";
import {
  blocksOf,
  type BlockSums,
  decodeDiffers,
  encodeRuns,
  encodeSums,
  type Runs,
} from "../wire/block_frames.ts";

/** What a walk needs of the link. */
export interface WalkHost {
  /** Sends a frame of the operation in the present session; sets `peer` and `sentAt`. */
  sendFrame(op: Op, kind: FrameKind, flags: number, head: Uint8Array): void;
  /** Takes its turn among the operations: `start` follows when it comes. */
  unblocked(op: Op): void;
}

/** See the module comment. */
export abstract class BlockWalk {
  protected readonly context: VolumeContext;
  protected readonly table: OpTable;
  protected readonly pace: Pace;
  readonly #host: WalkHost;
  readonly #kind: OpKind.Resync | OpKind.Verify;
  #active = false;
  #underWay = 0;
  /** A free buffer is awaited. */
  #starved = false;
  /** Distinguishes the batches of this session from those of earlier ones. */
  #run = 0;
  #progressAt = 0;
  /** Blocks in all and done, in this run. */
  protected total = 0;
  protected done = 0;

  /** Of one volume. */
  constructor(
    context: VolumeContext,
    table: OpTable,
    pace: Pace,
    host: WalkHost,
    kind: OpKind.Resync | OpKind.Verify,
  ) {
    this.context = context;
    this.table = table;
    this.pace = pace;
    this.#host = host;
    this.#kind = kind;
  }

  /** Whether blocks are still to be looked at in this session. */
  get active(): boolean {
    return this.#active;
  }

  /** Batches under way. */
  get underWay(): number {
    return this.#underWay;
  }

  /** For status. */
  get progress(): WalkProgress {
    return {
      doneBytes: this.done * BLOCK_BYTES,
      totalBytes: this.total * BLOCK_BYTES,
      bytesPerSecond: Math.round(this.pace.rate),
    };
  }

  /** Milliseconds without progress while there should be some. */
  get stalledFor(): number {
    return this.#active ? this.context.now - this.#progressAt : 0;
  }

  /** Time passed: starts what the pace allows. */
  tick(): void {
    if (!this.#active) return;
    const waits = this.#underWay === 0 && !this.#starved && !this.pace.allows(this.context.now);
    if (waits || !this.context.serving) this.#progressAt = this.context.now;
    this.pump();
  }

  /** A buffer may be had again. */
  bufferFree(): void {
    this.#starved = false;
    this.pump();
  }

  /** The turn of a batch has come. */
  start(op: Op): void {
    if (!this.#isCurrent(op)) {
      this.end(op);
      return;
    }
    op.state = OpState.Running;
    op.reads = op.runs.length / 2;
    let at = 0;
    // A failed disk may end the batch from within.
    const { runs, buffer } = op;
    for (let i = 0; i < runs.length; i += 2) {
      const length = runs[i + 1]! * BLOCK_BYTES;
      this.context.dataIoBegan();
      const tag = makeTag(TagKind.Operation, op.index);
      this.context.io.read(tag, runs[i]! * BLOCK_BYTES, length, buffer, at);
      at += length;
    }
  }

  /** Some of the blocks were read. */
  localDone(op: Op, errno: number): void {
    op.reads--;
    if (errno !== 0) op.errno = errno;
    if (op.reads > 0) return;
    op.localDone = true;
    if (!this.#isCurrent(op)) this.end(op);
    else if (op.errno !== 0) this.unreadable(op, op.errno);
    else this.read(op, this.context.io.sums(op.buffer, op.blocks));
  }

  /** The peer answered a frame of the batch. */
  answered(op: Op, kind: FrameKind, head: Uint8Array): boolean {
    if (op.peer !== PeerState.Sent) return true;
    this.#progressAt = this.context.now;
    if (kind === FrameKind.Resynced && op.sums === null) {
      op.peer = PeerState.Answered;
      this.copied(op);
    } else if (kind === FrameKind.Differs && op.sums !== null) {
      const answer = decodeDiffers(head, op.blocks);
      if (answer === null) return false;
      op.peer = PeerState.Answered;
      this.#differs(op, op.sums, answer.differs, answer.digest);
    } else {
      return false;
    }
    this.pump();
    return true;
  }

  /** The session in which it was sent is lost. */
  lost(op: Op): void {
    if (op.state === OpState.Running && op.localDone) this.end(op);
    // One that is being read or waits for its turn ends when that is over.
  }

  /** Forgets what was under way: the role has ended by force, and nothing is in flight any more. */
  abandon(): void {
    this.halt();
    this.#underWay = 0;
    for (const op of this.table.ops) {
      if (op.kind !== this.#kind || op.state === OpState.Free || op.buffer < 0) continue;
      this.context.io.release(op.buffer);
      op.buffer = -1;
    }
  }

  /** Whether blocks are left to look at. */
  protected abstract more(): boolean;
  /** The next of them, at most so many. */
  protected abstract next(most: number): Runs;
  /** Some blocks of a batch cannot be read here. */
  protected abstract unreadable(op: Op, errno: number): void;
  /** A batch was read. */
  protected abstract read(op: Op, sums: BlockSums): void;
  /** The peer compared: 1 for each block that differs. `equal`: how many do not. */
  protected abstract compared(op: Op, differs: Uint8Array, equal: number): void;
  /** The peer has written what differed. */
  protected abstract copied(op: Op): void;
  /** Nothing more can be started now. */
  protected abstract settle(): void;

  /** Begins over `total` blocks. */
  protected go(total: number): void {
    this.#active = true;
    this.#run++;
    this.#progressAt = this.context.now;
    this.total = total;
    this.done = 0;
    this.pace.begin(this.context.now);
  }

  /** Begins nothing more in this session. */
  protected halt(): void {
    this.#active = false;
    this.#starved = false;
  }

  /** Starts what pace and memory allow. */
  protected pump(): void {
    const { now, io } = this.context;
    while (this.#active && !this.#starved && this.more() && this.pace.allows(now)) {
      const { blocks: most, window } = this.pace.step;
      if (this.#underWay >= window) break;
      const buffer = io.acquire(most * BLOCK_BYTES);
      if (buffer < 0) {
        this.#starved = true;
        return;
      }
      const op = this.table.take(this.#kind, -1, 0, 0);
      if (op === null) {
        io.release(buffer);
        break;
      }
      this.#begin(op, this.next(most), buffer);
    }
    this.settle();
  }

  /** Asks the peer to compare; `only`: to change nothing. */
  protected ask(op: Op, sums: BlockSums, only: boolean): void {
    op.sums = sums;
    this.#host.sendFrame(op, FrameKind.Sums, only ? FLAG_COMPARE : 0, encodeSums(op.runs, sums));
  }

  /** Sends the blocks of a batch for which `picks` is 1. */
  protected send(op: Op, picks: Uint8Array): void {
    op.sums = null;
    op.runs = pick(op.runs, picks);
    op.blocks = blocksOf(op.runs);
    this.context.io.gather(op.buffer, picks);
    this.#host.sendFrame(op, FrameKind.Resync, 0, encodeRuns(op.runs));
    this.context.io.release(op.buffer);
    op.buffer = -1;
  }

  /** The batch is over: clients may have its blocks. */
  protected end(op: Op): void {
    if (op.buffer >= 0) this.context.io.release(op.buffer);
    op.buffer = -1;
    this.#underWay--;
    this.table.leave(op, (one) => this.#host.unblocked(one));
    this.table.free(op);
  }

  #isCurrent(op: Op): boolean {
    return this.#active && op.asOf === this.#run;
  }

  #begin(op: Op, runs: Runs, buffer: number): void {
    const last = runs.length - 2;
    op.whole = runs;
    op.runs = runs;
    op.blocks = blocksOf(runs);
    op.offset = runs[0]! * BLOCK_BYTES;
    op.length = (runs[last]! + runs[last + 1]! - runs[0]!) * BLOCK_BYTES;
    op.buffer = buffer;
    op.asOf = this.#run;
    this.#underWay++;
    this.pace.started(op.blocks * BLOCK_BYTES);
    if (this.table.enter(op)) this.start(op);
  }

  #differs(op: Op, sums: BlockSums, differs: Uint8Array, digest: Uint8Array): void {
    const same = new Uint8Array(op.blocks);
    let claimed = false;
    let equal = 0;
    for (let i = 0; i < same.length; i++) {
      if (differs[i] !== 0) continue;
      equal++;
      // Zeroes are compared as such, not by a sum.
      if (sums.zeroes[i] !== 0) continue;
      same[i] = 1;
      claimed = true;
    }
    if (claimed && !equals(this.context.io.digest(op.buffer, same), digest)) {
      // A CRC agreed by chance: nobody knows where.
      for (let i = 0; i < same.length; i++) {
        if (same[i] === 0) continue;
        differs[i] = 1;
        equal--;
      }
    }
    this.compared(op, differs, equal);
  }
}

/** The runs of those blocks for which `picks` is 1. */
export function pick(runs: Runs, picks: Uint8Array): Runs {
  const picked: number[] = [];
  let n = 0;
  for (let i = 0; i < runs.length; i += 2) {
    const end = runs[i]! + runs[i + 1]!;
    for (let block = runs[i]!; block < end; block++, n++) {
      if (picks[n] === 0) continue;
      const last = picked.length - 2;
      if (last >= 0 && picked[last]! + picked[last + 1]! === block) picked[last + 1]!++;
      else picked.push(block, 1);
    }
  }
  return picked;
}

function equals(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, i) => byte === other[i]);
}
