/**
 * Codec of the voter's append-only log and of the mark beside it.
 *
 * A voter that answered a PREPARE or ACCEPT must never forget it: two slots of which the newer is
 * bad would fall back to the older one and take a promise back. So the log only grows, and every
 * record carries a checksum chained over all before it. A second file, the mark, says up to which
 * length the log was answered for. A bad record at or beyond the mark is a write torn by a crash:
 * nobody heard of it, it is cut. A bad record below the mark is lost state: such a voter must not
 * vote before the others have put its new id into the record.
 *
 * The log, all numbers big-endian:
 *
 * ```
 * header  4 magic "BSVL", 4 version, 4 generation, 8 base length, 16 checksum of these 20 bytes
 * record  4 length of the JSON, JSON (UTF-8), 16 checksum of (previous checksum, length, JSON)
 * ```
 *
 * Checksums are the first 16 bytes of SHA-256. `generation` counts the rewrites of the log; `base
 * length` is what the rewrite held when it was renamed into place, already durable: it stands in for
 * the mark between the rename and the mark's next update. The mark is 16 bytes: 4 generation, 8
 * length, 4 CRC-32 of these 12.
 */

import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import type { VoterLogRecord } from "../cluster/types.ts";
import { checkVoterLogRecord } from "./messages.ts";
import { ShapeError } from "./shape.ts";

const MAGIC = 0x4253564c;
const VERSION = 1;
const CHECKSUM_BYTES = 16;
const HEADER_FIELDS = 20;
const HEADER_BYTES = HEADER_FIELDS + CHECKSUM_BYTES;
const FRAMING_BYTES = 4 + CHECKSUM_BYTES;
/** Largest record in bytes of JSON; a larger length in a log is damage. */
export const MAX_RECORD = 1024 * 1024;
/** Size of the mark in bytes: within one sector, so that a power loss leaves the old or the new. */
export const MARK_BYTES = 16;

/** Where a log ends and the checksum that the next record continues. */
export interface LogState {
  readonly generation: number;
  /** Bytes. */
  readonly length: number;
  readonly checksum: Uint8Array;
}

/** Up to which length the log of this generation was answered for. */
export interface LogMark {
  readonly generation: number;
  /** Bytes. */
  readonly length: number;
}

/** What {@linkcode readLog} found. */
export interface LogReading {
  readonly records: readonly VoterLogRecord[];
  /** Bytes up to the end of the last good record. */
  readonly validLength: number;
  /**
   * `ok`: all of it is good. `torn`: what follows `validLength` was never answered for, cut it.
   * `lost`: something answered for cannot be read. `foreign`: another version's log, leave it alone.
   */
  readonly verdict: "ok" | "torn" | "lost" | "foreign";
  /** Why, for a person. Empty for `ok`. */
  readonly detail: string;
  /** Where to append, for `ok` and `torn`. */
  readonly state?: LogState;
}

/** A whole new log that holds `records`, as an atomic rewrite puts it into place. */
export function writeLog(
  generation: number,
  records: readonly VoterLogRecord[],
): { readonly bytes: Uint8Array; readonly state: LogState } {
  if (!Number.isInteger(generation) || generation < 1 || generation > 0xffff_ffff) {
    throw new Error(`a voter log's generation is 1 to 2^32 - 1, not ${generation}`);
  }
  const bodies = records.map(encodeBody);
  const total = bodies.reduce((sum, body) => sum + body.length + FRAMING_BYTES, HEADER_BYTES);
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  view.setUint32(4, VERSION);
  view.setUint32(8, generation);
  view.setBigUint64(12, BigInt(total));
  let checksum = checksumOf(bytes.subarray(0, HEADER_FIELDS));
  bytes.set(checksum, HEADER_FIELDS);
  let at = HEADER_BYTES;
  for (const body of bodies) {
    const record = encodeRecord(checksum, body);
    bytes.set(record, at);
    at += record.length;
    checksum = record.slice(record.length - CHECKSUM_BYTES);
  }
  return { bytes, state: { generation, length: total, checksum } };
}

/** The bytes that append one record, and the state after them. */
export function appendRecord(
  state: LogState,
  record: VoterLogRecord,
): { readonly bytes: Uint8Array; readonly state: LogState } {
  const bytes = encodeRecord(state.checksum, encodeBody(record));
  return {
    bytes,
    state: {
      generation: state.generation,
      length: state.length + bytes.length,
      checksum: bytes.slice(bytes.length - CHECKSUM_BYTES),
    },
  };
}

/**
 * Reads a log. `mark` is null when its file is missing or bad: then only a log that holds nothing is
 * still good, since nothing can have been answered from it.
 */
export function readLog(bytes: Uint8Array, mark: LogMark | null): LogReading {
  const header = readHeader(bytes);
  if (typeof header === "string") return bad("lost", header);
  if (header.version !== VERSION) {
    return bad(
      "foreign",
      `version ${header.version} of the voter log, this executable reads ${VERSION}`,
    );
  }
  const { records, state, damage } = readRecords(bytes, header.generation);
  const answered = answeredLength(header, mark, records.length);
  if (typeof answered === "string") return { ...bad("lost", answered), records };
  const validLength = state.length;
  if (validLength < answered) {
    const detail = `the log is good up to byte ${validLength}, answers were given up to byte ` +
      `${answered}: ${damage || "it is too short"}`;
    return { records, validLength, verdict: "lost", detail };
  }
  if (damage === "") return { records, validLength, verdict: "ok", detail: "", state };
  const detail = `${damage} at byte ${validLength}, after everything that was answered for`;
  return { records, validLength, verdict: "torn", detail, state };
}

