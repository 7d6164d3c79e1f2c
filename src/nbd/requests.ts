/** Requests of the transmission phase: the header's fields, and the rules a request must meet. */
import {
  EXTENDED_REQUEST_BYTES,
  HeaderStyle,
  NBD_CMD,
  NBD_CMD_FLAG,
  NBD_FLAG,
  NBD_MAGIC,
  REQUEST_BYTES,
} from "./constants.ts";
import { NBD_ERROR, type NbdError } from "./errors.ts";
import type { NbdContext, NbdNegotiated } from "./types.ts";

/** Contexts of a BLOCK_STATUS that filters none. */
const ALL_CONTEXTS = 0x7fffffff;

/** Fields of one request; a session has a single one and refills it for every header. */
export class NbdRequest {
  /** One of {@link NBD_CMD}. */
  type = 0;
  /** Set of {@link NBD_CMD_FLAG}. */
  flags = 0;
  /** The client's opaque cookie, most significant half. */
  cookieHi = 0;
  /** The client's opaque cookie, least significant half. */
  cookieLo = 0;
  /** Bytes. Exact below 2^53; a larger one is out of bounds of every export. */
  offset = 0;
  /** Bytes: 32 bits, with extended headers up to 64 (exact below 2^53, as `offset`). */
  length = 0;
  /** Bytes that follow the header; they are the data of a WRITE, or a filter of BLOCK_STATUS. */
  payload = 0;
  /** BLOCK_STATUS: which of the selected contexts are asked for, bit by bit in their order. */
  contexts = 0;

  /** Is FUA set: the reply must wait until the data is on stable storage? */
  get fua(): boolean {
    return (this.flags & NBD_CMD_FLAG.FUA) !== 0;
  }

  /** Fill from {@link REQUEST_BYTES} bytes at `at`; false if the magic number is wrong. */
  parse(bytes: Uint8Array, at: number): boolean {
    if (uint32(bytes, at) !== NBD_MAGIC.REQUEST) return false;
    this.flags = uint16(bytes, at + 4);
    this.type = uint16(bytes, at + 6);
    this.cookieHi = uint32(bytes, at + 8);
    this.cookieLo = uint32(bytes, at + 12);
    this.offset = uint32(bytes, at + 16) * 0x1_0000_0000 + uint32(bytes, at + 20);
    this.length = uint32(bytes, at + 24);
    this.payload = this.type === NBD_CMD.WRITE ? this.length : 0;
    this.contexts = ALL_CONTEXTS;
    return true;
  }

  /** The same for the {@link EXTENDED_REQUEST_BYTES} bytes of an extended header. */
  parseExtended(bytes: Uint8Array, at: number): boolean {
    if (uint32(bytes, at) !== NBD_MAGIC.EXTENDED_REQUEST) return false;
    this.flags = uint16(bytes, at + 4);
    this.type = uint16(bytes, at + 6);
    this.cookieHi = uint32(bytes, at + 8);
    this.cookieLo = uint32(bytes, at + 12);
    this.offset = uint32(bytes, at + 16) * 0x1_0000_0000 + uint32(bytes, at + 20);
    this.length = uint32(bytes, at + 24) * 0x1_0000_0000 + uint32(bytes, at + 28);
    this.payload = (this.flags & NBD_CMD_FLAG.PAYLOAD_LEN) !== 0 ? this.length : 0;
    this.contexts = ALL_CONTEXTS;
    return true;
  }

  /**
   * Take the payload of a BLOCK_STATUS: its effect length, and IDs of the contexts that are wanted.
   * False: it is malformed, or an ID is unknown or there twice. `selected` is in its own order.
   */
  filter(payload: Uint8Array, selected: readonly NbdContext[]): boolean {
    const ids = (payload.length - 8) / 4;
    if (!Number.isInteger(ids) || ids < 1) return false;
    this.length = uint32(payload, 0) * 0x1_0000_0000 + uint32(payload, 4);
    this.contexts = 0;
    for (let i = 0; i < ids; i++) {
      const id = uint32(payload, 8 + 4 * i);
      const index = selected.findIndex((context) => context.id === id);
      if (index < 0 || (this.contexts & (1 << index)) !== 0) return false;
      this.contexts |= 1 << index;
    }
    return true;
  }
}

/** Fields of a request to encode; the cookie's halves are opaque. */
export type NbdRequestFields = Readonly<
  Pick<NbdRequest, "type" | "flags" | "cookieHi" | "cookieLo" | "offset" | "length">
>;

/** Write an extended request header; returns its length, {@link EXTENDED_REQUEST_BYTES}. */
export function encodeExtendedRequest(
  view: DataView,
  at: number,
  request: NbdRequestFields,
): number {
  view.setUint32(at, NBD_MAGIC.EXTENDED_REQUEST);
  view.setUint16(at + 4, request.flags);
  view.setUint16(at + 6, request.type);
  view.setUint32(at + 8, request.cookieHi);
  view.setUint32(at + 12, request.cookieLo);
  view.setUint32(at + 16, Math.floor(request.offset / 0x1_0000_0000));
  view.setUint32(at + 20, request.offset >>> 0);
  view.setUint32(at + 24, Math.floor(request.length / 0x1_0000_0000));
  view.setUint32(at + 28, request.length >>> 0);
  return EXTENDED_REQUEST_BYTES;
}

