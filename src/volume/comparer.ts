/**
 * The replica's part in a resync or verify: it compares its own blocks with the checksums that the
 * Primary sent, makes zeroes where those are zeroes (unless it is only to compare), and answers which
 * blocks differ.
 */

import type { VolumeContext } from "./context.ts";
import { BLOCK_BYTES } from "./metadata/layout.ts";
import { makeTag, TagKind } from "./tags.ts";
import type { BufferHandle } from "./types.ts";
import { blocksOf, type BlockSums, encodeDiffers, type Runs } from "../wire/block_frames.ts";
import { pick } from "./block_walk.ts";

/** One SUMS that is being answered. */
interface Comparison {
  link: number;
  seq: number;
  runs: Runs;
  sums: BlockSums;
  only: boolean;
  buffer: BufferHandle;
  /** I/O that has not ended. */
  left: number;
  /** The answer, while zeroes are being made; null: the blocks are still being read. */
  head: Uint8Array | null;
  equal: number;
  /** Some of the blocks cannot be read here. */
  unreadable: boolean;
}

/** What the comparer needs of the link. */
export interface ComparerHost {
  /** Counts connections: what was begun for an earlier one ends in silence. */
  readonly link: number;
  /** Says UNREADABLE: the answer that follows tells nothing of the data here. */
  unreadable(seq: number): void;
  /** Answers with DIFFERS. `equal`: blocks for which nothing follows. */
  differs(seq: number, offset: number, length: number, head: Uint8Array, equal: number): void;
}

/** See the module comment. */
export class Comparer {
  readonly #context: VolumeContext;
  readonly #host: ComparerHost;
  readonly #entries: (Comparison | null)[] = [];
  readonly #free: number[] = [];
  /** Wait for a buffer, in order. */
  #waiting: number[] = [];

  constructor(context: VolumeContext, host: ComparerHost) {
    this.#context = context;
    this.#host = host;
  }

  /** SUMS came. */
  compare(seq: number, runs: Runs, sums: BlockSums, only: boolean): void {
    const index = this.#free.pop() ?? this.#entries.length;
    const { link } = this.#host;
    this.#entries[index] = {
      link,
      seq,
      runs,
      sums,
      only,
      buffer: -1,
      left: 0,
      head: null,
      equal: 0,
      unreadable: false,
    };
    this.#waiting.push(index);
    this.bufferFree();
  }

  /** A buffer may be had. */
  bufferFree(): void {
    const { io } = this.#context;
    while (this.#waiting.length > 0) {
      const index = this.#waiting[0]!;
      const entry = this.#entries[index]!;
      if (entry.link !== this.#host.link) {
        this.#waiting.shift();
        this.#drop(index);
        continue;
      }
      entry.buffer = io.acquire(blocksOf(entry.runs) * BLOCK_BYTES);
      if (entry.buffer < 0) return;
      this.#waiting.shift();
      this.#read(index, entry);
    }
  }

  /** I/O of a comparison ended. */
  done(index: number, errno: number): void {
    const entry = this.#entries[index]!;
    entry.left--;
    if (errno !== 0 && entry.head === null) {
      // What cannot be read differs; writing it anew is also what mends a bad sector.
      if (!entry.unreadable) this.#noteUnreadable(entry, errno);
      entry.unreadable = true;
    } else if (errno !== 0) {
      if (entry.left === 0) this.#drop(index);
      this.#context.fail("making zeroes of blocks that are zeroes on the Primary failed", errno);
      return;
    }
    if (entry.left > 0) return;
    if (entry.link !== this.#host.link || this.#context.failure !== null) {
      this.#drop(index);
    } else if (entry.head === null) {
      this.#judge(index, entry);
    } else {
      this.#answer(index, entry, entry.head);
    }
  }

  #read(index: number, { runs, buffer }: Comparison): void {
    const { io } = this.#context;
    const tag = makeTag(TagKind.Compared, index);
    this.#entries[index]!.left = runs.length / 2;
    let at = 0;
    for (let i = 0; i < runs.length; i += 2) {
      const length = runs[i + 1]! * BLOCK_BYTES;
      this.#context.dataIoBegan();
      io.read(tag, runs[i]! * BLOCK_BYTES, length, buffer, at);
      at += length;
    }
  }

  #judge(index: number, entry: Comparison): void {
    const { io } = this.#context;
    const { sums, only, runs, buffer } = entry;
    const blocks = sums.crcs.length;
    if (entry.unreadable) {
      // A resync sends it anyway.
      if (only) this.#host.unreadable(entry.seq);
      const all = new Uint8Array(blocks).fill(1);
      const none = io.digest(buffer, new Uint8Array(blocks));
      return this.#answer(index, entry, encodeDiffers(all, none));
    }
    const own = io.sums(buffer, blocks);
    const differs = new Uint8Array(blocks);
    const claimed = new Uint8Array(blocks);
    const clear = new Uint8Array(blocks);
    for (let i = 0; i < blocks; i++) {
      if (sums.zeroes[i] !== 0) {
        if (own.zeroes[i] !== 0) continue;
        if (only) differs[i] = 1;
        else clear[i] = 1;
      } else if (own.zeroes[i] !== 0 || own.crcs[i] !== sums.crcs[i]) {
        differs[i] = 1;
      } else {
        claimed[i] = 1;
      }
    }
    entry.equal = differs.reduce((left, one) => left - one, blocks);
    const head = encodeDiffers(differs, io.digest(buffer, claimed));
    io.release(buffer);
    entry.buffer = -1;
    const ranges = pick(runs, clear);
    if (ranges.length === 0) return this.#answer(index, entry, head);
    entry.head = head;
    entry.left = ranges.length / 2;
    const tag = makeTag(TagKind.Compared, index);
    for (let i = 0; i < ranges.length; i += 2) {
      this.#context.dataIoBegan();
      io.zero(tag, ranges[i]! * BLOCK_BYTES, ranges[i + 1]! * BLOCK_BYTES, false);
    }
  }

  #noteUnreadable({ runs }: Comparison, errno: number): void {
    const text = `blocks from ${runs[0]} on cannot be read here: the Primary is to send them`;
    this.#context.note("error", "read-error", text, { block: runs[0]!, errno });
  }

  #answer(index: number, { seq, runs, sums, equal }: Comparison, head: Uint8Array): void {
    this.#drop(index);
    const length = sums.crcs.length * BLOCK_BYTES;
    this.#host.differs(seq, runs[0]! * BLOCK_BYTES, length, head, equal);
  }

  #drop(index: number): void {
    const { buffer } = this.#entries[index]!;
    if (buffer >= 0) this.#context.io.release(buffer);
    this.#entries[index] = null;
    this.#free.push(index);
  }
}