/** The 16 bytes of a mark. */
export function encodeMark(mark: LogMark): Uint8Array {
  const bytes = new Uint8Array(MARK_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, mark.generation);
  view.setBigUint64(4, BigInt(mark.length));
  view.setUint32(12, crc32(bytes.subarray(0, 12)));
  return bytes;
}

/** The mark in these bytes, or null if they are none. */
export function decodeMark(bytes: Uint8Array): LogMark | null {
  if (bytes.length !== MARK_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, MARK_BYTES);
  if (view.getUint32(12) !== crc32(bytes.subarray(0, 12))) return null;
  const length = view.getBigUint64(4);
  if (length > Number.MAX_SAFE_INTEGER) return null;
  return { generation: view.getUint32(0), length: Number(length) };
}

/**
 * The records that are still needed, in order: replaying them ends where replaying all of them ends.
 * Of every register the last promise and the last accept, and the last identity.
 */
export function compactRecords(records: readonly VoterLogRecord[]): VoterLogRecord[] {
  const last = new Map<string, number>();
  records.forEach((record, index) => last.set(recordSlot(record), index));
  return records.filter((record, index) => last.get(recordSlot(record)) === index);
}

/** What a newer record of the same slot replaces. */
export function recordSlot(record: VoterLogRecord): string {
  return record.kind === "identity" ? "identity" : `${record.kind} ${record.register}`;
}

interface Header {
  readonly version: number;
  readonly generation: number;
  readonly baseLength: number;
}

function readHeader(bytes: Uint8Array): Header | string {
  if (bytes.length < HEADER_BYTES) return `${bytes.length} bytes are too short for a voter log`;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(0) !== MAGIC) return "this is no voter log";
  const stored = bytes.subarray(HEADER_FIELDS, HEADER_BYTES);
  if (!sameBytes(checksumOf(bytes.subarray(0, HEADER_FIELDS)), stored)) {
    return "the header's checksum does not match";
  }
  return {
    version: view.getUint32(4),
    generation: view.getUint32(8),
    baseLength: Number(view.getBigUint64(12)),
  };
}

function readRecords(
  bytes: Uint8Array,
  generation: number,
): { records: VoterLogRecord[]; state: LogState; damage: string } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const records: VoterLogRecord[] = [];
  let checksum = bytes.slice(HEADER_FIELDS, HEADER_BYTES);
  let at = HEADER_BYTES;
  let damage = "";
  while (at < bytes.length && damage === "") {
    const size = at + 4 <= bytes.length ? view.getUint32(at) : Infinity;
    const end = at + size + FRAMING_BYTES;
    if (end > bytes.length || size > MAX_RECORD) {
      damage = "an incomplete record";
      break;
    }
    const body = bytes.subarray(at + 4, end - CHECKSUM_BYTES);
    const found = chain(checksum, body);
    const record = sameBytes(found, bytes.subarray(end - CHECKSUM_BYTES, end))
      ? decodeBody(body)
      : undefined;
    if (record === undefined) {
      damage = "a bad record";
    } else {
      records.push(record);
      checksum = found;
      at = end;
    }
  }
  return { records, state: { generation, length: at, checksum }, damage };
}

/** The length below which everything must be good, or why that cannot be known. */
function answeredLength(header: Header, mark: LogMark | null, found: number): number | string {
  if (mark === null) {
    return found === 0 && header.baseLength === HEADER_BYTES
      ? header.baseLength
      : "the mark of the answered length is missing or bad";
  }
  if (mark.generation === header.generation) return Math.max(mark.length, header.baseLength);
  // A crash between the rename of a rewritten log and the update of the mark.
  if (mark.generation === header.generation - 1) return header.baseLength;
  return `the log is of generation ${header.generation}, its mark of generation ${mark.generation}`;
}

function encodeBody(record: VoterLogRecord): Uint8Array {
  const body = new TextEncoder().encode(JSON.stringify(record));
  if (body.length > MAX_RECORD) {
    throw new Error(`a voter log record of ${body.length} bytes exceeds ${MAX_RECORD}`);
  }
  return body;
}

function decodeBody(body: Uint8Array): VoterLogRecord | undefined {
  try {
    return checkVoterLogRecord(JSON.parse(new TextDecoder().decode(body)));
  } catch (error) {
    if (error instanceof ShapeError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function encodeRecord(previous: Uint8Array, body: Uint8Array): Uint8Array {
  const record = new Uint8Array(body.length + FRAMING_BYTES);
  new DataView(record.buffer).setUint32(0, body.length);
  record.set(body, 4);
  record.set(chain(previous, body), 4 + body.length);
  return record;
}

function chain(previous: Uint8Array, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, body.length);
  return checksumOf(previous, length, body);
}

function checksumOf(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest()).slice(0, CHECKSUM_BYTES);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

function bad(verdict: "lost" | "foreign", detail: string): LogReading {
  return { records: [], validLength: 0, verdict, detail };
}
