import assert from "node:assert/strict";
import type { GroupRecord, Note } from "../../src/cluster/types.ts";
import type { GroupConfig, ResourceConfig } from "../../src/config/types.ts";
import { GroupRunner } from "../../src/resource/group_runner.ts";
import type { VolumeControl } from "../../src/resource/volume.ts";
import { eventually, lives, numberIn, sh, TIMES, withDirectory } from "./fixtures.ts";

interface Stage {
  readonly runner: GroupRunner;
  /** What the agent was told, and what the volume was asked, in order. */
  readonly told: string[];
  readonly notes: Note[];
}

function record(epoch: number): GroupRecord {
  return { version: epoch, epoch, owner: { node: "a", incarnation: 1 }, volumes: {} };
}

function stage(resources: readonly ResourceConfig[], volume: Partial<VolumeControl> = {}): Stage {
  const told: string[] = [];
  const notes: Note[] = [];
  const config: GroupConfig = {
    name: "web",
    prefer: [],
    failback: "never",
    failureTimeout: Infinity,
    ping: [],
    resources,
    candidates: ["a"],
  };
  const runner = new GroupRunner(config, {
    node: "a",
    log: (_level, text) => void told.push(text),
    volumes: (name) => ({
      promote: () => {
        told.push(`promote ${name}`);
        return Promise.resolve();
      },
      demote: (forced) => {
        told.push(`demote ${name}${forced ? " by force" : ""}`);
        return Promise.resolve({ clean: !forced });
      },
      health: () => ({ state: "running" }),
      ...volume,
    }),
  }, {
    started: (epoch) => told.push(`started ${epoch}`),
    startFailed: (epoch, reason) => told.push(`startFailed ${epoch}: ${reason}`),
    stopped: (epoch, clean) => told.push(`stopped ${epoch} ${clean ? "clean" : "unclean"}`),
    failed: (reason) => told.push(`failed: ${reason}`),
    note: (note) => notes.push(note),
  });
  return { runner, told, notes };
}

const VOLUME: ResourceConfig = { kind: "volume", id: "volume:data", ...TIMES, volume: "data" };

/** A command whose start and stop say what they do. */
function speaker(name: string, change: { start?: string; stop?: string } = {}): ResourceConfig {
  return {
    kind: "command",
    id: `command:${name}`,
    ...TIMES,
    start: sh(change.start ?? "echo up"),
    stop: sh(change.stop ?? "echo down"),
  };
}

withDirectory("a group comes up in order and goes down in reverse", async () => {
  const { runner, told } = stage([VOLUME, speaker("one"), speaker("two")]);
  runner.start(record(4));
  await eventually("the start", () => told.includes("started 4"));
  assert.deepEqual(runner.resources(), [
    { id: "volume:data", kind: "volume", state: "running" },
    { id: "command:one", kind: "command", state: "running" },
    { id: "command:two", kind: "command", state: "running" },
  ]);
  runner.stop({ forced: false, epoch: 4 });
  await eventually("the stop", () => told.includes("stopped 4 clean"));
  assert.deepEqual(told, [
    "promote data",
    "command:one: up",
    "command:two: up",
    "started 4",
    "command:two: down",
    "command:one: down",
    "demote data",
    "stopped 4 clean",
  ]);
  assert.ok(runner.resources().every(({ state }) => state === "stopped"));
  runner.close();
});

withDirectory("a start that hangs is killed and reported; the stop cleans up", async () => {
  const hanging = { ...speaker("slow", { start: "sleep 300" }), startTimeout: 200 };
  const { runner, told } = stage([VOLUME, hanging]);
  runner.start(record(1));
  await eventually("the failure", () => told.some((line) => line.startsWith("startFailed 1")));
  assert.match(told.at(-1)!, /command:slow did not start: no end after 0\.\d s/);
  runner.stop({ forced: false, epoch: 1 });
  await eventually("the stop", () => told.includes("stopped 1 clean"));
  assert.deepEqual(told.slice(-3), ["command:slow: down", "demote data", "stopped 1 clean"]);
  runner.close();
});

