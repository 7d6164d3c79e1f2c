/**
 * Replies of the transmission phase, written into buffers of the caller's. Nothing here allocates;
 * every function returns the number of bytes written at `at`.
 */
import {
  CHUNK_BYTES,
  MAX_EXTENTS,
  MAX_STRING,
  NBD_CMD,
  NBD_MAGIC,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE,
  SIMPLE_REPLY_BYTES,
} from "./constants.ts";
import { NBD_ERROR, type NbdError } from "./errors.ts";
import type { NbdRequest } from "./requests.ts";

/** What a reply needs to know of its request; the engine's own record of it fits as it is. */
export type NbdReplyTo = Readonly<
  Pick<NbdRequest, "type" | "cookieHi" | "cookieLo" | "offset" | "length">
>;

/** Space that {@link encodeReply} and {@link encodeReadHeader} may need, in bytes. */
export const REPLY_HEADER_BYTES = CHUNK_BYTES + 8;

const NO_MESSAGE = new Uint8Array(0);

/**
 * The whole reply to a request that brings no data back, or the error reply to any: simple where
 * the protocol allows it, an ERROR chunk where structured replies were negotiated. `error` OK is
 * not for READ and BLOCK_STATUS, which have data to bring: an Error is thrown.
 */
export function encodeReply(
  view: DataView,
  at: number,
  to: NbdReplyTo,
  error: NbdError,
  structured: boolean,
): number {
  if (error !== NBD_ERROR.OK) {
    return structured
      ? encodeErrorChunk(view, at, to, error)
      : encodeSimpleReply(view, at, error, to.cookieHi, to.cookieLo);
  }
  if (to.type === NBD_CMD.READ || to.type === NBD_CMD.BLOCK_STATUS) {
    throw new Error(`a successful reply to NBD command ${to.type} carries data`);
  }
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
  structured: boolean,
): number {
  return structured
    ? encodeDataChunk(view, at, to, to.offset, to.length, true)
    : encodeSimpleReply(view, at, NBD_ERROR.OK, to.cookieHi, to.cookieLo);
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
export function encodeNoneChunk(view: DataView, at: number, to: NbdReplyTo): number {
  return chunk(view, at, to, NBD_REPLY_TYPE.NONE, 0, true);
}

/** OFFSET_DATA: `length` (≥ 1) bytes of data at `offset` of the export follow on the wire. */
export function encodeDataChunk(
  view: DataView,
  at: number,
  to: NbdReplyTo,
  offset: number,
  length: number,
  done: boolean,
): number {
  assertWithin(to, offset, length);
  const next = at + chunk(view, at, to, NBD_REPLY_TYPE.OFFSET_DATA, 8 + length, done);
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
): number {
  assertWithin(to, offset, length);
  const next = at + chunk(view, at, to, NBD_REPLY_TYPE.OFFSET_HOLE, 12, done);
  uint64(view, next, offset);
  view.setUint32(next + 8, length);
  return next + 12 - at;
}

/** Bytes of a BLOCK_STATUS chunk with so many extents. */
export function blockStatusBytes(extents: number): number {
  return CHUNK_BYTES + 4 + 8 * extents;
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
): number {
  if (!(count >= 1 && count <= MAX_EXTENTS && 2 * count <= extents.length)) {
    throw new Error(`a block status chunk of ${count} extents`);
  }
  let next = at + chunk(view, at, to, NBD_REPLY_TYPE.BLOCK_STATUS, 4 + 8 * count, done);
  view.setUint32(next, contextId);
  next += 4;
  for (let i = 0; i < 2 * count; i++, next += 4) view.setUint32(next, extents[i]!);
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
): number {
  const next = at +
    chunk(view, at, to, NBD_REPLY_TYPE.ERROR, 6 + message.length, done);
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
): number {
  assertWithin(to, offset, 1);
  let next = at + chunk(view, at, to, NBD_REPLY_TYPE.ERROR_OFFSET, 14 + message.length, done);
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
): number {
  view.setUint32(at, NBD_MAGIC.STRUCTURED_REPLY);
  view.setUint16(at + 4, done ? NBD_REPLY_FLAG_DONE : 0);
  view.setUint16(at + 6, type);
  view.setUint32(at + 8, to.cookieHi);
  view.setUint32(at + 12, to.cookieLo);
  view.setUint32(at + 16, payload);
  return CHUNK_BYTES;
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
