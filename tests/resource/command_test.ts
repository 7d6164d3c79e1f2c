import assert from "node:assert/strict";
import type { CommandResource } from "../../src/config/types.ts";
import { CommandKind } from "../../src/resource/command.ts";
import {
  abortAfter,
  lives,
  never,
  numberIn,
  sh,
  testContext,
  TIMES,
  withDirectory,
} from "./fixtures.ts";

function config(change: Partial<CommandResource>): CommandResource {
  return {
    kind: "command",
    id: "command:web",
    ...TIMES,
    start: sh("exit 0"),
    stop: sh("exit 0"),
    ...change,
  };
}

withDirectory("start, status and stop run the commands that are given", async (dir) => {
  const context = testContext();
  const kind = new CommandKind(
    config({
      start: sh(`echo "$BASCULE_GROUP on $BASCULE_NODE: $BASCULE_RESOURCE"; touch ${dir}/up`),
      stop: sh(`rm ${dir}/up`),
      status: sh(`test -e ${dir}/up || exit 3`),
    }),
    context,
  );
  assert.equal((await kind.monitor(never())).state, "stopped");
  await kind.start(never());
  assert.deepEqual(context.lines, ["info command:web: web on a: command:web"]);
  assert.deepEqual(await kind.monitor(never()), { state: "running" });
  assert.deepEqual(await kind.stop(never(), false), { clean: true });
  assert.equal((await kind.monitor(never())).state, "stopped");
});

Deno.test("exit codes of status: 0 running, 3 and 7 not running, the rest failed", async () => {
  for (
    const [code, state] of [
      [0, "running"],
      [1, "failed"],
      [3, "stopped"],
      [4, "failed"],
      [
        7,
        "stopped",
      ],
      [9, "failed"],
      [150, "failed"],
    ] as const
  ) {
    const kind = new CommandKind(config({ status: sh(`exit ${code}`) }), testContext());
    assert.equal((await kind.monitor(never())).state, state, `exit code ${code}`);
  }
  const killed = new CommandKind(config({ status: sh("kill -9 $$") }), testContext());
  const health = await killed.monitor(never());
  assert.equal(health.state, "failed");
  assert.match(health.reason ?? "", /was ended by SIGKILL/);
});

Deno.test("without a status command it is taken to run", async () => {
  const kind = new CommandKind(config({}), testContext());
  assert.deepEqual(await kind.monitor(never()), { state: "running" });
});

Deno.test("a start that fails says its code and its last words", async () => {
  const kind = new CommandKind(
    config({ start: sh("echo trying; echo disk full >&2; sleep 0.05; exit 5") }),
    testContext(),
  );
  await assert.rejects(kind.start(never()), /exited with code 5: disk full$/);
});

withDirectory(
  "a hanging script dies with its whole process group, and it is said after how long",
  async (dir, ends) => {
    const kind = new CommandKind(
      config({
        start: sh(
          `(trap '' TERM; echo in the middle; sh -c 'echo $$ > ${dir}/deep; sleep 300') & ` +
            `echo $$ > ${dir}/script; sleep 300`,
        ),
      }),
      testContext(),
    );
    const limit = abortAfter(400);
    const start = assert.rejects(
      kind.start(limit.signal),
      /was killed after 0\.[4-9] s with its whole process group; its last words: in the middle/,
    );
    const pids = [ends(await numberIn(`${dir}/deep`)), ends(await numberIn(`${dir}/script`))];
    await start;
    limit.clear();
    assert.deepEqual(pids.map(lives), [false, false]);
  },
);

withDirectory(
  "a daemon that a start leaves running lives on, and its output with it",
  async (dir, ends) => {
    const context = testContext();
    const kind = new CommandKind(
      config({
        start: sh(
          `(echo $$ > /dev/null; sleep 0.4; echo still here; exec sleep 300) & echo $! > ${dir}/pid`,
        ),
        stop: sh(`kill $(cat ${dir}/pid)`),
      }),
      context,
    );
    await kind.start(never());
    const daemon = ends(await numberIn(`${dir}/pid`));
    assert.ok(lives(daemon));
    while (!context.lines.includes("info command:web: still here")) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.ok(lives(daemon));
    await kind.stop(never(), false);
  },
);

withDirectory("a failing stop counts as done only when status says so", async (dir) => {
  const status = sh(`test -e ${dir}/up || exit 7`);
  const stop = sh("echo not found; exit 1");
  const context = testContext();
  const kind = new CommandKind(config({ stop, status }), context);
  assert.deepEqual(await kind.stop(never(), false), { clean: true });
  assert.match(context.lines.at(-1) ?? "", /exited with code 1: not found, but its status/);
  await Deno.writeTextFile(`${dir}/up`, "");
  await assert.rejects(kind.stop(never(), false), /exited with code 1/);
  await assert.rejects(new CommandKind(config({ stop }), testContext()).stop(never(), false));
});

withDirectory("a forced stop does not repeat what is done already", async (dir) => {
  const kind = new CommandKind(
    config({ stop: sh(`echo x >> ${dir}/stops`), status: sh("exit 3") }),
    testContext(),
  );
  assert.deepEqual(await kind.stop(never(), true), { clean: true });
  await assert.rejects(Deno.stat(`${dir}/stops`), Deno.errors.NotFound);
});

Deno.test("nothing is run under a signal that was aborted before", async () => {
  const kind = new CommandKind(config({}), testContext());
  await assert.rejects(kind.start(AbortSignal.abort("too late")), /was not run: too late/);
});
