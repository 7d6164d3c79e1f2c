/**
 * Frames of the replication link between two data planes, after the mutual challenge that opens it.
 *
 * Every frame is a header of 64 bytes, all numbers big-endian, followed by its payload:
 *
 * ```
 * offset size
 *  0     4   magic "BSRP"
 *  4     1   protocol version, 1
 *  5     1   kind: 0 control, else a FrameKind
 *  6     2   flags: 1 = FUA, 2 = only compare (SUMS); others must be 0
 *  8     4   session, minted by the Primary's HELLO
 * 12     4   seq: chosen by the asking side, echoed in the answer
 * 16     8   offset in the volume, bytes, at most 2^53 - 1
 * 24     4   length of the range, bytes
 * 28     4   payload bytes: as length for WRITE and DATA, JSON bytes for control; for RESYNC, SUMS and
 *            DIFFERS a head (block_frames.ts), for RESYNC followed by `length` bytes of data; else 0
 * 32     4   CRC-32 of the payload, 0 without payload
 * 36    24   zero
 * 60     4   CRC-32 of bytes 0..59
 * ```
 *
 * Control frames carry one message as JSON (UTF-8, at most 64 KiB). They are rare; data frames are
 * not, so their codec neither allocates nor throws: an error is a value, and ends the connection.
 */

import { crc32 } from "node:zlib";
import { type ControlMessage, FrameKind, type SplitView } from "../volume/types.ts";
import { MAX_BATCH_BLOCKS, MAX_HEAD_BYTES } from "./block_frames.ts";
import {
  count,
  flag,
  list,
  name,
  object,
  oneOf,
  optional,
  type Shape,
  ShapeError,
  text,
  TEXT_MAX,
} from "./shape.ts";

/** Bytes of a header. */
export const REPLICATION_HEADER_BYTES = 64;
/** Version of the layout above and of the messages' meaning. */
export const REPLICATION_VERSION = 1;
/** Header kind of a control frame. */
export const CONTROL_KIND = 0;
/** Largest payload of a WRITE or RESYNC; a longer client write travels as several frames. */
export const MAX_DATA_PAYLOAD = 1024 * 1024;
/** Largest range of a TRIM or ZERO, bytes. */
export const MAX_RANGE = 32 * 1024 * 1024;
/** Largest payload of a control frame, bytes of JSON. */
export const MAX_CONTROL_PAYLOAD = 64 * 1024;
/** Most numbers in the runs of one DIRTY message: with 13 digits each it fits a control frame. */
export const MAX_DIRTY_NUMBERS = 4096;
/** Header flag: stable on the medium before it is answered. */
export const FLAG_FUA = 1;
/** Header flag of SUMS: nothing is to be changed, it is a verify. */
export const FLAG_COMPARE = 2;

/** Of frames without one. */
export const NO_HEAD: Uint8Array = new Uint8Array(0);

const MAGIC = 0x42535250;
const HIGH = 0x1_0000_0000;
const CRC_AT = 60;
const RESERVED_FROM = 36;

/** A decoded header; one object is filled again and again. */
export class FrameHeader {
  /** {@linkcode CONTROL_KIND} or a FrameKind. */
  kind = 0;
  flags = 0;
  session = 0;
  seq = 0;
  offset = 0;
  length = 0;
  /** Bytes that follow the header. */
  payload = 0;
  payloadCrc = 0;
}

/** Why a header or a payload was not taken; the connection is of no more use. */
export type ReplicationError =
  | "magic"
  | "version"
  | "header checksum"
  | "kind"
  | "flags"
  | "length"
  | "payload checksum";

/** Whether frames of this kind are followed by `length` bytes of data. */
export function carriesData(kind: number): boolean {
  return kind === FrameKind.Write || kind === FrameKind.Resync || kind === FrameKind.Data;
}

/** Whether frames of this kind carry a head before their data. */
export function carriesHead(kind: number): boolean {
  return kind === FrameKind.Resync || kind === FrameKind.Sums || kind === FrameKind.Differs;
}

/** Bytes of the payload that are no data: the head of a frame about scattered blocks. */
export function headBytes({ kind, payload, length }: FrameHeader): number {
  return carriesHead(kind) ? (carriesData(kind) ? payload - length : payload) : 0;
}

/** Whether frames of this kind name a range of the volume. */
export function namesRange(kind: number): boolean {
  return kind === FrameKind.Write || kind === FrameKind.Trim ||
    kind === FrameKind.Zero || kind === FrameKind.ZeroAllocated || kind === FrameKind.Read ||
    kind === FrameKind.Data || carriesHead(kind);
}

