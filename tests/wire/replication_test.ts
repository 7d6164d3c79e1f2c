import assert from "node:assert/strict";
import fc from "fast-check";
import { type ControlMessage, FrameKind } from "../../src/volume/types.ts";
import { MAX_HEAD_BYTES } from "../../src/wire/block_frames.ts";
import {
  decodeControl,
  decodeHeader,
  encodeControl,
  encodeHeader,
  FLAG_COMPARE,
  FLAG_FUA,
  FrameHeader,
  MAX_CONTROL_PAYLOAD,
  MAX_DATA_PAYLOAD,
  MAX_DIRTY_NUMBERS,
  MAX_RANGE,
  payloadChecksum,
  REPLICATION_HEADER_BYTES,
} from "../../src/wire/replication.ts";

const GENERATIONS = { current: "a1", bitmap: "", history: ["b2", "c3"] };

const HELD = { dirtyBlocks: 5, lastWrite: 1_700_000_000_000, primarySince: 0 };

const MESSAGES: readonly ControlMessage[] = [
  {
    type: "HELLO",
    volume: "data",
    size: 2 ** 45,
    epoch: 7,
    lineage: "l",
    replicaId: "r",
    generations: GENERATIONS,
    dirtyBlocks: 5,
    storage: "s",
    protocol: "B",
    session: 2 ** 32 - 1,
  },
  {
    type: "WELCOME",
    epoch: 7,
    lineage: "l",
    replicaId: "q",
    generations: GENERATIONS,
    dirtyBlocks: 0,
    storage: "s",
    inconsistent: true,
    unclean: false,
    blank: false,
    session: 9,
  },
  { type: "DECLINE", why: "its epoch is past", epoch: 8 },
  { type: "DECLINE", why: "another lineage", epoch: 8, parted: HELD },
  { type: "SPLIT", session: 9, why: "written apart", tracked: true, source: HELD },
  { type: "DIRTY", session: 9, runs: [0, 4, 2 ** 40, 1], last: true },
  { type: "SYNC", session: 9, inconsistent: true, blocks: 12 },
  { type: "SYNCREADY", session: 9 },
  { type: "JOIN", session: 9, epoch: 7, generations: GENERATIONS },
  { type: "JOINED", session: 9, epoch: 7 },
  { type: "RECORD", session: 9, epoch: 7, generation: "a1", upToDate: ["q", "r"] },
  { type: "PING", session: 9 },
  { type: "PONG", session: 9 },
];

function header(
  kind: number,
  length: number,
  payload: number,
  offset = 2 ** 44 + 4096,
  flags = 0,
): Uint8Array {
  const bytes = new Uint8Array(REPLICATION_HEADER_BYTES);
  const crc = payload > 0 ? 123 : 0;
  encodeHeader(
    new DataView(bytes.buffer),
    0,
    kind,
    flags,
    0xfedc_ba98,
    77,
    offset,
    length,
    payload,
    crc,
  );
  return bytes;
}

function decode(bytes: Uint8Array) {
  const into = new FrameHeader();
  return { error: decodeHeader(new DataView(bytes.buffer), 0, into), header: into };
}

Deno.test("a data header comes back as it was sent, beyond 4 GiB too", () => {
  const { error, header: found } = decode(
    header(FrameKind.Write, 8192, 8192, 2 ** 44 + 4096, FLAG_FUA),
  );
  assert.equal(error, undefined);
  assert.deepEqual({ ...found }, {
    kind: FrameKind.Write,
    flags: FLAG_FUA,
    session: 0xfedc_ba98,
    seq: 77,
    offset: 2 ** 44 + 4096,
    length: 8192,
    payload: 8192,
    payloadCrc: 123,
  });
});

Deno.test("a header may stand anywhere in a buffer", () => {
  const bytes = new Uint8Array(500);
  encodeHeader(new DataView(bytes.buffer, 10), 90, FrameKind.Flush, 0, 1, 2, 0, 0, 0, 0);
  const found = new FrameHeader();
  assert.equal(decodeHeader(new DataView(bytes.buffer), 100, found), undefined);
  assert.equal(found.seq, 2);
  assert.equal(decodeHeader(new DataView(bytes.buffer), 450, found), "length");
});

