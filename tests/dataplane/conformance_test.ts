/** The server under a script that was written from the specification. */
import assert from "node:assert/strict";
import { ENGINES, MIB, must, toolTest, withRig } from "./fixtures.ts";

const SCRIPT = new URL("./conformance.py", import.meta.url).pathname;

for (const engine of ENGINES) {
  for (const io of ["buffered", "direct"] as const) {
    toolTest(
      ["nbdsh"],
      `${engine}, ${io}: what the specification demands, asked by libnbd`,
      () =>
        withRig(async (rig) => {
          const replica = await rig.serve({ engine, io, size: 80 * MIB });
          const said = await must("env", [
            // nbdsh belongs to the system's Python, whichever comes first in the path.
            "PATH=/usr/bin:/bin",
            `SOCKET=${replica.socket}`,
            `SIZE=${replica.size}`,
            `DIRECT=${io === "direct" ? 1 : 0}`,
            "nbdsh",
            "-n",
            "-c",
            `exec(compile(open("${SCRIPT}").read(), "${SCRIPT}", "exec"))`,
          ], 120);
          assert.match(said, /conformant/);
          assert.equal(replica.fatal, null);
        }),
    );
  }
}
