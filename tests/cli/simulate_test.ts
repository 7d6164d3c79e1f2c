import assert from "node:assert/strict";

const ROOT = new URL("../..", import.meta.url).pathname;

async function simulate(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", `${ROOT}main.ts`, "simulate", ...args],
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

Deno.test("simulate: what cannot be done is said in one line, with the mend", async () => {
  const config = ["-c", `${ROOT}config/bascule.toml`];
  const cases: [string[], RegExp][] = [
    [["--shrink"], /^--shrink is about one world; name it with --seed N or --faults FILE\n$/],
    [["--seed", "1", "--faults", "x"], /^--seed draws a world and --faults reads one/],
    [["--faults", "/nowhere"], /^\/nowhere: no such file; make one with --seed N --save FILE\n$/],
    [[...config, "--crash", "serveur-x@5s"], /no node is called serveur-x; .*serveur-a/],
    [
      [...config, "--crash", "temoin@50s", "--until", "9s"],
      /^--until 9s: something happens later, at 50\.000 s; look on longer\n$/,
    ],
    [["-c", "/nowhere.toml", "--crash", "a@5s"], /^\/nowhere\.toml: no such file/],
  ];
  for (const [args, expected] of cases) {
    const { code, out, err } = await simulate(...args);
    assert.deepEqual([code, out], [2, ""], args.join(" "));
    assert.match(err, expected);
  }
});

Deno.test("simulate: a timeline of one's own configuration, and how it ends", async () => {
  const args = ["-c", `${ROOT}config/bascule.toml`, "--power", "serveur-a@5s", "--until", "20s"];
  const { code, out, err } = await simulate(...args);
  assert.deepEqual([code, err], [0, ""]);
  assert.match(out, / 5\.000 {2}you +power node=serveur-a\n/);
  assert.match(out, /serveur-b {2}take +web: serveur-b takes the group: serveur-a has no lease/);
  assert.match(out, /\nnode +serveur-a +its agent does not run\n/);
  assert.match(out, /\ngroup +web +runs on serveur-b\n/);
  const [, outage] = /\noutage +web +(\d\.\d+) s in all: .*\(serveur-a → serveur-b\)\n$/.exec(out)!;
  // Dead a second after its last heartbeat, which is up to 200 ms old; then the take and the start.
  assert.ok(Number(outage) > 0.8 && Number(outage) < 1.3, `an outage of ${outage} s`);
});

Deno.test("simulate: a world is saved with what goes wrong in it, and replayed", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const file = `${directory}/w.jsonl`;
    const saved = await simulate("--seed", "3", "--minutes", "2", "--save", file);
    assert.equal(saved.code, 0, saved.out + saved.err);
    const again = await simulate("--faults", file);
    assert.equal(again.code, 0, again.out + again.err);
    const [, totals] = again.out.split("\n");
    assert.equal(totals, saved.out.split("\n")[1]);
    assert.match(totals!, /^1 seed, .* 0 violations$/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("simulate: seeds on several processes, and the line that counts them", async () => {
  const args = ["--seeds", "4", "--from", "10", "--minutes", "0.5", "--jobs", "2"];
  const { code, out } = await simulate(...args);
  assert.equal(code, 0, out);
  assert.match(out, /^4 worlds from seed 10 on, 0\.5 minutes each\n/);
  assert.match(out, /\n\d+ seeds a minute; on average \d+ faults, \d+ starts of groups and /);
  assert.match(out, /\n4 seeds, \d+\.\d simulated hours, 0 violations\n$/);
});
