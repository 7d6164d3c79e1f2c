/**
 * Reads of a Primary: from the local disk, after overlapping writes are done everywhere.
 *
 * What the local disk cannot read is read from the peer, if that holds it, and written back here; so is
 * everything once the local disk is detached. A read that only an absent member of the in-sync set
 * could answer waits for it; one that nobody can answer fails, and that alone is told to the client.
 */

import { MAX_DATA_PAYLOAD } from "../wire/replication.ts";
import { Detach, EIO, PEER, type VolumeContext } from "./context.ts";
import { type Op, OpState, type OpTable, PeerState, Source } from "./in_flight.ts";
import { BLOCK_BYTES } from "./metadata/layout.ts";
import type { Requests } from "./requests.ts";
import { makeTag, TagKind } from "./tags.ts";
import { type BufferHandle, FrameKind } from "./types.ts";
import type { Replication } from "./write_path.ts";

/** See the module comment. */
export class ReadPath {
  readonly #context: VolumeContext;
  readonly #table: OpTable;
  readonly #requests: Requests;
  readonly #link: Replication;

  /** Of one volume. */
  constructor(context: VolumeContext, table: OpTable, requests: Requests, link: Replication) {
    this.#context = context;
    this.#table = table;
    this.#requests = requests;
    this.#link = link;
  }

  /** A read whose turn has come. */
  start(op: Op): void {
    op.state = OpState.Running;
    if (this.#context.detach !== Detach.No) {
      this.#fromPeer(op);
      return;
    }
    op.source = Source.Disk;
    this.#context.dataIoBegan();
    this.#context.io.began?.(op.request);
    this.#context.io.read(
      makeTag(TagKind.Operation, op.index),
      op.offset,
      op.length,
      op.buffer,
      op.bufferOffset,
    );
  }

  /** The data are in the client's buffer or written back, or the disk failed. */
  localDone(op: Op, errno: number): void {
    const context = this.#context;
    if (op.source === Source.Repair) {
      if (errno !== 0) {
        context.fail(`writing back ${op.length} bytes at ${op.offset} failed`, errno);
      }
      this.#done(op);
      return;
    }
    if (errno !== 0) {
      const what = `reading ${op.length} bytes at ${op.offset} failed (errno ${errno})`;
      context.note("warning", "read-error", `${what}: the peer is asked for them`, {
        offset: op.offset,
        bytes: op.length,
        errno,
      });
      this.#fromPeer(op);
      return;
    }
    this.#done(op);
  }

  /** A part of what was asked of the peer; the buffer is given back. False: nothing was asked. */
  data(seq: number, offset: number, length: number, buffer: BufferHandle): boolean {
    const { io } = this.#context;
    const op = this.#asked(seq);
    const at = op === null ? -1 : offset - op.offset;
    if (op === null || at < 0 || at + length > op.length) {
      io.release(buffer);
      return false;
    }
    io.copy(buffer, 0, op.buffer, op.bufferOffset + at, length);
    io.release(buffer);
    op.frames--;
    if (op.frames > 0) return true;
    op.peer = PeerState.Answered;
    if (this.#context.failure !== null) this.#done(op);
    else this.#repair(op);
    return true;
  }

  /** The peer cannot read it either. */
  unreadable(seq: number): void {
    const op = this.#asked(seq);
    if (op !== null) this.#refuse(op);
  }

  /** The in-sync set or the session has changed: whatever waited for the peer goes on. */
  progress(op: Op): void {
    if (op.state !== OpState.Running) return;
    if (op.localDone) this.#done(op);
    else if (op.source === Source.Peer && op.peer === PeerState.None) this.#fromPeer(op);
  }

  #asked(seq: number): Op | null {
    const op = this.#table.bySeq(seq);
    return op !== null && op.source === Source.Peer && op.peer === PeerState.Sent ? op : null;
  }

  #fromPeer(op: Op): void {
    const { others, detach, bitmap } = this.#context;
    const { streaming, peerId } = this.#link;
    op.source = Source.Peer;
    op.peer = PeerState.None;
    if (detach === Detach.Asked) return;
    const member = others.length === 1 && others[0] === peerId;
    if (others.length === 0) {
      this.#refuse(op);
    } else if (streaming && member && detach !== Detach.No) {
      this.#ask(op);
    } else if (streaming && member) {
      // To wait for the end of a resync could be for ever: it may wait for a write behind this read.
      const dirty = bitmap.next(Math.floor(op.offset / BLOCK_BYTES));
      if (dirty >= 0 && dirty * BLOCK_BYTES < op.offset + op.length) this.#refuse(op);
      else this.#ask(op);
    }
    // Otherwise a member is away: it comes back, or leaves the set.
  }

  #ask(op: Op): void {
    const { io, now } = this.#context;
    op.peer = PeerState.Sent;
    op.sentAt = now;
    op.frames = Math.ceil(op.length / MAX_DATA_PAYLOAD);
    const seq = this.#table.seqOf(op);
    for (let at = 0; at < op.length; at += MAX_DATA_PAYLOAD) {
      const length = Math.min(MAX_DATA_PAYLOAD, op.length - at);
      const { session } = this.#link;
      io.sendData(PEER, FrameKind.Read, session, seq, op.offset + at, length, -1, 0, 0);
    }
  }

  /** The same data that should be there: no log entry is needed, a part of them is right as well. */
  #repair(op: Op): void {
    const context = this.#context;
    op.source = Source.Repair;
    context.note("info", "read-repaired", `${op.length} bytes at ${op.offset} came from the peer`);
    context.dataIoBegan();
    const tag = makeTag(TagKind.Operation, op.index);
    context.io.write(tag, op.offset, op.length, op.buffer, op.bufferOffset, true);
  }

  #done(op: Op): void {
    op.localDone = true;
    if (!this.#context.stalled) this.#requests.finish(op);
  }

  #refuse(op: Op): void {
    this.#context.note(
      "error",
      "unreadable",
      `no replica can read ${op.length} bytes at ` +
        `${op.offset}: the client gets an I/O error`,
    );
    this.#requests.refuse(op, EIO);
  }
}
