import assert from "node:assert/strict";
import fc from "fast-check";
import { NBD_CMD, NBD_ERROR } from "../../src/nbd/mod.ts";
import {
  bytes,
  contextData,
  DATA,
  feed,
  infoData,
  option,
  request,
  startSession,
  transmitting,
} from "./fixtures.ts";

const { READ, WRITE, DISC, FLUSH } = NBD_CMD;

/** A connection's whole stream: negotiation with detours, requests of every outcome, DISC. */
const STREAM = bytes(
  "00000003",
  option(99, "010203"),
  option(3),
  option(8),
  option(10, contextData("data", "base:allocation")),
  option(6, infoData("nothing")),
  option(7, infoData("data", 3)),
  request(READ, { cookie: "0000000000000001", offset: 4096, length: 512 }),
  request(WRITE, { cookie: "0000000000000002", offset: 8192, length: 40 }),
  new Uint8Array(40).map((_, i) => i),
  request(WRITE, { cookie: "0000000000000003", offset: DATA.size, length: 30 }),
  new Uint8Array(30).fill(0x25),
  request(77, { cookie: "0000000000000004", length: 9 }),
  request(WRITE, { cookie: "0000000000000005", length: 0 }),
  request(WRITE, { cookie: "0000000000000006", flags: 1, length: 1 }),
  "7f",
  request(FLUSH, { cookie: "0000000000000007" }),
  request(NBD_CMD.BLOCK_STATUS, { cookie: "0000000000000008", length: 65536 }),
  request(DISC),
  "00112233445566778899",
);

function whole() {
  const { session, sink } = startSession();
  feed(session, STREAM);
  return sink;
}

Deno.test("a whole connection calls the sink in the order of the stream", () => {
  const calls = whole().calls.map(({ what, cookie, error }) =>
    [what, cookie?.slice(-1), error].filter((part) => part !== undefined)
  );
  assert.deepEqual(calls, [
    ["established"],
    ["request", "1"],
    ["writeReady", "2"],
    ["reject", "3", NBD_ERROR.ENOSPC],
    ["reject", "4", NBD_ERROR.EINVAL],
    ["reject", "5", NBD_ERROR.EINVAL],
    ["writeReady", "6"],
    ["request", "7"],
    ["request", "8"],
    ["finish"],
  ]);
});

Deno.test("any cut of the stream, any pauses and any direct receiving give the same calls", () => {
  const expected = whole();
  const run = fc.array(fc.record({ count: fc.nat(60), direct: fc.boolean(), free: fc.nat(2) }), {
    minLength: 1,
    maxLength: 60,
  });
  fc.assert(
    fc.property(run, (steps) => {
      const { session, sink } = startSession();
      let at = 0;
      // Steps repeat until the stream is through; a step of no progress is made up for by `count`.
      for (let i = 0; at < STREAM.length; i++) {
        const { count, direct, free } = steps[i % steps.length]!;
        sink.free = i % steps.length === 0 ? Math.max(1, free) : free;
        session.resume();
        const end = Math.min(STREAM.length, at + count + (i % steps.length === 0 ? 1 : 0));
        if (direct && session.wanted > 0) {
          const length = Math.min(session.wanted, end - at);
          if (length === 0) continue;
          session.target.buffer.set(STREAM.subarray(at, at + length), session.wantedAt);
          session.received(length);
          at += length;
        } else {
          // The stream may start anywhere in the caller's slab.
          const slab = bytes("ffffff", STREAM.subarray(at, end), "ffff");
          const taken = session.consume(slab, 3, 3 + end - at);
          assert.ok(taken === 3 + end - at || session.paused);
          at += taken - 3;
        }
      }
      assert.deepEqual(sink.calls, expected.calls);
      assert.equal(sink.sent, expected.sent);
    }),
    { numRuns: 300 },
  );
});

Deno.test("a sink without room pauses the session, and resume repeats the call", () => {
  for (
    const [message, after] of [
      [request(READ, { length: 512 }), 0],
      [request(WRITE, { length: 4 }), 4],
      [request(99), 0],
      // The payload of a WRITE that is refused is passed over before the answer.
      [bytes(request(WRITE, { offset: DATA.size, length: 4 }), "01020304"), 0],
    ] as const
  ) {
    const { session, sink } = transmitting();
    sink.free = 0;
    const rest = bytes(new Uint8Array(after), request(FLUSH));
    assert.equal(feed(session, message, rest), message.length);
    assert.equal(session.paused, true);
    assert.equal(session.wanted, 0);
    assert.equal(session.resume(), false);
    assert.equal(feed(session, rest), 0);
    assert.deepEqual(sink.calls, []);
    sink.free = 1;
    assert.equal(session.resume(), true);
    assert.equal(session.paused, false);
    assert.equal(feed(session, rest), rest.length);
    assert.equal(sink.calls.length, 1);
    assert.equal(session.paused, true);
  }
});

