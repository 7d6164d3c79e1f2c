/**
 * Online verify: the Primary and its replica compare all blocks by checksums, while clients go on.
 *
 * Blocks that differ become dirty: the status shows them as out of sync, and the next resync copies
 * them, at once with `repair`. It is due at once, too, when the replica could not read some of them:
 * there is nothing in them to look into, and the copy here may be the only one. Dirty blocks are
 * left out, their turn comes anyway. How far it is stands in the superblock now and then, so that an
 * interruption, a restart too, repeats little.
 */

import { BlockWalk, pick, type WalkHost } from "./block_walk.ts";
import type { VolumeContext } from "./context.ts";
import { type Op, OpKind, OpState, type OpTable } from "./in_flight.ts";
import { BLOCK_BYTES } from "./metadata/layout.ts";
import type { Pace } from "./pace.ts";
import { blocksOf, type BlockSums, type Runs } from "../wire/block_frames.ts";

/** How often it is noted how far it is, milliseconds. */
const NOTED_EVERY = 10_000;

/** What a verify needs of the link. */
export interface VerifyHost extends WalkHost {
  /** The peer is a connected member that nothing is copied to. */
  readonly verifiable: boolean;
  /** Copies what is dirty to the peer. */
  repair(): void;
}

/** See the module comment. */
export class Verify extends BlockWalk {
  readonly #host: VerifyHost;
  /** Next block to look at. */
  #cursor = 0;
  #notedAt = 0;
  /** What differs is being made durable, and the result. */
  #finishing = false;
  /** The replica could not read some blocks: they are dirty, and the resync of them is due. */
  #unread = false;

  /** Of one volume. */
  constructor(context: VolumeContext, table: OpTable, pace: Pace, host: VerifyHost) {
    super(context, table, pace, host, OpKind.Verify);
    this.#host = host;
  }

