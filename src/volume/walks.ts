/** What goes over blocks together with the peer: the resync and the verify. Never both at once. */

import type { VolumeContext } from "./context.ts";
import { type Op, OpKind, OpState, type OpTable } from "./in_flight.ts";
import { Resync, type ResyncHost } from "./resync.ts";
import type { FrameKind } from "./types.ts";
import { Verify, type VerifyHost } from "./verify.ts";

/** See the file's comment. */
export class Walks {
  readonly resync: Resync;
  readonly verify: Verify;

  /** Of one volume. */
  constructor(context: VolumeContext, table: OpTable, host: ResyncHost & VerifyHost) {
    this.resync = new Resync(context, table, context.pace, host);
    this.verify = new Verify(context, table, context.pace, host);
  }

  /** Batches under way. */
  get underWay(): number {
    return this.resync.underWay + this.verify.underWay;
  }

  /** Milliseconds without progress while there should be some. */
  get stalledFor(): number {
    return Math.max(this.resync.stalledFor, this.verify.stalledFor);
  }

  /** Time passed. */
  tick(): void {
    this.resync.tick();
    this.verify.tick();
  }

  /** A buffer may be had again. */
  bufferFree(): void {
    this.resync.bufferFree();
    this.verify.bufferFree();
  }

  /** The turn of a batch has come. */
  start(op: Op): void {
    if (op.kind === OpKind.Verify) this.verify.start(op);
    else this.resync.start(op);
  }

  /** Some of the blocks of a batch were read. */
  localDone(op: Op, errno: number): void {
    if (op.kind === OpKind.Verify) this.verify.localDone(op, errno);
    else this.resync.localDone(op, errno);
  }

  /** The peer answered a frame of a batch. False if it is no answer to what was asked. */
  answered(op: Op, kind: FrameKind, head: Uint8Array): boolean {
    if (op.kind === OpKind.Verify) return this.verify.answered(op, kind, head);
    return this.resync.answered(op, kind, head);
  }

  /** The session in which an operation was sent is lost. */
  lost(op: Op): void {
    if (op.state !== OpState.Running) return;
    if (op.kind === OpKind.Verify) this.verify.lost(op);
    else this.resync.lost(op);
  }

  /** The session is lost. */
  stop(): void {
    this.resync.stop();
    this.verify.stop();
  }

  /** The role has ended by force, and nothing is in flight any more. */
  abandon(): void {
    this.resync.abandon();
    this.verify.abandon();
  }
}

/** Whether an operation belongs to a walk. */
export function isWalk(op: Op): boolean {
  return op.kind === OpKind.Resync || op.kind === OpKind.Verify || op.kind === OpKind.Checkpoint;
}
