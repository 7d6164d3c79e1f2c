import assert from "node:assert/strict";
import { HeaderStyle, NBD_ERROR, type NbdExport } from "../../src/nbd/mod.ts";
import {
  bytes,
  contextData,
  DATA,
  feed,
  GREETING,
  hex,
  IHAVEOPT,
  infoData,
  LIMITS,
  named,
  option,
  reply,
  startSession,
  text,
  u16,
  u32,
} from "./fixtures.ts";

const ACK = 1;
const SERVER = 2;
const INFO = 3;
const META_CONTEXT = 4;
const ERR_UNSUP = 0x80000001;
const ERR_INVALID = 0x80000003;
const ERR_UNKNOWN = 0x80000006;
const ERR_SHUTDOWN = 0x80000007;
const ERR_TOO_BIG = 0x80000009;

/** HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, MULTI_CONN, CACHE, FAST_ZERO. */
const FLAGS = 0x0d6d;
/** The same and DF. */
const FLAGS_STRUCTURED = 0x0ded;
const SIZE = "0000000000100000";

const OTHER: NbdExport = { ...DATA, name: "café", description: "", size: 4096 };

/** Negotiate with fixed newstyle and no zeroes; what came back after the greeting, and the calls. */
function negotiate(...options: Uint8Array[]) {
  const { session, sink } = startSession([DATA, OTHER]);
  feed(session, "00000003", ...options);
  return { answer: sink.sent.slice(36), sink, session };
}

const expectAnswer = (answer: string, ...replies: Uint8Array[]) =>
  assert.equal(answer, hex(bytes(...replies)));

/** The option and type of an error reply, whose message is free. */
function errorOf(answer: string): { option: number; type: number; message: string } {
  assert.equal(answer.slice(0, 16), "0003e889045565a9");
  const field = (at: number) => parseInt(answer.slice(at, at + 8), 16);
  const message = answer.slice(40);
  assert.equal(field(32), message.length / 2, "one reply, of the length that its header says");
  return { option: field(16), type: field(24), message };
}

Deno.test("the greeting offers fixed newstyle and no zeroes", () => {
  const { sink } = startSession();
  assert.equal(sink.sent, hex(bytes(GREETING)));
});

Deno.test("client flags beyond those offered drop the connection", () => {
  for (const flags of ["00000004", "80000003", "00010001"]) {
    const { session, sink } = startSession();
    feed(session, flags, option(3));
    assert.deepEqual(sink.calls.map(({ what }) => what), ["drop"], flags);
    assert.equal(session.closed, true);
  }
});

Deno.test("without fixed newstyle only EXPORT_NAME is taken", () => {
  const good = startSession();
  feed(good.session, "00000000", option(1, text("data")));
  assert.equal(good.sink.sent.slice(36), SIZE + u16(FLAGS) + "00".repeat(124));
  assert.deepEqual(good.sink.calls, [{ what: "established" }]);

  const bad = startSession();
  feed(bad.session, "00000000", option(3));
  assert.equal(bad.sink.calls[0]?.what, "drop");
});

Deno.test("EXPORT_NAME answers size and flags, 124 zeroes unless both agreed to omit them", () => {
  const padded = startSession();
  feed(padded.session, "00000001", option(1, text("data")));
  assert.equal(padded.sink.sent.slice(36), SIZE + u16(FLAGS) + "00".repeat(124));

  const { answer, sink } = negotiate(option(1, text("data")));
  assert.equal(answer, SIZE + u16(FLAGS));
  assert.equal(sink.negotiated?.export, DATA);
  assert.equal(sink.negotiated?.style, HeaderStyle.Simple);
});

Deno.test("EXPORT_NAME of an unknown, malformed or overlong name drops the connection", () => {
  for (const name of [text("nothing"), bytes("ff"), bytes("6400"), text("x".repeat(4097))]) {
    const { answer, sink } = negotiate(option(1, name));
    assert.equal(answer, "");
    assert.deepEqual(sink.calls.map(({ what }) => what), ["drop"]);
  }
});

