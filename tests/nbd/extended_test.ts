import assert from "node:assert/strict";
import {
  encodeBlockStatusChunk,
  encodeErrorChunk,
  encodeReadHeader,
  encodeReply,
  HeaderStyle,
  NBD_CMD,
  NBD_CMD_FLAG,
  NBD_ERROR,
  NBD_FLAG,
  NbdClient,
  nbdErrorWords,
  type NbdPending,
  type NbdSession,
} from "../../src/nbd/mod.ts";
import {
  bytes,
  contextData,
  DATA,
  feed,
  hex,
  infoData,
  option,
  type RecordingSink,
  reply,
  startSession,
  text,
  u16,
  u32,
  u64,
} from "./fixtures.ts";
import { MemoryServer } from "./memory_server.ts";

// The EXTENDED_HEADERS extension: 32-byte headers, 64-bit lengths, payloads where a flag says so.

const { READ, WRITE, DISC, FLUSH, TRIM, WRITE_ZEROES, BLOCK_STATUS } = NBD_CMD;
const { FUA, PAYLOAD_LEN, REQ_ONE } = NBD_CMD_FLAG;
const EXT_HEADER_REQD = 0x8000000a;
const INVALID = 0x80000003;

/** A request with an extended header. */
function request(
  type: number,
  { flags = 0, cookie = "0102030405060708", offset = 0, length = 0 } = {},
): Uint8Array {
  return bytes("21e41c71", u16(flags), u16(type), cookie, u64(offset), u64(length));
}

/** A session in the transmission phase with extended headers, and both contexts unless told otherwise. */
function transmitting(
  contexts: readonly string[] = DATA.contexts,
  entry = DATA,
): { session: NbdSession; sink: RecordingSink } {
  const { session, sink } = startSession([entry]);
  feed(session, "00000003", option(11));
  if (contexts.length > 0) feed(session, option(10, contextData("data", ...contexts)));
  feed(session, option(7, infoData("data", 3)));
  sink.calls.length = 0;
  return { session, sink };
}

function outcomes(sink: RecordingSink) {
  return sink.calls.map(({ what, type, error }) =>
    error === undefined ? [what, type] : [what, error]
  );
}

Deno.test("extended headers are acknowledged, take no data, and rule out a step back", () => {
  const { session, sink } = startSession();
  feed(session, "00000003", option(8), option(11), option(8));
  assert.ok(sink.sent.includes(hex(reply(11, 1))));
  assert.ok(sink.sent.includes(`0003e889045565a900000008${u32(EXT_HEADER_REQD)}`));
  feed(session, option(11, "00"));
  assert.ok(sink.sent.includes(`0003e889045565a90000000b${u32(INVALID)}`));
  assert.equal(session.closed, false);
  feed(session, option(7, infoData("data")));
  assert.equal(sink.negotiated?.style, HeaderStyle.Extended);
});

Deno.test("EXPORT_NAME ends a session that negotiated extended headers", () => {
  const { session, sink } = startSession();
  feed(session, "00000003", option(11), option(1, text("data")));
  assert.deepEqual(sink.calls.map(({ what }) => what), ["drop"]);
  assert.equal(session.closed, true);
});

Deno.test("the payload form of BLOCK_STATUS is offered with contexts and extended headers only", () => {
  const offered = (sink: RecordingSink) =>
    (sink.negotiated!.flags & NBD_FLAG.BLOCK_STATUS_PAYLOAD) !== 0;
  assert.equal(offered(transmitting().sink), true);
  assert.equal(offered(transmitting([]).sink), false);
  const { session, sink } = startSession();
  feed(session, "00000003", option(8), option(10, contextData("data", ...DATA.contexts)));
  feed(session, option(7, infoData("data")));
  assert.equal(offered(sink), false);
});

Deno.test("requests with extended headers, whole and cut anywhere", () => {
  const stream = bytes(
    request(READ, { offset: 4096, length: 512 }),
    request(WRITE, { flags: PAYLOAD_LEN | FUA, offset: 8192, length: 4 }),
    "01020304",
    request(TRIM, { offset: 0, length: DATA.size }),
    request(FLUSH),
    request(DISC),
  );
  for (let step = 1; step <= 40; step++) {
    const { session, sink } = transmitting();
    for (let at = 0; at < stream.length; at += step) {
      session.consume(stream, at, Math.min(stream.length, at + step));
    }
    assert.deepEqual(outcomes(sink), [
      ["request", READ],
      ["writeReady", WRITE],
      ["request", TRIM],
      ["request", FLUSH],
      ["finish", undefined],
    ]);
    assert.equal(sink.calls[1]?.payload, "01020304");
  }
});

