import assert from "node:assert/strict";
import { count, formatTable, writeText } from "../../src/cli/output.ts";

Deno.test("table: columns line up, without spaces at the ends of lines", () => {
  assert.deepEqual(
    formatTable(["NODE", "STATE", "LINKS"], [
      ["serveur-a", "online", "2/2"],
      ["témoin", "late", ""],
      ["b"],
    ]),
    [
      "NODE       STATE   LINKS",
      "serveur-a  online  2/2",
      "témoin     late",
      "b",
    ],
  );
  assert.deepEqual(formatTable(["A"], []), ["A"]);
});

Deno.test("count: one and many", () => {
  assert.deepEqual([0, 1, 2].map((number) => count(number, "node")), [
    "0 nodes",
    "1 node",
    "2 nodes",
  ]);
});

Deno.test("text: short writes and full pipes lose nothing", () => {
  const taken: number[] = [];
  let refusals = 2;
  writeText({
    writeSync(bytes) {
      if (taken.length === 3 && refusals-- > 0) throw new Deno.errors.WouldBlock("full");
      taken.push(...bytes.subarray(0, 3));
      return Math.min(3, bytes.length);
    },
  }, "état\nfin\n");
  assert.equal(new TextDecoder().decode(new Uint8Array(taken)), "état\nfin\n");
});

Deno.test("text: a reader that went away is no error, another failure is", () => {
  writeText({
    writeSync: () => {
      throw new Deno.errors.BrokenPipe("gone");
    },
  }, "text");
  const full = () => {
    throw new Deno.errors.PermissionDenied("full");
  };
  assert.throws(() => writeText({ writeSync: full }, "text"), Deno.errors.PermissionDenied);
});
