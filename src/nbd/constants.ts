/** Numbers of the NBD protocol, by the names the specification (doc/proto.md) gives them. */

/** Magic numbers; those of 64 bits as two halves, most significant first. */
export const NBD_MAGIC = {
  INIT_PASSWD: [0x4e42444d, 0x41474943],
  IHAVEOPT: [0x49484156, 0x454f5054],
  OPTION_REPLY: [0x0003e889, 0x045565a9],
  REQUEST: 0x25609513,
  EXTENDED_REQUEST: 0x21e41c71,
  SIMPLE_REPLY: 0x67446698,
  STRUCTURED_REPLY: 0x668e33ef,
  EXTENDED_REPLY: 0x6e8a278c,
} as const;

/** Handshake flags of the server and, bit for bit, client flags (`NBD_FLAG_C_…`). */
export const NBD_HANDSHAKE_FLAG = {
  FIXED_NEWSTYLE: 1 << 0,
  NO_ZEROES: 1 << 1,
} as const;

/** Transmission flags: what the export can do. */
export const NBD_FLAG = {
  HAS_FLAGS: 1 << 0,
  READ_ONLY: 1 << 1,
  SEND_FLUSH: 1 << 2,
  SEND_FUA: 1 << 3,
  ROTATIONAL: 1 << 4,
  SEND_TRIM: 1 << 5,
  SEND_WRITE_ZEROES: 1 << 6,
  SEND_DF: 1 << 7,
  CAN_MULTI_CONN: 1 << 8,
  SEND_CACHE: 1 << 10,
  SEND_FAST_ZERO: 1 << 11,
  BLOCK_STATUS_PAYLOAD: 1 << 12,
} as const;

/** Option types. */
export const NBD_OPT = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
  EXTENDED_HEADERS: 11,
} as const;

/** Option reply types. Errors have bit 31 set. */
export const NBD_REP = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x80000001,
  ERR_POLICY: 0x80000002,
  ERR_INVALID: 0x80000003,
  ERR_PLATFORM: 0x80000004,
  ERR_TLS_REQD: 0x80000005,
  ERR_UNKNOWN: 0x80000006,
  ERR_SHUTDOWN: 0x80000007,
  ERR_BLOCK_SIZE_REQD: 0x80000008,
  ERR_TOO_BIG: 0x80000009,
  ERR_EXT_HEADER_REQD: 0x8000000a,
} as const;

/** Information types of `NBD_OPT_INFO` and `NBD_OPT_GO`. */
export const NBD_INFO = {
  EXPORT: 0,
  NAME: 1,
  DESCRIPTION: 2,
  BLOCK_SIZE: 3,
} as const;

/** Request types. */
export const NBD_CMD = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  CACHE: 5,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
} as const;

/** Command flags. */
export const NBD_CMD_FLAG = {
  FUA: 1 << 0,
  NO_HOLE: 1 << 1,
  DF: 1 << 2,
  REQ_ONE: 1 << 3,
  FAST_ZERO: 1 << 4,
  /** Extended headers: as many bytes of payload as `length` says follow the header. */
  PAYLOAD_LEN: 1 << 5,
} as const;

/** Structured reply flag: last chunk of the reply. */
export const NBD_REPLY_FLAG_DONE = 1;

/** Structured reply chunk types. Errors have bit 15 set. */
export const NBD_REPLY_TYPE = {
  NONE: 0,
  OFFSET_DATA: 1,
  OFFSET_HOLE: 2,
  BLOCK_STATUS: 5,
  BLOCK_STATUS_EXT: 6,
  ERROR: 0x8001,
  ERROR_OFFSET: 0x8002,
} as const;

/** Status flags of the `base:allocation` context. */
export const NBD_STATE = {
  HOLE: 1 << 0,
  ZERO: 1 << 1,
} as const;

/** Name of the one metadata context that the specification itself defines. */
export const BASE_ALLOCATION = "base:allocation";

/** Status flag of the `x-bascule:dirty` context. */
export const STATE_DIRTY = 1 << 0;

/**
 * Name of the context that tells which blocks a peer may lack. The specification keeps namespaces
 * that begin with `x-` for such ones.
 */
export const BASCULE_DIRTY = "x-bascule:dirty";

/** How headers look, by what was negotiated. */
export const enum HeaderStyle {
  /** Compact requests, simple replies. */
  Simple = 0,
  /** Compact requests, structured replies where data or an error is told. */
  Structured = 1,
  /** Extended requests and replies (the EXTENDED_HEADERS extension). */
  Extended = 2,
}

/** Bytes of a request header. */
export const REQUEST_BYTES = 28;

/** Bytes of an extended request header. */
export const EXTENDED_REQUEST_BYTES = 32;

/** Bytes of a simple reply header. */
export const SIMPLE_REPLY_BYTES = 16;

/** Bytes of a structured reply chunk's header, payload not counted. */
export const CHUNK_BYTES = 20;

/** Bytes of an extended reply chunk's header, payload not counted. */
export const EXTENDED_CHUNK_BYTES = 32;

/** Longest string (export name, message, context name) that the protocol allows, in bytes. */
export const MAX_STRING = 4096;

/** 32 MiB: no payload up to this length may be treated as an attack ("Size constraints"). */
export const MAX_PAYLOAD = 1 << 25;

/** Most descriptors that one block status chunk should carry. */
export const MAX_EXTENTS = 1 << 20;
