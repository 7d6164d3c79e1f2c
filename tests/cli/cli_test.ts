import assert from "node:assert/strict";
import { edited, SAMPLE } from "../config/sample.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const EXAMPLE = new URL("../../config/bascule.toml", import.meta.url).pathname;

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs the program as a user does. */
async function bascule(...args: string[]): Promise<Ended> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", MAIN, ...args],
    stdin: "null",
    env: { NO_COLOR: "1" },
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: decode(stdout), err: decode(stderr) };
}

/** Registers a test with a directory that is gone when the test ends. */
function test(name: string, body: (directory: string) => Promise<void>): void {
  Deno.test(`command line: ${name}`, async () => {
    const directory = await Deno.makeTempDir({ prefix: "bascule-cli-" });
    try {
      await body(directory);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

/** Writes the sample, with its key file in the directory, and returns the path. */
async function writeSample(directory: string, edit: (text: string) => string = (text) => text) {
  const file = `${directory}/bascule.toml`;
  const text = SAMPLE.replace("/etc/bascule/key", `${directory}/key`);
  await Deno.writeTextFile(file, edit(text));
  return file;
}

test("check of a good file with its key says so and exits 0", async (directory) => {
  const file = await writeSample(directory);
  const made = await bascule("config", "key", `${directory}/key`);
  assert.deepEqual([made.code, made.err], [0, ""]);
  assert.equal((await Deno.stat(`${directory}/key`)).mode! & 0o777, 0o600);
  const { code, out, err } = await bascule("check", "-c", file);
  assert.deepEqual([code, err], [0, ""]);
  assert.match(
    out,
    /bascule\.toml: good; cluster web, 3 nodes, 2 volumes, 1 group, hash [0-9a-f]{12}\n$/,
  );
});

test("check names the key file that it could not check, and exits 0", async (directory) => {
  const file = await writeSample(directory);
  const { code, err } = await bascule("check", "--config", file);
  assert.equal(code, 0);
  assert.equal(
    err,
    `warning: key file ${directory}/key does not exist here; ` +
      `make one with bascule config key ${directory}/key\n`,
  );
});

test("check of a key file that others can read exits 2", async (directory) => {
  const file = await writeSample(directory);
  await Deno.writeTextFile(`${directory}/key`, `1 ${"ab".repeat(32)}\n`, { mode: 0o600 });
  await Deno.chmod(`${directory}/key`, 0o644);
  const { code, out, err } = await bascule("check", "-c", file);
  assert.deepEqual([code, out], [2, ""]);
  assert.equal(err, `${directory}/key: has mode 0644, so others can use the key; chmod 600 it\n`);
});

test("check looks at the certificates of exports, once each", async (directory) => {
  const files = `certificate = "${directory}/cert.pem", key = "${directory}/key.pem"`;
  const where = `{ address = "tcp://127.0.0.1:10809", tls = { ${files} } }`;
  const file = await writeSample(
    directory,
    (text) => text.replaceAll(/^size = .*$/gm, (line) => `${line}\nexport = ${where}`),
  );
  await bascule("config", "key", `${directory}/key`);
  const absent = await bascule("check", "-c", file);
  assert.equal(absent.code, 0);
  assert.equal(
    absent.err,
    ["cert", "key"].map((name) =>
      `warning: ${directory}/${name}.pem does not exist here; nodes that serve the volume need it\n`
    ).join(""),
  );
  await Deno.writeTextFile(`${directory}/cert.pem`, "no certificate\n");
  const bad = await bascule("check", "-c", file);
  assert.deepEqual([bad.code, bad.out], [2, ""]);
  assert.match(bad.err, /cert\.pem holds no certificate in PEM; write the server's into it\n$/m);
});

test("check names fence programs that are not on this machine", async (directory) => {
  const file = `${directory}/bascule.toml`;
  const text = edited(
    ['"majority"', '"fencing"'],
    [`[nodes.w]\nwitness = true\nlinks = ["udp://192.0.2.9:6940"]\n`, ""],
    ["[nodes.a]", '[nodes.a]\nfence = { command = ["/nowhere/power", "a"] }'],
    ["[nodes.b]", '[nodes.b]\nfence = { command = ["/bin/true", "b"] }'],
  );
  await Deno.writeTextFile(file, text);
  const { code, err } = await bascule("check", "-c", file);
  assert.equal(code, 0, err);
  assert.match(err, /nodes\.a\.fence: \/nowhere\/power is no program on this machine/);
  assert.ok(!err.includes("/bin/true"));
});

test("check shows every problem with file, line and column, and exits 2", async (directory) => {
  const file = await writeSample(
    directory,
    (text) => text.replace('"1s"', '"90"').replace("quorum", "quorums").replace('"20GiB"', "20"),
  );
  const { code, out, err } = await bascule("-c", file, "check");
  assert.deepEqual([code, out], [2, ""]);
  assert.deepEqual(err.split("\n"), [
    `${file}:1:2: cluster.quorum: this key is missing; add quorum = "majority"`,
    `${file}:5:12: cluster.deadtime: "90" has no unit; write "90ms" or "90s"`,
    `${file}:6:1: cluster.quorums: unknown key; did you mean "quorum"?`,
    `${file}:17:8: volumes.data.size: "20" has no unit; write "20GiB" or "20MiB"`,
    `${file}: 4 errors; the key file was not checked`,
    "",
  ]);
});

test("check of a file that is absent, too long or not text exits 2", async (directory) => {
  const absent = await bascule("check", "-c", `${directory}/absent`);
  assert.equal(absent.code, 2);
  assert.match(absent.err, /^\S+\/absent: no such file; name the right one with --config\n/);
  await Deno.writeFile(`${directory}/binary`, new Uint8Array([0xff, 0xfe, 0x00]));
  const binary = await bascule("check", "-c", `${directory}/binary`);
  assert.equal(binary.code, 2);
  assert.match(binary.err, /^\S+\/binary: the file is not UTF-8 text; save it as UTF-8\n/);
  await Deno.writeFile(`${directory}/long`, new Uint8Array((1 << 20) + 1));
  const long = await bascule("check", "-c", `${directory}/long`);
  assert.equal(long.code, 2);
  assert.match(long.err, /^\S+\/long: the file has 1048577 bytes; is this a bascule config/);
});

test("check --node wants a node of the cluster", async (directory) => {
  const file = await writeSample(directory);
  const known = await bascule("check", "--node", "b", "-c", file);
  assert.equal(known.code, 0);
  const unknown = await bascule("--node", "c", "check", "-c", file);
  assert.equal(unknown.code, 2);
  assert.equal(
    unknown.err,
    `${file}: c is not a node of the cluster; name one of a, b, w with --node\n`,
  );
});

test("check of the annotated file exits 0", async () => {
  const { code, err } = await bascule("check", "-c", EXAMPLE);
  assert.equal(code, 0, err);
});

test("--runtime-dir goes before the file, and is made absolute", async (directory) => {
  const file = await writeSample(directory);
  const { code, err } = await bascule("check", "-c", file, "--runtime-dir", "x".repeat(120));
  assert.equal(code, 2);
  assert.match(err, /volumes\.data: socket path \/.*x{120}\/data\.sock has \d+ bytes/);
});

test("config key refuses to overwrite and names what to do", async (directory) => {
  const key = `${directory}/key`;
  assert.equal((await bascule("config", "key", key)).code, 0);
  const before = await Deno.readTextFile(key);
  const again = await bascule("config", "key", key);
  assert.equal(again.code, 1);
  assert.equal(
    again.err,
    `key file ${key} exists already and is left as it is; name another file\n`,
  );
  assert.equal(await Deno.readTextFile(key), before);
  const nowhere = await bascule("config", "key", `${directory}/no/key`);
  assert.equal(nowhere.code, 1);
  assert.match(nowhere.err, /cannot be made, \S+\/no does not exist; mkdir -p \S+\/no\n$/);
});

test("mistakes in usage are one line and exit 2", async () => {
  const cases: [string[], RegExp][] = [
    [[], /^bascule: No matching command( or argument)? found\. See bascule --help\.\n$/],
    [["chek"], /^bascule: .*"chek".* Did you mean `check`\? See bascule --help\.\n$/],
    [["check", "--bogus"], /^bascule: .*"--bogus"\..* See bascule --help\.\n$/],
    [["check", "-c"], /^bascule: `-c` requires `FILE`\. See bascule --help\.\n$/],
    [["config", "fetch"], /^bascule: .*"fetch".* See bascule --help\.\n$/],
  ];
  for (const [args, expected] of cases) {
    const { code, out, err } = await bascule(...args);
    assert.deepEqual([code, out], [2, ""], args.join(" "));
    assert.match(err, expected);
  }
});

test("help, version and completions go to standard output and exit 0", async () => {
  const help = await bascule("--help");
  assert.deepEqual([help.code, help.err], [0, ""]);
  for (const word of ["check", "config", "version", "--config", "--node", "--state-dir"]) {
    assert.ok(help.out.includes(word), word);
  }
  const version = await bascule("version");
  assert.deepEqual([version.code, version.err], [0, ""]);
  assert.match(version.out, /^bascule \d+\.\d+\.\d+ \(Deno \S+, V8 \S+\)\n$/);
  assert.match((await bascule("--version")).out, /^\d+\.\d+\.\d+\n$/);
  const completions = await bascule("completions", "bash");
  assert.equal(completions.code, 0);
  assert.match(completions.out, /complete .*bascule/);
});

test("an agent that cannot start says in one line why, and the mend", async (directory) => {
  const file = await writeSample(directory);
  await bascule("config", "key", `${directory}/key`);
  const node = /\[nodes\.([\w-]+)\]/.exec(SAMPLE)![1]!;
  const run = async (state: string, runtime: string) => {
    const options = ["--node", node, "--state-dir", state, "--runtime-dir", runtime];
    const { code, err } = await bascule("run", "-c", file, ...options);
    assert.equal(code, 1);
    const last = err.trimEnd().split("\n").at(-1)!;
    assert.doesNotMatch(err, /^\s+at /m, "no stack");
    return last;
  };
  const state = `${directory}/state`;
  // Not even root can make a directory below a file.
  assert.match(
    await run(`${file}/state`, `${directory}/run`),
    /^bascule: .*\/state cannot hold the agent's state .*--state-dir$/,
  );
  assert.match(
    await run(state, `${file}/run`),
    /^bascule: .*\/run cannot hold the agent's socket .*--runtime-dir$/,
  );
  await Deno.writeTextFile(`${state}/incarnation`, "x");
  assert.match(await run(state, `${directory}/run`), /incarnation: "x" is no incarnation; remove/);
});
