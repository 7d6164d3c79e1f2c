/**
 * The bytes of the link's challenge: message framing, reading and building. The layout stands in
 * `link_auth.ts`.
 */

const MAGIC = 0x42534c4b;
/** Bytes before the payload of every message. */
const HEADER_BYTES = 8;
/** Bytes of a proof: HMAC-SHA256. */
export const PROOF_BYTES = 32;
/** Bytes of the cluster hash. */
export const CLUSTER_BYTES = 8;
const MAX_PAYLOAD = 1024;
/** Longest name in bytes: its length travels in one. */
export const NAME_MAX = 255;

/** Message types. */
export const enum Type {
  Hello = 1,
  Challenge = 2,
  Proof = 3,
  Refused = 4,
}

/** Why a link was refused. The codes of REFUSED are the places in this list, from 1. */
export const REASONS = [
  "protocol",
  "version",
  "cluster",
  "key",
  "volume",
  "node",
  "self",
  "proof",
  "encryption",
] as const;

/** Why a link was refused: what failed, by the side that saw it. */
export type LinkRefusal = typeof REASONS[number];

/** A refusal on the way out of the message handlers. */
export class Refusal extends Error {
  constructor(readonly reason: LinkRefusal, readonly detail: string) {
    super(detail);
  }
}

/** One whole message, header included. */
export interface MessageBytes {
  readonly type: number;
  readonly whole: Uint8Array;
}

/** The first message in these bytes, if it is there whole. Throws {@linkcode Refusal} at once on noise. */
export function takeMessage(buffer: Uint8Array): MessageBytes | undefined {
  const magic = uint32(MAGIC);
  if (magic.some((byte, at) => at < buffer.length && buffer[at] !== byte)) {
    throw new Refusal("protocol", "the other end does not speak the replication link's protocol");
  }
  if (buffer.length < HEADER_BYTES) return undefined;
  const view = new DataView(buffer.buffer, buffer.byteOffset);
  const size = view.getUint16(6);
  if (size > MAX_PAYLOAD || view.getUint8(5) !== 0) {
    throw new Refusal("protocol", `a message of ${size} bytes, the most is ${MAX_PAYLOAD}`);
  }
  const end = HEADER_BYTES + size;
  if (buffer.length < end) return undefined;
  return { type: view.getUint8(4), whole: buffer.slice(0, end) };
}

/** Reads the payload of one message; whatever does not fit is refused. */
export class Reader {
  /** Offset of the next byte in the whole message. */
  at = HEADER_BYTES;
  readonly #bytes: Uint8Array;

  constructor(whole: Uint8Array) {
    this.#bytes = whole;
  }

  /** The next so many bytes. */
  bytes(size: number): Uint8Array {
    const end = this.at + size;
    if (end > this.#bytes.length) throw new Refusal("protocol", "a message ends too early");
    const found = this.#bytes.subarray(this.at, end);
    this.at = end;
    return found;
  }

  /** Big-endian, as all numbers. */
  uint8(): number {
    return this.bytes(1)[0]!;
  }

  /** Two bytes. */
  uint16(): number {
    return this.uint8() * 0x100 + this.uint8();
  }

  /** Four bytes. */
  uint32(): number {
    return this.uint16() * 0x1_0000 + this.uint16();
  }

  /** A name with its length before it. */
  name(): string {
    const bytes = this.bytes(this.uint8());
    if (bytes.length === 0) throw new Refusal("protocol", "an empty name");
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      throw new Refusal("protocol", "a name that is not UTF-8");
    }
  }

  /** The payload must be read to its end. */
  end(): void {
    if (this.at !== this.#bytes.length) throw new Refusal("protocol", "a message is too long");
  }
}

/** No bytes. */
export const NOTHING = new Uint8Array(0);

/** A message of these parts; a number announces that many bytes which the caller appends. */
export function message(type: Type, ...parts: readonly (Uint8Array | number)[]): Uint8Array {
  const known = parts.filter((part) => typeof part !== "number");
  const announced = parts.reduce<number>(
    (sum, part) => sum + (typeof part === "number" ? part : part.length),
    0,
  );
  return concat(uint32(MAGIC), Uint8Array.of(type, 0), uint16(announced), ...known);
}

/** A name with its length before it. */
export function prefixed(text: string): Uint8Array {
  const bytes = encode(text);
  return concat(Uint8Array.of(bytes.length), bytes);
}

/** UTF-8. */
export function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Big-endian. */
export function uint16(value: number): Uint8Array {
  return Uint8Array.of(value >>> 8, value);
}

/** Big-endian. */
export function uint32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

/** All parts, one after the other. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** For bytes that are no secret. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