withDirectory(
  "a process that will not stop is killed; the volume below is demoted in order",
  async (dir, ends) => {
    const stubborn: ResourceConfig = {
      kind: "process",
      id: "process:stubborn",
      ...TIMES,
      stopTimeout: 200,
      environment: {},
      command: sh(`trap '' TERM; echo $$ > ${dir}/pid; while :; do sleep 0.05; done`),
    };
    const { runner, told, notes } = stage([VOLUME, stubborn]);
    runner.start(record(1));
    const pid = ends(await numberIn(`${dir}/pid`));
    await eventually("the start", () => told.includes("started 1"));
    runner.stop({ forced: false, epoch: 1 });
    await eventually("the stop", () => told.includes("stopped 1 clean"));
    assert.equal(lives(pid), false);
    assert.deepEqual(told.slice(-2), ["demote data", "stopped 1 clean"]);
    const warning = notes.find(({ rule }) => rule === "stop-failed");
    assert.match(warning?.text ?? "", /process:stubborn did not stop: no end after 0\.\d s/);
    assert.deepEqual([warning?.group, warning?.node, warning?.known], [
      "web",
      "a",
      { resource: "process:stubborn" },
    ]);
    runner.close();
  },
);

withDirectory(
  "a volume that cannot be demoted is demoted by force, and that is unclean",
  async () => {
    const asked: boolean[] = [];
    const { runner, told } = stage([VOLUME], {
      demote: (forced) => {
        asked.push(forced);
        return forced
          ? Promise.resolve({ clean: false })
          : Promise.reject(new Error("a client holds it"));
      },
    });
    runner.start(record(1));
    await eventually("the start", () => told.includes("started 1"));
    runner.stop({ forced: false, epoch: 1 });
    await eventually("the stop", () => told.includes("stopped 1 unclean"));
    assert.deepEqual(asked, [false, true]);
    runner.close();
  },
);

withDirectory("a deposed group ends by force, whatever its volume is waiting for", async () => {
  const { runner, told } = stage([VOLUME, speaker("one")], {
    promote: () => new Promise(() => {}),
  });
  runner.start(record(1));
  await eventually(
    "the start",
    () => told.length === 0 && runner.resources()[0]?.state === "starting",
  );
  runner.stop({ forced: true, epoch: 1 });
  await eventually("the stop", () => told.includes("stopped 1 unclean"));
  assert.deepEqual(told, ["demote data by force", "stopped 1 unclean"]);
  runner.close();
});

withDirectory(
  "a process that keeps dying is restarted within its limit, then the group fails",
  async (dir) => {
    const dying: ResourceConfig = {
      kind: "process",
      id: "process:dying",
      ...TIMES,
      restarts: 1,
      environment: {},
      command: sh(`echo run >> ${dir}/runs; sleep 0.2; exit 9`),
    };
    const { runner, told } = stage([speaker("below"), dying, speaker("above")]);
    runner.start(record(1));
    await eventually("the failure", () => told.some((line) => line.startsWith("failed")));
    assert.equal(await Deno.readTextFile(`${dir}/runs`), "run\nrun\n");
    assert.deepEqual(told, [
      "command:below: up",
      "command:above: up",
      "started 1",
      "command:above: down",
      "command:above: up",
      "failed: process:dying: exited with code 9; 1 restarts within 60 s did not help",
    ]);
    runner.stop({ forced: false, epoch: 1 });
    await eventually("the stop", () => told.includes("stopped 1 clean"));
    runner.close();
  },
);

withDirectory("a start during a stop is answered after it, under its own epoch", async () => {
  const { runner, told } = stage([speaker("one", { stop: "sleep 0.1" })]);
  runner.start(record(1));
  await eventually("the start", () => told.includes("started 1"));
  runner.stop({ forced: false, epoch: 1 });
  runner.start(record(3));
  await eventually("the next start", () => told.includes("started 3"));
  assert.deepEqual(told.filter((line) => !line.startsWith("command")), [
    "started 1",
    "stopped 1 clean",
    "started 3",
  ]);
  runner.stop({ forced: false, epoch: 3 });
  await eventually("the stop", () => told.includes("stopped 3 clean"));
  runner.close();
});
