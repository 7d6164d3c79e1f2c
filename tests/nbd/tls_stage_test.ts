import assert from "node:assert/strict";
import { exportTable, NBD_ERROR, NbdSession, TlsStage } from "../../src/nbd/mod.ts";
import {
  bytes,
  contextData,
  DATA,
  feed,
  hex,
  infoData,
  LIMITS,
  option,
  RecordingSink,
  reply,
  text,
  u32,
} from "./fixtures.ts";

// STARTTLS and what it does to options, as the specification's section "TLS support" says.

const TLS_REQD = 0x80000005;
const INVALID = 0x80000003;
const POLICY = 0x80000002;

function start(tls: TlsStage): { session: NbdSession; sink: RecordingSink } {
  const sink = new RecordingSink();
  const session = new NbdSession(exportTable([DATA]), LIMITS, sink, tls);
  session.start();
  return { session, sink };
}

/** The session that goes on within TLS. */
function within(before: NbdSession): { session: NbdSession; sink: RecordingSink } {
  const sink = new RecordingSink();
  const session = NbdSession.overTls(exportTable([DATA]), LIMITS, sink, before.clientFlags);
  return { session, sink };
}

const error = (number: number, type: number) => `0003e889045565a9${u32(number)}${u32(type)}`;

Deno.test("FORCEDTLS: every option but STARTTLS and ABORT is answered TLS_REQD", () => {
  const { session, sink } = start(TlsStage.Required);
  feed(session, "00000003");
  const options = [
    option(3),
    option(6, infoData("data")),
    option(7, infoData("data")),
    option(8),
    option(9, contextData("data")),
    option(10, contextData("data", "base:allocation")),
    option(11),
    option(99, "010203"),
  ];
  for (const [index, number] of [3, 6, 7, 8, 9, 10, 11, 99].entries()) {
    feed(session, options[index]!);
    assert.ok(sink.sent.includes(error(number, TLS_REQD)), `option ${number}`);
  }
  assert.ok(!sink.sent.includes(hex(text("the volume"))), "nothing is told of the export");
  assert.equal(session.closed, false);
  feed(session, option(2));
  assert.ok(sink.sent.endsWith(hex(reply(2, 1))));
  assert.deepEqual(sink.calls, [{ what: "finish" }]);
});

Deno.test("FORCEDTLS: EXPORT_NAME before TLS ends the session", () => {
  const { session, sink } = start(TlsStage.Required);
  feed(session, "00000003", option(1, text("data")));
  assert.deepEqual(sink.calls.map(({ what }) => what), ["drop"]);
});

Deno.test("STARTTLS is granted, takes no data, and needs fixed newstyle", () => {
  const { session, sink } = start(TlsStage.Required);
  feed(session, "00000003", option(5, "00"));
  assert.ok(sink.sent.includes(error(5, INVALID)));
  feed(session, option(5));
  assert.ok(sink.sent.endsWith(hex(reply(5, 1))));
  assert.deepEqual(sink.calls, [{ what: "startTls" }]);
  assert.equal(session.closed, true);
  const old = start(TlsStage.Required);
  feed(old.session, "00000000", option(5));
  assert.deepEqual(old.sink.calls.map(({ what }) => what), ["drop"]);
});

Deno.test("what follows STARTTLS in the clear is not taken as if it came from within", () => {
  const { session, sink } = start(TlsStage.Required);
  feed(session, "00000003", bytes(option(5), option(3)));
  assert.deepEqual(sink.calls.map(({ what }) => what), ["drop"]);
});

Deno.test("within TLS the handshake goes on without a greeting, and STARTTLS is invalid", () => {
  const before = start(TlsStage.Required);
  feed(before.session, "00000003", option(5));
  const { session, sink } = within(before.session);
  assert.equal(sink.sent, "");
  feed(session, option(5));
  assert.ok(sink.sent.includes(error(5, INVALID)));
  feed(session, option(3), option(1, text("data")));
  assert.ok(sink.sent.includes(hex(text("the volume"))));
  // NO_ZEROES was agreed on before TLS, and holds.
  assert.ok(!sink.sent.endsWith("00".repeat(124)));
  assert.deepEqual(sink.calls, [{ what: "established" }]);
});

Deno.test("nothing that was negotiated before STARTTLS is kept", () => {
  const before = start(TlsStage.Required);
  feed(before.session, "00000003", option(8), option(10, contextData("data", "base:allocation")));
  feed(before.session, option(5));
  const { session, sink } = within(before.session);
  feed(session, option(7, infoData("data")));
  assert.equal(sink.negotiated?.style, 0);
  assert.deepEqual(sink.negotiated?.contexts, []);
});

Deno.test("a server without TLS refuses STARTTLS by policy, and goes on", () => {
  const { session, sink } = start(TlsStage.None);
  feed(session, "00000003", option(5));
  assert.ok(sink.sent.includes(error(5, POLICY)));
  feed(session, option(7, infoData("data")));
  assert.deepEqual(sink.calls, [{ what: "established" }]);
});

Deno.test("a session in the making of the server's end refuses options within TLS, too", () => {
  const before = start(TlsStage.Required);
  feed(before.session, "00000003", option(5));
  const { session, sink } = within(before.session);
  session.refuse(NBD_ERROR.ESHUTDOWN);
  feed(session, option(7, infoData("data")));
  assert.ok(sink.sent.includes(error(7, 0x80000007)));
});
