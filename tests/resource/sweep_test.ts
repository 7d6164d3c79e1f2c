import assert from "node:assert/strict";
import type { ProcessResource } from "../../src/config/types.ts";
import { ProcessKind } from "../../src/resource/process.ts";
import { sweepLeftovers } from "../../src/resource/sweep.ts";
import { lives, never, numberIn, sh, testContext, TIMES, withDirectory } from "./fixtures.ts";

withDirectory(
  "processes of an earlier run are ended, a runaway grandchild too, nobody else's",
  async (dir, ends) => {
    const config: ProcessResource = {
      kind: "process",
      id: "process:web",
      ...TIMES,
      environment: {},
      command: sh(`setsid sleep 300 & echo $! > $OWN.far; echo $$ > $OWN; sleep 300`),
    };
    const start = async (own: string, instance: string) => {
      const kind = new ProcessKind(
        { ...config, environment: { OWN: `${dir}/${own}` } },
        testContext({ instance }),
      );
      await kind.start(never());
      const pids = [await numberIn(`${dir}/${own}`), await numberIn(`${dir}/${own}.far`)];
      return pids.map(ends);
    };
    const mine = await start("mine", dir);
    const others = await start("other", `${dir}/another`);
    assert.ok(mine.every(lives));
    const { removed, failed } = await sweepLeftovers([config], dir);
    assert.deepEqual(failed, []);
    assert.match(removed.join(), /^ended process:web, pid [\d, ]+, left by an earlier run$/);
    assert.deepEqual(mine.map(lives), [false, false]);
    assert.deepEqual(others.map(lives), [true, true]);
    assert.deepEqual(await sweepLeftovers([config], dir), { removed: [], failed: [] });
    await sweepLeftovers([config], `${dir}/another`);
  },
);