Deno.test("a length of 64 bits is understood, and out of bounds where it is", () => {
  const { session, sink } = transmitting(DATA.contexts, { ...DATA, size: 2 ** 40 });
  feed(session, request(WRITE_ZEROES, { offset: 4096, length: 2 ** 39 }));
  feed(session, request(TRIM, { offset: 4096, length: 2 ** 40 }));
  feed(session, request(WRITE_ZEROES, { offset: 2 ** 40, length: 2 ** 52 }));
  feed(session, bytes("21e41c71 0000 0004 0000000000000001", "ff".repeat(8), "ff".repeat(8)));
  feed(session, request(READ, { length: 2 ** 33 }));
  assert.equal(sink.calls[0]?.length, 2 ** 39);
  assert.deepEqual(outcomes(sink), [
    ["request", WRITE_ZEROES],
    ["reject", NBD_ERROR.EINVAL],
    ["reject", NBD_ERROR.ENOSPC],
    ["reject", NBD_ERROR.EINVAL],
    ["reject", NBD_ERROR.EOVERFLOW],
  ]);
});

Deno.test("a WRITE without PAYLOAD_LEN has no payload and is refused; others with one are drained", () => {
  const { session, sink } = transmitting();
  feed(session, request(WRITE, { length: 512 }));
  feed(session, request(READ, { flags: PAYLOAD_LEN, length: 3 }), "aabbcc");
  feed(session, request(FLUSH, { flags: PAYLOAD_LEN, length: 2 }), "aabb");
  feed(session, request(99, { flags: PAYLOAD_LEN, length: 5 }), "0011223344");
  feed(session, request(FLUSH));
  assert.deepEqual(outcomes(sink), [
    ["reject", NBD_ERROR.EINVAL],
    ["reject", NBD_ERROR.EINVAL],
    ["reject", NBD_ERROR.EINVAL],
    ["reject", NBD_ERROR.EINVAL],
    ["request", FLUSH],
  ]);
});

Deno.test("a payload beyond 32 MiB drops the connection, whatever the command", () => {
  for (const type of [READ, WRITE, BLOCK_STATUS]) {
    const { session, sink } = transmitting();
    feed(session, request(type, { flags: PAYLOAD_LEN, length: (1 << 25) + 1 }));
    assert.deepEqual(sink.calls.map(({ what }) => what), ["drop"]);
  }
});

Deno.test("with compact headers PAYLOAD_LEN is an unknown flag", () => {
  const { session, sink } = startSession();
  feed(session, "00000003", option(7, infoData("data")));
  sink.calls.length = 0;
  feed(session, bytes("25609513", u16(PAYLOAD_LEN), u16(READ), "00".repeat(8), u64(0), u32(512)));
  assert.deepEqual(outcomes(sink), [["reject", NBD_ERROR.EINVAL]]);
});

/** BLOCK_STATUS with a payload. */
function filtered(length: number, ...ids: number[]): Uint8Array {
  const payload = bytes(u64(length), ...ids.map(u32));
  return bytes(
    request(BLOCK_STATUS, { flags: PAYLOAD_LEN, offset: 4096, length: payload.length }),
    payload,
  );
}

Deno.test("BLOCK_STATUS takes the contexts that its payload names", () => {
  const { session, sink } = transmitting();
  const seen: [number, number][] = [];
  sink.request = (taken) => {
    seen.push([taken.length, taken.contexts & 3]);
    return true;
  };
  feed(session, filtered(512, 2), filtered(1024, 1), filtered(512, 2, 1));
  feed(session, request(BLOCK_STATUS, { flags: REQ_ONE, length: 65536 }));
  assert.deepEqual(seen, [[512, 2], [1024, 1], [512, 3], [65536, 3]]);
});

