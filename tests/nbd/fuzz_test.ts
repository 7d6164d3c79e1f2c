import assert from "node:assert/strict";
import fc from "fast-check";
import { MAX_PAYLOAD, NBD_CMD, NbdClient } from "../../src/nbd/mod.ts";
import type { NbdClientEvents } from "../../src/nbd/mod.ts";
import {
  bytes,
  contextData,
  DATA,
  infoData,
  LIMITS,
  option,
  RecordingSink,
  reply,
  request,
  startSession,
  u32,
} from "./fixtures.ts";

/** Well-formed pieces of a client's stream, which the fuzzer glues together and then damages. */
const OPTIONS = [
  option(1, new TextEncoder().encode("data")),
  option(2),
  option(3),
  option(5),
  option(6, infoData("data", 1, 2, 3)),
  option(7, infoData("data", 3)),
  option(7, infoData("")),
  option(8),
  option(9, contextData("data", "base:")),
  option(10, contextData("data", "base:allocation", "x-bascule:dirty")),
  option(99, "00112233"),
];

const someRequest = fc.record({
  type: fc.integer({ min: 0, max: 9 }),
  flags: fc.constantFrom(0, 0, 0, 1, 2, 4, 8, 16, 32, 0xffff),
  offset: fc.constantFrom(0, 512, DATA.size - 64, DATA.size - 1, DATA.size, 2 ** 40),
  length: fc.constantFrom(0, 1, 64, 65, 512, 70000),
}).map((fields) => {
  const header = request(fields.type, fields);
  return fields.type === NBD_CMD.WRITE ? bytes(header, new Uint8Array(fields.length)) : header;
});

const damage = fc.array(fc.record({ at: fc.nat(), byte: fc.nat(255) }), { maxLength: 4 });

/** A client's stream, whole but for a few damaged bytes and perhaps a cut. */
const someStream = fc.tuple(
  fc.constantFrom("00000003", "00000003", "00000003", "00000001", "00000000"),
  fc.array(fc.constantFrom(...OPTIONS), { maxLength: 5 }),
  fc.array(someRequest, { maxLength: 8 }),
  damage,
).map(([flags, options, requests, hits]) => {
  const stream = bytes(flags, ...options, ...requests);
  for (const { at, byte } of hits) stream[at % stream.length] = byte;
  return stream;
});

function assertOnlyValidCalls(sink: RecordingSink): void {
  for (const call of sink.calls) {
    if (call.what !== "request" && call.what !== "writeReady") continue;
    assert.ok(sink.negotiated !== undefined);
    const { type, offset, length } = call as Required<typeof call>;
    if (type === NBD_CMD.FLUSH) continue;
    assert.ok(length > 0 && offset + length <= DATA.size, `${type} ${offset} ${length}`);
    assert.ok([0, 1, 4, 5, 6, 7].includes(type));
  }
  const ends = sink.calls.findIndex(({ what }) => what === "finish" || what === "drop");
  assert.ok(ends === -1 || ends === sink.calls.length - 1, "no call after the end");
  assert.ok(sink.lent <= MAX_PAYLOAD);
}

Deno.test("a damaged stream never throws and never yields a request out of bounds", () => {
  fc.assert(
    fc.property(someStream, fc.integer({ min: 1, max: 97 }), (stream, step) => {
      const { session, sink } = startSession();
      for (let at = 0; at < stream.length; at += step) {
        const end = Math.min(stream.length, at + step);
        assert.equal(session.consume(stream, at, end), end);
      }
      assertOnlyValidCalls(sink);
    }),
    { numRuns: 4000 },
  );
});

Deno.test("random bytes after the flags never throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      const { session, sink } = startSession();
      const stream = bytes("00000003", option(8), noise);
      session.consume(stream, 0, stream.length);
      assertOnlyValidCalls(sink);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("an option over the limit is answered from its header, hence its data is not kept", () => {
  for (const number of [6, 7, 9, 10]) {
    const { session, sink } = startSession();
    const header = bytes("00000003 49484156454f5054", u32(number), u32(LIMITS.optionBytes + 1));
    session.consume(header, 0, header.length);
    assert.ok(sink.sent.length > 36);
  }
});

/** Well-formed pieces of a server's stream. */
const REPLIES = [
  "67446698 00000000 0000000000000001",
  "67446698 00000005 0000000000000002",
  "668e33ef 0001 0000 0000000000000001 00000000",
  "668e33ef 0000 0001 0000000000000001 0000000c 0000000000001000 01020304",
  "668e33ef 0001 0002 0000000000000001 0000000c 0000000000001004 0000003c",
  "668e33ef 0001 8001 0000000000000002 00000008 00000005 0002 6e6f",
  "668e33ef 0001 8002 0000000000000002 0000000e 00000005 0000 0000000000000000",
  "668e33ef 0001 0005 0000000000000003 0000000c 00000001 00001000 00000003",
].map((part) => bytes(part));

Deno.test("a damaged server stream never makes the client throw or write out of place", () => {
  const pieces = fc.array(fc.constantFrom(...REPLIES), { maxLength: 8 });
  fc.assert(
    fc.property(pieces, damage, fc.integer({ min: 1, max: 50 }), (replies, hits, step) => {
      const { client, events } = readyClient();
      const memory = new Uint8Array(80).fill(0xa5);
      const data = memory.subarray(8, 72);
      client.submit({ type: NBD_CMD.READ, offset: 4096, length: 64, data });
      client.submit({ type: NBD_CMD.WRITE, data: new Uint8Array(1) });
      client.submit({ type: NBD_CMD.BLOCK_STATUS, offset: 0, length: 65536 });
      const stream = bytes(...replies);
      for (const { at, byte } of hits) stream[at % Math.max(1, stream.length)] = byte;
      for (let at = 0; at < stream.length; at += step) {
        client.consume(stream.subarray(at, at + step));
      }
      assert.ok(memory.subarray(0, 8).every((byte) => byte === 0xa5));
      assert.ok(memory.subarray(72).every((byte) => byte === 0xa5));
      assert.ok(events.failures.length <= 1);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("a damaged server greeting or option reply never makes the client throw", () => {
  const greeting = bytes("4e42444d41474943 49484156454f5054 0003", ...HANDSHAKE_REPLIES);
  fc.assert(
    fc.property(damage, fc.integer({ min: 1, max: 50 }), (hits, step) => {
      const stream = greeting.slice();
      for (const { at, byte } of hits) stream[at % stream.length] = byte;
      const events = new ClientEvents();
      const client = new NbdClient(CLIENT, events);
      for (let at = 0; at < stream.length; at += step) {
        client.consume(stream.subarray(at, at + step));
      }
      assert.ok(events.failures.length <= 1);
    }),
    { numRuns: 1000 },
  );
});

const CLIENT = { exportName: "data", contexts: ["base:allocation"] };

const HANDSHAKE_REPLIES = [
  reply(8, 1),
  reply(10, 4, "00000001", new TextEncoder().encode("base:allocation")),
  reply(10, 1),
  reply(7, 3, "0000 0000000000100000 0ded"),
  reply(7, 1),
];

class ClientEvents implements NbdClientEvents {
  readonly failures: string[] = [];
  send(): void {}
  ready(): void {}
  done(): void {}
  failed(reason: string): void {
    this.failures.push(reason);
  }
}

function readyClient(): { client: NbdClient; events: ClientEvents } {
  const events = new ClientEvents();
  const client = new NbdClient(CLIENT, events);
  client.consume(bytes("4e42444d41474943 49484156454f5054 0003", ...HANDSHAKE_REPLIES));
  return { client, events };
}
