/**
 * The superblock: who this replica is and what it knows of its own data.
 *
 * ```
 * offset size
 *  0     8   magic "BASCULE\0"
 *  8     4   layout version
 * 12     4   CRC-32 of the 4 KiB with this field as zero
 * 16     8   sequence number, grows by one with every update
 * 24     4   n: bytes of the content
 * 28     4   zero
 * 32     n   content: JSON, UTF-8
 *            zero up to 4 KiB
 * ```
 */

import { crc32 } from "node:zlib";
import {
  count,
  flag,
  list,
  object,
  oneOf,
  optional,
  orNull,
  ShapeError,
  text,
} from "../../wire/shape.ts";
import type { Generations, Verified } from "../types.ts";
import { LAYOUT_VERSION, META_PAGE_BYTES, SUPERBLOCK_OFFSETS } from "./layout.ts";

/** What a replica remembers of itself. Durable before it is relied upon. */
export interface Superblock {
  readonly replicaId: string;
  readonly volume: string;
  /** Bytes. */
  readonly size: number;
  readonly alExtents: number;
  readonly maxPeers: number;
  /** Highest epoch served or seen in a HELLO; lower ones are refused. */
  readonly epoch: number;
  /** Empty until the first epoch. */
  readonly lineage: string;
  readonly generations: Generations;
  /** A generation minted for a proposal whose outcome is not known yet. */
  readonly pending: string | null;
  /** The in-sync set when last told: replica ids. Empty: never told. */
  readonly upToDate: readonly string[];
  /** The data are a mixture: a resync was begun and is not finished. */
  readonly inconsistent: boolean;
  /** Writes that this replica acknowledged before a power loss may be missing. */
  readonly unclean: boolean;
  /** Stands while this replica is known to be the only up-to-date one, and may serve alone. */
  readonly sole: { readonly epoch: number; readonly bootId: string } | null;
  /** Closed in order: nothing was lost since. */
  readonly clean: boolean;
  /** Storage incarnation: renewed when completed writes may have been lost. */
  readonly storage: string;
  readonly blank: "no" | "zero" | "unknown";
  /** Boot in which it was last opened. */
  readonly bootId: string;
  /** Activity-log transactions before this sequence number no longer count. */
  readonly logFrom: number;
  /** The replica, by id, that each bitmap is about; empty: not yet known. */
  readonly peers: readonly string[];
  /** Wall clock of the newest write served here as Primary, to half a minute; absent: none yet. */
  readonly lastWrite?: number;
  /** Wall clock of the last promotion; absent: never. */
  readonly primarySince?: number;
  /** A person said that the data here may be given up for the other replica's. */
  readonly discard?: boolean;
  /** A verify that is not finished: all blocks below `block` are compared. */
  readonly verify?: VerifyState | null;
  /** The last finished one. */
  readonly verified?: Verified;
}

/** How far a verify is. */
export interface VerifyState {
  readonly block: number;
  /** Blocks that differed so far. */
  readonly differing: number;
  readonly repair: boolean;
}

const MAGIC = "BASCULE\0";
const HEADER_BYTES = 32;

const id = text(0, 128);
const shape = object({
  replicaId: text(1, 128),
  volume: text(1, 255),
  size: count,
  alExtents: count,
  maxPeers: count,
  epoch: count,
  lineage: id,
  generations: object({ current: text(1, 128), bitmap: id, history: list(id) }, "refuse"),
  pending: orNull(text(1, 128)),
  upToDate: list(id),
  inconsistent: flag,
  unclean: flag,
  sole: orNull(object({ epoch: count, bootId: id }, "refuse")),
  clean: flag,
  storage: text(1, 128),
  blank: oneOf("no", "zero", "unknown"),
  bootId: id,
  logFrom: count,
  peers: list(id),
  lastWrite: optional(count),
  primarySince: optional(count),
  discard: optional(flag),
  verify: optional(orNull(object({ block: count, differing: count, repair: flag }, "refuse"))),
  verified: optional(object({ at: count, differing: count, repaired: flag }, "refuse")),
}, "refuse");

