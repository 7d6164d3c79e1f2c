import assert from "node:assert/strict";
import fc from "fast-check";
import type { Ballot, VoterLogRecord } from "../../src/cluster/types.ts";
import {
  appendRecord,
  compactRecords,
  decodeMark,
  encodeMark,
  type LogState,
  readLog,
  writeLog,
} from "../../src/wire/voter_log.ts";
import { voterRecords } from "./arbitraries.ts";

function ballot(n: number): Ballot {
  return { n, node: "a", incarnation: 1 };
}

const RECORDS: readonly VoterLogRecord[] = [
  { kind: "identity", voterId: "5eed" },
  { kind: "promise", register: "group:web", ballot: ballot(1) },
  {
    kind: "accept",
    register: "group:web",
    ballot: ballot(1),
    proposal: {
      value: { version: 1, epoch: 1, owner: { node: "a", incarnation: 1 }, volumes: {} },
      takes: { node: "b", incarnation: 3, epoch: 0 },
    },
  },
  { kind: "promise", register: "group:web", ballot: ballot(2) },
];

interface Built {
  readonly bytes: Uint8Array;
  /** Length after the header and after each record. */
  readonly ends: readonly number[];
  readonly state: LogState;
}

/** The base records as a rewrite puts them there, the others appended. */
function build(base: readonly VoterLogRecord[], added: readonly VoterLogRecord[]): Built {
  let { bytes, state } = writeLog(1, base);
  const ends = [state.length];
  for (const record of added) {
    const appended = appendRecord(state, record);
    const longer = new Uint8Array(bytes.length + appended.bytes.length);
    longer.set(bytes);
    longer.set(appended.bytes, bytes.length);
    bytes = longer;
    state = appended.state;
    ends.push(state.length);
  }
  return { bytes, ends, state };
}

/** Maps come back without a prototype: compare what they hold. */
function same(found: readonly VoterLogRecord[], wanted: readonly VoterLogRecord[]): void {
  assert.equal(JSON.stringify(found), JSON.stringify(wanted));
}

Deno.test("what was appended is read back, and can be continued", () => {
  fc.assert(fc.property(
    fc.array(voterRecords, { maxLength: 5 }),
    fc.array(voterRecords, { maxLength: 5 }),
    voterRecords,
    (base, added, next) => {
      const { bytes, state } = build(base, added);
      const reading = readLog(bytes, { generation: 1, length: bytes.length });
      assert.equal(reading.verdict, "ok");
      assert.equal(reading.validLength, bytes.length);
      same(reading.records, [...base, ...added]);
      assert.deepEqual(
        appendRecord(reading.state!, next).bytes,
        appendRecord(state, next).bytes,
      );
    },
  ));
});

Deno.test("a log cut at any byte: torn above the mark, lost below it, never shortened silently", () => {
  const { bytes, ends } = build([], RECORDS);
  for (const answered of ends) {
    for (let cut = 0; cut <= bytes.length; cut++) {
      const reading = readLog(bytes.subarray(0, cut), { generation: 1, length: answered });
      const whole = ends.filter((end) => end <= cut).length - 1;
      const where = `answered ${answered}, cut at ${cut}`;
      if (cut < answered) {
        assert.equal(reading.verdict, "lost", where);
      } else {
        assert.equal(reading.verdict, ends.includes(cut) ? "ok" : "torn", where);
        assert.equal(reading.validLength, ends[whole], where);
        same(reading.records, RECORDS.slice(0, whole));
      }
    }
  }
});

Deno.test("a bit flipped at any byte: torn above the mark, lost below it, never believed", () => {
  const { bytes, ends } = build([], RECORDS);
  for (const answered of ends) {
    for (let at = 0; at < bytes.length; at++) {
      for (const bit of [0, 3, 7]) {
        bytes[at]! ^= 1 << bit;
        const reading = readLog(bytes, { generation: 1, length: answered });
        bytes[at]! ^= 1 << bit;
        const where = `answered ${answered}, byte ${at} bit ${bit}`;
        const before = ends.filter((end) => end <= at).length - 1;
        assert.equal(reading.verdict, at < answered ? "lost" : "torn", where);
        if (at >= answered) same(reading.records, RECORDS.slice(0, before));
      }
    }
  }
});