Deno.test("a payload of BLOCK_STATUS that names nothing, the unknown or one twice is refused in step", () => {
  const { session, sink } = transmitting();
  feed(session, filtered(512), filtered(512, 3), filtered(512, 1, 1), filtered(512, 1, 2, 1));
  feed(session, filtered(0, 1), filtered(DATA.size, 1));
  feed(session, request(BLOCK_STATUS, { flags: PAYLOAD_LEN, length: 3 }), "010203");
  feed(session, request(FLUSH));
  const refused = Array.from({ length: 7 }, () => ["reject", NBD_ERROR.EINVAL]);
  assert.deepEqual(outcomes(sink), [...refused, ["request", FLUSH]]);
});

Deno.test("extended replies are byte-exact", () => {
  const written = (encode: (view: DataView, at: number) => number) => {
    const buffer = new Uint8Array(200);
    return hex(buffer.subarray(3, 3 + encode(new DataView(buffer.buffer), 3)));
  };
  const to = { type: READ, cookieHi: 0x01020304, cookieLo: 0x05060708, offset: 4096, length: 512 };
  const header = (type: string, payload: number, flags = "0001") =>
    hex(bytes("6e8a278c", flags, type, "0102030405060708", u64(4096), u64(payload)));
  const extended = HeaderStyle.Extended;
  const words = nbdErrorWords(NBD_ERROR.EIO);
  assert.equal(
    written((view, at) => encodeReply(view, at, { ...to, type: WRITE }, NBD_ERROR.OK, extended)),
    header("0000", 0),
  );
  assert.equal(
    written((view, at) => encodeReply(view, at, to, NBD_ERROR.EIO, extended)),
    header("8001", 6 + words.length) + "00000005" + u16(words.length) + hex(words),
  );
  assert.equal(
    written((view, at) =>
      encodeErrorChunk(view, at, to, NBD_ERROR.EIO, text("no"), true, extended)
    ),
    header("8001", 8) + "0000000500026e6f",
  );
  assert.equal(
    written((view, at) => encodeReadHeader(view, at, to, extended)),
    header("0001", 520) + u64(4096),
  );
  const extents = Uint32Array.of(512, 3, 0xfffff000, 0);
  assert.equal(
    written((view, at) => encodeBlockStatusChunk(view, at, to, 7, extents, 2, false, extended)),
    header("0006", 40, "0000") + u32(7) + u32(2) + u64(512) + u64(3) + u64(0xfffff000) + u64(0),
  );
});

Deno.test("a client and a server with extended headers understand each other", () => {
  const memory = new Uint8Array(DATA.size);
  const done: NbdPending[] = [];
  let failure = "";
  const toServer: Uint8Array[] = [];
  const toClient: Uint8Array[] = [];
  const server = new MemoryServer(DATA, memory, (sent) => toClient.push(sent.slice()));
  server.sparse = true;
  server.session.start();
  let extended = false;
  const client = new NbdClient(
    { exportName: "data", extended: true, contexts: ["base:allocation"] },
    {
      send: (sent) => toServer.push(sent.slice()),
      ready: (info) => {
        extended = info.extended;
      },
      done: (request) => done.push(request),
      failed: (reason) => failure = reason,
    },
  );
  const pump = () => {
    while (toServer.length + toClient.length > 0) {
      for (const sent of toServer.splice(0)) server.session.consume(sent, 0, sent.length);
      server.answer();
      for (const sent of toClient.splice(0)) client.consume(sent);
    }
  };
  pump();
  assert.equal(extended, true);
  const data = new Uint8Array(5000).map((_, i) => i % 251 + 1);
  client.submit({ type: WRITE, offset: 10_000, data });
  pump();
  client.submit({ type: READ, offset: 8192, length: 20_000, data: new Uint8Array(20_000) });
  client.submit({ type: BLOCK_STATUS, offset: 8192, length: 16_384 });
  client.submit({ type: READ, offset: DATA.size, length: 1, data: new Uint8Array(1) });
  pump();
  assert.equal(failure, "");
  assert.deepEqual(done.map(({ error }) => error), [0, 0, 0, NBD_ERROR.EINVAL]);
  assert.deepEqual(done[1]!.data, memory.slice(8192, 28_192));
  assert.deepEqual(done[2]!.extents.map(({ length, flags }) => [length, flags]), [
    [4096, 0],
    [4096, 0],
    [4096, 3],
    [4096, 3],
  ]);
});
