/**
 * Operations of a Primary that are under way, and the rule that overlapping ones wait for each other.
 *
 * Operations are preallocated. Each with a range enters the table in order of arrival; it starts when
 * every earlier one that it conflicts with has left. Two conflict if their ranges overlap and at least
 * one of them writes: a later write starts when the earlier one is done *everywhere*, so no order
 * needs to be carried on the wire, and no read returns what might yet vanish with its Primary.
 */

import type { BlockSums, Runs } from "../wire/block_frames.ts";
import { BLOCK_BYTES } from "./metadata/layout.ts";
import { type BufferHandle, FrameKind, RequestKind } from "./types.ts";

/** What an operation does: a client's request, by the same numbers, or the volume's own business. */
export const enum OpKind {
  Read = RequestKind.Read,
  Write = RequestKind.Write,
  Flush = RequestKind.Flush,
  Trim = RequestKind.Trim,
  Zero = RequestKind.Zero,
  ZeroAllocated = RequestKind.ZeroAllocated,
  /** Flush here and on the connected peer, so that extents may leave the activity log. */
  LogFlush = 6,
  /** Flush on the peer, so that dirty bits of what was resynced may be cleared. */
  Checkpoint = 7,
  /** Copies some blocks to the peer. */
  Resync = 8,
  /** Compares some blocks with the peer's. */
  Verify = 9,
}

const NO_RUNS: Runs = [];

/** Where an operation stands. */
export const enum OpState {
  Free = 0,
  /** Waits for overlapping ones, or for the volume to thaw. */
  Blocked = 1,
  /** Waits for its extents to be durable in the activity log. */
  Log = 2,
  /** On its way to disk and peer. */
  Running = 3,
}

/** Where a read gets its data, or what it does with them. */
export const enum Source {
  Disk = 0,
  Peer = 1,
  /** The peer's data are written back to the local disk. */
  Repair = 2,
}

/** What the peer has of an operation. */
export const enum PeerState {
  /** Not sent in the present session. */
  None = 0,
  Sent = 1,
  Answered = 2,
}

/** One operation. Fields are filled by `OpTable.take` and by the paths. */
export class Op {
  readonly index: number;
  /** Counts uses, so that a late answer cannot be taken for a present one. */
  generation = 0;
  kind: OpKind = OpKind.Read;
  state: OpState = OpState.Free;
  /** The client's number; -1 for none. */
  request = -1;
  offset = 0;
  length = 0;
  buffer: BufferHandle = -1;
  bufferOffset = 0;
  fua = false;
  /** Order of arrival. */
  order = 0;
  blockers = 0;
  /** Place in the table; -1: not in it. */
  place = -1;
  /** The part that is being carried out now, from the start of the range. */
  chunkOffset = 0;
  chunkLength = 0;
  /** Transaction of the activity log that must be durable first. */
  ticket = 0;
  localDone = false;
  /** The completion that is expected belongs to a flush that follows a TRIM or ZERO with FUA. */
  flushing = false;
  peer: PeerState = PeerState.None;
  /** Frames not yet answered. */
  frames = 0;
  sentAt = 0;
  /** The client has its answer, the peer has not (protocol A). */
  answered = false;
  /** Of a read. */
  source: Source = Source.Disk;
  /** Value of the activity log's clock when a flush began; which walk over blocks began it. */
  asOf = 0;
  /** When a client's request began, milliseconds. */
  startedAt = 0;
  /** The blocks that it is about, where these are not the whole range. */
  whole: Runs = NO_RUNS;
  /** Of these, the ones that the present frame is about, and their number. */
  runs: Runs = NO_RUNS;
  blocks = 0;
  /** Reads that have not ended, and the error of one that failed. */
  reads = 0;
  errno = 0;
  /** What was sent of the blocks' content while the peer compares; null: nothing. */
  sums: BlockSums | null = null;

  constructor(index: number) {
    this.index = index;
  }

  /** Whether it changes data. */
  get writes(): boolean {
    return this.kind === OpKind.Write || this.kind === OpKind.Trim || this.kind === OpKind.Zero ||
      this.kind === OpKind.ZeroAllocated;
  }

  /** Whether a client asked for it. */
  get ofClient(): boolean {
    return this.kind <= OpKind.ZeroAllocated;
  }

  /** Frame that carries it to the peer. */
  get frameKind(): FrameKind {
    switch (this.kind) {
      case OpKind.Write:
        return FrameKind.Write;
      case OpKind.Trim:
        return FrameKind.Trim;
      case OpKind.Zero:
        return FrameKind.Zero;
      case OpKind.ZeroAllocated:
        return FrameKind.ZeroAllocated;
      default:
        return FrameKind.Flush;
    }
  }
}

/** Bits of an operation's index in the `seq` of its frames; the rest is its generation. */
const INDEX_BITS = 10;
/** Operations in all. */
const OPS = 2 ** INDEX_BITS;
/** Of these, how many clients may have under way at once. */
export const CLIENT_OPS = 512;

