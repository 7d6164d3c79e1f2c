/**
 * The metadata region of a replica: what stands where, in bytes, all numbers big-endian.
 *
 * The region is either a file or device of its own (`meta-disk`) or follows the data on the same
 * disk at offset `size` ({@linkcode internalMetadataOffset}). Its size depends on the volume's size,
 * the activity log's extents and the number of bitmaps ({@linkcode metadataSize}).
 *
 * ```
 * 0        superblock, copy 0: 4 KiB (superblock.ts)
 * 32 KiB   superblock, copy 1
 * 64 KiB   activity log: a ring of 4 KiB transactions (activity_log.ts)
 *          then one dirty bitmap per peer: 4 KiB pages (bitmap.ts)
 * ```
 *
 * Both copies of the superblock are written in turn, never at once, and an update counts when both
 * are durable: whichever write is torn, the other copy is whole, and a copy that rots later cannot
 * bring an older state back. The bytes between the parts are zero and reserved.
 */

/** Unit of the dirty bitmap: one bit per 4 KiB block. */
export const BLOCK_BYTES = 4096;
/** Unit of the activity log. */
export const EXTENT_BYTES = 4 * 1024 * 1024;
/** Blocks of one extent. */
export const EXTENT_BLOCKS = EXTENT_BYTES / BLOCK_BYTES;
/** Version of the whole region's layout. */
export const LAYOUT_VERSION = 1;
/** Size of a superblock copy, of a log transaction and of a bitmap page. */
export const META_PAGE_BYTES = 4096;
/** Offsets of the superblock's copies. */
export const SUPERBLOCK_OFFSETS: readonly [number, number] = [0, 32 * 1024];
/** Where the activity log starts. */
export const LOG_OFFSET = 64 * 1024;

/** Slots named by one transaction's turning window; see activity_log.ts. */
export const LOG_CONTEXT_SLOTS = 760;
/** Fewest and most extents that an activity log can hold at once. */
export const LOG_SLOTS_MIN = 12;
/** See {@linkcode LOG_SLOTS_MIN}. */
export const LOG_SLOTS_MAX = 65_536;

/** Bytes of a bitmap page before its bits. */
export const BITMAP_PAGE_HEADER = 128;
/** Blocks of one bitmap page: a whole number of extents (31), so an extent's bits share a page. */
export const BITMAP_PAGE_BLOCKS = (META_PAGE_BYTES - BITMAP_PAGE_HEADER) * 8;

/** Where everything is in one replica's region. */
export interface Geometry {
  /** Volume size, bytes. */
  readonly size: number;
  /** Blocks of the volume. */
  readonly blocks: number;
  /** Extents of the volume, the last one perhaps short. */
  readonly extents: number;
  /** Slots of the activity log. */
  readonly logSlots: number;
  /** Transactions of the activity log's ring. */
  readonly logRing: number;
  /** Bitmaps with room in the region. */
  readonly maxPeers: number;
  /** Offset of the first bitmap. */
  readonly bitmapOffset: number;
  /** Pages of one bitmap. */
  readonly bitmapPages: number;
  /** Bytes of the region. */
  readonly bytes: number;
}

/**
 * Slots of the activity log for `al-extents = "auto"`: every extent of a small volume, so that it
 * never evicts; at most 6433 (25 GiB hot), at least 67.
 */
export function autoLogExtents(size: number): number {
  return Math.max(67, Math.min(Math.ceil(size / EXTENT_BYTES), 6433));
}

/** Largest volume, bytes: block numbers have 32 bits. */
export const VOLUME_BYTES_MAX = 16 * 2 ** 40;

/** Computes the layout. Throws if a number is out of range. */
export function geometry(size: number, logSlots: number, maxPeers = 1): Geometry {
  if (!Number.isSafeInteger(size) || size <= 0 || size % BLOCK_BYTES !== 0) {
    throw new Error(`a volume's size is a multiple of ${BLOCK_BYTES} bytes, not ${size}`);
  }
  if (size > VOLUME_BYTES_MAX) {
    throw new Error(`a volume has at most 16 TiB, not ${size} bytes`);
  }
  if (!Number.isInteger(logSlots) || logSlots < LOG_SLOTS_MIN || logSlots > LOG_SLOTS_MAX) {
    throw new Error(
      `an activity log has ${LOG_SLOTS_MIN} to ${LOG_SLOTS_MAX} extents, not ${logSlots}`,
    );
  }
  if (!Number.isInteger(maxPeers) || maxPeers < 1 || maxPeers > 31) {
    throw new Error(`a replica has room for 1 to 31 peers, not ${maxPeers}`);
  }
  const blocks = size / BLOCK_BYTES;
  const logRing = Math.max(8, 2 * Math.ceil(logSlots / LOG_CONTEXT_SLOTS) + 2);
  const bitmapOffset = LOG_OFFSET + logRing * META_PAGE_BYTES;
  const bitmapPages = Math.ceil(blocks / BITMAP_PAGE_BLOCKS);
  return {
    size,
    blocks,
    extents: Math.ceil(size / EXTENT_BYTES),
    logSlots,
    logRing,
    maxPeers,
    bitmapOffset,
    bitmapPages,
    bytes: bitmapOffset + maxPeers * bitmapPages * META_PAGE_BYTES,
  };
}

/** Bytes of the metadata region: about 33 MiB per TiB and peer. */
export function metadataSize(size: number, alExtents: number | "auto", maxPeers = 1): number {
  return geometry(size, alExtents === "auto" ? autoLogExtents(size) : alExtents, maxPeers).bytes;
}

/** Where internal metadata start on the disk that also holds the data. */
export function internalMetadataOffset(size: number): number {
  return size;
}

/** Offset of the transaction with this sequence number. */
export function logTransactionOffset(layout: Geometry, sequence: number): number {
  return LOG_OFFSET + (sequence % layout.logRing) * META_PAGE_BYTES;
}

/** Offset of a page of a peer's bitmap. */
export function bitmapPageOffset(layout: Geometry, peer: number, page: number): number {
  return layout.bitmapOffset + (peer * layout.bitmapPages + page) * META_PAGE_BYTES;
}
