/**
 * Frames of a Primary that are being carried out on the replica's disk, and barriers: what waits until
 * all that was received before has been carried out.
 */

import { EOPNOTSUPP, type VolumeContext } from "./context.ts";
import { BLOCK_BYTES, type Geometry } from "./metadata/layout.ts";
import { makeTag, TagKind } from "./tags.ts";
import { type BufferHandle, FrameKind } from "./types.ts";
import { decodeRuns, type Runs } from "../wire/block_frames.ts";

/** Frames of a session that may be under way at once; a Primary keeps far below it. */
const RECEIVED_MAX = 65_536;

/** A frame that is being carried out. */
class Received {
  readonly index: number;
  link = 0;
  seq = 0;
  kind = FrameKind.Write;
  offset = 0;
  length = 0;
  buffer: BufferHandle = -1;
  fua = false;
  flushing = false;
  ordinal = 0;
  /** I/O that has not ended. */
  left = 0;

  constructor(index: number) {
    this.index = index;
  }
}

/** Runs once every frame with a lower ordinal has been carried out. */
interface Barrier {
  readonly ordinal: number;
  left: number;
  readonly then: () => void;
}

/** What carrying out needs of the link. */
export interface ReceivedHost {
  /** Counts connections: what was begun for an earlier one ends in silence. */
  readonly link: number;
  /** The frame is carried out: answers it. */
  carriedOut(kind: FrameKind, seq: number, length: number): void;
}

/** Whether all runs lie within the volume. */
export function withinVolume(runs: Runs, layout: Geometry): boolean {
  return runs[runs.length - 2]! + runs[runs.length - 1]! <= layout.blocks;
}

/** See the module comment. */
export class ReceivedFrames {
  readonly #context: VolumeContext;
  readonly #host: ReceivedHost;
  readonly #received: Received[] = [];
  readonly #free: number[] = [];
  #ordinal = 0;
  #underWay = 0;
  #barriers: Barrier[] = [];

  constructor(context: VolumeContext, host: ReceivedHost) {
    this.#context = context;
    this.#host = host;
  }

  /** Carries a frame out. False if it makes no sense; the buffer stays with the caller then. */
  take(
    kind: FrameKind,
    seq: number,
    offset: number,
    length: number,
    buffer: BufferHandle,
    fua: boolean,
    head: Uint8Array,
  ): boolean {
    const { layout } = this.#context;
    const resync = kind === FrameKind.Resync;
    const data = kind === FrameKind.Write || resync;
    const ranged = data || kind === FrameKind.Trim || kind === FrameKind.Zero ||
      kind === FrameKind.ZeroAllocated;
    if (!ranged || data !== (buffer >= 0) || length <= 0 || this.#underWay >= RECEIVED_MAX) {
      return false;
    }
    const runs = resync ? decodeRuns(head, offset, length) : null;
    const fits = resync
      ? runs !== null && withinVolume(runs, layout)
      : offset + length <= layout.size;
    if (!fits) return false;
    const received = this.#next();
    received.link = this.#host.link;
    received.seq = seq;
    received.kind = kind;
    received.offset = offset;
    received.length = length;
    received.buffer = buffer;
    received.fua = fua;
    received.flushing = false;
    received.ordinal = ++this.#ordinal;
    this.#underWay++;
    this.#begin(received, runs);
    return true;
  }

  /** The I/O of a received frame ended. */
  done(index: number, errno: number): void {
    const received = this.#received[index]!;
    const { io } = this.#context;
    const tag = makeTag(TagKind.Received, index);
    if (errno === EOPNOTSUPP && received.kind === FrameKind.Trim && !received.flushing) {
      this.#context.dataIoBegan();
      io.zero(tag, received.offset, received.length, false);
      return;
    }
    if (errno === 0 && received.fua && received.buffer < 0 && !received.flushing) {
      received.flushing = true;
      this.#context.dataIoBegan();
      io.flush(tag);
      return;
    }
    received.left--;
    if (received.left === 0) this.#end(received);
    if (errno !== 0) {
      const range = `${received.length} bytes at ${received.offset}`;
      this.#context.fail(`writing ${range} for the Primary failed`, errno);
      return;
    }
    // Of several writes of one frame another may have failed.
    if (received.left > 0 || received.link !== this.#host.link) return;
    if (this.#context.failure !== null) return;
    this.#underWay--;
    this.#host.carriedOut(received.kind, received.seq, received.length);
    this.#pass(received.ordinal);
  }

  /** The connection or session is over: what is under way ends in silence, barriers are gone. */
  forget(): void {
    this.#underWay = 0;
    this.#barriers = [];
  }

  /** Calls back when all that was received so far in this session has reached the disk. */
  barrier(then: () => void): void {
    if (this.#underWay === 0) then();
    else this.#barriers.push({ ordinal: this.#ordinal, left: this.#underWay, then });
  }

  #next(): Received {
    const index = this.#free.pop();
    if (index !== undefined) return this.#received[index]!;
    const received = new Received(this.#received.length);
    this.#received.push(received);
    return received;
  }

  #begin(received: Received, runs: Runs | null): void {
    const { io } = this.#context;
    const { kind, offset, length, buffer, fua } = received;
    const tag = makeTag(TagKind.Received, received.index);
    if (runs === null) {
      received.left = 1;
      this.#context.dataIoBegan();
      if (kind === FrameKind.Write) io.write(tag, offset, length, buffer, 0, fua);
      else if (kind === FrameKind.Trim) io.discard(tag, offset, length);
      else io.zero(tag, offset, length, kind === FrameKind.ZeroAllocated);
      return;
    }
    received.left = runs.length / 2;
    let at = 0;
    for (let i = 0; i < runs.length; i += 2) {
      const bytes = runs[i + 1]! * BLOCK_BYTES;
      this.#context.dataIoBegan();
      io.write(tag, runs[i]! * BLOCK_BYTES, bytes, buffer, at, false);
      at += bytes;
    }
  }

  #end(received: Received): void {
    if (received.buffer >= 0) this.#context.io.release(received.buffer);
    received.buffer = -1;
    this.#free.push(received.index);
  }

  #pass(ordinal: number): void {
    if (this.#barriers.length === 0) return;
    const passed: Barrier[] = [];
    for (const barrier of this.#barriers) {
      if (ordinal > barrier.ordinal) continue;
      barrier.left--;
      if (barrier.left === 0) passed.push(barrier);
    }
    if (passed.length === 0) return;
    this.#barriers = this.#barriers.filter((one) => one.left > 0);
    for (const barrier of passed) barrier.then();
  }
}