/** The 4 KiB of one copy. Throws if the content does not fit, which bounded fields prevent. */
export function encodeSuperblock(superblock: Superblock, sequence: number): Uint8Array {
  const content = new TextEncoder().encode(JSON.stringify(superblock));
  if (content.length > META_PAGE_BYTES - HEADER_BYTES) {
    throw new Error(`a superblock of ${content.length} bytes does not fit ${META_PAGE_BYTES}`);
  }
  const page = new Uint8Array(META_PAGE_BYTES);
  const view = new DataView(page.buffer);
  for (let i = 0; i < 8; i++) page[i] = MAGIC.charCodeAt(i);
  view.setUint32(8, LAYOUT_VERSION);
  view.setBigUint64(16, BigInt(sequence));
  view.setUint32(24, content.length);
  page.set(content, HEADER_BYTES);
  view.setUint32(12, crc32(page));
  return page;
}

/** One copy read back, or why it cannot be used. */
export type SuperblockCopy =
  | { readonly superblock: Superblock; readonly sequence: number; readonly error?: never }
  | { readonly superblock?: never; readonly error: string; readonly version?: number };

/** Checks one copy. */
export function decodeSuperblock(page: Uint8Array): SuperblockCopy {
  if (page.length < META_PAGE_BYTES) return { error: "short" };
  for (let i = 0; i < 8; i++) {
    if (page[i] !== MAGIC.charCodeAt(i)) return { error: "no magic number" };
  }
  const copy = page.slice(0, META_PAGE_BYTES);
  const view = new DataView(copy.buffer);
  const version = view.getUint32(8);
  if (version !== LAYOUT_VERSION) return { error: `layout version ${version}`, version };
  const stated = view.getUint32(12);
  view.setUint32(12, 0);
  if (crc32(copy) !== stated) return { error: "wrong checksum" };
  const sequence = view.getBigUint64(16);
  const length = view.getUint32(24);
  if (sequence > BigInt(Number.MAX_SAFE_INTEGER) || length > META_PAGE_BYTES - HEADER_BYTES) {
    return { error: "impossible header" };
  }
  try {
    const json: unknown = JSON.parse(
      new TextDecoder().decode(copy.subarray(HEADER_BYTES, HEADER_BYTES + length)),
    );
    return { superblock: shape(json, "superblock"), sequence: Number(sequence) };
  } catch (error) {
    if (error instanceof ShapeError || error instanceof SyntaxError) {
      return { error: error.message };
    }
    throw error;
  }
}

/** Both copies of a region. */
export interface SuperblockCopies {
  /** The newest good one, or why there is none. */
  readonly newest: SuperblockCopy;
  /**
   * Offsets of both in the order in which they may be overwritten: last the one that is relied upon. A
   * write that fails or is torn spoils its copy, and the other may be spoilt or behind already.
   */
  readonly overwriteOrder: readonly [number, number];
}

/** Reads both copies of a region. */
export function readSuperblocks(region: Uint8Array): SuperblockCopies {
  const [one, other] = SUPERBLOCK_OFFSETS;
  const copy = (at: number) => decodeSuperblock(region.subarray(at, at + META_PAGE_BYTES));
  const [first, second] = [copy(one), copy(other)];
  return isNewer(second, first)
    ? { newest: second, overwriteOrder: [one, other] }
    : { newest: first, overwriteOrder: [other, one] };
}

/** The newest good copy of a region, or why there is none. */
export function newestSuperblock(region: Uint8Array): SuperblockCopy {
  return readSuperblocks(region).newest;
}

function isNewer(one: SuperblockCopy, other: SuperblockCopy): boolean {
  if (one.error !== undefined) return false;
  return other.error !== undefined || one.sequence > other.sequence;
}