Deno.test("the empty name finds a sole export and no other", () => {
  const sole = startSession([DATA]);
  feed(sole.session, "00000003", option(1));
  assert.equal(sole.sink.negotiated?.export.name, "data");
  assert.equal(negotiate(option(1)).sink.calls[0]?.what, "drop");
});

Deno.test("ABORT is acknowledged, its data ignored, and ends the session in good order", () => {
  for (const data of ["", "00112233"]) {
    const { answer, sink, session } = negotiate(option(2, data), option(3));
    expectAnswer(answer, reply(2, ACK));
    assert.deepEqual(sink.calls, [{ what: "finish" }]);
    assert.equal(session.closed, true);
  }
});

Deno.test("LIST names every export with its description", () => {
  const { answer } = negotiate(option(3));
  expectAnswer(
    answer,
    reply(3, SERVER, "00000004", text("datathe volume")),
    reply(3, SERVER, "00000005", text("café")),
    reply(3, ACK),
  );
});

Deno.test("options that take no data refuse data and stay in step", () => {
  for (const number of [3, 5, 8, 11]) {
    const { answer, session } = negotiate(option(number, "00"));
    const { option: echoed, type } = errorOf(answer);
    assert.deepEqual([echoed, type], [number, ERR_INVALID]);
    assert.equal(session.closed, false);
  }
});

Deno.test("unknown and unsupported options are answered UNSUP and the next one is understood", () => {
  // PEEK_EXPORT (withdrawn), and two that nobody defined.
  for (const [number, data] of [[4, ""], [99, "0102"], [0xfffffff0, "aa"]]) {
    const first = errorOf(negotiate(option(number as number, data as string)).answer);
    assert.deepEqual([first.option, first.type], [number, ERR_UNSUP]);
    const { answer } = negotiate(option(number as number, data as string), option(8));
    assert.ok(answer.endsWith(hex(reply(8, ACK))));
  }
});

Deno.test("unknown options with much data are passed over without keeping it", () => {
  const { session, sink } = startSession();
  feed(session, "00000003", IHAVEOPT, u32(99), u32(1 << 20));
  for (let i = 0; i < 16; i++) feed(session, new Uint8Array(1 << 16));
  feed(session, option(8));
  assert.ok(sink.sent.endsWith(hex(reply(8, ACK))));
});

Deno.test("INFO tells what was asked for and goes on, GO begins the transmission", () => {
  const exportInfo = bytes("0000", SIZE, u16(FLAGS));
  const info = negotiate(option(6, infoData("data", 1, 2, 3, 77, 3)));
  expectAnswer(
    info.answer,
    reply(6, INFO, exportInfo),
    reply(6, INFO, "0001", text("data")),
    reply(6, INFO, "0002", text("the volume")),
    reply(6, INFO, "0003 00000001 00001000 02000000"),
    reply(6, ACK),
  );
  assert.deepEqual(info.sink.calls, []);

  const go = negotiate(option(7, infoData("data")));
  expectAnswer(go.answer, reply(7, INFO, exportInfo), reply(7, ACK));
  assert.deepEqual(go.sink.calls, [{ what: "established" }]);
});

Deno.test("INFO and GO of an unknown export are answered UNKNOWN", () => {
  for (const number of [6, 7]) {
    const { answer, session, sink } = negotiate(option(number, infoData("nothing", 0)));
    const { option: echoed, type, message } = errorOf(answer);
    assert.deepEqual([echoed, type], [number, ERR_UNKNOWN]);
    assert.notEqual(message, "");
    assert.deepEqual([session.closed, sink.calls.length], [false, 0]);
  }
});

Deno.test("malformed INFO and GO data is answered INVALID", () => {
  const malformed: Record<string, Uint8Array> = {
    empty: bytes(""),
    "name longer than the data": bytes("00000005", text("data"), "0000"),
    "name of 4 GiB": bytes("ffffffff", text("data"), "0000"),
    "no count": named("data"),
    "fewer requests than counted": bytes(named("data"), "0002 0000"),
    "more requests than counted": bytes(named("data"), "0001 0000 0003"),
    "half a request": bytes(named("data"), "0001 00"),
    "NUL in the name": bytes("00000002 6100 0000"),
    "bad UTF-8 in the name": bytes("00000001 ff 0000"),
    "name over 4096 bytes": infoData("x".repeat(4097)),
  };
  for (const [what, data] of Object.entries(malformed)) {
    for (const number of [6, 7]) {
      const { option: echoed, type } = errorOf(negotiate(option(number, data)).answer);
      assert.deepEqual([echoed, type], [number, ERR_INVALID], what);
    }
  }
});