/** All operations, and those that hold or await a range. */
export class OpTable {
  readonly ops: readonly Op[] = Array.from({ length: OPS }, (_, index) => new Op(index));
  readonly #free: number[] = Array.from({ length: OPS }, (_, i) => OPS - 1 - i);
  readonly #held: Op[] = [];
  #order = 0;
  #blocked = 0;
  /** Operations of clients. */
  clients = 0;

  /** Operations in use. */
  get inUse(): number {
    return OPS - this.#free.length;
  }

  /** A fresh operation; null when all are in use. */
  take(kind: OpKind, request: number, offset: number, length: number): Op | null {
    const index = this.#free.pop();
    if (index === undefined) return null;
    const op = this.ops[index]!;
    op.generation = (op.generation + 1) & 0x3f_ffff;
    op.kind = kind;
    op.state = OpState.Blocked;
    op.request = request;
    op.offset = offset;
    op.length = length;
    op.buffer = -1;
    op.bufferOffset = 0;
    op.fua = false;
    op.order = ++this.#order;
    op.blockers = 0;
    op.chunkOffset = 0;
    op.chunkLength = 0;
    op.ticket = 0;
    op.localDone = false;
    op.flushing = false;
    op.peer = PeerState.None;
    op.frames = 0;
    op.answered = false;
    op.whole = NO_RUNS;
    op.runs = NO_RUNS;
    op.sums = null;
    op.errno = 0;
    op.source = Source.Disk;
    if (op.ofClient) this.clients++;
    return op;
  }

  /** Takes its place behind all that it conflicts with: true if it may start at once. */
  enter(op: Op): boolean {
    const held = this.#held;
    const end = op.offset + op.length;
    const writes = op.writes;
    let blockers = 0;
    for (let i = 0; i < held.length; i++) {
      const other = held[i]!;
      if (
        other.offset < end && op.offset < other.offset + other.length &&
        (writes || other.writes) && meet(op, other)
      ) {
        blockers++;
      }
    }
    op.place = held.length;
    held.push(op);
    op.blockers = blockers;
    if (blockers > 0) this.#blocked++;
    return blockers === 0;
  }

  /** Gives the range up; `unblocked` is called for each that may start now. */
  leave(op: Op, unblocked: (op: Op) => void): void {
    if (op.place < 0) return;
    const held = this.#held;
    const last = held.pop()!;
    if (last !== op) {
      held[op.place] = last;
      last.place = op.place;
    }
    op.place = -1;
    if (op.blockers > 0) {
      op.blockers = 0;
      this.#blocked--;
    }
    if (this.#blocked === 0) return;
    const end = op.offset + op.length;
    const writes = op.writes;
    const free: Op[] = [];
    for (let i = 0; i < held.length; i++) {
      const other = held[i]!;
      if (
        other.order > op.order && other.blockers > 0 && other.offset < end &&
        op.offset < other.offset + other.length && (writes || other.writes) && meet(op, other)
      ) {
        other.blockers--;
        if (other.blockers === 0) {
          this.#blocked--;
          free.push(other);
        }
      }
    }
    for (const one of free) unblocked(one);
  }

  /** Gives an operation back. */
  free(op: Op): void {
    if (op.state === OpState.Free) throw new Error(`operation ${op.index} was given back twice`);
    if (op.place >= 0) throw new Error(`operation ${op.index} was given back with its range`);
    op.state = OpState.Free;
    op.buffer = -1;
    if (op.ofClient) this.clients--;
    this.#free.push(op.index);
  }

  /** Gives everything back: nothing is in flight any more, nobody waits. */
  reset(): void {
    for (const op of this.#held) op.place = -1;
    this.#held.length = 0;
    this.#blocked = 0;
    for (const op of this.ops) if (op.state !== OpState.Free) this.free(op);
  }

  /** Whether the peer owes an answer to something sent before `time`. */
  unansweredBefore(time: number): boolean {
    if (this.inUse === 0) return false;
    for (const { state, peer, sentAt } of this.ops) {
      if (state === OpState.Running && peer === PeerState.Sent && sentAt < time) return true;
    }
    return false;
  }

  /** Number that the peer echoes in its answer. */
  seqOf(op: Op): number {
    return op.generation * OPS + op.index;
  }

  /** The operation that an answer belongs to; null if it is none of the present ones. */
  bySeq(seq: number): Op | null {
    const op = this.ops[seq % OPS]!;
    return op.state === OpState.Running && op.generation === Math.floor(seq / OPS) ? op : null;
  }
}

/** Whether two operations whose ranges overlap have a block in common. One of them has a whole range. */
function meet(one: Op, other: Op): boolean {
  const [scattered, range] = one.whole.length > 0 ? [one, other] : [other, one];
  const { whole } = scattered;
  if (whole.length === 0) return true;
  const first = Math.floor(range.offset / BLOCK_BYTES);
  const end = Math.ceil((range.offset + range.length) / BLOCK_BYTES);
  // The last run that begins before the range ends.
  let low = 0;
  let high = whole.length / 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (whole[2 * middle]! < end) low = middle + 1;
    else high = middle;
  }
  return low > 0 && whole[2 * low - 2]! + whole[2 * low - 1]! > first;
}
