import assert from "node:assert/strict";
import type { ProcessResource } from "../../src/config/types.ts";
import { ProcessKind } from "../../src/resource/process.ts";
import {
  abortAfter,
  eventually,
  lives,
  never,
  numberIn,
  sh,
  testContext,
  TIMES,
  withDirectory,
} from "./fixtures.ts";

function config(
  command: readonly string[],
  change: Partial<ProcessResource> = {},
): ProcessResource {
  return { kind: "process", id: "process:web", ...TIMES, environment: {}, command, ...change };
}

withDirectory(
  "a process finds its surroundings, speaks to the log, and stops by TERM",
  async (dir, ends) => {
    const context = testContext();
    const kind = new ProcessKind(
      config(
        sh(
          `echo "$BASCULE_NODE $BASCULE_GROUP $BASCULE_RESOURCE $COLOUR $PWD"; echo oops >&2; ` +
            `trap 'echo bye; exit 0' TERM; echo $$ > pid; while :; do sleep 0.02; done`,
        ),
        { environment: { COLOUR: "blue" }, directory: dir },
      ),
      context,
    );
    await kind.start(never());
    const pid = ends(await numberIn(`${dir}/pid`));
    assert.deepEqual(await kind.monitor(never()), { state: "running" });
    assert.deepEqual(await kind.stop(never(), false), { clean: true });
    assert.equal(lives(pid), false);
    assert.deepEqual(context.deaths, []);
    assert.ok(context.lines.includes(`info process:web: a web process:web blue ${dir}`));
    assert.ok(context.lines.includes("info process:web: oops"));
    assert.ok(context.lines.includes("info process:web: bye"));
    assert.equal((await kind.monitor(never())).state, "stopped");
    assert.deepEqual(await kind.stop(never(), false), { clean: true }, "a second stop is no error");
  },
);

withDirectory("a stop takes the grandchildren along", async (dir, ends) => {
  const kind = new ProcessKind(
    config(sh(`sleep 300 & echo $! > ${dir}/grandchild; wait`)),
    testContext(),
  );
  await kind.start(never());
  const grandchild = ends(await numberIn(`${dir}/grandchild`));
  assert.ok(lives(grandchild));
  await kind.stop(never(), false);
  assert.equal(lives(grandchild), false);
});

withDirectory(
  "who ignores TERM keeps the stop waiting until it is given up, and falls to KILL",
  async (dir, ends) => {
    const kind = new ProcessKind(
      config(sh(`trap '' TERM; echo $$ > ${dir}/pid; while :; do sleep 300 & wait; done`)),
      testContext(),
    );
    await kind.start(never());
    const pid = ends(await numberIn(`${dir}/pid`));
    const limit = abortAfter(150);
    await assert.rejects(kind.stop(limit.signal, false), /still run after TERM/);
    limit.clear();
    assert.ok(lives(pid));
    assert.deepEqual(await kind.stop(never(), true), { clean: true });
    assert.equal(lives(pid), false);
  },
);

withDirectory(
  "a process that ends by itself is told at once, with its last words",
  async (dir, ends) => {
    const context = testContext();
    const kind = new ProcessKind(
      config(sh(
        `echo $$ > ${dir}/pid; while [ ! -e ${dir}/end ]; do sleep 0.01; done; echo "no space"; exit 3`,
      )),
      context,
    );
    await kind.start(never());
    ends(await numberIn(`${dir}/pid`));
    await Deno.writeTextFile(`${dir}/end`, "");
    assert.equal(await context.death(), "exited with code 3: no space");
    assert.deepEqual(await kind.monitor(never()), {
      state: "stopped",
      reason: "exited with code 3: no space",
    });
    await kind.stop(never(), false);
  },
);

withDirectory(
  "what a dead process left behind is ended before the next start",
  async (dir, ends) => {
    const context = testContext();
    const kind = new ProcessKind(
      config(sh(`sleep 300 & echo $! > ${dir}/left; sleep 0.3; exit 1`)),
      context,
    );
    await kind.start(never());
    const left = ends(await numberIn(`${dir}/left`));
    await context.death();
    assert.ok(lives(left));
    await kind.stop(never(), false);
    assert.equal(lives(left), false);
  },
);

Deno.test("a process that ends at once did not start", async () => {
  const context = testContext();
  const kind = new ProcessKind(config(sh("echo port in use; exit 1")), context);
  await assert.rejects(kind.start(never()), /exited with code 1: port in use/);
  const daemon = new ProcessKind(config(sh("exit 0")), context);
  await assert.rejects(daemon.start(never()), /has to stay in the foreground/);
  assert.deepEqual(context.deaths, []);
});

Deno.test("a program that cannot be run says what to mend", async () => {
  const start = (change: Partial<ProcessResource>, command = ["/nowhere/web"]) =>
    new ProcessKind(config(command, change), testContext()).start(never());
  await assert.rejects(start({}), /\/nowhere\/web cannot be run: .*install it or mend its path/);
  await assert.rejects(start({}, ["/etc/passwd"]), /make it executable/);
  await assert.rejects(start({ directory: "/nowhere" }, sh("true")), /in \/nowhere/);
  await assert.rejects(start({ user: "no-such-user" }, sh("true")), /no-such-user does not exist/);
});

withDirectory("with a health command the start waits for health", async (dir, ends) => {
  const web = config(sh(`echo $$ > ${dir}/pid; sleep 300`), { health: sh(`test -e ${dir}/good`) });
  const kind = new ProcessKind(web, testContext());
  let started = false;
  const start = kind.start(never()).then(() => started = true);
  ends(await numberIn(`${dir}/pid`));
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(started, false);
  await Deno.writeTextFile(`${dir}/good`, "");
  await start;
  assert.equal((await kind.monitor(never())).state, "running");
  await Deno.remove(`${dir}/good`);
  const sick = await kind.monitor(never());
  assert.equal(sick.state, "failed");
  assert.match(sick.reason ?? "", /exited with code 1/);
  await kind.stop(never(), false);
});

withDirectory("a start that is given up leaves nothing running", async (dir, ends) => {
  const web = config(sh(`echo $$ > ${dir}/pid; sleep 300`), { health: sh("sleep 300") });
  const kind = new ProcessKind(web, testContext());
  const limit = abortAfter(300);
  const start = assert.rejects(kind.start(limit.signal), /did not get healthy/);
  const pid = ends(await numberIn(`${dir}/pid`));
  await start;
  limit.clear();
  assert.equal(lives(pid), false);
});

withDirectory("a process runs under the account it is given", async (dir) => {
  await Deno.chmod(dir, 0o777);
  const context = testContext();
  const kind = new ProcessKind(config(sh("id -u; id -G; sleep 300"), { user: "nobody" }), context);
  await kind.start(never());
  await eventually("the groups", () => context.lines.length >= 2);
  await kind.stop(never(), true);
  const passwd = await Deno.readTextFile("/etc/passwd");
  const [, uid, gid] = /^nobody:[^:]*:(\d+):(\d+)/m.exec(passwd)!;
  assert.deepEqual(context.lines.slice(0, 2), [
    `info process:web: ${uid}`,
    `info process:web: ${gid}`,
  ]);
}, { needsRoot: true });
