/**
 * Bytes of netlink messages (netlink(7), RFC 3549): a header, a fixed part, and attributes of type,
 * length and value, padded to four bytes; integers in the order of the machine (little-endian).
 *
 * @module
 */

/** Message flags. */
export const NLM_F = {
  REQUEST: 0x1,
  ACK: 0x4,
  DUMP_INTERRUPTED: 0x10,
  REPLACE: 0x100,
  DUMP: 0x300,
  CREATE: 0x400,
} as const;

/** Message types of every netlink protocol. */
export const NLMSG = { ERROR: 2, DONE: 3 } as const;

/** Attribute of an extended acknowledgement: the kernel's own words. */
const NLMSGERR_ATTR_MSG = 1;
/** Flag of an acknowledgement: attributes follow. */
const NLM_F_ACK_TLVS = 0x200;
/** Flag of an acknowledgement: of the request, only the header is repeated. */
const NLM_F_CAPPED = 0x100;
const HEADER = 16;
/** Nested and byte-order marks in an attribute's type. */
const NLA_TYPE_MASK = 0x3fff;

/** An attribute to send. */
export type Attribute = readonly [type: number, value: Uint8Array];

/** One received message. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** What follows the header. */
  readonly body: Uint8Array<ArrayBuffer>;
}

const align4 = (length: number) => (length + 3) & ~3;

/** Little-endian bytes of a 32-bit number. */
export function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

/** Build a message. */
export function encodeMessage(
  type: number,
  flags: number,
  sequence: number,
  fixed: Uint8Array,
  attributes: readonly Attribute[],
): Uint8Array<ArrayBuffer> {
  let length = HEADER + align4(fixed.length);
  for (const [, value] of attributes) length += align4(4 + value.length);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, sequence, true);
  bytes.set(fixed, HEADER);
  let at = HEADER + align4(fixed.length);
  for (const [attribute, value] of attributes) {
    view.setUint16(at, 4 + value.length, true);
    view.setUint16(at + 2, attribute, true);
    bytes.set(value, at + 4);
    at += align4(4 + value.length);
  }
  return bytes;
}

/** Split a datagram into its messages. Throws an Error when the lengths do not add up. */
export function decodeMessages(datagram: Uint8Array<ArrayBuffer>): NetlinkMessage[] {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at + HEADER <= datagram.length;) {
    const length = view.getUint32(at, true);
    if (length < HEADER || at + length > datagram.length) {
      throw new Error(`netlink: a message of ${length} bytes at ${at} of ${datagram.length}`);
    }
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      body: datagram.slice(at + HEADER, at + length),
    });
    at += align4(length);
  }
  return messages;
}

/** The attributes that follow a fixed part of this length; of equal types the last one counts. */
export function decodeAttributes(
  body: Uint8Array<ArrayBuffer>,
  fixedLength: number,
): Map<number, Uint8Array<ArrayBuffer>> {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const attributes = new Map<number, Uint8Array<ArrayBuffer>>();
  for (let at = align4(fixedLength); at + 4 <= body.length;) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > body.length) {
      throw new Error(`netlink: an attribute of ${length} bytes at ${at} of ${body.length}`);
    }
    const type = view.getUint16(at + 2, true) & NLA_TYPE_MASK;
    attributes.set(type, body.slice(at + 4, at + length));
    at += align4(length);
  }
  return attributes;
}

/** A string attribute without its terminating zero. */
export function decodeString(value: Uint8Array): string {
  const end = value.indexOf(0);
  return new TextDecoder().decode(end < 0 ? value : value.subarray(0, end));
}

/** What an acknowledgement says: errno (0 = done) and, from newer kernels, words. */
export function decodeAcknowledgement(
  message: NetlinkMessage,
): { readonly errno: number; readonly text: string } {
  const { body, flags } = message;
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const errno = -view.getInt32(0, true);
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno, text: "" };
  const repeated = (flags & NLM_F_CAPPED) !== 0 ? HEADER : view.getUint32(4, true);
  const text = decodeAttributes(body, 4 + repeated).get(NLMSGERR_ATTR_MSG);
  return { errno, text: text === undefined ? "" : decodeString(text) };
}
