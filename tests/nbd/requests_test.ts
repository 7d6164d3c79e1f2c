import assert from "node:assert/strict";
import { MAX_PAYLOAD, NBD_CMD, NBD_ERROR, type NbdError } from "../../src/nbd/mod.ts";
import type { NbdExport } from "../../src/nbd/mod.ts";
import { DATA, feed, request, transmitting } from "./fixtures.ts";

const { READ, WRITE, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS } = NBD_CMD;
const { OK, EPERM, EINVAL, ENOSPC, EOVERFLOW } = NBD_ERROR;
const FUA = 1;
const NO_HOLE = 2;
const DF = 4;
const REQ_ONE = 8;
const FAST_ZERO = 16;

const SIZE = DATA.size;
const RANGED = [READ, WRITE, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS];
const WRITING = [WRITE, TRIM, WRITE_ZEROES];

interface Case {
  readonly type: number;
  readonly flags?: number;
  readonly offset?: number;
  readonly length?: number;
  readonly offsetHex?: string;
}

/** Send one request and a FLUSH after it: how the first was judged; the second shows it is in step. */
function judge(fields: Case, change: Partial<NbdExport> = {}, structured = true): NbdError {
  const entry = { ...DATA, flush: true, ...change };
  const { session, sink } = transmitting(entry, structured);
  feed(session, request(fields.type, { length: 4096, ...fields }));
  if (fields.type === WRITE) feed(session, new Uint8Array(fields.length ?? 4096));
  feed(session, request(FLUSH, { cookie: "ffffffffffffffff" }));
  assert.equal(sink.calls.length, 2, JSON.stringify(sink.calls));
  const [call, flush] = sink.calls;
  assert.equal(call!.cookie, "0102030405060708");
  assert.deepEqual([flush!.what, flush!.cookie], ["request", "ffffffffffffffff"]);
  if (call!.what === "reject") {
    assert.notEqual(call!.error, OK);
    return call!.error!;
  }
  assert.equal(call!.what, fields.type === WRITE ? "writeReady" : "request");
  return OK;
}

Deno.test("requests within the export are dispatched with their fields", () => {
  for (const type of RANGED) {
    const { session, sink } = transmitting(DATA, true);
    feed(session, request(type, { flags: FUA, offset: SIZE - 2, length: 2 }), "beef");
    const { what, ...fields } = sink.calls[0]!;
    assert.equal(what, type === WRITE ? "writeReady" : "request");
    const payload = type === WRITE ? { payload: "beef" } : {};
    const cookie = "0102030405060708";
    assert.deepEqual(fields, { type, flags: FUA, cookie, offset: SIZE - 2, length: 2, ...payload });
  }
});

Deno.test("past the end: ENOSPC where data would be written, else EINVAL", () => {
  for (const type of RANGED) {
    const expected = type === WRITE || type === WRITE_ZEROES ? ENOSPC : EINVAL;
    assert.equal(judge({ type, offset: SIZE - 4095 }), expected);
    assert.equal(judge({ type, offset: SIZE }), expected);
    assert.equal(judge({ type, offset: 0, length: SIZE + 1 }), expected);
    for (const offsetHex of ["0020000000000000", "8000000000000000", "ffffffffffffffff"]) {
      assert.equal(judge({ type, offsetHex }), expected, offsetHex);
    }
    assert.equal(judge({ type, offset: SIZE - 4096 }), OK);
  }
});

Deno.test("the largest export and offset keep every bit", () => {
  const size = Number.MAX_SAFE_INTEGER;
  assert.equal(judge({ type: READ, offset: size - 4096 }, { size }), OK);
  assert.equal(judge({ type: READ, offset: size - 4095 }, { size }), EINVAL);
  const { session, sink } = transmitting({ ...DATA, size });
  feed(session, request(READ, { offset: size - 1, length: 1 }));
  assert.equal(sink.calls[0]?.offset, size - 1);
});

Deno.test("an export that grew is served to its new end", () => {
  const entry = { ...DATA };
  const { session, sink } = transmitting(entry);
  entry.size += 4096;
  feed(session, request(READ, { offset: SIZE, length: 4096 }));
  assert.equal(sink.calls[0]?.what, "request");
});

Deno.test("an empty range is EINVAL", () => {
  for (const type of RANGED) assert.equal(judge({ type, length: 0 }), EINVAL);
});

