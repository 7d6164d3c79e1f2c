/**
 * Replies of the transmission phase, written into buffers of the caller's. Nothing here allocates;
 * every function returns the number of bytes written at `at`.
 */
import {
  CHUNK_BYTES,
  EXTENDED_CHUNK_BYTES,
  HeaderStyle,
  MAX_EXTENTS,
  MAX_STRING,
  NBD_CMD,
  NBD_MAGIC,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE,
  SIMPLE_REPLY_BYTES,
} from "./constants.ts";
import { LONGEST_WORDS, NBD_ERROR, type NbdError, nbdErrorWords } from "./errors.ts";
import type { NbdRequest } from "./requests.ts";

/** What a reply needs to know of its request; the engine's own record of it fits as it is. */
export type NbdReplyTo = Readonly<
  Pick<NbdRequest, "type" | "cookieHi" | "cookieLo" | "offset" | "length">
>;

/** Chunks are structured or extended. */
export type ChunkStyle = HeaderStyle.Structured | HeaderStyle.Extended;

/** Space that {@link encodeReadHeader} may need, in bytes. */
export const REPLY_HEADER_BYTES = EXTENDED_CHUNK_BYTES + 8;

/** Space that {@link encodeReply} may need, in bytes. */
export const REPLY_BYTES = EXTENDED_CHUNK_BYTES + 6 + LONGEST_WORDS;

const NO_MESSAGE = new Uint8Array(0);

/**
 * The whole reply to a request that brings no data back, or the error reply to any: simple where
 * the protocol allows it, else a chunk; an error is a chunk wherever chunks were negotiated. `error` OK is
 * not for READ and BLOCK_STATUS, which have data to bring: an Error is thrown.
 */
export function encodeReply(
  view: DataView,
  at: number,
  to: NbdReplyTo,
  error: NbdError,
  style: HeaderStyle,
): number {
  if (error !== NBD_ERROR.OK) {
    return style === HeaderStyle.Simple
      ? encodeSimpleReply(view, at, error, to.cookieHi, to.cookieLo)
      : encodeErrorChunk(view, at, to, error, nbdErrorWords(error), true, style);
  }
  if (to.type === NBD_CMD.READ || to.type === NBD_CMD.BLOCK_STATUS) {
    throw new Error(`a successful reply to NBD command ${to.type} carries data`);
  }
  if (style === HeaderStyle.Extended) return encodeNoneChunk(view, at, to, style);
  return encodeSimpleReply(view, at, error, to.cookieHi, to.cookieLo);
}

/**
 * The header of a successful READ's reply; all `to.length` bytes of data follow it on the wire. To
 * be sent when the data is there: once it is out, an error could only be told by disconnecting.
 */
export function encodeReadHeader(
  view: DataView,
  at: number,
  to: NbdReplyTo,
  style: HeaderStyle,
): number {
  return style === HeaderStyle.Simple
    ? encodeSimpleReply(view, at, NBD_ERROR.OK, to.cookieHi, to.cookieLo)
    : encodeDataChunk(view, at, to, to.offset, to.length, true, style);
}

/** A simple reply's header. */
export function encodeSimpleReply(
  view: DataView,
  at: number,
  error: NbdError,
  cookieHi: number,
  cookieLo: number,
): number {
  view.setUint32(at, NBD_MAGIC.SIMPLE_REPLY);
  view.setUint32(at + 4, error);
  view.setUint32(at + 8, cookieHi);
  view.setUint32(at + 12, cookieLo);
  return SIMPLE_REPLY_BYTES;
}

/** NONE: ends a structured reply. */
export function encodeNoneChunk(
  view: DataView,
  at: number,
  to: NbdReplyTo,
  style: ChunkStyle = HeaderStyle.Structured,
): number {
  return chunk(view, at, to, NBD_REPLY_TYPE.NONE, 0, true, style);
}

/** OFFSET_DATA: `length` (≥ 1) bytes of data at `offset` of the export follow on the wire. */
export function encodeDataChunk(
  view: DataView,
  at: number,
  to: NbdReplyTo,
  offset: number,
  length: number,
  done: boolean,
  style: ChunkStyle = HeaderStyle.Structured,
): number {
  assertWithin(to, offset, length);
  const next = at + chunk(view, at, to, NBD_REPLY_TYPE.OFFSET_DATA, 8 + length, done, style);
  return next + uint64(view, next, offset) - at;
}

/** OFFSET_HOLE: `length` (≥ 1) bytes at `offset` of the export read as zeroes. */
export function encodeHoleChunk(
  view: DataView,
  at: number,
  to: NbdReplyTo,
  offset: number,
  length: number,
  done: boolean,
  style: ChunkStyle = HeaderStyle.Structured,
): number {
  assertWithin(to, offset, length);
  const next = at + chunk(view, at, to, NBD_REPLY_TYPE.OFFSET_HOLE, 12, done, style);
  uint64(view, next, offset);
  view.setUint32(next + 8, length);
  return next + 12 - at;
}

