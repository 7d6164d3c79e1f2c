import assert from "node:assert/strict";
import { compile } from "../../tools/compile/compile.ts";
import { findDenort, type Surroundings } from "../../tools/compile/denort.ts";

const ROOT = new URL("../../", import.meta.url).pathname.replace(/\/$/, "");
const NOWHERE: Surroundings = {
  denortBin: undefined,
  denoDir: "/nonexistent",
  version: "1.2.3",
  target: "x86_64-unknown-linux-gnu",
};

/** Runs `step` with a folder that is gone afterwards. */
async function withFolder(step: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "bascule-test-" });
  try {
    await step(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Starts the probe in `mode`, waits until it is ready, sends `signal`, returns how it ended. */
async function signalled(
  probe: string,
  mode: string,
  signal: Deno.Signal,
): Promise<Deno.CommandStatus> {
  const child = new Deno.Command(probe, { args: [mode], stdin: "null", stdout: "piped" }).spawn();
  try {
    const reader = child.stdout.getReader();
    const { value } = await reader.read();
    assert.equal(new TextDecoder().decode(value), "ready\n");
    child.kill(signal);
    await reader.cancel();
  } catch (error) {
    child.kill("SIGKILL");
    await child.status;
    throw error;
  }
  return await child.status;
}

Deno.test("the single-file executable is the program, whole", async (t) => {
  await withFolder(async (folder) => {
    const probe = `${folder}/probe`;
    const said: string[] = [];
    const form = await compile({
      root: ROOT,
      entry: `${ROOT}/tests/tools/fixtures/probe.ts`,
      output: probe,
      surroundings: NOWHERE,
      say: (line) => said.push(line),
    });
    assert.equal(form, "launcher");
    assert.equal(said.length, 1);

    // A place as hostile as an executable may find: no home, broken project files, nothing writable.
    const cwd = `${folder}/cwd`;
    await Deno.mkdir(`${cwd}/home`, { recursive: true });
    for (const name of ["deno.json", "package.json", "deno.lock"]) {
      await Deno.writeTextFile(`${cwd}/${name}`, "{ broken");
    }

    await t.step("arguments, standard input, environment, worker and npm package", async () => {
      const args = ["report", "--help", "-A", "", "two words", "--", "é"];
      const environment = { HOME: `${cwd}/home`, DENO_DIR: "/of/the/user", WORD: "=a=b" };
      const child = new Deno.Command(probe, {
        args,
        cwd,
        clearEnv: true,
        env: environment,
        stdin: "piped",
        stdout: "piped",
        stderr: "piped",
      }).spawn();
      const writer = child.stdin.getWriter();
      await writer.write(new TextEncoder().encode("some input"));
      await writer.close();
      const { code, stdout, stderr } = await child.output();
      assert.equal(new TextDecoder().decode(stderr), "");
      assert.equal(code, 0);
      const report = JSON.parse(new TextDecoder().decode(stdout));
      assert.deepEqual(report.args, args);
      assert.equal(report.stdin, "some input");
      assert.equal(report.pid, child.pid, "no process stands between");
      assert.equal(report.execPath, probe);
      assert.deepEqual(report.environment, environment);
      const lines = report.childEnvironment.trim().split("\n").sort();
      assert.deepEqual(
        lines,
        Object.entries(environment).map(([name, value]) => `${name}=${value}`).sort(),
      );
      assert.equal(report.commandLine, [probe, ...args, ""].join("\0"));
      assert.equal(report.npm, true);
      assert.equal(report.worker.pid, child.pid);
      assert.ok(report.worker.udpPort > 0);
      assert.deepEqual([...Deno.readDirSync(`${cwd}/home`)], [], "it keeps no cache");
    });

    await t.step("exit codes", async () => {
      for (const code of [0, 1, 2, 42]) {
        const status = await new Deno.Command(probe, {
          args: ["exit", String(code)],
          cwd,
          stdin: "null",
        }).output();
        assert.equal(status.code, code);
      }
    });

    await t.step("signals reach the program itself", async () => {
      assert.equal((await signalled(probe, "wait", "SIGTERM")).signal, "SIGTERM");
      assert.equal((await signalled(probe, "wait", "SIGKILL")).signal, "SIGKILL");
      const trapped = await signalled(probe, "trap", "SIGTERM");
      assert.deepEqual([trapped.code, trapped.signal], [5, null]);
    });

    await t.step("a damaged copy is refused with the mend", async () => {
      const whole = await Deno.stat(probe);
      await Deno.truncate(probe, whole.size - 100);
      const { code, stderr } = await new Deno.Command(probe, { stdin: "null" }).output();
      assert.equal(code, 126);
      assert.match(new TextDecoder().decode(stderr), /damaged or cut short; install it again\n$/);
    });
  });
});

Deno.test("a program that cannot be bundled is an error that names it", async () => {
  await withFolder(async (folder) => {
    const options = {
      root: ROOT,
      entry: `${folder}/missing.ts`,
      output: `${folder}/out`,
      surroundings: NOWHERE,
      say: () => {},
    };
    await assert.rejects(compile(options), /cannot bundle .*missing\.ts/);
    assert.deepEqual([...Deno.readDirSync(folder)], [], "no half-written file stays behind");
  });
});

Deno.test("denort is looked for on this machine only", async () => {
  await withFolder(async (folder) => {
    const at = { ...NOWHERE, denoDir: folder };
    assert.equal(findDenort(at), undefined);
    const cached = `${folder}/dl/release/v1.2.3/denort-x86_64-unknown-linux-gnu.zip`;
    await Deno.mkdir(cached.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.writeTextFile(cached, "");
    assert.equal(findDenort(at), cached);
    assert.equal(findDenort({ ...at, version: "1.2.4" }), undefined);
    assert.equal(findDenort({ ...at, denortBin: cached }), cached);
    assert.throws(() => findDenort({ ...at, denortBin: `${folder}/none` }), /correct or unset it/);
  });
});
