/**
 * Flushes of a Primary: a client's FLUSH covers every write answered before it, here and on every
 * replica that counts; the volume's own flushes let extents leave the activity log.
 *
 * A member that is being resynced (its disk lost unflushed writes) answers after the resync: the
 * FLUSH is sent when that is done.
 */

import type { ActivityLog } from "./activity_log.ts";
import { Detach, type VolumeContext } from "./context.ts";
import { type Op, OpKind, OpState, type OpTable, PeerState } from "./in_flight.ts";
import type { Requests } from "./requests.ts";
import { makeTag, TagKind } from "./tags.ts";
import type { Replication } from "./write_path.ts";

/** See the module comment. */
export class FlushPath {
  readonly #context: VolumeContext;
  readonly #table: OpTable;
  readonly #log: ActivityLog;
  readonly #requests: Requests;
  readonly #link: Replication;
  /** A flush of all members that no client asked for; called back when it succeeded. */
  #own: { op: Op; done: () => void } | null = null;

  /** Of one volume. */
  constructor(
    context: VolumeContext,
    table: OpTable,
    log: ActivityLog,
    requests: Requests,
    link: Replication,
  ) {
    this.#context = context;
    this.#table = table;
    this.#log = log;
    this.#requests = requests;
    this.#link = link;
  }

  /** A client's FLUSH. */
  start(op: Op): void {
    op.state = OpState.Running;
    op.asOf = this.#log.clock;
    if (op.ofClient) this.#context.io.began?.(op.request);
    this.#flushHere(op);
    this.resume(op);
    if (op.localDone) this.progress(op);
  }

  /** Flushes all members like a client's FLUSH would, for the volume itself. */
  flushMembers(done: () => void): void {
    const op = this.#takeOwn(OpKind.Flush);
    this.#own = { op, done };
    this.start(op);
  }

  /** Flushes here and on the connected replica, in the in-sync set or not, for the activity log. */
  startLogFlush(asOf: number): void {
    const op = this.#takeOwn(OpKind.LogFlush);
    op.state = OpState.Running;
    op.asOf = asOf;
    this.#flushHere(op);
    if (this.#link.streaming) this.#link.send(op);
  }

  /** The member may answer now: sends what it has not been sent. */
  resume(op: Op): void {
    if (op.kind !== OpKind.Flush || op.peer !== PeerState.None) return;
    const { others } = this.#context;
    const link = this.#link;
    if (link.streaming && !link.syncing && others.includes(link.peerId)) link.send(op);
  }

  /** The local flush ended. */
  localDone(op: Op, errno: number): void {
    if (errno !== 0) this.#context.fail("flushing the disk failed", errno);
    if (this.#context.failure !== null && this.#context.detach === Detach.No) return;
    op.localDone = true;
    this.progress(op);
  }

  /** FLUSHED came. */
  answered(op: Op): void {
    if (op.peer !== PeerState.Sent) return;
    op.peer = PeerState.Answered;
    this.progress(op);
  }

  /** The session is lost. */
  lost(op: Op): void {
    if (op.peer === PeerState.Sent) op.peer = PeerState.None;
  }

  /** Something that the flush waits for may have come. */
  progress(op: Op): void {
    if (op.state !== OpState.Running || !op.localDone || this.#context.stalled) return;
    if (op.peer === PeerState.Sent) return;
    const { others, hasPeer, detach } = this.#context;
    const logged = detach === Detach.No;
    const peerHas = op.peer === PeerState.Answered;
    if (op.kind === OpKind.LogFlush) {
      const { asOf } = op;
      this.#table.free(op);
      if (logged) this.#log.logFlushed(asOf, peerHas || !hasPeer);
      return;
    }
    const everywhere = others.length === 0 ||
      (peerHas && others.length === 1 && others[0] === this.#link.peerId);
    if (!everywhere) return;
    if (logged && (peerHas || !hasPeer)) this.#log.flushed(op.asOf, true);
    if (this.#own !== null && this.#own.op === op) {
      const { done } = this.#own;
      this.#own = null;
      this.#table.free(op);
      done();
    } else {
      this.#requests.finish(op);
    }
  }

  /** Forgets the volume's own flush: the role has ended by force. */
  abandon(): void {
    this.#own = null;
  }

  #takeOwn(kind: OpKind): Op {
    const op = this.#table.take(kind, -1, 0, 0);
    if (op === null) throw new Error("no operation is left for a flush of the volume itself");
    if (kind === OpKind.Flush) op.answered = true;
    return op;
  }

  #flushHere(op: Op): void {
    op.localDone = this.#context.detach !== Detach.No;
    if (op.localDone) return;
    this.#context.dataIoBegan();
    this.#context.io.flush(makeTag(TagKind.Operation, op.index));
  }
}
