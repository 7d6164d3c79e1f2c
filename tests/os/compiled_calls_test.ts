/**
 * V8 compiles a call of the C library to a direct one, and throws the code away if an argument is not
 * of the kind that it expects: again and again, since it learns nothing from that.
 *
 * @module
 */
import assert from "node:assert/strict";
import { HAS_IO_URING } from "./harness.ts";

const LOAD = new URL("./compiled_calls_load.ts", import.meta.url);

for (const engine of HAS_IO_URING ? ["io_uring", "epoll"] : ["epoll"]) {
  Deno.test(`${engine}: code that calls the C library stays compiled`, async () => {
    const file = await Deno.makeTempFile({ prefix: "bascule-compiled-" });
    try {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", "--v8-flags=--trace-deopt", LOAD.pathname, engine, file],
      }).output();
      const said = new TextDecoder().decode(stdout);
      assert.equal(code, 0, new TextDecoder().decode(stderr));
      assert.match(said, /bailout/, "what is thrown away is told");
      assert.doesNotMatch(said, /not a BigInt/);
    } finally {
      await Deno.remove(file);
    }
  });
}
