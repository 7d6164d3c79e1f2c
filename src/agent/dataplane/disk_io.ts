/** The disk half of the volume's I/O. */
import type { Engine } from "../../os/engine.ts";
import { ERRNO } from "../../os/errno.ts";
import { Slab } from "../../os/memory.ts";
import { RequestKind } from "../../volume/types.ts";
import { BufferPool } from "./buffers.ts";
import type { IoStats } from "./io_stats.ts";
import type { Completion, Operations } from "./operations.ts";

/** Zeroes that have to be written go in pieces of this size, bytes. */
const ZERO_BYTES = 1 << 20;
/** Memory for metadata on their way to the disk, bytes. */
const META_BYTES = 8 << 20;
const META_PIECE = 1 << 20;

/** Where the parts of a replica are. */
export interface DiskPlaces {
  readonly dataFd: number;
  readonly metaFd: number;
  /** Byte of `metaFd` at which the metadata begin. */
  readonly metaStart: number;
  /** See `Disk`. */
  readonly fastZero: boolean;
  readonly fastZeroAllocated: boolean;
  /** Zeroing takes multiples of so many bytes. */
  readonly zeroUnit: number;
}

/** Tells the volume that an operation ended. `errno` is positive, 0 for success. */
export type Done = (tag: number, errno: number) => void;

interface PendingMeta {
  readonly tag: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** One disk operation under way. Reused. */
class DiskOperation implements Completion {
  tag = 0;
  /** Result that counts as success. */
  expected = 0;
  kind: RequestKind = RequestKind.Read;
  /** When it began, milliseconds. */
  since = 0;
  pool: BufferPool | null = null;
  buffer = -1;
  readonly #owner: DiskIo;

  constructor(owner: DiskIo) {
    this.#owner = owner;
  }

  completed(_what: number, result: number): void {
    if (this.buffer >= 0) this.pool!.release(this.buffer);
    this.buffer = -1;
    // A file that is cut short by somebody cannot be read; a disk that is full writes what fits.
    const short = this.kind === RequestKind.Write ? ERRNO.ENOSPC : ERRNO.EIO;
    const errno = result < 0 ? -result : result === this.expected ? 0 : short;
    this.#owner.finish(this, errno);
  }
}

/**
 * Reads and writes for the volume. Buffers are held while the kernel has them, whatever becomes of
 * the request. Ranges that the disk cannot discard or zero by itself are written with zeroes, so
 * that they read alike on every replica.
 */
export class DiskIo {
  readonly #engine: Engine;
  readonly #operations: Operations;
  readonly #pool: BufferPool;
  readonly #places: DiskPlaces;
  readonly #done: Done;
  readonly #stats: IoStats;
  readonly #free: DiskOperation[] = [];
  readonly #meta = new BufferPool(META_BYTES, META_PIECE);
  readonly #waitingMeta: PendingMeta[] = [];
  readonly #zeroes = Slab.allocate(ZERO_BYTES);
  #canDiscard = true;
  #canZero = true;

  constructor(
    engine: Engine,
    operations: Operations,
    pool: BufferPool,
    places: DiskPlaces,
    stats: IoStats,
    done: Done,
  ) {
    this.#engine = engine;
    this.#operations = operations;
    this.#pool = pool;
    this.#places = places;
    this.#stats = stats;
    this.#done = done;
  }

  /** See `VolumeIo.read`. */
  read(tag: number, offset: number, length: number, buffer: number, bufferOffset: number): void {
    const engineTag = this.#begin(tag, RequestKind.Read, length, this.#pool, buffer);
    const at = this.#pool.offset(buffer) + bufferOffset;
    this.#engine.read(this.#places.dataFd, this.#pool.slab, at, length, offset, engineTag);
  }

  /** See `VolumeIo.write`. */
  write(
    tag: number,
    offset: number,
    length: number,
    buffer: number,
    bufferOffset: number,
    durable: boolean,
  ): void {
    const engineTag = this.#begin(tag, RequestKind.Write, length, this.#pool, buffer);
    const at = this.#pool.offset(buffer) + bufferOffset;
    const fd = this.#places.dataFd;
    this.#engine.write(fd, this.#pool.slab, at, length, offset, durable, engineTag);
  }

  /** See `VolumeIo.flush`. */
  flush(tag: number): void {
    this.#engine.flush(this.#places.dataFd, this.#begin(tag, RequestKind.Flush, 0, null, -1));
  }

