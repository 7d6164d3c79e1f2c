/** Random lives of a volume; a failing one is replayed by its seed. */

import assert from "node:assert/strict";
import type { ReplicationProtocol } from "../../src/config/types.ts";
import { chaos } from "./chaos.ts";

function lives(from: number, to: number, power: boolean, protocol: ReplicationProtocol = "C") {
  for (let seed = from; seed < to; seed++) {
    // What a member must hold at any moment is only promised by B and C.
    const strict = protocol !== "A";
    assert.equal(chaos({ seed, steps: 1500, power, strict, protocol }), null);
  }
}

Deno.test("killed agents, broken links, takeovers at any moment: nothing acknowledged is lost", () =>
  lives(0, 150, false));

Deno.test("lost power as well: nothing flushed is lost, replicas become the same again", () =>
  lives(1000, 1150, true));

Deno.test("disks that fail, fill up or cannot read, with and without lost power", () => {
  for (let seed = 5000; seed < 5150; seed++) {
    const power = seed % 3 === 0;
    const onIoError = seed % 4 === 0 ? "hand-over" : "detach";
    const options = { seed, steps: 1500, power, strict: true, disks: true, onIoError } as const;
    assert.equal(chaos(options), null);
  }
});

Deno.test("protocol B keeps the same promises", () => lives(2000, 2040, false, "B"));
