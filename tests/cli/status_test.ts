import assert from "node:assert/strict";
import { formatBytes, formatDuration } from "../../src/cli/progress.ts";
import { statusLines } from "../../src/cli/status_table.ts";
import { SAMPLE } from "../config/sample.ts";
import { DOCUMENT, withApi, withDirectory } from "../status/fixtures.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

function command(...args: string[]): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", MAIN, ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  });
}

/** Runs the program as a user does: exit code, standard output, standard error. */
async function bascule(...args: string[]): Promise<[number, string, string]> {
  const { code, stdout, stderr } = await command(...args).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return [code, decode(stdout), decode(stderr)];
}

const TABLE = `\
cluster web, seen from serveur-a: quorum, 2 of 3 votes (majority)

NODE       STATE    ROLE     LINKS
serveur-a  online   data     1 of 1 up
serveur-b  late     data     1 of 2 up; down: udp://198.51.100.2:6940
temoin     offline  witness  0 of 0 up

GROUP  OWNER      STATE    RESOURCES HERE
web    serveur-a  running  volume:data, ip:192.0.2.3/24 (suspended)
mail   -          stopped  no candidate is online

VOLUME  ROLE     DISK      CONNECTION  PEER       PEER DISK     OUT OF SYNC
data    Primary  UpToDate  SyncSource  serveur-b  Inconsistent  3.0 GiB

data: resync to serveur-b [#######-----------------------] 25 %, 1.0 GiB of 4.0 GiB, 128 MiB/s, 24 s left
`;

withApi("status shows tables, or the document", async ({ dir }) => {
  assert.deepEqual(await bascule("status", "--runtime-dir", dir), [0, TABLE, ""]);
  const [code, out, err] = await bascule("status", "--json", "--runtime-dir", dir);
  assert.deepEqual([code, err], [0, ""]);
  assert.deepEqual(JSON.parse(out), DOCUMENT);
});

withApi("status --watch shows it again and again", async ({ dir }) => {
  const child = command("status", "--watch", "--json", "--runtime-dir", dir).spawn();
  let text = "";
  for await (const bytes of child.stdout) {
    text += new TextDecoder().decode(bytes);
    if (text.split("\n").length > 2) child.kill("SIGINT");
  }
  await child.stderr.cancel();
  await child.status;
  const lines = text.trim().split("\n");
  assert.ok(lines.length >= 2);
  for (const line of lines) assert.deepEqual(JSON.parse(line), DOCUMENT);
});

withApi("operators' commands reach the agent", async ({ dir, commands }) => {
  const config = `${dir}/bascule.toml`;
  await Deno.writeTextFile(config, SAMPLE);
  const [node = ""] = /(?<=\[nodes\.)[^\]]+/.exec(SAMPLE)!;
  const tell = (...args: string[]) => bascule(...args, "-c", config, "--runtime-dir", dir);
  assert.deepEqual(await tell("standby", "serveur-b"), [0, "serveur-b is in standby\n", ""]);
  assert.equal((await tell("unstandby", "--node", node))[1], `${node} may run groups again\n`);
  assert.equal((await tell("move", "web"))[1], "web has moved\n");
  assert.equal((await tell("move", "web", "serveur-b"))[1], "web has moved to serveur-b\n");
  assert.equal((await tell("cleanup", "web"))[1], "failures of web are forgotten\n");
  assert.deepEqual(commands, [
    { type: "standby", node: "serveur-b", on: true },
    { type: "standby", node, on: false },
    { type: "move", group: "web" },
    { type: "move", group: "web", to: "serveur-b" },
    { type: "cleanup", group: "web" },
  ]);
});

withApi(
  "what the cluster refuses is an error with its reason",
  async ({ dir }) => {
    assert.deepEqual(await bascule("move", "web", "--runtime-dir", dir), [
      1,
      "",
      "web can run nowhere else\n",
    ]);
  },
  () => Promise.resolve("web can run nowhere else"),
);

withDirectory("without an agent every command says how to start one", async (dir) => {
  for (const args of [["status"], ["status", "--watch"], ["move", "web"]]) {
    assert.deepEqual(await bascule(...args, "--runtime-dir", dir), [
      1,
      "",
      `no agent answers at ${dir}/agent.sock; start it with bascule run\n`,
    ]);
  }
});

Deno.test("a resync is a bar with its pace and the time left", () => {
  const [volume] = DOCUMENT.volumes;
  const [peer] = volume!.peers;
  const line = (doneBytes: number, bytesPerSecond: number) => {
    const resync = { doneBytes, totalBytes: 1000, bytesPerSecond };
    const volumes = [{ ...volume!, peers: [{ ...peer!, resync }] }];
    return statusLines({ ...DOCUMENT, volumes }).at(-1)!;
  };
  assert.match(line(100, 0), /\[###-+\] 10 %, 100 B of 1\.0 KiB$/);
  assert.match(line(200, 100), /20 %, 200 B of 1\.0 KiB, 100 B\/s, 8 s left$/);
  assert.match(line(60, 10), /, 1 min 34 s left$/);
  assert.match(line(1000, 10), /\[#+\] 100 %, .* 0 s left$/);
});

Deno.test("sizes and durations are short", () => {
  const sizes = [0, 999, 1000, 4096, 10_200, 1024 ** 2 - 1, 1.5 * 2 ** 30, 2 ** 60];
  assert.deepEqual(sizes.map(formatBytes), [
    "0 B",
    "999 B",
    "1.0 KiB",
    "4.0 KiB",
    "10 KiB",
    "1.0 MiB",
    "1.5 GiB",
    "1024 PiB",
  ]);
  assert.deepEqual([1, 59_000, 60_001, 3_599_000, 7_800_000].map(formatDuration), [
    "1 s",
    "59 s",
    "1 min 01 s",
    "59 min 59 s",
    "2 h 10 min",
  ]);
});

Deno.test("the table says what is unusual about a pair, and the way on", () => {
  const lines = (quorum: Partial<typeof DOCUMENT["quorum"]>) =>
    statusLines({ ...DOCUMENT, quorum: { ...DOCUMENT.quorum, mode: "fencing", ...quorum } })
      .slice(1, 3).join("\n");
  assert.match(
    lines({ have: false, joint: false }),
    /WAITS FOR ITS PEER[^]*bascule volume promote/,
  );
  assert.match(lines({ joint: true, solo: "serveur-a" }), /serveur-a decides alone/);
  const fence = { node: "serveur-b", state: "failed", attempts: 3, detail: "no answer" } as const;
  assert.match(
    lines({ joint: true, fence }),
    /serveur-b COULD NOT BE FENCED \(3 attempts\): no answer[^]*bascule confirm-off serveur-b/,
  );
  assert.equal(
    lines({ joint: true }).startsWith("\n"),
    true,
    "an ordinary pair shows nothing more",
  );
});
