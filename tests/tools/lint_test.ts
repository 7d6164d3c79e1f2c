import assert from "node:assert/strict";
import plugin, { importTarget } from "../../tools/lint/pure.ts";

const PURE_FILE = "/x/src/cluster/planted.ts";

/** What the plugin says about `source`, each as "rule: message". */
function complaints(source: string, file = PURE_FILE): string[] {
  return Deno.lint.runPlugin(plugin, file, source).map((found) => `${found.id}: ${found.message}`);
}

const IMPURE: readonly [source: string, named: string][] = [
  ["export const f = Deno.readFileSync;", "Deno"],
  ["type C = Deno.Conn;", "Deno"],
  ["const { env } = Deno;", "Deno"],
  ["export async function f() {}", "async function"],
  ["export const f = async () => {};", "async function"],
  ["export class A { async f() {} }", "async function"],
  ["export const o = { async f() {} };", "async function"],
  ["const x = await 3;", "await"],
  ["for await (const x of []) x;", "for await"],
  ["await using x = null;", "await using"],
  ["export function f(): Promise<void> { throw 1; }", "Promise"],
  ["Promise.resolve();", "Promise"],
  ["new Date();", "Date"],
  ["Date.now();", "Date"],
  ["export function f(now = Date.now()) { return now; }", "Date"],
  ["performance.now();", "performance"],
  ["const t = performance;", "performance"],
  ["Math.random();", "Math.random"],
  ['Math["random"]();', "Math.random"],
  ["const { random } = Math;", "Math.random"],
  ["const m = Math; m.random();", "Math.random"],
  ["crypto.getRandomValues(new Uint8Array(1));", "crypto"],
  ["setTimeout(() => {}, 1);", "setTimeout"],
  ["setInterval(() => {}, 1);", "setInterval"],
  ["queueMicrotask(() => {});", "queueMicrotask"],
  ["console.log(1);", "console"],
  ['globalThis["Da" + "te"];', "globalThis"],
  ["window.close();", "window"],
  ["self.close();", "self"],
  ["process.exit();", "process"],
  ["const o = { process };", "process"],
  ["const Date = 3;", "Date"],
  ['const m = import("./other.ts");', "import()"],
  ["import.meta.url;", "import.meta"],
  ['import { x } from "../os/ring.ts";', 'import of "../os/ring.ts"'],
  ['import type { X } from "../agent/agent.ts";', 'import of "../agent/agent.ts"'],
  ['export * from "../os/ring.ts";', 'import of "../os/ring.ts"'],
  ['export { x } from "../config/load.ts";', 'import of "../config/load.ts"'],
  ['type X = import("../os/ring.ts").X;', "import() type"],
  ['import fc from "fast-check";', 'import of "fast-check"'],
  ['import fs from "node:fs";', 'import of "node:fs"'],
  ['import { randomBytes } from "node:crypto";', "import of randomBytes"],
  ['import { createHash, randomUUID as id } from "node:crypto";', "import of randomUUID"],
  ['import * as all from "node:crypto";', "import of everything"],
  ['import zlib from "node:zlib";', "import of everything"],
];

for (const [source, named] of IMPURE) {
  Deno.test(`a pure folder may not have: ${source}`, () => {
    const found = complaints(source);
    assert.ok(
      found.some((line) => line.startsWith(`bascule/pure: ${named}`)),
      `expected a complaint about ${named}, got ${JSON.stringify(found)}`,
    );
  });
}

const PURE: readonly string[] = [
  'import { crc32 } from "node:zlib"; export const sum = crc32;',
  'import { createHash, createHmac, timingSafeEqual } from "node:crypto"; createHash; createHmac; timingSafeEqual;',
  'import { Buffer } from "node:buffer"; Buffer;',
  'import type { Config } from "../config/types.ts"; export type C = Config;',
  'import { encode } from "../wire/frame.ts"; encode;',
  'import { step } from "./step.ts"; step;',
  "Math.max(1, Math.floor(2.5));",
  "export function f(window: number, self: number) { return window + self; }",
  "const process = (x: number) => x; process(1);",
  "for (const [location, prompt] of [[1, 2]]) { location; prompt; }",
  "const { window, rest: [self] } = { window: 1, rest: [2] }; window; self;",
  "export interface Sample { Date: number; performance: string; console(self: number): void }",
  "const o = { Date: 1, process: 2 }; o.Date + o.process;",
  "export class A { crypto = 1; fetch() { return this.crypto; } }",
  "export function* walk() { yield 1; }",
  "self: for (;;) break self;",
];

for (const source of PURE) {
  Deno.test(`a pure folder may have: ${source}`, () => {
    assert.deepEqual(complaints(source), []);
  });
}

Deno.test("impure folders may do everything but call foreign functions", () => {
  const source = "await Promise.resolve(Date.now()); console.log(Deno.pid);";
  for (const folder of ["agent", "os", "cli", "config", "resource", "status", "sim"]) {
    assert.deepEqual(complaints(source, `/x/src/${folder}/a.ts`), []);
  }
  assert.notDeepEqual(complaints("Date.now();", "/x/src/config/types.ts"), []);
});

Deno.test("foreign functions are called from src/os only", () => {
  for (const source of ['Deno.dlopen("c", {});', 'Deno["dlopen"];', "const { dlopen } = Deno;"]) {
    assert.match(complaints(source, "/x/src/agent/a.ts").join("\n"), /bascule\/ffi: Deno\.dlopen/);
    assert.deepEqual(complaints(source, "/x/src/os/ring.ts"), []);
  }
});

Deno.test("every complaint comes with its mend", () => {
  for (const [source] of IMPURE) {
    for (const found of Deno.lint.runPlugin(plugin, PURE_FILE, source)) {
      assert.ok(found.hint !== undefined && found.hint.length > 5, found.message);
    }
  }
});

Deno.test("an import is followed from the file that has it", () => {
  assert.equal(importTarget("/x/src/cluster/a.ts", "../wire/b.ts"), "/x/src/wire/b.ts");
  assert.equal(importTarget("src/cluster/deep/a.ts", "../../os/b.ts"), "/src/os/b.ts");
  assert.equal(importTarget("/x/src/cluster/a.ts", "node:zlib"), "node:zlib");
});
