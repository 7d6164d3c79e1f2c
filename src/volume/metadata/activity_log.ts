/**
 * The activity log on disk: which 4 MiB extents may hold writes that are not known to be stable on
 * every replica. After a crash exactly these are compared again.
 *
 * The log is a table of slots, each empty or naming one extent. Every change appends one transaction
 * of 4 KiB to a ring; beside its own updates a transaction repeats a window of the table that turns
 * with each one, so that the newest few transactions together always hold the whole table.
 *
 * A transaction is 8 sectors of 512 bytes. Each starts with a stamp, the sequence number times
 * 0x9e3779b1 modulo 2^32 (so that a write torn between sectors is told from one that rotted: no flip of
 * one bit turns the stamp of a transaction into that of the one it overwrote), then 127 big-endian
 * words; together 1016 words:
 *
 * ```
 * word
 *  0   magic "ALOG"
 *  1   CRC-32 of the 4 KiB with this word as zero
 *  2   sequence number, high and
 *  3   low half
 *  4   slots of the table
 *  5   u: updates
 *  6   c: slots in the window
 *  7   first slot of the window
 *  8   u pairs (slot, extent)
 *  8+2u  c extents
 * ```
 *
 * An empty slot reads 0xffffffff. Transactions before the superblock's `logFrom` do not count: that
 * is how the log is emptied at once. If the chain of transactions is broken, other than by a last
 * write that was torn, the log says so, and everything counts as written.
 */

import { crc32 } from "node:zlib";
import {
  type Geometry,
  LOG_CONTEXT_SLOTS,
  logTransactionOffset,
  META_PAGE_BYTES,
} from "./layout.ts";

/** Most updates of one transaction. */
export const LOG_UPDATES_MAX = 120;
/** Content of an empty slot. */
export const LOG_EMPTY = 0xffff_ffff;

const MAGIC = 0x414c4f47;
const SECTOR = 512;
const SECTOR_WORDS = 127;
const SECTORS = META_PAGE_BYTES / SECTOR;
const CRC_WORD = 1;
const UPDATES_WORD = 8;

/** See the file's comment. */
function stampOf(sequence: number): number {
  return Math.imul(sequence % 0x1_0000_0000, 0x9e3779b1) >>> 0;
}

/** Byte offset of a word in a transaction. */
function at(word: number): number {
  return Math.floor(word / SECTOR_WORDS) * SECTOR + 4 + (word % SECTOR_WORDS) * 4;
}

/** Slots of the window of the transaction with this number: `first` and how many. */
function windowOf(layout: Geometry, sequence: number): { first: number; slots: number } {
  const turns = Math.ceil(layout.logSlots / LOG_CONTEXT_SLOTS);
  const first = (sequence % turns) * LOG_CONTEXT_SLOTS;
  return { first, slots: Math.min(LOG_CONTEXT_SLOTS, layout.logSlots - first) };
}

/**
 * Encodes a transaction into `page`. `table` is the table of slots with the updates applied;
 * `updates` names the changed slots, at most {@linkcode LOG_UPDATES_MAX}.
 */
export function encodeTransaction(
  layout: Geometry,
  sequence: number,
  table: Int32Array,
  updates: readonly number[],
  page: Uint8Array,
): void {
  if (updates.length > LOG_UPDATES_MAX) {
    throw new Error(`${updates.length} updates exceed a transaction's ${LOG_UPDATES_MAX}`);
  }
  const view = new DataView(page.buffer, page.byteOffset, META_PAGE_BYTES);
  page.fill(0, 0, META_PAGE_BYTES);
  const stamp = stampOf(sequence);
  for (let sector = 0; sector < SECTORS; sector++) view.setUint32(sector * SECTOR, stamp);
  const window = windowOf(layout, sequence);
  const header = [
    MAGIC,
    0,
    Math.floor(sequence / 0x1_0000_0000),
    sequence % 0x1_0000_0000,
    layout.logSlots,
    updates.length,
    window.slots,
    window.first,
  ];
  header.forEach((value, word) => view.setUint32(at(word), value));
  let word = UPDATES_WORD;
  for (const slot of updates) {
    view.setUint32(at(word++), slot);
    view.setUint32(at(word++), table[slot]! >>> 0);
  }
  for (let i = 0; i < window.slots; i++) {
    view.setUint32(at(word++), table[window.first + i]! >>> 0);
  }
  view.setUint32(at(CRC_WORD), crc32(page.subarray(0, META_PAGE_BYTES)));
}

