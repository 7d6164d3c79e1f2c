import assert from "node:assert/strict";
import fc from "fast-check";
import { parseIp } from "../../src/config/address.ts";
import { parseConfig } from "../../src/config/parse.ts";
import {
  formatDuration,
  formatSize,
  MAX_DURATION,
  parseDuration,
  parseSize,
} from "../../src/config/units.ts";
import { SAMPLE } from "./sample.ts";

Deno.test("property: a duration reads back as it was written", () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: MAX_DURATION }), (milliseconds) => {
    assert.deepEqual(parseDuration(formatDuration(milliseconds)), { value: milliseconds });
  }));
  assert.deepEqual([90_000, 120_000, 3_600_000, 1500, 0].map(formatDuration), [
    "90s",
    "2m",
    "1h",
    "1500ms",
    "0ms",
  ]);
});

Deno.test("property: a size reads back as it was written", () => {
  const bytes = fc.oneof(
    fc.maxSafeNat(),
    fc.tuple(fc.integer({ min: 0, max: 8191 }), fc.constantFrom(10, 20, 30, 40))
      .map(([number, power]) => number * 2 ** power),
  );
  fc.assert(fc.property(bytes, (size) => {
    assert.deepEqual(parseSize(formatSize(size)), { value: size });
  }));
  assert.deepEqual(["1.5GiB", "2TB", "0.5KiB", "1 MiB"].map(parseSize), [
    { value: 1_610_612_736 },
    { value: 2_000_000_000_000 },
    { value: 512 },
    { value: 2 ** 20 },
  ]);
});

Deno.test("property: decimal fractions are exact", () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 999_999 }), (thousandths) => {
    const text = `${Math.floor(thousandths / 1000)}.${
      String(thousandths % 1000).padStart(3, "0")
    }s`;
    assert.deepEqual(parseDuration(text), { value: thousandths });
  }));
});

Deno.test("property: an address reads back in its canonical form", () => {
  fc.assert(fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
    const ip = parseIp(text);
    assert.ok(ip, text);
    const again = parseIp(ip.text);
    assert.deepEqual(again, ip);
    // The WHATWG URL parser is an independent implementation of RFC 5952.
    const host = ip.family === 6 ? new URL(`http://[${text}]`).hostname.slice(1, -1) : text;
    assert.equal(ip.text, host);
  }));
  for (
    const text of ["", "1.2.3", "01.2.3.4", "256.1.1.1", ":::", "1::2::3", "1:2:3:4:5:6:7:8:9"]
  ) {
    assert.equal(parseIp(text), undefined, text);
  }
});

Deno.test("property: any text is read without an exception", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
    const { config, problems } = parseConfig(text, "f");
    assert.equal(config, undefined);
    assert.ok(problems.some((problem) => problem.severity === "error"));
  }));
});

Deno.test("property: a damaged file is read without an exception, and places are in the file", () => {
  const position = fc.nat({ max: SAMPLE.length });
  const junk = fc.oneof(
    fc.string({ maxLength: 8 }),
    fc.constantFrom("[", "]", "{", "}", "=", "\n", '"', "[[a]]\n", "nan", "1979-05-27", "\0"),
  );
  fc.assert(fc.property(position, fc.nat({ max: 40 }), junk, (start, length, text) => {
    const damaged = SAMPLE.slice(0, start) + text + SAMPLE.slice(start + length);
    const { config, problems } = parseConfig(damaged, "f");
    const failed = problems.some((problem) => problem.severity === "error");
    assert.equal(config === undefined, failed);
    const lines = damaged.split("\n");
    for (const { line, column } of problems) {
      assert.ok(line >= 1 && line <= lines.length, `line ${line}`);
      assert.ok(column >= 1 && column <= (lines[line - 1] ?? "").length + 1, `column ${column}`);
    }
  }));
});

Deno.test("property: deep nesting is refused, not crashed on", () => {
  for (const [open, close] of [["[", "]"], ["{a=", "}"]] as const) {
    const text = `x = ${open.repeat(2000)}1${close.repeat(2000)}`;
    const { config, problems } = parseConfig(text, "f");
    assert.equal(config, undefined);
    assert.ok(problems.some((problem) => problem.message.includes("levels deep")));
  }
  const header = parseConfig(`[${Array(2000).fill("a").join(".")}]`, "f");
  assert.ok(header.problems.some((problem) => problem.message.includes("levels deep")));
});

Deno.test("property: an unknown key is an error in every table", () => {
  const tables = [...SAMPLE.matchAll(/^\[([a-z.]+)\]$/gm)].map((match) => match[1] ?? "")
    .filter((name) => !name.endsWith(".replicas"));
  assert.equal(tables.length, 7);
  const key = fc.stringMatching(/^[a-z_]{1,12}$/).filter((name) => !KNOWN.has(name));
  fc.assert(fc.property(fc.constantFrom(...tables), key, (table, name) => {
    const text = SAMPLE.replace(`[${table}]\n`, `[${table}]\n${name} = 1\n`);
    const { config, problems } = parseConfig(text, "f");
    assert.equal(config, undefined);
    const unknown = problems.filter((problem) => problem.severity === "error");
    assert.deepEqual(unknown.map((problem) => problem.key), [`${table}.${name}`]);
  }));
});

/** Every key that some table of the sample knows. */
const KNOWN = new Set(
  ("name key_file keepalive warntime deadtime initdead shrink_after quorum witness links size " +
    "protocol export after_power_loss sole_boot io timeout al_extents device replicas prefer " +
    "failback resources ping ping_interval ping_settle failure_timeout").split(" "),
);
