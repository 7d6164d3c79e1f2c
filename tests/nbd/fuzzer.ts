/**
 * Feeds a server's session with streams that are almost right, and checks what comes of them: no throw,
 * no request out of bounds, every buffer lent is given back, nothing after the end.
 *
 * `deno run -A tests/nbd/fuzzer.ts MESSAGES [SEED]` runs as many messages (options and requests) as it
 * is told; the tests run it for some seconds.
 *
 * @module
 */
import {
  exportTable,
  HeaderStyle,
  MAX_PAYLOAD,
  NBD_CMD,
  NBD_ERROR,
  type NbdError,
  type NbdExport,
  type NbdNegotiated,
  type NbdRequest,
  NbdSession,
  type NbdSink,
  type NbdTarget,
  TlsStage,
} from "../../src/nbd/mod.ts";
import { bytes, contextData, DATA, infoData, LIMITS, option, text } from "./fixtures.ts";

/** What a run saw; a throw is what it is there to find. */
export interface FuzzTally {
  streams: number;
  messages: number;
  bytes: number;
  /** Sessions that got to the transmission phase, by style of headers. */
  readonly established: [number, number, number];
  requests: number;
  rejections: number;
  drops: number;
}

/** xoshiro128**, seeded by splitmix32: quick, and the same everywhere. */
class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: number) {
    const next = () => {
      seed = (seed + 0x9e3779b9) | 0;
      let t = seed ^ (seed >>> 16);
      t = Math.imul(t, 0x21f0aaad);
      t ^= t >>> 15;
      t = Math.imul(t, 0x735a2d97);
      return (t ^ (t >>> 15)) >>> 0;
    };
    [this.#a, this.#b, this.#c, this.#d] = [next(), next(), next(), next()];
  }

