import assert from "node:assert/strict";
import { findGaps } from "../../tools/doc_lint.ts";

const FIXTURES = new URL("fixtures/", import.meta.url);

Deno.test("the documentation check finds exactly the symbols nobody explains", () => {
  const { stdout, success } = new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", "--quiet", new URL("documentation.ts", FIXTURES).pathname],
    stdin: "null",
  }).outputSync();
  assert.ok(success);
  const gaps = findGaps(JSON.parse(new TextDecoder().decode(stdout)), FIXTURES.href);
  assert.deepEqual(gaps.map((gap) => gap.what).sort(), [
    "exported function silent has no docstring",
    "exported interface Undocumented has no docstring",
    "exported typeAlias Alias has no docstring",
    "exported variable unknown has no docstring",
    "method Documented.bare has no docstring",
    "method Standing.loud has no docstring",
  ]);
  const silent = gaps.find((gap) => gap.what.includes("silent"));
  assert.equal(silent?.where, "documentation.ts:13");
});

Deno.test("an unknown format of deno doc is refused rather than misread", () => {
  assert.throws(() => findGaps({ version: 3, nodes: {} }, "file:///"), /version 3/);
});