  /** Begins anew. Gives why it cannot, or null. */
  begin(repair: boolean): string | null {
    const { superblock, init } = this.context;
    if (this.active || this.#finishing) return "a verify runs already";
    if (!this.#host.verifiable) {
      return `${init.peers[0] ?? "the other replica"} is not connected and up to date; ` +
        "see bascule volume status";
    }
    superblock.update({ verify: { block: 0, differing: 0, repair } });
    this.context.note("info", "verify-begin", "all blocks are compared with the replica's", {
      repair,
    });
    this.#go(0);
    return null;
  }

  /** Ends it. Gives why it cannot, or null. */
  cancel(): string | null {
    if ((this.context.superblock.value.verify ?? null) === null) return "no verify runs";
    this.stop();
    this.context.superblock.update({ verify: null });
    this.context.note("info", "verify-end", "the verify was stopped by an operator");
    this.context.changed = true;
    return null;
  }

  /** The session is lost, or the role: it goes on from here later. */
  stop(): void {
    if (!this.active) return;
    this.#note();
    this.halt();
    this.context.changed = true;
  }

  /** UNREADABLE: the replica cannot read some blocks of a batch. DIFFERS names them all. */
  unreadableThere(seq: number): void {
    if (this.table.bySeq(seq)?.kind === OpKind.Verify) this.#unread = true;
  }

  override abandon(): void {
    this.stop();
    super.abandon();
  }

  /** Time passed: goes on where it was interrupted, begins when it is due. */
  override tick(): void {
    const { context } = this;
    if (this.#finishing || context.role !== "Primary" || context.failure !== null) return;
    if (this.active) {
      if (context.now - this.#notedAt >= NOTED_EVERY) this.#note();
      super.tick();
      return;
    }
    if (!this.#host.verifiable) return;
    if (this.#unread && this.underWay === 0) {
      // It was stopped in the middle. After a lost session the meeting has seen to it.
      this.#unread = false;
      if (context.bitmap.count > 0) return this.#host.repair();
    }
    const { verify, verified, primarySince } = context.superblock.value;
    if (verify) {
      context.note("info", "verify-resume", `the verify goes on from block ${verify.block}`);
      this.#go(verify.block);
    } else if (context.init.verify.every !== null) {
      const last = verified?.at ?? primarySince ?? 0;
      if (context.wall - last >= context.init.verify.every) this.begin(context.init.verify.repair);
    }
  }

  protected more(): boolean {
    const { bitmap, layout } = this.context;
    while (this.#cursor < layout.blocks && bitmap.has(this.#cursor)) {
      const dirty = bitmap.runLength(this.#cursor, layout.blocks);
      this.done += dirty;
      this.#cursor += dirty;
    }
    return this.#cursor < layout.blocks;
  }

  protected next(most: number): Runs {
    const { bitmap, layout } = this.context;
    const first = this.#cursor;
    const dirty = bitmap.next(first);
    const end = Math.min(dirty < 0 ? layout.blocks : dirty, first + most, layout.blocks);
    this.#cursor = end;
    return [first, end - first];
  }

  /** The replica may hold what cannot be read here; a client's read fetches and mends it. */
  protected unreadable(op: Op, errno: number): void {
    const text = `${op.blocks} blocks from ${op.whole[0]} on cannot be compared: reading failed`;
    this.context.note("error", "read-error", text, { block: op.whole[0]!, errno });
    this.done += op.blocks;
    this.end(op);
    this.pump();
  }

  protected read(op: Op, sums: BlockSums): void {
    this.ask(op, sums, true);
  }

  protected compared(op: Op, differs: Uint8Array, equal: number): void {
    const { superblock, bitmap } = this.context;
    const { verify } = superblock.value;
    this.done += op.blocks;
    this.pace.done(op.blocks * BLOCK_BYTES);
    if (equal < op.blocks && verify) {
      const runs = pick(op.runs, differs);
      for (let i = 0; i < runs.length; i += 2) bitmap.set(runs[i]!, runs[i + 1]!);
      const differing = verify.differing + blocksOf(runs);
      superblock.update({ verify: { ...verify, differing } });
      this.context.changed = true;
      if (verify.differing === 0) {
        const text = `block ${runs[0]} differs from the replica's: it is out of sync`;
        this.context.note("error", "verify-differs", text);
      }
    }
    this.end(op);
  }

  protected copied(op: Op): void {
    this.end(op);
  }

  protected settle(): void {
    if (this.active && this.underWay === 0 && !this.more()) this.#finish();
  }

  #go(block: number): void {
    this.#cursor = block;
    this.#notedAt = this.context.now;
    this.context.changed = true;
    this.go(this.context.layout.blocks);
    this.done = block;
    this.pump();
  }

  /** All blocks below what is noted have been compared, and what differed is dirty, durably. */
  #note(): void {
    const { superblock, bitmapWriter } = this.context;
    this.#notedAt = this.context.now;
    let block = this.#cursor;
    for (const op of this.table.ops) {
      if (op.kind === OpKind.Verify && op.state !== OpState.Free) {
        block = Math.min(block, op.whole[0] ?? block);
      }
    }
    bitmapWriter.flush(() => {
      const { verify } = superblock.value;
      if (verify) superblock.update({ verify: { ...verify, block } });
    });
  }

  #finish(): void {
    const { superblock, bitmapWriter, wall } = this.context;
    const { verify } = superblock.value;
    this.halt();
    this.context.changed = true;
    if (!verify) return;
    const { differing, repair } = verify;
    const repaired = (repair || this.#unread) && differing > 0;
    this.#unread = false;
    this.#finishing = true;
    bitmapWriter.flush(() => {
      this.#finishing = false;
      superblock.update({
        verify: null,
        verified: { at: wall, differing, repaired },
      });
      const level = differing > 0 ? "error" : "info";
      const what = differing > 0 ? `${differing} blocks differ` : "both replicas are equal";
      this.context.note(level, "verify-done", `the verify is finished: ${what}`, {
        differing,
        repair,
      });
      if (repaired && this.#host.verifiable) this.#host.repair();
    });
  }
}