Deno.test("option data beyond the limit is passed over and answered TOO_BIG", () => {
  for (const number of [6, 7, 9, 10]) {
    const data = new Uint8Array(LIMITS.optionBytes + 1);
    const { option: echoed, type } = errorOf(negotiate(option(number, data)).answer);
    assert.deepEqual([echoed, type], [number, ERR_TOO_BIG]);
    assert.ok(negotiate(option(number, data), option(8)).answer.endsWith(hex(reply(8, ACK))));
  }
});

Deno.test("options over 32 MiB, too many options and bad magic drop the connection", () => {
  const huge = bytes(IHAVEOPT, u32(99), u32((1 << 25) + 1));
  const many = Array.from({ length: LIMITS.options + 1 }, () => option(3));
  const magic = bytes("49484156454f5055", u32(3), u32(0));
  for (const options of [[huge], many, [magic]]) {
    const { sink } = negotiate(...options);
    assert.deepEqual(sink.calls.map(({ what }) => what), ["drop"]);
  }
});

Deno.test("STRUCTURED_REPLY is granted and brings DF", () => {
  const { answer, sink } = negotiate(option(8), option(7, infoData("data")));
  expectAnswer(
    answer,
    reply(8, ACK),
    reply(7, INFO, "0000", SIZE, u16(FLAGS_STRUCTURED)),
    reply(7, ACK),
  );
  assert.equal(sink.negotiated?.style, HeaderStyle.Structured);
  assert.deepEqual(sink.negotiated?.contexts, []);
});

Deno.test("LIST_META_CONTEXT lists all, by namespace, or by name, with ID 0", () => {
  const base = (number: number, id: string) =>
    reply(number, META_CONTEXT, id, text("base:allocation"));
  const dirty = (number: number, id: string) =>
    reply(number, META_CONTEXT, id, text("x-bascule:dirty"));
  const cases: [string[], Uint8Array[]][] = [
    [[], [base(9, "00000000"), dirty(9, "00000000")]],
    [["base:"], [base(9, "00000000")]],
    [["x-bascule:dirty"], [dirty(9, "00000000")]],
    [["base:allocation", "base:"], [base(9, "00000000")]],
    [["base:other", "qemu:dirty-bitmap:x", "base:alloc"], []],
  ];
  for (const [queries, contexts] of cases) {
    const { answer } = negotiate(option(8), option(9, contextData("data", ...queries)));
    expectAnswer(answer, reply(8, ACK), ...contexts, reply(9, ACK));
  }
});

Deno.test("SET_META_CONTEXT selects by exact name, ignoring wildcards and the unknown", () => {
  const { answer, sink } = negotiate(
    option(8),
    option(10, contextData("data", "x-bascule:dirty", "base:", "qemu:x", "x-bascule:dirty")),
    option(7, infoData("data")),
  );
  const contexts = reply(10, META_CONTEXT, "00000002", text("x-bascule:dirty"));
  assert.ok(answer.startsWith(hex(bytes(reply(8, ACK), contexts, reply(10, ACK)))));
  assert.deepEqual(sink.negotiated?.contexts, [{ id: 2, name: "x-bascule:dirty" }]);
});

