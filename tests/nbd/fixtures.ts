/** What the NBD tests share: an export, byte strings, a sink that writes down every call. */
import {
  BASE_ALLOCATION,
  exportTable,
  MAX_PAYLOAD,
  type NbdError,
  type NbdExport,
  type NbdLimits,
  type NbdNegotiated,
  type NbdRequest,
  NbdSession,
  type NbdSink,
  type NbdTarget,
} from "../../src/nbd/mod.ts";

/** A writable export of 1 MiB with every feature, named `data`. */
export const DATA: NbdExport = {
  name: "data",
  description: "the volume",
  size: 1 << 20,
  readOnly: false,
  rotational: false,
  flush: true,
  fua: true,
  trim: true,
  writeZeroes: true,
  fastZero: true,
  cache: true,
  multiConn: true,
  minimumBlock: 1,
  preferredBlock: 4096,
  maximumPayload: MAX_PAYLOAD,
  contexts: [BASE_ALLOCATION, "x-bascule:dirty"],
};

/** Small limits, so that tests reach them. */
export const LIMITS: NbdLimits = { optionBytes: 16384, options: 16 };

/** Bytes from hex digits (blanks ignored), numbers of one byte, text in quotes, or byte arrays. */
export function bytes(...parts: (string | Uint8Array)[]): Uint8Array<ArrayBuffer> {
  const arrays = parts.map((part) => typeof part === "string" ? fromHex(part) : part);
  const whole = new Uint8Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const array of arrays) {
    whole.set(array, at);
    at += array.length;
  }
  return whole;
}

/** UTF-8. */
export function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

/** 16, 32, 64 bits as hex digits, for {@link bytes}. */
export const u16 = (value: number) => value.toString(16).padStart(4, "0");
export const u32 = (value: number) => value.toString(16).padStart(8, "0");
export const u64 = (value: number) => BigInt(value).toString(16).padStart(16, "0");

function fromHex(digits: string): Uint8Array {
  const plain = digits.replaceAll(/\s/g, "");
  return Uint8Array.from(plain.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** Lower-case hex digits. */
export function hex(value: Uint8Array): string {
  return Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const IHAVEOPT = "49484156454f5054";
export const REPLY_MAGIC = "0003e889045565a9";
export const GREETING = `4e42444d41474943 ${IHAVEOPT} 0003`;

/** An option as a client sends it. */
export function option(number: number, ...data: (string | Uint8Array)[]): Uint8Array {
  const payload = bytes(...data);
  return bytes(IHAVEOPT, u32(number), u32(payload.length), payload);
}

/** An option reply as the server sends it. */
export function reply(number: number, type: number, ...data: (string | Uint8Array)[]): Uint8Array {
  const payload = bytes(...data);
  return bytes(REPLY_MAGIC, u32(number), u32(type), u32(payload.length), payload);
}

/** A length in 32 bits, then the text. */
export function named(name: string): Uint8Array {
  return bytes(u32(text(name).length), text(name));
}

/** Data of INFO and GO. */
export function infoData(name: string, ...wanted: number[]): Uint8Array {
  return bytes(named(name), u16(wanted.length), ...wanted.map(u16));
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export function contextData(name: string, ...queries: string[]): Uint8Array {
  return bytes(named(name), u32(queries.length), ...queries.map(named));
}

/** A request header as a client sends it. */
export function request(
  type: number,
  { flags = 0, cookie = "0102030405060708", offset = 0, length = 0, offsetHex = u64(offset) } = {},
): Uint8Array {
  return bytes("25609513", u16(flags), u16(type), cookie, offsetHex, u32(length));
}

/** One call of a session to its sink. */
export interface Call {
  readonly what:
    | "established"
    | "startTls"
    | "request"
    | "reject"
    | "writeReady"
    | "finish"
    | "drop";
  readonly type?: number;
  readonly flags?: number;
  readonly cookie?: string;
  readonly offset?: number;
  readonly length?: number;
  readonly error?: NbdError;
  readonly payload?: string;
  readonly reason?: string;
}

/** Writes down calls; takes requests as long as `free` allows. */
export class RecordingSink implements NbdSink {
  /** How many more requests, writes and rejections are taken. */
  free = Infinity;
  /** An export that another sink serves. */
  elsewhere: string | undefined;
  readonly calls: Call[] = [];
  readonly #sent: Uint8Array[] = [];
  readonly #writes = new Map<number, { call: Omit<Call, "what">; buffer: Uint8Array }>();
  #slots = 0;
  negotiated: NbdNegotiated | undefined;
  /** Largest buffer lent to a payload. */
  lent = 0;

  /** Everything sent so far, in hex. */
  get sent(): string {
    return this.#sent.map(hex).join("");
  }

  send(sent: Uint8Array): void {
    this.#sent.push(sent);
  }

  startTls(): void {
    this.calls.push({ what: "startTls" });
  }

  established(negotiated: NbdNegotiated, reply: Uint8Array): boolean {
    this.negotiated = negotiated;
    this.calls.push({ what: "established" });
    if (negotiated.export.name === this.elsewhere) return false;
    this.#sent.push(reply);
    return true;
  }

  request(taken: NbdRequest): boolean {
    return this.#take() && this.calls.push({ what: "request", ...fieldsOf(taken) }) > 0;
  }

  write(taken: NbdRequest, target: NbdTarget): boolean {
    if (!this.#take()) return false;
    target.slot = this.#slots++;
    target.buffer = new Uint8Array(taken.length + 5);
    target.at = 3;
    this.lent = Math.max(this.lent, taken.length);
    this.#writes.set(target.slot, { call: fieldsOf(taken), buffer: target.buffer });
    return true;
  }

  writeReady(slot: number): void {
    const { call, buffer } = this.#writes.get(slot)!;
    this.#writes.delete(slot);
    this.calls.push({
      what: "writeReady",
      ...call,
      payload: buffer.length > 4096 ? "long" : hex(buffer.subarray(3, buffer.length - 2)),
    });
  }

  reject(refused: NbdRequest, error: NbdError): boolean {
    return this.#take() && this.calls.push({ what: "reject", ...fieldsOf(refused), error }) > 0;
  }

  finish(): void {
    this.calls.push({ what: "finish" });
  }

  drop(reason: string): void {
    this.calls.push({ what: "drop", reason });
  }

  #take(): boolean {
    if (this.free <= 0) return false;
    this.free--;
    return true;
  }
}

function fieldsOf(from: NbdRequest) {
  const { type, flags, offset, length } = from;
  return { type, flags, cookie: u32(from.cookieHi) + u32(from.cookieLo), offset, length };
}

/** A started session of these exports and the sink it calls. */
export function startSession(
  exports: readonly NbdExport[] = [DATA],
  limits = LIMITS,
): { session: NbdSession; sink: RecordingSink } {
  const sink = new RecordingSink();
  const session = new NbdSession(exportTable(exports), limits, sink);
  session.start();
  return { session, sink };
}

/** Feed bytes; the number taken. */
export function feed(session: NbdSession, ...parts: (string | Uint8Array)[]): number {
  const input = bytes(...parts);
  return session.consume(input, 0, input.length);
}

/** A session in the transmission phase; `structured` with all contexts selected. */
export function transmitting(
  entry: NbdExport = DATA,
  structured = false,
): { session: NbdSession; sink: RecordingSink } {
  const { session, sink } = startSession([entry]);
  feed(session, "00000003");
  if (structured) feed(session, option(8), option(10, contextData(entry.name, ...entry.contexts)));
  feed(session, option(7, infoData(entry.name, 3)));
  sink.calls.length = 0;
  return { session, sink };
}
