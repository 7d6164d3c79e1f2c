/**
 * Making the metadata of a new replica, and reading the metadata of an old one.
 */

import { createHash } from "node:crypto";
import { encodeTransaction, LOG_EMPTY, readLog } from "./activity_log.ts";
import { DirtyBitmap } from "./bitmap.ts";
import {
  autoLogExtents,
  bitmapPageOffset,
  type Geometry,
  geometry,
  LAYOUT_VERSION,
  logTransactionOffset,
  META_PAGE_BYTES,
  SUPERBLOCK_OFFSETS,
} from "./layout.ts";
import { encodeSuperblock, readSuperblocks, type Superblock } from "./superblock.ts";

/** What a new replica is made of. The ids are random hex digits, drawn by the caller. */
export interface FormatInit {
  readonly volume: string;
  /** Bytes, a multiple of 4096. */
  readonly size: number;
  readonly alExtents: number | "auto";
  readonly replicaId: string;
  readonly storage: string;
  /** First generation if the disk's content is not known to be zero. */
  readonly generation: string;
  /**
   * `zero`: the disk is known to read as zeroes throughout, e.g. a new sparse file. `unknown`: its
   * content means nothing. `no`: its content is what the volume begins with.
   */
  readonly blank: "zero" | "unknown" | "no";
  readonly bootId: string;
  /** Bitmaps to leave room for; default 1. */
  readonly maxPeers?: number;
}