Deno.test("the last SET_META_CONTEXT counts, failed or not, and only for its own export", () => {
  const set = option(10, contextData("data", "base:allocation"));
  const go = option(7, infoData("data"));
  const cases: [string, Uint8Array[], number][] = [
    ["selected", [set, go], 1],
    ["selected, chosen by EXPORT_NAME", [set, option(1, text("data"))], 1],
    ["replaced by none", [set, option(10, contextData("data")), go], 0],
    ["replaced by a malformed one", [set, option(10, "00"), go], 0],
    ["replaced by an overlong one", [set, option(10, new Uint8Array(20000)), go], 0],
    ["replaced by an unknown export's", [set, option(10, contextData("nothing", "base:x")), go], 0],
    ["for another export", [set, option(7, infoData("café"))], 0],
    ["a listing changes nothing", [set, option(9, contextData("data")), go], 1],
  ];
  for (const [what, options, count] of cases) {
    assert.equal(negotiate(option(8), ...options).sink.negotiated?.contexts.length, count, what);
  }
});

Deno.test("metadata contexts need structured replies, a known export and well-formed queries", () => {
  const base = contextData("data", "base:allocation");
  for (const number of [9, 10]) {
    assert.equal(errorOf(negotiate(option(number, base)).answer).type, ERR_INVALID);
    const malformed: [Uint8Array, number][] = [
      [contextData("nothing", "base:allocation"), ERR_UNKNOWN],
      [contextData("data", "noNamespace"), ERR_INVALID],
      [contextData("data", ":leaf"), ERR_INVALID],
      [bytes(named("data")), ERR_INVALID],
      [bytes(named("data"), u32(1)), ERR_INVALID],
      [bytes(named("data"), u32(0xffffffff), named("base:")), ERR_INVALID],
      [bytes(named("data"), u32(1), "ffffffff", text("base:")), ERR_INVALID],
      [bytes(base, "00"), ERR_INVALID],
    ];
    for (const [data, type] of malformed) {
      const { answer } = negotiate(option(8), option(number, data));
      assert.deepEqual(errorOf(answer.slice(40)).type, type, hex(data));
    }
  }
});

Deno.test("when shutting down every option but ABORT is answered SHUTDOWN", () => {
  for (const number of [3, 5, 6, 7, 8, 9, 10, 99]) {
    const { session, sink } = startSession();
    session.refuse(NBD_ERROR.ESHUTDOWN);
    feed(session, "00000003", option(number, "0000"));
    const { type } = errorOf(sink.sent.slice(36));
    assert.equal(type, ERR_SHUTDOWN);
    feed(session, option(2));
    assert.deepEqual(sink.calls, [{ what: "finish" }]);
  }
  const { session, sink } = startSession();
  session.refuse(NBD_ERROR.ESHUTDOWN);
  feed(session, "00000003", option(1, text("data")));
  assert.deepEqual(sink.calls, [{ what: "drop", reason: "the server is shutting down" }]);
});

Deno.test("transmission flags follow what the export can do", () => {
  const none = { flush: false, fua: false, trim: false, writeZeroes: false, cache: false };
  const cases: [Partial<NbdExport>, number][] = [
    [{ ...none, multiConn: false }, 0x0001],
    [{ ...none, multiConn: false, rotational: true }, 0x0011],
    // FAST_ZERO means nothing without WRITE_ZEROES.
    [{ writeZeroes: false }, 0x052d],
    [{ fastZero: false }, 0x056d],
    // A read-only export offers no command that writes.
    [{ readOnly: true }, 0x050f],
  ];
  for (const [change, flags] of cases) {
    const { session, sink } = startSession([{ ...DATA, ...change }]);
    feed(session, "00000003", option(1, text("data")));
    assert.equal(sink.sent.slice(36), SIZE + u16(flags), JSON.stringify(change));
  }
});

Deno.test("an export that breaks the size constraints is refused at once", () => {
  const wrong: Partial<NbdExport>[] = [
    { size: -1 },
    { size: 2 ** 53 },
    { size: 1000, minimumBlock: 512 },
    { minimumBlock: 3 },
    { minimumBlock: 1 << 17 },
    { preferredBlock: 256 },
    { preferredBlock: 5000 },
    { maximumPayload: 2048 },
    { maximumPayload: (1 << 25) + 1 },
  ];
  for (const change of wrong) {
    assert.throws(() => startSession([{ ...DATA, ...change }]), /export "data"/);
  }
  assert.throws(() => startSession([DATA, DATA]), /two exports are named "data"/);
});