/** CRC-32 (ISO 3309) of a payload, as the header carries it; `head` stands before it. */
export function payloadChecksum(payload: Uint8Array, head: Uint8Array = NO_HEAD): number {
  return payload.length === 0 && head.length === 0 ? 0 : crc32(payload, crc32(head));
}

/**
 * Writes a header of {@linkcode REPLICATION_HEADER_BYTES} into `view` at `at`. `length` is the range
 * (0 for answers and FLUSH); `payload` the bytes that follow with `payloadCrc`. Nothing is checked:
 * the caller sends what it made itself.
 */
export function encodeHeader(
  view: DataView,
  at: number,
  kind: number,
  flags: number,
  session: number,
  seq: number,
  offset: number,
  length: number,
  payload: number,
  payloadCrc: number,
): void {
  view.setUint32(at, MAGIC);
  view.setUint8(at + 4, REPLICATION_VERSION);
  view.setUint8(at + 5, kind);
  view.setUint16(at + 6, flags);
  view.setUint32(at + 8, session);
  view.setUint32(at + 12, seq);
  view.setUint32(at + 16, Math.floor(offset / HIGH));
  view.setUint32(at + 20, offset % HIGH);
  view.setUint32(at + 24, length);
  view.setUint32(at + 28, payload);
  view.setUint32(at + 32, payloadCrc);
  for (let i = RESERVED_FROM; i < CRC_AT; i += 4) view.setUint32(at + i, 0);
  view.setUint32(at + CRC_AT, headerChecksum(view, at));
}

/**
 * Fills `header` from `view` at `at`, or says what is wrong with it. After an error the content of
 * `header` means nothing. Whether the range lies in the volume is the volume's business.
 */
export function decodeHeader(
  view: DataView,
  at: number,
  header: FrameHeader,
): ReplicationError | undefined {
  if (at + REPLICATION_HEADER_BYTES > view.byteLength) return "length";
  if (view.getUint32(at) !== MAGIC) return "magic";
  if (view.getUint8(at + 4) !== REPLICATION_VERSION) return "version";
  if (view.getUint32(at + CRC_AT) !== headerChecksum(view, at)) return "header checksum";
  header.kind = view.getUint8(at + 5);
  header.flags = view.getUint16(at + 6);
  header.session = view.getUint32(at + 8);
  header.seq = view.getUint32(at + 12);
  const high = view.getUint32(at + 16);
  header.offset = high * HIGH + view.getUint32(at + 20);
  header.length = view.getUint32(at + 24);
  header.payload = view.getUint32(at + 28);
  header.payloadCrc = view.getUint32(at + 32);
  for (let i = RESERVED_FROM; i < CRC_AT; i += 4) {
    if (view.getUint32(at + i) !== 0) return "flags";
  }
  if (high >= 0x20_0000) return "length";
  const allowed = header.kind === FrameKind.Sums ? FLAG_COMPARE : FLAG_FUA;
  if ((header.flags & ~allowed) !== 0) return "flags";
  if (header.kind === CONTROL_KIND) {
    return header.payload === 0 || header.payload > MAX_CONTROL_PAYLOAD ||
        header.length !== header.payload
      ? "length"
      : undefined;
  }
  if (header.kind > FrameKind.Data) return "kind";
  if (carriesHead(header.kind)) {
    const head = headBytes(header);
    return header.length === 0 || header.length % 4096 !== 0 ||
        header.length > MAX_BATCH_BLOCKS * 4096 || head <= 0 || head > MAX_HEAD_BYTES
      ? "length"
      : undefined;
  }
  if (carriesData(header.kind)) {
    return header.length === 0 || header.length > MAX_DATA_PAYLOAD ||
        header.payload !== header.length
      ? "length"
      : undefined;
  }
  if (header.payload !== 0 || header.payloadCrc !== 0) return "length";
  const ranged = namesRange(header.kind);
  const longest = header.kind === FrameKind.Read ? MAX_DATA_PAYLOAD : MAX_RANGE;
  return ranged
    ? (header.length === 0 || header.length > longest ? "length" : undefined)
    : header.length !== 0
    ? "length"
    : undefined;
}

function headerChecksum(view: DataView, at: number): number {
  return crc32(new Uint8Array(view.buffer, view.byteOffset + at, CRC_AT));
}

/**
 * A control frame, header and payload. Throws if the message exceeds
 * {@linkcode MAX_CONTROL_PAYLOAD}: DIRTY lists are chunked by their sender.
 */
