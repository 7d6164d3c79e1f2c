/**
 * The write path of a Primary: log entry, then local write and WRITE to the connected replica, and
 * the answer when it is done here and on every replica that may be in the in-sync set.
 *
 * A long range is carried out in chunks, so that no request needs more extents of the activity log
 * at once than the smallest log has. What the peer has not got when an operation ends becomes dirty
 * bits, under cover of the log entry. Under protocol A a write is answered when it is done here and
 * on its way, while the bytes on their way stay within {@linkcode ASYNC_BYTES}.
 */

import type { ActivityLog } from "./activity_log.ts";
import { Detach, ENOSPC, EOPNOTSUPP, type VolumeContext } from "./context.ts";
import { type Op, OpKind, OpState, PeerState } from "./in_flight.ts";
import { BLOCK_BYTES } from "./metadata/layout.ts";
import type { Requests } from "./requests.ts";
import { makeTag, TagKind } from "./tags.ts";

/** Longest part of a request that is carried out at once, bytes: at most 9 extents. */
export const CHUNK_BYTES = 32 * 1024 * 1024;
/** How often a write is tried again for which the disk had no room, milliseconds. */
const FULL_RETRY = 500;
/** Protocol A: most bytes answered to clients and not yet by the peer; what a takeover may lose. */
export const ASYNC_BYTES = 4 * 1024 * 1024;

/** The connection to the replica, as the write path sees it. */
export interface Replication {
  /** Data frames may be sent in the present session. */
  readonly streaming: boolean;
  readonly session: number;
  /** Replica that the session is with. */
  readonly peerId: string;
  /** Dirty blocks are still to be copied in this session. */
  readonly syncing: boolean;
  /** The peer holds everything, is connected, and could stand in for the local disk. */
  readonly holdsAll: boolean;
  /** Sends the present chunk of an operation, or a FLUSH; sets `peer`, `frames` and `sentAt`. */
  send(op: Op): void;
}

/** See the module comment. */
export class WritePath {
  readonly #context: VolumeContext;
  readonly #log: ActivityLog;
  readonly #requests: Requests;
  readonly #link: Replication;
  /** Protocol A: bytes answered to clients and not yet by the peer. */
  #asyncBytes = 0;
  /** Writes for which the disk had no room; nobody could stand in for it. */
  #full: Op[] = [];
  /** The full disk was noted. */
  #told = false;
  #retryAt = 0;

  /** Of one volume. */
  constructor(
    context: VolumeContext,
    log: ActivityLog,
    requests: Requests,
    link: Replication,
  ) {
    this.#context = context;
    this.#log = log;
    this.#requests = requests;
    this.#link = link;
  }

  /** A write, TRIM or ZERO whose turn has come. */
  start(op: Op): void {
    op.chunkOffset = 0;
    this.#startChunk(op);
  }