Deno.test("requests off the minimum block size are EINVAL", () => {
  const change = { minimumBlock: 512 };
  for (const type of RANGED) {
    assert.equal(judge({ type, offset: 512, length: 1024 }, change), OK);
    assert.equal(judge({ type, offset: 256, length: 512 }, change), EINVAL);
    assert.equal(judge({ type, offset: 512, length: 513 }, change), EINVAL);
  }
});

Deno.test("a read-only export answers EPERM to what would write", () => {
  const change = { readOnly: true };
  for (const type of RANGED) {
    assert.equal(judge({ type }, change), WRITING.includes(type as 1) ? EPERM : OK);
  }
  assert.equal(judge({ type: WRITE, offset: SIZE }, change), EPERM);
  assert.equal(judge({ type: FLUSH, length: 0 }, change), OK);
});

Deno.test("commands that the export does not offer are EINVAL", () => {
  assert.equal(judge({ type: TRIM }, { trim: false }), EINVAL);
  assert.equal(judge({ type: WRITE_ZEROES }, { writeZeroes: false }), EINVAL);
  assert.equal(judge({ type: CACHE }, { cache: false }), EINVAL);
  assert.equal(judge({ type: BLOCK_STATUS }, { contexts: [] }), EINVAL);
  assert.equal(judge({ type: BLOCK_STATUS }, {}, false), EINVAL);
  const { session, sink } = transmitting({ ...DATA, flush: false });
  feed(session, request(FLUSH));
  assert.equal(sink.calls[0]?.error, EINVAL);
});

Deno.test("unknown commands are EINVAL and carry no payload", () => {
  for (const type of [8, 9, 255, 65535]) assert.equal(judge({ type }), EINVAL);
});

Deno.test("command flags are valid where the protocol says, if they were offered", () => {
  const own: Record<number, number> = {
    [READ]: DF,
    [WRITE_ZEROES]: NO_HOLE | FAST_ZERO,
    [BLOCK_STATUS]: REQ_ONE,
  };
  for (const type of [...RANGED, FLUSH]) {
    const length = type === FLUSH ? 0 : 4096;
    for (let bit = 0; bit < 16; bit++) {
      const flags = 1 << bit;
      const valid = flags === FUA || ((own[type] ?? 0) & flags) !== 0;
      assert.equal(judge({ type, flags, length }), valid ? OK : EINVAL, `${type} bit ${bit}`);
    }
    assert.equal(judge({ type, flags: FUA, length }, { fua: false }), EINVAL);
  }
  assert.equal(judge({ type: READ, flags: DF }, {}, false), EINVAL);
  assert.equal(judge({ type: WRITE_ZEROES, flags: FAST_ZERO }, { fastZero: false }), EINVAL);
});

Deno.test("FLUSH takes neither offset nor length", () => {
  assert.equal(judge({ type: FLUSH, length: 0 }), OK);
  assert.equal(judge({ type: FLUSH, length: 0, offset: 512 }), EINVAL);
  assert.equal(judge({ type: FLUSH, length: 512 }), EINVAL);
});

Deno.test("data over the maximum payload is refused, its bytes passed over", () => {
  const change = { size: 2 ** 40, maximumPayload: 65536 };
  const over = { length: 65537 };
  assert.equal(judge({ type: WRITE, length: 65536 }, change), OK);
  assert.equal(judge({ type: WRITE, ...over }, change), EINVAL);
  assert.equal(judge({ type: READ, ...over }, change, true), EOVERFLOW);
  assert.equal(judge({ type: READ, ...over }, change, false), EINVAL);
  for (const type of [TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS]) {
    assert.equal(judge({ type, length: 0xffffffff }, change), OK);
  }
});

Deno.test("a WRITE of 32 MiB is served, a longer one drops the connection", () => {
  const { session, sink } = transmitting({ ...DATA, size: 2 ** 30 });
  feed(session, request(WRITE, { length: MAX_PAYLOAD }));
  assert.equal(session.wanted, MAX_PAYLOAD);
  session.received(MAX_PAYLOAD);
  assert.equal(sink.calls[0]?.what, "writeReady");
  sink.calls.length = 0;
  feed(session, request(WRITE, { length: MAX_PAYLOAD + 1 }));
  assert.deepEqual(sink.calls.map(({ what }) => what), ["drop"]);
});