export function encodeControl(message: ControlMessage): Uint8Array {
  const payload = new TextEncoder().encode(JSON.stringify(message));
  if (payload.length > MAX_CONTROL_PAYLOAD) {
    throw new Error(
      `a ${message.type} message of ${payload.length} bytes exceeds ${MAX_CONTROL_PAYLOAD}`,
    );
  }
  const frame = new Uint8Array(REPLICATION_HEADER_BYTES + payload.length);
  const session = "session" in message ? message.session : 0;
  encodeHeader(
    new DataView(frame.buffer),
    0,
    CONTROL_KIND,
    0,
    session,
    0,
    0,
    payload.length,
    payload.length,
    crc32(payload),
  );
  frame.set(payload, REPLICATION_HEADER_BYTES);
  return frame;
}

/** A checked control message, or why the payload is none. */
export type DecodedControl =
  | { readonly message: ControlMessage; readonly error?: never }
  | { readonly message?: never; readonly error: string };

/** Checks the payload of a control frame against its header's checksum and the messages' shapes. */
export function decodeControl(payload: Uint8Array, payloadCrc: number): DecodedControl {
  if (payload.length > MAX_CONTROL_PAYLOAD) return { error: "length" };
  if (crc32(payload) !== payloadCrc) return { error: "payload checksum" };
  try {
    const json: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
    return { message: checkControl(json) };
  } catch (error) {
    if (error instanceof ShapeError) return { error: error.message };
    if (error instanceof SyntaxError || error instanceof TypeError) {
      return { error: "the payload is not JSON in UTF-8" };
    }
    throw error;
  }
}

const hexId = text(0, 128);
const ids: Shape<readonly string[]> = list(hexId);

const generations = object({ current: hexId, bitmap: hexId, history: ids }, "drop");

const runs: Shape<readonly number[]> = (value, path) => {
  if (!Array.isArray(value) || value.length > MAX_DIRTY_NUMBERS || value.length % 2 !== 0) {
    throw new ShapeError(`${path} must be pairs, at most ${MAX_DIRTY_NUMBERS} numbers`);
  }
  return value.map((item, index) => count(item, `${path}[${index}]`));
};

const splitView: Shape<SplitView> = object({
  dirtyBlocks: count,
  lastWrite: count,
  primarySince: count,
}, "drop");

const SHAPES: { readonly [T in ControlMessage["type"]]: Shape<ControlMessage> } = {
  HELLO: object({
    type: oneOf("HELLO"),
    volume: name,
    size: count,
    epoch: count,
    lineage: hexId,
    replicaId: hexId,
    generations,
    dirtyBlocks: count,
    storage: hexId,
    lastWrite: optional(count),
    primarySince: optional(count),
    protocol: oneOf("A", "B", "C"),
    session: count,
  }, "drop"),
  WELCOME: object({
    type: oneOf("WELCOME"),
    epoch: count,
    lineage: hexId,
    replicaId: hexId,
    generations,
    dirtyBlocks: count,
    storage: hexId,
    inconsistent: flag,
    unclean: flag,
    blank: flag,
    lastWrite: optional(count),
    primarySince: optional(count),
    discard: optional(flag),
    session: count,
  }, "drop"),
  DECLINE: object({
    type: oneOf("DECLINE"),
    why: text(0, TEXT_MAX),
    epoch: count,
    parted: optional(splitView),
  }, "drop"),
  SPLIT: object({
    type: oneOf("SPLIT"),
    session: count,
    why: text(0, TEXT_MAX),
    tracked: flag,
    source: splitView,
  }, "drop"),
  DIRTY: object({ type: oneOf("DIRTY"), session: count, runs, last: flag }, "drop"),
  SYNC: object({
    type: oneOf("SYNC"),
    session: count,
    inconsistent: flag,
    blocks: count,
  }, "drop"),
  SYNCREADY: object({ type: oneOf("SYNCREADY"), session: count }, "drop"),
  JOIN: object({ type: oneOf("JOIN"), session: count, epoch: count, generations }, "drop"),
  JOINED: object({ type: oneOf("JOINED"), session: count, epoch: count }, "drop"),
  RECORD: object({
    type: oneOf("RECORD"),
    session: count,
    epoch: count,
    generation: hexId,
    upToDate: ids,
  }, "drop"),
  DETACH: object({ type: oneOf("DETACH"), session: count, epoch: count }, "drop"),
  DETACHED: object({ type: oneOf("DETACHED"), session: count }, "drop"),
  UNREADABLE: object({ type: oneOf("UNREADABLE"), session: count, seq: count }, "drop"),
  PING: object({ type: oneOf("PING"), session: count }, "drop"),
  PONG: object({ type: oneOf("PONG"), session: count }, "drop"),
};

function checkControl(json: unknown): ControlMessage {
  const type = typeof json === "object" && json !== null && "type" in json ? json.type : undefined;
  if (typeof type !== "string" || !Object.hasOwn(SHAPES, type)) {
    throw new ShapeError("not a message of the replication link");
  }
  return SHAPES[type as ControlMessage["type"]](json, type);
}