  /** The chunk's extents are durable in the activity log. */
  logged(op: Op): void {
    if (op.state !== OpState.Log) return;
    op.state = OpState.Running;
    op.localDone = false;
    op.flushing = false;
    op.peer = PeerState.None;
    op.frames = 0;
    if (this.#context.detach === Detach.No) {
      this.#writeHere(op);
      if (this.#link.streaming) this.#link.send(op);
      return;
    }
    op.localDone = true;
    if (this.#link.streaming) this.#link.send(op);
    this.progress(op);
  }

  #writeHere(op: Op): void {
    const { io } = this.#context;
    const offset = op.offset + op.chunkOffset;
    const tag = makeTag(TagKind.Operation, op.index);
    if (op.chunkOffset === 0) io.began?.(op.request);
    this.#context.dataIoBegan();
    switch (op.kind) {
      case OpKind.Write:
        io.write(
          tag,
          offset,
          op.chunkLength,
          op.buffer,
          op.bufferOffset + op.chunkOffset,
          op.fua,
        );
        break;
      case OpKind.Trim:
        io.discard(tag, offset, op.chunkLength);
        break;
      default:
        io.zero(tag, offset, op.chunkLength, op.kind === OpKind.ZeroAllocated);
    }
  }

  /** Time passed: tries again what the disk had no room for. */
  tick(): void {
    if (this.#full.length === 0 || this.#context.now < this.#retryAt) return;
    const full = this.#full;
    this.#full = [];
    for (const op of full) {
      if (this.#context.failure === null) this.#writeHere(op);
      else op.localDone = true;
    }
  }

  /** Whether writes wait for room on the disk. */
  get full(): boolean {
    return this.#full.length > 0;
  }

  #awaitRoom(op: Op): void {
    const context = this.#context;
    if (this.#full.length === 0) {
      this.#retryAt = context.now + FULL_RETRY;
      if (!this.#told) {
        const text = "the disk is full and no other replica can stand in: writes wait for room";
        context.note("error", "disk-full", text, { offset: op.offset, bytes: op.length });
      }
      this.#told = true;
      context.changed = true;
    }
    this.#full.push(op);
  }

  /** The local I/O of a write ended. */
  localDone(op: Op, errno: number): void {
    const { io } = this.#context;
    const tag = makeTag(TagKind.Operation, op.index);
    if (errno === EOPNOTSUPP && op.kind === OpKind.Trim && !op.flushing) {
      // Replicas must read the same afterwards: where no hole can be made, zeroes are written.
      this.#context.dataIoBegan();
      io.zero(tag, op.offset + op.chunkOffset, op.chunkLength, false);
      return;
    }
    const context = this.#context;
    if (errno === ENOSPC && context.failure === null && !this.#link.holdsAll) {
      this.#awaitRoom(op);
      return;
    }
    if (errno !== 0) {
      context.fail(`writing ${op.length} bytes at ${op.offset} failed`, errno);
    } else if (this.#told && this.#full.length === 0) {
      this.#told = false;
      context.changed = true;
      context.note("info", "disk-room", "the disk has room again: writes go on");
    }
    if (context.failure !== null) {
      // Whoever stands in for the disk has it, or will have it.
      op.localDone = context.detach !== Detach.No;
      this.progress(op);
      return;
    }
    if (op.fua && op.kind !== OpKind.Write && !op.flushing) {
      op.flushing = true;
      this.#context.dataIoBegan();
      io.flush(tag);
      return;
    }
    op.localDone = true;
    this.progress(op);
  }

  /** The peer answered one frame of the operation. */
  answered(op: Op): void {
    if (op.peer !== PeerState.Sent) return;
    op.frames--;
    if (op.frames > 0) return;
    op.peer = PeerState.Answered;
    if (op.answered) this.#asyncBytes -= op.length;
    this.progress(op);
  }

  /** The session in which the operation was sent is lost. */
  lost(op: Op): void {
    if (op.peer !== PeerState.Sent) return;
    op.peer = PeerState.None;
    op.frames = 0;
    if (op.answered) {
      // The data are the client's again: the dirty bit is all that is left to send.
      this.#asyncBytes -= op.length;
      this.#missed(op);
      this.#chunkDone(op);
    }
  }

  /** Something that the operation waits for may have come: goes on if it has. */
  progress(op: Op): void {
    if (op.state !== OpState.Running || !op.localDone || this.#context.stalled) return;
    if (op.peer === PeerState.Sent) {
      this.#answerEarly(op);
      return;
    }
    if (!this.everywhere(op)) return;
    if (op.peer === PeerState.None) this.#missed(op);
    this.#chunkDone(op);
  }

  /** Forgets what was under way: the role has ended by force. */
  abandon(): void {
    this.#asyncBytes = 0;
    this.#full = [];
    this.#told = false;
  }

  /** Whether every replica that counts has the operation. */
  everywhere(op: Op): boolean {
    const { others } = this.#context;
    if (others.length === 0) return true;
    return op.peer === PeerState.Answered && others.length === 1 &&
      others[0] === this.#link.peerId;
  }

  #startChunk(op: Op): void {
    op.chunkLength = Math.min(CHUNK_BYTES, op.length - op.chunkOffset);
    op.state = OpState.Log;
    const { detach } = this.#context;
    if (detach === Detach.Asked) return;
    if (detach !== Detach.No || this.#log.acquire(op)) this.logged(op);
  }

  #chunkDone(op: Op): void {
    if (this.#context.detach === Detach.No) this.#log.release(op);
    op.chunkOffset += op.chunkLength;
    if (op.chunkOffset < op.length) this.#startChunk(op);
    else this.#requests.finish(op);
  }

  #answerEarly(op: Op): void {
    const { init, detach } = this.#context;
    if (init.protocol !== "A" || op.answered || op.fua || detach !== Detach.No) return;
    if (op.chunkOffset + op.chunkLength < op.length) return;
    const { others } = this.#context;
    if (others.some((one) => one !== this.#link.peerId)) return;
    if (this.#asyncBytes + op.length > ASYNC_BYTES) return;
    this.#asyncBytes += op.length;
    op.answered = true;
    this.#requests.answer(op.request);
  }

  #missed(op: Op): void {
    if (!this.#context.hasPeer) return;
    const from = op.offset + op.chunkOffset;
    const first = Math.floor(from / BLOCK_BYTES);
    const end = Math.ceil((from + op.chunkLength) / BLOCK_BYTES);
    this.#context.bitmap.set(first, end - first);
  }
}