/** A piece of the metadata region. */
export interface MetadataChunk {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/**
 * The generation that all replicas share which were made for this volume and never written: two new
 * sparse files need no initial resync.
 */
export function dayZeroGeneration(volume: string, size: number): string {
  return createHash("sha256").update(`day zero\0${volume}\0${size}`).digest("hex").slice(0, 16);
}

/** The first superblock of a replica. */
function firstSuperblock(init: FormatInit, layout: Geometry): Superblock {
  return {
    replicaId: init.replicaId,
    volume: init.volume,
    size: init.size,
    alExtents: layout.logSlots,
    maxPeers: layout.maxPeers,
    epoch: 0,
    lineage: "",
    generations: {
      current: init.blank === "zero" ? dayZeroGeneration(init.volume, init.size) : init.generation,
      bitmap: "",
      history: [],
    },
    pending: null,
    upToDate: [],
    inconsistent: false,
    unclean: false,
    sole: null,
    clean: true,
    storage: init.storage,
    blank: init.blank,
    bootId: init.bootId,
    logFrom: layout.logRing,
    peers: [],
  };
}

/**
 * The whole region of a new replica, piece by piece, so that 33 MiB per TiB need not be held at once.
 * The superblocks come last: a creation that was cut short leaves nothing that looks finished.
 */
export function* formatMetadata(init: FormatInit): Generator<MetadataChunk> {
  const slots = init.alExtents === "auto" ? autoLogExtents(init.size) : init.alExtents;
  const layout = geometry(init.size, slots, init.maxPeers ?? 1);
  const nothing = new Uint8Array(META_PAGE_BYTES);
  for (const offset of SUPERBLOCK_OFFSETS) yield { offset, bytes: nothing };
  const table = new Int32Array(layout.logSlots).fill(LOG_EMPTY);
  for (let sequence = 0; sequence < layout.logRing; sequence++) {
    const bytes = new Uint8Array(META_PAGE_BYTES);
    encodeTransaction(layout, sequence, table, [], bytes);
    yield { offset: logTransactionOffset(layout, sequence), bytes };
  }
  for (let peer = 0; peer < layout.maxPeers; peer++) {
    const bitmap = new DirtyBitmap(layout, peer);
    for (let page = 0; page < layout.bitmapPages; page++) {
      const bytes = new Uint8Array(META_PAGE_BYTES);
      bitmap.encodePage(page, bytes);
      yield { offset: bitmapPageOffset(layout, peer, page), bytes };
    }
  }
  const superblock = firstSuperblock(init, layout);
  for (const offset of SUPERBLOCK_OFFSETS) {
    yield { offset, bytes: encodeSuperblock(superblock, 1) };
  }
}

/** A replica's metadata as they were read. */
export interface Metadata {
  readonly layout: Geometry;
  readonly superblock: Superblock;
  /** Sequence number of the superblock. */
  readonly sequence: number;
  /** Offsets of its copies, in the order in which they may be overwritten. */
  readonly overwriteOrder: readonly [number, number];
  /** Sequence number of the newest activity-log transaction. */
  readonly logSequence: number;
  /** Extents that may hold writes which are not stable everywhere. */
  readonly logExtents: readonly number[];
  readonly bitmaps: readonly DirtyBitmap[];
  /** Parts that were unreadable and are taken as wholly dirty; empty if all was well. */
  readonly damage: readonly string[];
}

/** What the configuration says the region should be for. */
export interface Expected {
  readonly volume: string;
  readonly size: number;
}

/**
 * Reads a whole region. Throws an Error that says what is wrong and the way out, if there is no
 * superblock to go by or it is another volume's. Damage elsewhere is made good by taking what cannot
 * be read as dirty.
 */
export function readMetadata(region: Uint8Array, expected: Expected): Metadata {
  const { newest, overwriteOrder } = readSuperblocks(region);
  if (newest.error !== undefined) {
    if (newest.version !== undefined && newest.version !== LAYOUT_VERSION) {
      throw new Error(
        `volume ${expected.volume}: the metadata have ${newest.error}, this program reads ` +
          `${LAYOUT_VERSION}; run the program that wrote them`,
      );
    }
    throw new Error(
      newest.error === "no magic number"
        ? `volume ${expected.volume}: the disk holds no metadata; make the replica with ` +
          "`bascule volume create`, or correct `disk` and `meta-disk`; if `size` was raised, run " +
          "`bascule volume resize`"
        : `volume ${expected.volume}: both superblocks are damaged (${newest.error}); make the ` +
          "replica anew with `bascule volume create` and let it resync from its peer",
    );
  }
  const { superblock, sequence } = newest;
  if (superblock.volume !== expected.volume) {
    throw new Error(
      `volume ${expected.volume}: the disk holds a replica of volume ${superblock.volume}; ` +
        "correct `disk` and `meta-disk`",
    );
  }
  if (superblock.size !== expected.size) {
    throw new Error(
      `volume ${expected.volume}: the replica was made for ${superblock.size} bytes, the ` +
        `configuration says ${expected.size}; correct \`size\`, or grow the replica by ` +
        "`bascule volume resize`",
    );
  }
  const layout = geometry(superblock.size, superblock.alExtents, superblock.maxPeers);
  if (region.length < layout.bytes) {
    throw new Error(
      `volume ${expected.volume}: the disk ends within its metadata, after ${region.length} of ` +
        `${layout.bytes} bytes; enlarge it to what it was, name the right disk, or make the ` +
        "replica anew with `bascule volume create` and let it resync from its peer",
    );
  }
  const damage: string[] = [];
  const bitmaps = Array.from({ length: layout.maxPeers }, (_, peer) => {
    const bitmap = new DirtyBitmap(layout, peer);
    for (let page = 0; page < layout.bitmapPages; page++) {
      const from = bitmapPageOffset(layout, peer, page);
      if (!bitmap.loadPage(page, region.subarray(from, from + META_PAGE_BYTES))) {
        damage.push(`bitmap page ${page} of peer ${peer}`);
      }
    }
    return bitmap;
  });
  const log = readLog(layout, region, superblock.logFrom);
  if (log.damage !== null) {
    damage.push(`activity log: ${log.damage}`);
    for (const bitmap of bitmaps) bitmap.fill();
  }
  return {
    layout,
    superblock,
    sequence,
    overwriteOrder,
    logSequence: log.sequence,
    logExtents: log.extents,
    bitmaps,
    damage,
  };
}
