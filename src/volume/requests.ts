/**
 * Requests of clients: taken, held back while the volume is frozen, answered exactly once.
 *
 * A frozen volume answers nothing: requests wait, and answers that are ready wait too. It thaws when
 * its lease comes back, or ends when a newer epoch demotes it.
 */

import { EINVAL, ESHUTDOWN, type VolumeContext } from "./context.ts";
import { CLIENT_OPS, type Op, OpKind, OpState, type OpTable } from "./in_flight.ts";
import { type BufferHandle, RequestKind } from "./types.ts";

interface Queued {
  id: number;
  kind: RequestKind;
  offset: number;
  length: number;
  fua: boolean;
  buffer: BufferHandle;
  bufferOffset: number;
}

/** See the module comment. */
export class Requests {
  readonly #context: VolumeContext;
  readonly #table: OpTable;
  readonly #start: (op: Op) => void;
  readonly #onDrained: () => void;
  /** Not begun yet, from `#head` on. */
  #queue: Queued[] = [];
  #head = 0;
  /** Begun, with their turn come while the volume was frozen. */
  #ready: Op[] = [];
  /** Answers that wait for the thaw. */
  #held: number[] = [];
  #wasServing = false;

  /** `start` carries out an operation whose turn has come; `onDrained` is told when none is left. */
  constructor(
    context: VolumeContext,
    table: OpTable,
    start: (op: Op) => void,
    onDrained: () => void,
  ) {
    this.#context = context;
    this.#table = table;
    this.#start = start;
    this.#onDrained = onDrained;
  }

  /** Nothing of a client is waiting or under way. */
  get drained(): boolean {
    return this.#queue.length === this.#head && this.#table.clients === 0 &&
      this.#held.length === 0;
  }

  /** See `Volume.request`. */
  request(
    id: number,
    kind: RequestKind,
    offset: number,
    length: number,
    fua: boolean,
    buffer: BufferHandle,
    bufferOffset: number,
  ): void {
    const context = this.#context;
    if (context.role !== "Primary" || context.draining) {
      context.io.answer(id, ESHUTDOWN);
      return;
    }
    if (kind !== RequestKind.Flush) {
      const known = kind >= RequestKind.Read && kind <= RequestKind.ZeroAllocated;
      if (!known || !(offset >= 0 && length >= 0 && offset + length <= context.layout.size)) {
        context.io.answer(id, EINVAL);
        return;
      }
      if (length === 0) {
        context.io.answer(id, 0);
        return;
      }
    }
    if (
      this.#queue.length > this.#head || this.#table.clients >= CLIENT_OPS || !context.serving
    ) {
      this.#queue.push({ id, kind, offset, length, fua, buffer, bufferOffset });
      return;
    }
    this.#begin(id, kind, offset, length, fua, buffer, bufferOffset);
  }

  /** The turn of an operation has come. */
  unblocked(op: Op): void {
    if (!op.ofClient || this.#context.serving) this.#start(op);
    else this.#ready.push(op);
  }

  /** An operation of a client is done: gives it back and answers. */
  finish(op: Op): void {
    this.#table.leave(op, this.#unblockedCallback);
    if (op.writes) this.#context.wroteAt = this.#context.now;
    const request = op.request;
    const answered = op.answered;
    if (op.kind !== OpKind.Flush) this.#context.pace.answered(this.#context.now - op.startedAt);
    this.#table.free(op);
    if (!answered) this.answer(request);
    this.#pump();
    if (this.#context.draining && this.drained) this.#onDrained();
  }

  /** An operation of a client cannot be carried out by anybody. */
  refuse(op: Op, errno: number): void {
    this.#table.leave(op, this.#unblockedCallback);
    const { request } = op;
    this.#table.free(op);
    this.#context.io.answer(request, errno);
    this.#pump();
    if (this.#context.draining && this.drained) this.#onDrained();
  }

  /** Success, as soon as the volume is not frozen. */
  answer(request: number): void {
    if (this.#context.serving) this.#context.io.answer(request, 0);
    else this.#held.push(request);
  }

  /** The lease, the mark or the time has changed: thaws or freezes. */
  review(): void {
    const serving = this.#context.serving;
    if (serving !== this.#wasServing) {
      this.#wasServing = serving;
      this.#context.changed = true;
    }
    if (!serving) return;
    if (this.#held.length > 0) {
      const held = this.#held;
      this.#held = [];
      for (const request of held) this.#context.io.answer(request, 0);
    }
    if (this.#ready.length > 0) {
      const ready = this.#ready;
      this.#ready = [];
      for (const op of ready) if (op.state === OpState.Blocked) this.#start(op);
    }
    this.#pump();
    if (this.#context.draining && this.drained) this.#onDrained();
  }

  /** Answers everything with ESHUTDOWN: the volume is Secondary from now on. */
  abandon(): void {
    const io = this.#context.io;
    const queue = this.#queue;
    const held = this.#held;
    const head = this.#head;
    this.#queue = [];
    this.#head = 0;
    this.#held = [];
    this.#ready = [];
    this.#wasServing = false;
    for (const request of held) io.answer(request, ESHUTDOWN);
    for (const op of this.#table.ops) {
      if (op.state === OpState.Free || !op.ofClient || op.answered) continue;
      op.answered = true;
      io.answer(op.request, ESHUTDOWN);
    }
    for (let i = head; i < queue.length; i++) io.answer(queue[i]!.id, ESHUTDOWN);
  }

  readonly #unblockedCallback = (op: Op): void => this.unblocked(op);

  #pump(): void {
    while (
      this.#head < this.#queue.length && this.#table.clients < CLIENT_OPS && this.#context.serving
    ) {
      const next = this.#queue[this.#head++]!;
      this.#begin(
        next.id,
        next.kind,
        next.offset,
        next.length,
        next.fua,
        next.buffer,
        next.bufferOffset,
      );
    }
    if (this.#head === this.#queue.length && this.#head > 0) {
      this.#queue.length = 0;
      this.#head = 0;
    }
  }

  #begin(
    id: number,
    kind: RequestKind,
    offset: number,
    length: number,
    fua: boolean,
    buffer: BufferHandle,
    bufferOffset: number,
  ): void {
    const op = this.#table.take(kind as number as OpKind, id, offset, length);
    if (op === null) throw new Error("clients used up the operations kept for the volume itself");
    op.fua = fua;
    op.startedAt = this.#context.now;
    op.buffer = buffer;
    op.bufferOffset = bufferOffset;
    if (op.kind === OpKind.Flush || this.#table.enter(op)) this.#start(op);
  }
}