Deno.test("lengths beyond the limits, payloads where none belong and unknown kinds are refused", () => {
  assert.equal(
    decode(header(FrameKind.Write, MAX_DATA_PAYLOAD, MAX_DATA_PAYLOAD)).error,
    undefined,
  );
  const tooLong = MAX_DATA_PAYLOAD + 4096;
  assert.equal(decode(header(FrameKind.Write, tooLong, tooLong)).error, "length");
  assert.equal(decode(header(FrameKind.Resync, 4096, 4096 + 8)).error, undefined);
  assert.equal(decode(header(FrameKind.Resync, 4096, 4096)).error, "length");
  assert.equal(decode(header(FrameKind.Resync, 4096, 8192 + MAX_HEAD_BYTES)).error, "length");
  assert.equal(decode(header(FrameKind.Resync, 4097, 8192)).error, "length");
  assert.equal(decode(header(FrameKind.Sums, 4096, 0)).error, "length");
  assert.equal(decode(header(FrameKind.Sums, tooLong, 100)).error, "length");
  assert.equal(decode(header(FrameKind.Write, 0, 0)).error, "length");
  assert.equal(decode(header(FrameKind.Trim, MAX_RANGE, 0)).error, undefined);
  assert.equal(decode(header(FrameKind.Trim, MAX_RANGE + 1, 0)).error, "length");
  assert.equal(decode(header(FrameKind.Wrote, 0, 0)).error, undefined);
  assert.equal(decode(header(FrameKind.Wrote, 0, 10)).error, "length");
  assert.equal(decode(header(FrameKind.Flush, 10, 0)).error, "length");
  assert.equal(decode(header(FrameKind.Read, MAX_DATA_PAYLOAD, 0)).error, undefined);
  assert.equal(decode(header(FrameKind.Read, MAX_DATA_PAYLOAD + 1, 0)).error, "length");
  assert.equal(decode(header(FrameKind.Data, 4096, 4096)).error, undefined);
  assert.equal(decode(header(FrameKind.Data, 4096, 0)).error, "length");
  for (const kind of [14, 255]) assert.equal(decode(header(kind, 0, 0)).error, "kind");
  assert.equal(decode(header(0, MAX_CONTROL_PAYLOAD + 1, MAX_CONTROL_PAYLOAD + 1)).error, "length");
  assert.equal(decode(header(FrameKind.Flush, 0, 0, 0, 2)).error, "flags");
  assert.equal(decode(header(FrameKind.Sums, 4096, 13, 0, FLAG_FUA)).error, "flags");
  assert.equal(decode(header(FrameKind.Sums, 4096, 13, 0, FLAG_COMPARE)).error, undefined);
});

Deno.test("any change of any byte of a header is noticed", () => {
  const good = header(FrameKind.Write, 4096, 4096);
  fc.assert(fc.property(
    fc.nat(REPLICATION_HEADER_BYTES - 1),
    fc.integer({ min: 1, max: 255 }),
    (at, change) => {
      const bad = good.slice();
      bad[at]! ^= change;
      assert.notEqual(decode(bad).error, undefined);
    },
  ));
});

Deno.test("random bytes are refused, never thrown at", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 0, maxLength: 200 }), (bytes) => {
    const copy = bytes.slice();
    assert.notEqual(
      decodeHeader(new DataView(copy.buffer), 0, new FrameHeader()),
      undefined,
    );
    const control = decodeControl(copy, payloadChecksum(copy));
    assert.equal(control.message, undefined);
  }));
});

Deno.test("every control message comes back as it was sent", () => {
  for (const message of MESSAGES) {
    const frame = encodeControl(message);
    const { error, header: found } = decode(frame);
    assert.equal(error, undefined);
    assert.equal(found.kind, 0);
    const payload = frame.subarray(REPLICATION_HEADER_BYTES);
    assert.deepEqual(decodeControl(payload, found.payloadCrc).message, message);
    const rotten = payload.slice();
    rotten[3]! ^= 1;
    assert.equal(decodeControl(rotten, found.payloadCrc).error, "payload checksum");
  }
});

/** What a message may lack. */
const OPTIONAL = new Set([
  "DECLINE.parted",
  ...["HELLO", "WELCOME"].flatMap((type) =>
    ["lastWrite", "primarySince", "discard"].map((field) => `${type}.${field}`)
  ),
]);

Deno.test("a control message that lacks, or mistakes, a field is refused with its name", () => {
  for (const message of MESSAGES) {
    for (const field of Object.keys(message)) {
      const may = OPTIONAL.has(`${message.type}.${field}`);
      for (const wrong of may ? [null, -1, 1.5, {}, [{}]] : [undefined, null, -1, 1.5, {}, [{}]]) {
        const bad = { ...message, [field]: wrong };
        const payload = new TextEncoder().encode(JSON.stringify(bad));
        const decoded = decodeControl(payload, payloadChecksum(payload));
        assert.equal(decoded.message, undefined, `${message.type}.${field} = ${wrong}`);
      }
    }
  }
});

Deno.test("the longest DIRTY list fits a control frame, an odd or longer one is refused", () => {
  const runs = new Array<number>(MAX_DIRTY_NUMBERS).fill(2 ** 41 - 1);
  const frame = encodeControl({ type: "DIRTY", session: 1, runs, last: false });
  assert.ok(frame.length <= MAX_CONTROL_PAYLOAD + REPLICATION_HEADER_BYTES);
  for (const bad of [[1], [...runs, 1, 1]]) {
    const payload = new TextEncoder().encode(
      JSON.stringify({ type: "DIRTY", session: 1, runs: bad, last: true }),
    );
    assert.equal(decodeControl(payload, payloadChecksum(payload)).message, undefined);
  }
});