Deno.test("a payload's place is where the sink said, and it moves as bytes arrive", () => {
  const { session, sink } = transmitting();
  feed(session, request(WRITE, { length: 6 }), "0102");
  assert.deepEqual([session.wanted, session.wantedAt, session.target.at], [4, 5, 3]);
  session.target.buffer.set([3, 4, 5], session.wantedAt);
  session.received(3);
  assert.deepEqual([session.wanted, session.wantedAt], [1, 8]);
  feed(session, "06");
  assert.equal(sink.calls[0]?.payload, "010203040506");
  assert.equal(session.wanted, 0);
});

Deno.test("received and target are checked", () => {
  const { session, sink } = transmitting();
  assert.throws(() => session.received(1), /1 payload bytes received where 0 are wanted/);
  feed(session, request(WRITE, { length: 6 }));
  for (const count of [0, -1, 7, NaN]) assert.throws(() => session.received(count));
  session.received(6);
  sink.write = (_taken, target) => {
    target.buffer = new Uint8Array(5);
    target.at = 0;
    return true;
  };
  assert.throws(() => feed(session, request(WRITE, { length: 6 })), /does not fit/);
});

Deno.test("bad magic drops the connection and nothing after it is read", () => {
  const { session, sink } = transmitting();
  const junk = bytes("25609514", new Uint8Array(24), request(READ, { length: 1 }));
  assert.equal(feed(session, junk), junk.length);
  assert.deepEqual(sink.calls.map(({ what }) => what), ["drop"]);
  assert.equal(session.closed, true);
  assert.equal(session.resume(), true);
});

Deno.test("DISC ends in good order, whatever its other fields say", () => {
  const { session, sink } = transmitting();
  feed(session, request(DISC, { flags: 0xffff, offset: 7, length: 7 }), request(FLUSH));
  assert.deepEqual(sink.calls, [{ what: "finish" }]);
});

Deno.test("when shutting down requests get ESHUTDOWN, payloads under way are carried out", () => {
  const { session, sink } = transmitting();
  feed(session, request(WRITE, { length: 2 }), "01");
  session.refuse(NBD_ERROR.ESHUTDOWN);
  feed(session, "02", request(READ, { length: 1 }), request(WRITE, { length: 3 }), "000000");
  feed(session, request(99), request(DISC));
  assert.deepEqual(sink.calls.map(({ what, error }) => [what, error]), [
    ["writeReady", undefined],
    ["reject", NBD_ERROR.ESHUTDOWN],
    ["reject", NBD_ERROR.ESHUTDOWN],
    ["reject", NBD_ERROR.ESHUTDOWN],
    ["finish", undefined],
  ]);
});

Deno.test("a request that waits when the shutdown comes gets ESHUTDOWN", () => {
  const { session, sink } = transmitting();
  sink.free = 0;
  feed(session, request(WRITE, { length: 2 }));
  session.refuse(NBD_ERROR.ESHUTDOWN);
  sink.free = 2;
  session.resume();
  feed(session, "0102", request(FLUSH));
  assert.deepEqual(sink.calls.map(({ what, error }) => [what, error]), [
    ["reject", NBD_ERROR.ESHUTDOWN],
    ["reject", NBD_ERROR.ESHUTDOWN],
  ]);
});

Deno.test("an error for all requests holds until it is taken back", () => {
  const { session, sink } = transmitting();
  session.refuse(NBD_ERROR.EIO);
  feed(session, request(READ, { length: 1 }), request(WRITE, { length: 2 }), "0102");
  session.refuse(NBD_ERROR.OK);
  feed(session, request(READ, { length: 1 }));
  assert.deepEqual(sink.calls.map(({ what, error }) => [what, error]), [
    ["reject", NBD_ERROR.EIO],
    ["reject", NBD_ERROR.EIO],
    ["request", undefined],
  ]);
});

Deno.test("a client that chooses an export served elsewhere is left there, unread bytes and all", () => {
  const { session, sink } = startSession([DATA, { ...DATA, name: "other" }]);
  sink.elsewhere = "other";
  const hello = bytes("00000003", option(7, infoData("other")));
  const stream = bytes(hello, request(READ, { length: 1 }), "0102");
  assert.equal(session.consume(stream, 0, stream.length), hello.length);
  assert.deepEqual(sink.calls, [{ what: "established" }]);
  assert.equal(session.closed, true);
  assert.equal(session.consume(stream, hello.length, stream.length), hello.length);
  assert.equal(sink.calls.length, 1);
});