/** Bytes that a BLOCK_STATUS chunk with so many extents takes at most, in any style. */
export function blockStatusBytes(extents: number): number {
  return EXTENDED_CHUNK_BYTES + 8 + 16 * extents;
}

/**
 * BLOCK_STATUS for one context: `extents` holds (length, status flags) pairs, of which the first
 * `count` are sent; they follow each other from `to.offset` on. `done` on the last context's chunk.
 */
export function encodeBlockStatusChunk(
  view: DataView,
  at: number,
  to: NbdReplyTo,
  contextId: number,
  extents: Uint32Array,
  count: number,
  done: boolean,
  style: ChunkStyle = HeaderStyle.Structured,
): number {
  if (!(count >= 1 && count <= MAX_EXTENTS && 2 * count <= extents.length)) {
    throw new Error(`a block status chunk of ${count} extents`);
  }
  if (style === HeaderStyle.Extended) {
    return extendedBlockStatus(view, at, to, contextId, extents, count, done);
  }
  let next = at + chunk(view, at, to, NBD_REPLY_TYPE.BLOCK_STATUS, 4 + 8 * count, done, style);
  view.setUint32(next, contextId);
  next += 4;
  for (let i = 0; i < 2 * count; i++, next += 4) view.setUint32(next, extents[i]!);
  return next - at;
}

function extendedBlockStatus(
  view: DataView,
  at: number,
  to: NbdReplyTo,
  contextId: number,
  extents: Uint32Array,
  count: number,
  done: boolean,
): number {
  const type = NBD_REPLY_TYPE.BLOCK_STATUS_EXT;
  let next = at + chunk(view, at, to, type, 8 + 16 * count, done, HeaderStyle.Extended);
  view.setUint32(next, contextId);
  view.setUint32(next + 4, count);
  next += 8;
  for (let i = 0; i < 2 * count; i++, next += 8) uint64(view, next, extents[i]!);
  return next - at;
}

/** ERROR: the request failed; the message, UTF-8 of at most 4096 bytes, is for people. */
export function encodeErrorChunk(
  view: DataView,
  at: number,
  to: NbdReplyTo,
  error: NbdError,
  message: Uint8Array = NO_MESSAGE,
  done = true,
  style: ChunkStyle = HeaderStyle.Structured,
): number {
  const next = at +
    chunk(view, at, to, NBD_REPLY_TYPE.ERROR, 6 + message.length, done, style);
  return next + errorFields(view, next, error, message) - at;
}

/** ERROR_OFFSET: the request failed at `offset` of the export. */
export function encodeErrorOffsetChunk(
  view: DataView,
  at: number,
  to: NbdReplyTo,
  error: NbdError,
  offset: number,
  message: Uint8Array = NO_MESSAGE,
  done = true,
  style: ChunkStyle = HeaderStyle.Structured,
): number {
  assertWithin(to, offset, 1);
  let next = at +
    chunk(view, at, to, NBD_REPLY_TYPE.ERROR_OFFSET, 14 + message.length, done, style);
  next += errorFields(view, next, error, message);
  return next + uint64(view, next, offset) - at;
}

function chunk(
  view: DataView,
  at: number,
  to: NbdReplyTo,
  type: number,
  payload: number,
  done: boolean,
  style: ChunkStyle,
): number {
  const extended = style === HeaderStyle.Extended;
  view.setUint32(at, extended ? NBD_MAGIC.EXTENDED_REPLY : NBD_MAGIC.STRUCTURED_REPLY);
  view.setUint16(at + 4, done ? NBD_REPLY_FLAG_DONE : 0);
  view.setUint16(at + 6, type);
  view.setUint32(at + 8, to.cookieHi);
  view.setUint32(at + 12, to.cookieLo);
  if (!extended) {
    view.setUint32(at + 16, payload);
    return CHUNK_BYTES;
  }
  uint64(view, at + 16, to.offset);
  uint64(view, at + 24, payload);
  return EXTENDED_CHUNK_BYTES;
}

function errorFields(view: DataView, at: number, error: NbdError, message: Uint8Array): number {
  if (error === NBD_ERROR.OK) throw new Error("an error chunk without an error");
  if (message.length > MAX_STRING) {
    throw new Error(`an error message of ${message.length} bytes, longer than ${MAX_STRING}`);
  }
  view.setUint32(at, error);
  view.setUint16(at + 4, message.length);
  for (let i = 0; i < message.length; i++) view.setUint8(at + 6 + i, message[i]!);
  return 6 + message.length;
}

function uint64(view: DataView, at: number, value: number): number {
  view.setUint32(at, Math.floor(value / 0x1_0000_0000));
  view.setUint32(at + 4, value >>> 0);
  return 8;
}

function assertWithin(to: NbdReplyTo, offset: number, length: number): void {
  if (!(length >= 1 && offset >= to.offset && offset + length <= to.offset + to.length)) {
    throw new Error(
      `a chunk [${offset}, +${length}) outside of its request [${to.offset}, +${to.length})`,
    );
  }
}
