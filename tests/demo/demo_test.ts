/** The demonstration is the first thing that a newcomer runs: it has to work, and to find no loss. */
import assert from "node:assert/strict";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

async function demo(...args: string[]): Promise<{ code: number; output: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", MAIN, "demo", ...args],
    stdin: "null",
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder();
  return { code, output: text.decode(stdout) + text.decode(stderr) };
}

function checkSummary({ code, output }: { code: number; output: string }): void {
  assert.equal(code, 0, output);
  assert.match(output, /client outage, crash of the active server +\d+ ms/);
  assert.match(output, /client outage, graceful move +\d+ ms/);
  assert.match(output, /records read back and compared by SHA-256 +[1-9]\d+/);
  assert.match(output, /^ +lost +0$/m);
}

Deno.test("the demonstration loses nothing, in namespaces where they are allowed", async (t) => {
  const result = await demo();
  checkSummary(result);
  if (result.output.includes("stays on loopback")) {
    const name = "not run here (needs network namespaces): the address is announced";
    await t.step({ name, ignore: true, fn: () => {} });
  } else {
    assert.match(result.output, /10\.77\.0\.10 is announced/);
  }
});

Deno.test("the demonstration loses nothing on loopback, and says what it cannot show", async () => {
  const result = await demo("--loopback");
  checkSummary(result);
  assert.match(result.output, /not shown here: the virtual address/);
});