  /** See `VolumeIo.discard`. */
  discard(tag: number, offset: number, length: number): void {
    if (!this.#canDiscard) return this.#writeZeroes(tag, offset, length);
    const since = this.#stats.now;
    const operation = this.#operations.begin({
      completed: (_what, result) => {
        this.#stats.disk(RequestKind.Trim, since);
        if (result === -ERRNO.EOPNOTSUPP) this.#canDiscard = false;
        this.#zeroed(tag, offset, length, result);
      },
    }, 0);
    this.#engine.discard(this.#places.dataFd, offset, length, operation);
  }

  /** See `VolumeIo.zero`. */
  zero(tag: number, offset: number, length: number, keepAllocated: boolean): void {
    if (!this.#canZero) return this.#writeZeroes(tag, offset, length);
    const since = this.#stats.now;
    const operation = this.#operations.begin({
      completed: (_what, result) => {
        this.#stats.disk(RequestKind.Zero, since);
        if (result === -ERRNO.EOPNOTSUPP) this.#canZero = false;
        this.#zeroed(tag, offset, length, result);
      },
    }, 0);
    this.#engine.zero(this.#places.dataFd, offset, length, keepAllocated, operation);
  }

  /**
   * Is this range zeroed more quickly than zeroes are written? What the disk has refused once, and a
   * part of a sector, is not.
   */
  zeroesFast(offset: number, length: number, keepAllocated: boolean): boolean {
    const { fastZero, fastZeroAllocated, zeroUnit } = this.#places;
    return this.#canZero && (keepAllocated ? fastZeroAllocated : fastZero) &&
      offset % zeroUnit === 0 && length % zeroUnit === 0;
  }

  /** See `VolumeIo.writeMeta`. */
  writeMeta(tag: number, offset: number, bytes: Uint8Array): void {
    if (this.#waitingMeta.length > 0 || !this.#startMeta(tag, offset, bytes)) {
      this.#waitingMeta.push({ tag, offset, bytes: bytes.slice() });
    }
  }

  /** Gives the memory back; only when nothing is pending. */
  free(): void {
    this.#meta.free();
    this.#zeroes.free();
  }

  /** Called by an operation that ended. */
  finish(operation: DiskOperation, errno: number): void {
    const { tag, pool } = operation;
    this.#free.push(operation);
    if (pool === this.#meta) this.#startWaitingMeta();
    else this.#stats.disk(operation.kind, operation.since);
    this.#done(tag, errno);
  }

  #begin(
    tag: number,
    kind: RequestKind,
    expected: number,
    pool: BufferPool | null,
    buffer: number,
  ): number {
    const operation = this.#free.pop() ?? new DiskOperation(this);
    operation.tag = tag;
    operation.kind = kind;
    operation.since = this.#stats.now;
    operation.expected = expected;
    operation.pool = pool;
    operation.buffer = buffer;
    if (pool === this.#pool) pool.retain(buffer);
    return this.#operations.begin(operation, 0);
  }

  #startMeta(tag: number, offset: number, bytes: Uint8Array): boolean {
    const buffer = this.#meta.acquire(bytes.length);
    if (buffer < 0) return false;
    const at = this.#meta.offset(buffer);
    this.#meta.slab.bytes.set(bytes, at);
    const { metaFd, metaStart } = this.#places;
    const engineTag = this.#begin(tag, RequestKind.Write, bytes.length, this.#meta, buffer);
    const place = metaStart + offset;
    this.#engine.write(metaFd, this.#meta.slab, at, bytes.length, place, true, engineTag);
    return true;
  }

  #startWaitingMeta(): void {
    while (this.#waitingMeta.length > 0) {
      const { tag, offset, bytes } = this.#waitingMeta[0]!;
      if (!this.#startMeta(tag, offset, bytes)) return;
      this.#waitingMeta.shift();
    }
  }

  #zeroed(tag: number, offset: number, length: number, result: number): void {
    // EINVAL: a device that takes whole sectors only.
    if (result === -ERRNO.EOPNOTSUPP || result === -ERRNO.EINVAL) {
      return this.#writeZeroes(tag, offset, length);
    }
    this.#done(tag, result < 0 ? -result : 0);
  }

  #writeZeroes(tag: number, offset: number, length: number): void {
    const piece = Math.min(length, ZERO_BYTES);
    const operation = this.#operations.begin({
      completed: (_what, result) => {
        if (result !== piece) return this.#done(tag, result < 0 ? -result : ERRNO.ENOSPC);
        if (piece === length) return this.#done(tag, 0);
        this.#writeZeroes(tag, offset + piece, length - piece);
      },
    }, 0);
    this.#engine.write(this.#places.dataFd, this.#zeroes, 0, piece, offset, false, operation);
  }
}
