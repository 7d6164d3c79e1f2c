/** Reading and building the short messages of the handshake, where allocation is allowed. */
import { MAX_STRING } from "./constants.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads big-endian fields from a message; after any overrun `intact` is false and values are 0. */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  #intact = true;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Did every read so far lie within the message and yield a valid string? */
  get intact(): boolean {
    return this.#intact;
  }

  /** Intact, and nothing is left over. */
  get complete(): boolean {
    return this.#intact && this.#at === this.#bytes.length;
  }

  /** Bytes not yet read. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  /** 16 bits, unsigned. */
  uint16(): number {
    return this.#take(2) ? this.#view.getUint16(this.#at - 2) : 0;
  }

  /** 32 bits, unsigned. */
  uint32(): number {
    return this.#take(4) ? this.#view.getUint32(this.#at - 4) : 0;
  }

  /** 64 bits, unsigned, as a number: exact below 2^53. */
  uint64(): number {
    const high = this.uint32();
    return high * 0x1_0000_0000 + this.uint32();
  }

  /** Pass over `length` bytes. */
  skip(length: number): void {
    this.#take(length);
  }

  /** A protocol string of `length` bytes: UTF-8, no NUL, at most {@link MAX_STRING} bytes. */
  string(length: number): string {
    if (length > MAX_STRING) this.#intact = false;
    if (!this.#take(length)) return "";
    const text = decodeString(this.#bytes.subarray(this.#at - length, this.#at));
    if (text === undefined) this.#intact = false;
    return text ?? "";
  }

  #take(length: number): boolean {
    if (!this.#intact || length > this.left) {
      this.#intact = false;
      return false;
    }
    this.#at += length;
    return true;
  }
}

/** The text of a protocol string; undefined if it is not one (bad UTF-8, NUL, too long). */
export function decodeString(bytes: Uint8Array): string | undefined {
  if (bytes.length > MAX_STRING || bytes.includes(0)) return undefined;
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** The UTF-8 form of a string. */
export function encodeString(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Builds a message of big-endian fields. */
export class Writer {
  #bytes = new Uint8Array(64);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  /** 16 bits, unsigned. */
  uint16(value: number): this {
    const at = this.#extend(2);
    this.#view.setUint16(at, value);
    return this;
  }

  /** 32 bits, unsigned. */
  uint32(value: number): this {
    const at = this.#extend(4);
    this.#view.setUint32(at, value);
    return this;
  }

  /** 64 bits from a safe integer. */
  uint64(value: number): this {
    return this.uint32(Math.floor(value / 0x1_0000_0000)).uint32(value >>> 0);
  }

  /** 64 bits from two halves. */
  halves(pair: readonly [number, number]): this {
    return this.uint32(pair[0]).uint32(pair[1]);
  }

  /** Bytes as they are. */
  bytes(bytes: Uint8Array): this {
    const at = this.#extend(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** So many zero bytes. */
  zeroes(count: number): this {
    this.#extend(count);
    return this;
  }

  /** The message so far; the writer is empty again afterwards. */
  take(): Uint8Array<ArrayBuffer> {
    const message = this.#bytes.slice(0, this.#length);
    this.#bytes.fill(0, 0, this.#length);
    this.#length = 0;
    return message;
  }

  /** Make room for `count` more bytes; may replace the buffer. Returns where they go. */
  #extend(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#bytes.length));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}
