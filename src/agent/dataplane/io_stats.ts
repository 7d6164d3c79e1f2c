/**
 * Counters and latencies of one volume, in memory that its Worker writes and the main thread reads.
 *
 * The Worker is the only writer and stores plainly: nothing on the hot path waits for a reader. A
 * reader may see one count of a pair before the other; the numbers only grow, so that is no harm.
 *
 * Latencies are histograms of fixed buckets: bucket `b` counts what took from 2^(b-1) up to 2^b
 * microseconds, the first what took less than one, the last all that took longer. Times are those
 * at which the event loop heard of a thing, so that several that came at once have the same.
 *
 * @module
 */
import { RequestKind } from "../../volume/types.ts";

/** The kinds of requests that are told apart. */
export const IO_KINDS = ["read", "write", "flush", "trim", "zero"] as const;
/** One of them. */
export type IoKind = typeof IO_KINDS[number];

/** What is timed. */
export const IO_PHASES = ["total", "queue", "disk", "replica"] as const;
/**
 * `total`: from the whole request in memory to its answer. `queue`: the part of it before the disk
 * was asked, because of frozen I/O, overlapping requests or the activity log. `disk`: each operation
 * of the local disk, a resync's included. `replica`: from a frame sent to its acknowledgement.
 */
export type IoPhase = typeof IO_PHASES[number];

const BUCKETS = 28;
const KIND = { read: 0, write: 1, flush: 2, trim: 3, zero: 4 } as const;
const PHASE = { total: 0, queue: 1, disk: 2, replica: 3 } as const;
/** Requests, errors and bytes of each kind, then its histograms. */
const COUNTERS = 3;
const WORDS_PER_KIND = COUNTERS + IO_PHASES.length * BUCKETS;
const WORDS = IO_KINDS.length * WORDS_PER_KIND + 1;
const CLIENTS = WORDS - 1;
/** Frames whose acknowledgement is timed at a time, a power of two. */
const FRAMES = 4096;

/** What {@linkcode IoStats.snapshot} gives. */
export interface IoSnapshot {
  /** Clients connected. */
  readonly clients: number;
  readonly requests: Readonly<Record<IoKind, KindSnapshot>>;
}

/** Of one kind of request, since the Worker started. */
export interface KindSnapshot {
  readonly requests: number;
  /** Answered with an error. */
  readonly errors: number;
  /** Asked for by requests without an error. */
  readonly bytes: number;
  /** Counts by bucket, without the empty ones at the end; see the module comment. */
  readonly microseconds: Readonly<Record<IoPhase, readonly number[]>>;
}

/** One side's view of the shared memory. */
export class IoStats {
  readonly buffer: SharedArrayBuffer;
  /** The time as the Worker's event loop last read it, milliseconds; kept by the Worker. */
  now = 0;
  readonly #words: Float64Array;
  readonly #sentAt = new Float64Array(FRAMES);
  readonly #sentKind = new Uint8Array(FRAMES);

  /** Over the other side's buffer, or over a new one. */
  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(8 * WORDS)) {
    this.buffer = buffer;
    this.#words = new Float64Array(buffer);
  }

  /** A request is answered. `since`: when it was whole. */
  answered(kind: RequestKind, since: number, bytes: number, failed: boolean): void {
    const at = kindIndex(kind) * WORDS_PER_KIND;
    this.#words[at]! += 1;
    if (failed) this.#words[at + 1]! += 1;
    else this.#words[at + 2]! += bytes;
    this.#time(kindIndex(kind), PHASE.total, since);
  }

  /** The disk is asked for the first time for a request that was whole at `since`. */
  started(kind: RequestKind, since: number): void {
    this.#time(kindIndex(kind), PHASE.queue, since);
  }

  /** An operation of the disk, begun at `since`, has ended. */
  disk(kind: RequestKind, since: number): void {
    this.#time(kindIndex(kind), PHASE.disk, since);
  }

  /** A frame with this number leaves for the replica. */
  sent(kind: RequestKind, seq: number): void {
    this.#sentAt[seq & (FRAMES - 1)] = this.now;
    this.#sentKind[seq & (FRAMES - 1)] = kindIndex(kind);
  }

  /** The replica has acknowledged the frame with this number. */
  acknowledged(seq: number): void {
    const at = seq & (FRAMES - 1);
    const since = this.#sentAt[at]!;
    if (since === 0) return;
    this.#sentAt[at] = 0;
    this.#time(this.#sentKind[at]!, PHASE.replica, since);
  }

  /** So many clients are connected. */
  set clients(count: number) {
    this.#words[CLIENTS] = count;
  }

  /** The numbers at this moment. */
  snapshot(): IoSnapshot {
    const requests = Object.fromEntries(
      IO_KINDS.map((kind) => [kind, this.#kind(KIND[kind])]),
    ) as Record<IoKind, KindSnapshot>;
    return { clients: this.#words[CLIENTS]!, requests };
  }

  #kind(kind: number): KindSnapshot {
    const at = kind * WORDS_PER_KIND;
    const microseconds = Object.fromEntries(
      IO_PHASES.map((phase) => [phase, this.#histogram(kind, PHASE[phase])]),
    ) as Record<IoPhase, number[]>;
    return {
      requests: this.#words[at]!,
      errors: this.#words[at + 1]!,
      bytes: this.#words[at + 2]!,
      microseconds,
    };
  }

  #histogram(kind: number, phase: number): number[] {
    const from = kind * WORDS_PER_KIND + COUNTERS + phase * BUCKETS;
    const counts = Array.from(this.#words.subarray(from, from + BUCKETS));
    return counts.slice(0, counts.findLastIndex((count) => count > 0) + 1);
  }

  #time(kind: number, phase: number, since: number): void {
    // Of what takes longer than half an hour only that is of interest.
    const microseconds = Math.min((this.now - since) * 1000, 0x7fffffff) | 0;
    const bucket = Math.min(32 - Math.clz32(microseconds), BUCKETS - 1);
    this.#words[kind * WORDS_PER_KIND + COUNTERS + phase * BUCKETS + bucket]! += 1;
  }
}

/**
 * The time, in microseconds, that a share of what a histogram counted did not exceed: the upper end of
 * its bucket; null if nothing was counted.
 */
export function quantile(histogram: readonly number[], share: number): number | null {
  const total = histogram.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let left = share * total;
  for (const [bucket, count] of histogram.entries()) {
    left -= count;
    if (left <= 0) return 2 ** bucket;
  }
  return 2 ** (histogram.length - 1);
}

function kindIndex(kind: RequestKind): number {
  return kind === RequestKind.ZeroAllocated ? KIND.zero : kind;
}