Deno.test("the rewritten part of a log needs no mark of its own generation to be answered for", () => {
  const { bytes, ends } = build(RECORDS, [RECORDS[3]!]);
  const before = { generation: 0, length: 99_999 };
  for (let cut = 0; cut < bytes.length; cut++) {
    const verdict = readLog(bytes.subarray(0, cut), before).verdict;
    assert.equal(verdict, cut < ends[0]! ? "lost" : cut === ends[0] ? "ok" : "torn", `${cut}`);
  }
  assert.equal(readLog(bytes, before).verdict, "ok");
});

Deno.test("a log and a mark that do not belong together are lost state", () => {
  const { bytes } = writeLog(5, RECORDS);
  const verdict = (generation: number) => readLog(bytes, { generation, length: 36 }).verdict;
  assert.deepEqual([3, 4, 5, 6].map(verdict), ["lost", "ok", "ok", "lost"]);
  assert.equal(readLog(bytes, null).verdict, "lost");
  assert.equal(readLog(writeLog(1, []).bytes, null).verdict, "ok");
  assert.equal(readLog(build([], RECORDS.slice(0, 1)).bytes, null).verdict, "lost");
  assert.equal(readLog(new Uint8Array(0), null).verdict, "lost");
});

Deno.test("records of an older log left in the file do not continue a newer one", () => {
  const old = build([], RECORDS).bytes;
  const newer = writeLog(2, []).bytes;
  const mixed = old.slice();
  mixed.set(newer);
  const reading = readLog(mixed, { generation: 2, length: newer.length });
  assert.equal(reading.verdict, "torn");
  assert.equal(reading.records.length, 0);
});

Deno.test("another version's log is left alone, but only if its header is sound", async () => {
  const { createHash } = await import("node:crypto");
  const { bytes } = writeLog(1, RECORDS);
  new DataView(bytes.buffer).setUint32(4, 2);
  assert.equal(readLog(bytes, null).verdict, "lost");
  bytes.set(createHash("sha256").update(bytes.subarray(0, 20)).digest().subarray(0, 16), 20);
  const reading = readLog(bytes, null);
  assert.equal(reading.verdict, "foreign");
  assert.match(reading.detail, /version 2/);
});

Deno.test("noise is never a log and never throws", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
    assert.equal(readLog(noise, { generation: 1, length: 36 }).verdict, "lost");
    const { bytes, ends } = build([], RECORDS.slice(0, 2));
    const tail = new Uint8Array(bytes.length + noise.length);
    tail.set(bytes);
    tail.set(noise, bytes.length);
    const reading = readLog(tail, { generation: 1, length: bytes.length });
    assert.equal(reading.verdict, noise.length === 0 ? "ok" : "torn");
    assert.equal(reading.validLength, ends[2]);
  }));
});

Deno.test("a mark comes back, a spoiled one does not", () => {
  fc.assert(fc.property(fc.nat(0xffff_ffff), fc.maxSafeNat(), (generation, length) => {
    const bytes = encodeMark({ generation, length });
    assert.deepEqual(decodeMark(bytes), { generation, length });
    for (let bit = 0; bit < 128; bit++) {
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      assert.equal(decodeMark(bytes), null);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
    }
    assert.equal(decodeMark(bytes.subarray(0, 15)), null);
  }));
  assert.equal(decodeMark(new Uint8Array(16)), null);
});

Deno.test("compacting keeps the last word on everything, in order", () => {
  same(compactRecords(RECORDS), [RECORDS[0]!, RECORDS[2]!, RECORDS[3]!]);
  fc.assert(fc.property(fc.array(voterRecords, { maxLength: 12 }), (records) => {
    same(compactRecords(compactRecords(records)), compactRecords(records));
    assert.deepEqual(replay(compactRecords(records)), replay(records));
  }));
});

/** The state that a voter rebuilds: newest identity, promise and accepted value of each register. */
function replay(records: readonly VoterLogRecord[]): unknown {
  const state: Record<string, string> = {};
  for (const record of records) {
    const slot = record.kind === "identity" ? "identity" : `${record.kind} ${record.register}`;
    state[slot] = JSON.stringify(record);
  }
  return Object.entries(state).sort();
}