  /** 32 bits. */
  word(): number {
    const rotate = (x: number, k: number) => (x << k) | (x >>> (32 - k));
    const result = Math.imul(rotate(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const t = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= t;
    this.#d = rotate(this.#d, 11);
    return result;
  }

  below(limit: number): number {
    return this.word() % limit;
  }

  one<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  chance(of: number): boolean {
    return this.below(of) === 0;
  }
}

const BLOCKS: NbdExport = {
  ...DATA,
  name: "blocks",
  minimumBlock: 512,
  fua: false,
  trim: false,
  fastZero: false,
};
const READ_ONLY: NbdExport = { ...DATA, name: "old", readOnly: true, contexts: [] };
const EXPORTS = exportTable([DATA, BLOCKS, READ_ONLY]);

const OPTIONS = [
  option(1, text("data")),
  option(2),
  option(3),
  option(5),
  option(6, infoData("data", 0, 1, 2, 3)),
  option(7, infoData("data", 3)),
  option(7, infoData("blocks", 3)),
  option(7, infoData("old")),
  option(8),
  option(8),
  option(9, contextData("data", "base:")),
  option(10, contextData("data", "base:allocation", "x-bascule:dirty")),
  option(10, contextData("blocks", "base:allocation")),
  option(11),
  option(11),
  option(99, "00112233"),
];
const CLIENT_FLAGS = [
  ...Array<string>(12).fill("00000003"),
  ...["00000001", "00000000", "00000007"],
];
const OFFSETS = [
  0,
  0,
  512,
  1024,
  8192,
  65536,
  1,
  512,
  4096,
  DATA.size - 512,
  DATA.size - 1,
  DATA.size,
  2 ** 40,
  2 ** 63,
];
const LENGTHS = [
  0,
  1,
  8,
  12,
  16,
  512,
  513,
  4096,
  70_000,
  MAX_PAYLOAD,
  MAX_PAYLOAD + 1,
  2 ** 32 - 1,
];
const COMMON_LENGTHS = [1, 16, 512, 512, 1024, 4096];
const FLAGS = [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 32, 33, 40, 64, 0xffff];

/** Checks every call. */
class CheckingSink implements NbdSink {
  tls = false;
  negotiated: NbdNegotiated | undefined;
  ended = false;
  requests = 0;
  rejections = 0;
  drops = 0;
  readonly #random: Random;
  readonly #lent = new Map<number, { length: number; buffer: Uint8Array }>();
  #slots = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  send(sent: Uint8Array): void {
    this.#alive();
    if (sent.length === 0 || sent.length > 1 << 20) throw new Error(`${sent.length} bytes sent`);
  }

  startTls(): void {
    this.#alive();
    this.tls = true;
    this.ended = true;
  }

  established(negotiated: NbdNegotiated, reply: Uint8Array): boolean {
    this.#alive();
    if (this.negotiated !== undefined || reply.length === 0) throw new Error("established twice");
    this.negotiated = negotiated;
    return true;
  }

  request(request: NbdRequest): boolean {
    if (this.#busy()) return false;
    this.#check(request);
    this.requests++;
    return true;
  }

  write(request: NbdRequest, target: NbdTarget): boolean {
    if (this.#busy()) return false;
    this.#check(request);
    if (request.type !== NBD_CMD.WRITE || request.length > MAX_PAYLOAD) {
      throw new Error(`a write of ${request.length} bytes`);
    }
    target.slot = this.#slots++;
    // Guarded on both sides, but for the longest, whose memory would be all that is measured.
    target.buffer = new Uint8Array(request.length + 2).fill(0xa5, 0, 1);
    target.buffer[request.length + 1] = 0xa5;
    target.at = 1;
    this.#lent.set(target.slot, { length: request.length, buffer: target.buffer });
    return true;
  }

  writeReady(slot: number): void {
    this.#alive();
    const lent = this.#lent.get(slot);
    if (lent === undefined) throw new Error(`the payload of slot ${slot}, which nobody lent`);
    if (lent.buffer[0] !== 0xa5 || lent.buffer[lent.length + 1] !== 0xa5) {
      throw new Error("a payload out of its place");
    }
    this.#lent.delete(slot);
    this.requests++;
  }

  reject(_request: NbdRequest, error: NbdError): boolean {
    if (this.#busy()) return false;
    if (error === NBD_ERROR.OK) throw new Error("refused with success");
    this.rejections++;
    return true;
  }

  finish(): void {
    this.#end();
  }

  drop(_reason: string): void {
    this.drops++;
    this.#end();
  }

  /** What is lent when nothing is under way: one payload at most. */
  settle(wanted: number): void {
    const most = wanted > 0 ? 1 : 0;
    if (!this.ended && this.#lent.size > most) throw new Error("a payload was forgotten");
  }

  #check({ type, offset, length }: NbdRequest): void {
    const { export: entry, contexts, flags } = this.negotiated!;
    const range = type === NBD_CMD.FLUSH || length > 0 && offset + length <= entry.size;
    const aligned = offset % entry.minimumBlock === 0 && length % entry.minimumBlock === 0;
    const writes = type === NBD_CMD.WRITE || type === NBD_CMD.TRIM || type === NBD_CMD.WRITE_ZEROES;
    if (
      !range || !aligned || writes && entry.readOnly ||
      type === NBD_CMD.BLOCK_STATUS && contexts.length === 0 ||
      type === NBD_CMD.TRIM && !entry.trim || type > NBD_CMD.BLOCK_STATUS ||
      type === NBD_CMD.DISC ||
      type === NBD_CMD.READ && length > entry.maximumPayload
    ) {
      throw new Error(`command ${type} at ${offset}, ${length} bytes, flags ${flags} came through`);
    }
  }

  #busy(): boolean {
    this.#alive();
    return this.#random.chance(8);
  }

  #alive(): void {
    if (this.ended) throw new Error("a call after the end");
  }

  #end(): void {
    this.#alive();
    this.ended = true;
  }
}

/** One stream of a client, with damage; returns how many messages it had. */
function stream(random: Random, extended: boolean): { stream: Uint8Array; messages: number } {
  const parts: Uint8Array[] = [bytes(random.one(CLIENT_FLAGS))];
  const options = random.one([0, 0, 1, 2, 4]);
  for (let i = 0; i < options; i++) parts.push(random.one(OPTIONS));
  if (extended) parts.push(option(11));
  else if (random.chance(2)) parts.push(option(8));
  if (!random.chance(8)) {
    parts.push(option(10, contextData("data", "base:allocation", "x-bascule:dirty")));
    parts.push(
      option(7, infoData(random.one(["data", "data", "data", "data", "blocks", "old", ""]), 3)),
    );
  }
  const requests = random.below(12);
  for (let i = 0; i < requests; i++) parts.push(...request(random, extended));
  const whole = bytes(...parts);
  for (let hits = random.one([0, 0, 1, 1, 2, 4]); hits > 0; hits--) {
    const at = random.below(whole.length);
    if (random.chance(2)) whole[at] = random.word() & 0xff;
    else whole[at]! ^= 1 << random.below(8);
  }
  const end = random.chance(4) ? random.below(whole.length + 1) : whole.length;
  return { stream: whole.subarray(0, end), messages: parts.length };
}

function request(random: Random, extended: boolean): Uint8Array[] {
  const type = random.one([0, 1, 1, 2, 3, 4, 5, 6, 7, 7, 8, 0xffff]);
  let flags = random.one(FLAGS);
  if (extended && type === NBD_CMD.WRITE && !random.chance(8)) flags |= 32;
  const offset = random.one(OFFSETS);
  const length = random.one(random.chance(12) ? LENGTHS : COMMON_LENGTHS);
  const header = new Uint8Array(extended ? 32 : 28);
  const view = new DataView(header.buffer);
  view.setUint32(0, extended ? 0x21e41c71 : 0x25609513);
  view.setUint16(4, flags);
  view.setUint16(6, type);
  view.setUint32(8, random.word());
  view.setUint32(16, Math.floor(offset / 2 ** 32));
  view.setUint32(20, offset % 2 ** 32);
  if (extended) view.setUint32(28, length);
  else view.setUint32(24, length);
  if (extended && random.chance(16)) view.setUint32(24, random.word());
  const carries = extended ? (flags & 32) !== 0 : type === NBD_CMD.WRITE;
  // Payloads that are too long to be sent are cut: the stream is out of step then, as it may be.
  return carries ? [header, payload(random, Math.min(length, 5000))] : [header];
}

function payload(random: Random, length: number): Uint8Array {
  const data = new Uint8Array(length);
  const view = new DataView(data.buffer);
  // Something like a list of contexts, where it is one.
  if (length >= 12) view.setUint32(4, random.one([512, 4096, 0, DATA.size]));
  for (let at = 8; at + 4 <= length && at < 64; at += 4) view.setUint32(at, random.below(4));
  return data;
}

/** Streams without end, and how many messages each has; for servers behind a socket. */
export function* fuzzStreams(seed: number): Generator<{ stream: Uint8Array; messages: number }> {
  for (const random = new Random(seed);;) yield stream(random, random.chance(2));
}

/** Runs until it has fed so many messages or until it is time. */
export function fuzz(seed: number, messages: number, until = Infinity): FuzzTally {
  const random = new Random(seed);
  const tally: FuzzTally = {
    streams: 0,
    messages: 0,
    bytes: 0,
    established: [0, 0, 0],
    requests: 0,
    rejections: 0,
    drops: 0,
  };
  while (tally.messages < messages && (tally.streams % 64 !== 0 || performance.now() < until)) {
    const extended = random.chance(2);
    const { stream: input, messages: count } = stream(random, extended);
    const tls = random.chance(8) ? TlsStage.Required : TlsStage.None;
    feed(random, input, tls, tally);
    tally.streams++;
    tally.messages += count;
    tally.bytes += input.length;
  }
  return tally;
}

function feed(random: Random, input: Uint8Array, tls: TlsStage, tally: FuzzTally): void {
  let sink = new CheckingSink(random);
  let session = new NbdSession(EXPORTS, LIMITS, sink, tls);
  session.start();
  const step = 1 + random.below(random.chance(3) ? 40 : 4000);
  for (let at = 0; at < input.length;) {
    if (session.paused && !session.resume()) continue;
    if (session.wanted > 0 && random.chance(4)) {
      const count = Math.min(session.wanted, input.length - at);
      session.target.buffer.set(input.subarray(at, at + count), session.wantedAt);
      session.received(count);
      at += count;
    } else {
      const end = Math.min(input.length, at + step);
      const taken = session.consume(input, at, end);
      if (taken < end && !session.paused) throw new Error(`${end - taken} bytes were left`);
      at = taken;
    }
    if (random.chance(64)) session.refuse(random.one([NBD_ERROR.EIO, NBD_ERROR.OK]));
    sink.settle(session.wanted);
    if (sink.tls) {
      count(sink, tally);
      sink = new CheckingSink(random);
      session = NbdSession.overTls(EXPORTS, LIMITS, sink, session.clientFlags);
    }
  }
  while (session.paused) session.resume();
  sink.settle(session.wanted);
  count(sink, tally);
}

function count(sink: CheckingSink, tally: FuzzTally): void {
  tally.requests += sink.requests;
  tally.rejections += sink.rejections;
  tally.drops += sink.drops;
  if (sink.negotiated !== undefined) tally.established[sink.negotiated.style as HeaderStyle]!++;
}

if (import.meta.main) {
  const [messages = "1000000", seed = String(Date.now() >>> 0)] = Deno.args;
  const began = performance.now();
  const tally = fuzz(Number(seed), Number(messages));
  const seconds = Math.round((performance.now() - began) / 1000);
  const report = `seed ${seed}: ${JSON.stringify(tally)} in ${seconds} s\n`;
  Deno.stdout.writeSync(new TextEncoder().encode(report));
}