/** The log as it was read. */
export interface LogContent {
  /** Sequence number of the newest transaction. */
  readonly sequence: number;
  /** Extents that may hold unstable writes. */
  readonly extents: readonly number[];
  /** Why the log cannot be trusted: everything counts as written then. */
  readonly damage: string | null;
}

interface Transaction {
  readonly sequence: number;
  readonly updates: readonly (readonly [number, number])[];
  readonly first: number;
  readonly window: readonly number[];
}

/** Reads the log of a region. `logFrom` is the superblock's. */
export function readLog(layout: Geometry, region: Uint8Array, logFrom: number): LogContent {
  const ring = layout.logRing;
  const found: (Transaction | null)[] = [];
  let newest = -1;
  for (let position = 0; position < ring; position++) {
    const transaction = decodeTransaction(layout, pageAt(layout, region, position));
    const placed = transaction !== null && transaction.sequence % ring === position;
    found.push(placed ? transaction : null);
    if (placed) newest = Math.max(newest, transaction.sequence);
  }
  if (newest < 0) {
    return { sequence: logFrom + ring, extents: [], damage: "no transaction is whole" };
  }
  const next = pageAt(layout, region, (newest + 1) % ring);
  const odd = (position: number) => found[position] === null;
  let damage: string | null = null;
  if (odd((newest + 1) % ring) && !isUnanswered(next, newest + 1, ring)) {
    damage = `transaction ${newest + 1} or ${newest + 1 - ring} has a wrong checksum`;
  }
  const table = new Map<number, number>();
  const since = Math.max(logFrom, newest - ring + 2, 0);
  const turns = Math.ceil(layout.logSlots / LOG_CONTEXT_SLOTS);
  let whole = 0;
  for (let sequence = since; sequence <= newest; sequence++) {
    const transaction = found[sequence % ring];
    if (!transaction || transaction.sequence !== sequence) {
      damage ??= `transaction ${sequence} has a wrong checksum`;
      continue;
    }
    whole++;
    transaction.window.forEach((extent, i) => table.set(transaction.first + i, extent));
    for (const [slot, extent] of transaction.updates) table.set(slot, extent);
  }
  if (damage === null && since > logFrom && whole < turns) damage = "the chain is too short";
  const extents = [...new Set(table.values())]
    .filter((extent) => extent !== LOG_EMPTY && extent < layout.extents)
    .sort((a, b) => a - b);
  return { sequence: Math.max(newest, logFrom - 1), extents, damage };
}

function pageAt(layout: Geometry, region: Uint8Array, position: number): Uint8Array {
  const from = logTransactionOffset(layout, position);
  return region.subarray(from, from + META_PAGE_BYTES);
}

/**
 * Whether the page holds sectors of the transaction that this one was to overwrite: then its write
 * was torn, hence never answered, or never begun. Otherwise it was whole once and rotted.
 */
function isUnanswered(page: Uint8Array, sequence: number, ring: number): boolean {
  const view = new DataView(page.buffer, page.byteOffset, META_PAGE_BYTES);
  const fresh = stampOf(sequence);
  const old = stampOf(Math.max(0, sequence - ring));
  let olds = 0;
  for (let sector = 0; sector < SECTORS; sector++) {
    const stamp = view.getUint32(sector * SECTOR);
    if (stamp === old) olds++;
    else if (stamp !== fresh) return false;
  }
  return olds > 0;
}

function decodeTransaction(layout: Geometry, page: Uint8Array): Transaction | null {
  const copy = page.slice();
  const view = new DataView(copy.buffer);
  const word = (index: number) => view.getUint32(at(index));
  if (word(0) !== MAGIC) return null;
  const stated = word(CRC_WORD);
  view.setUint32(at(CRC_WORD), 0);
  if (crc32(copy) !== stated) return null;
  const updates = word(5);
  const slots = word(6);
  const first = word(7);
  if (
    word(4) !== layout.logSlots || updates > LOG_UPDATES_MAX || slots > LOG_CONTEXT_SLOTS ||
    first + slots > layout.logSlots
  ) {
    return null;
  }
  return {
    sequence: word(2) * 0x1_0000_0000 + word(3),
    updates: Array.from(
      { length: updates },
      (_, i) => [word(UPDATES_WORD + 2 * i), word(UPDATES_WORD + 2 * i + 1)] as const,
    ),
    first,
    window: Array.from({ length: slots }, (_, i) => word(UPDATES_WORD + 2 * updates + i)),
  };
}