/** Write a request header at `at`; returns its length, {@link REQUEST_BYTES}. */
export function encodeRequest(view: DataView, at: number, request: NbdRequestFields): number {
  view.setUint32(at, NBD_MAGIC.REQUEST);
  view.setUint16(at + 4, request.flags);
  view.setUint16(at + 6, request.type);
  view.setUint32(at + 8, request.cookieHi);
  view.setUint32(at + 12, request.cookieLo);
  view.setUint32(at + 16, Math.floor(request.offset / 0x1_0000_0000));
  view.setUint32(at + 20, request.offset >>> 0);
  view.setUint32(at + 24, request.length);
  return REQUEST_BYTES;
}

interface CommandRule {
  /** Transmission flag without which the command is refused; 0: always there. */
  readonly needs: number;
  /** Command flags of its own; FUA is valid everywhere. */
  readonly flags: number;
  /** Refused on a read-only export. */
  readonly writes: boolean;
  /** READ and WRITE: the length is that of data on the wire. */
  readonly carriesData: boolean;
  /** What a request that ends past the export gets. */
  readonly pastEnd: NbdError;
}

function rule(fields: Partial<CommandRule>): CommandRule {
  return {
    needs: 0,
    flags: 0,
    writes: false,
    carriesData: false,
    pastEnd: NBD_ERROR.EINVAL,
    ...fields,
  };
}

/** By command number. FLUSH and DISC have no range and are judged apart. */
const RULES: readonly (CommandRule | undefined)[] = Object.assign(new Array(8).fill(undefined), {
  [NBD_CMD.READ]: rule({ flags: NBD_CMD_FLAG.DF, carriesData: true }),
  [NBD_CMD.WRITE]: rule({
    flags: NBD_CMD_FLAG.PAYLOAD_LEN,
    writes: true,
    carriesData: true,
    pastEnd: NBD_ERROR.ENOSPC,
  }),
  [NBD_CMD.TRIM]: rule({ needs: NBD_FLAG.SEND_TRIM, writes: true }),
  [NBD_CMD.CACHE]: rule({ needs: NBD_FLAG.SEND_CACHE }),
  [NBD_CMD.WRITE_ZEROES]: rule({
    needs: NBD_FLAG.SEND_WRITE_ZEROES,
    flags: NBD_CMD_FLAG.NO_HOLE | NBD_CMD_FLAG.FAST_ZERO,
    writes: true,
    pastEnd: NBD_ERROR.ENOSPC,
  }),
  [NBD_CMD.BLOCK_STATUS]: rule({ flags: NBD_CMD_FLAG.REQ_ONE | NBD_CMD_FLAG.PAYLOAD_LEN }),
});

/**
 * The rules of one connection: what its request may be, given what was negotiated. DISC is not
 * judged, since it has no reply.
 */
export class RequestRules {
  readonly #negotiated: NbdNegotiated;
  /** Command flags that the negotiation did not enable. */
  readonly #disabledFlags: number;

  constructor(negotiated: NbdNegotiated) {
    this.#negotiated = negotiated;
    const extended = negotiated.style === HeaderStyle.Extended;
    const has = (flag: number) => (negotiated.flags & flag) !== 0;
    this.#disabledFlags = (has(NBD_FLAG.SEND_FUA) ? 0 : NBD_CMD_FLAG.FUA) |
      (has(NBD_FLAG.SEND_DF) ? 0 : NBD_CMD_FLAG.DF) |
      (extended ? 0 : NBD_CMD_FLAG.PAYLOAD_LEN) |
      (has(NBD_FLAG.SEND_FAST_ZERO) ? 0 : NBD_CMD_FLAG.FAST_ZERO);
  }

  /** OK, or the error that the request is to be answered with. Never throws. */
  check(request: NbdRequest): NbdError {
    if (request.type === NBD_CMD.FLUSH) return this.#checkFlush(request);
    const rule = RULES[request.type];
    if (rule === undefined) return NBD_ERROR.EINVAL;
    const { export: target, flags, contexts, style } = this.#negotiated;
    if (rule.writes && target.readOnly) return NBD_ERROR.EPERM;
    if ((flags & rule.needs) !== rule.needs) return NBD_ERROR.EINVAL;
    if (request.type === NBD_CMD.BLOCK_STATUS && contexts.length === 0) return NBD_ERROR.EINVAL;
    if (!this.#flagsAllowed(request, rule.flags)) return NBD_ERROR.EINVAL;
    // A payload that is still there is a WRITE's, or one that nobody asked for.
    if (request.payload !== (request.type === NBD_CMD.WRITE ? request.length : 0)) {
      return NBD_ERROR.EINVAL;
    }

    // An empty request is unspecified by the protocol; refusing it here spares every later layer
    // the case.
    const { offset, length } = request;
    if (length === 0) return NBD_ERROR.EINVAL;
    if (offset > target.size || length > target.size - offset) return rule.pastEnd;
    if (offset % target.minimumBlock !== 0 || length % target.minimumBlock !== 0) {
      return NBD_ERROR.EINVAL;
    }
    if (rule.carriesData && length > target.maximumPayload) {
      return request.type === NBD_CMD.READ && style !== HeaderStyle.Simple
        ? NBD_ERROR.EOVERFLOW
        : NBD_ERROR.EINVAL;
    }
    return NBD_ERROR.OK;
  }

  #checkFlush(request: NbdRequest): NbdError {
    const valid = (this.#negotiated.flags & NBD_FLAG.SEND_FLUSH) !== 0 &&
      this.#flagsAllowed(request, 0) && request.offset === 0 && request.length === 0;
    return valid ? NBD_ERROR.OK : NBD_ERROR.EINVAL;
  }

  #flagsAllowed(request: NbdRequest, own: number): boolean {
    return (request.flags & ~((own | NBD_CMD_FLAG.FUA) & ~this.#disabledFlags)) === 0;
  }
}

function uint16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

function uint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>>
    0;
}
