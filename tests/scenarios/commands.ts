/** The commands of transcripts. Each acts on the stage; what it shows are lines of the stage. */

import { statusDocument } from "../../src/agent/status_document.ts";
import { statusLines } from "../../src/cli/status_table.ts";
import type { ClusterRecord, GroupRecord, OperatorCommand } from "../../src/cluster/types.ts";
import type { Machine } from "../../src/sim/machine.ts";
import { createReplica } from "../../src/sim/replica.ts";
import type { Route } from "../../src/sim/routes.ts";
import { RequestKind, VOLUME_OPERATIONS } from "../../src/volume/types.ts";
import { configure, optionsOf } from "./configuration.ts";
import { parseDuration } from "./language.ts";
import { Stage, VOLUME } from "./stage.ts";

/** Milliseconds that a client's request is waited for before others go on. */
const PATIENCE = 100;
/** Milliseconds after which a new cluster is at rest. */
const SETTLING = 5000;
/** Milliseconds between the starts of agents that are started together. */
const STAGGER = 3;

/** The variant of the configuration that names the spare witness. */
const SWAPPED = 3;

type Command = (stage: Stage, words: readonly string[]) => void;

/**
 * Begins a transcript. Words as in `configuration.ts`, and `cache=volatile`; `rates=0.9,1.1,1.1`: how
 * fast clocks run; `spare=yes`: one more witness, `w2`, that another file names in the place of the last.
 */
export function createStage(words: readonly string[], more: readonly string[]): Stage {
  const { options } = optionsOf(words);
  const config = configure(words, more);
  const rates = options.get("rates")?.split(",").map(Number);
  const extra = {
    volatileCache: options.get("cache") === "volatile",
    spare: options.get("spare") === "yes",
  };
  return new Stage(config, extra, rates);
}

/** Carries a command out. Throws what is wrong with it. */
export function perform(stage: Stage, line: string): void {
  const [name = "", ...words] = line.split(/\s+/);
  const command = COMMANDS[name];
  if (command === undefined) {
    throw new Error(`"${name}" is no command; there are ${Object.keys(COMMANDS).join(", ")}`);
  }
  command(stage, words);
}

const COMMANDS: Readonly<Record<string, Command>> = {
  /** Agents start: all that do not run, or those named. */
  start(stage, words) {
    const down = stage.machines.filter(({ agent }) => agent === null);
    const machines = words.length === 0 ? down : words.map((word) => stage.machine(word));
    machines.forEach((machine, index) => {
      stage.schedule.after(STAGGER * index, () => machine.start());
    });
    stage.pass(STAGGER * machines.length);
  },
  /** All agents start and have 5 s; shown are warnings, and where the groups answer in the end. */
  boot(stage) {
    const { lines } = stage;
    const before = lines.level;
    lines.level = "warning";
    COMMANDS.start!(stage, []);
    stage.pass(SETTLING);
    lines.level = before;
    lines.shown = lines.shown.filter((line) => / ERROR | warning /.test(line));
    for (const { name } of stage.config.groups) {
      stage.line("clients", "", `${name} answers at ${stage.answersAt(name) || "no node"}`);
    }
  },
  run(stage, [duration = ""]) {
    stage.pass(parseDuration(duration));
  },
  /** `until web serveur-b 10s`: until the group answers there, `nobody`, or the time is over. */
  until(stage, [group = "", node = "", duration = ""]) {
    const where = node === "nobody" ? "" : node;
    if (stage.pass(parseDuration(duration), () => stage.answersAt(group) === where)) return;
    stage.line("clients", "", `${group} does not answer at ${node} after ${duration}`);
  },
  /** `until-note serveur-a shrink 5s`: until a machine notes a decision by this rule. */
  "until-note"(stage, [node = "", rule = "", duration = ""]) {
    let seen = false;
    stage.onNote = (who, note) => seen ||= who === node && note.rule === rule;
    stage.pass(parseDuration(duration), () => seen);
    stage.onNote = () => {};
    if (!seen) stage.line("clients", "", `${node} notes no ${rule} within ${duration}`);
  },
  /** kill -9. */
  crash: (stage, words) => words.forEach((word) => stage.machine(word).kill(false)),
  power: (stage, words) => words.forEach((word) => stage.machine(word).kill(true)),
  /** SIGTERM. */
  stop: (stage, words) =>
    words.forEach((word) => {
      const machine = stage.machine(word);
      machine.onMain(() => machine.agent!.dispatch({ type: "shutdown" }));
    }),
  /** `pause serveur-a 3s [main|volume]`: not scheduled for so long. */
  pause(stage, [node = "", duration = "", thread]) {
    const machine = stage.machine(node);
    const threads = thread === "main"
      ? [machine.main]
      : thread === "volume"
      ? [machine.worker]
      : [machine.main, machine.worker];
    machine.hold(threads, parseDuration(duration));
  },
  /** `freeze serveur-a 3s`: the whole machine stands still, and its clock with it. */
  freeze: (stage, [node = "", duration = ""]) =>
    stage.machine(node).freeze(parseDuration(duration)),
  cut: (stage, words) => stage.network.cut(routesOf(stage, words)),
  heal(stage, words) {
    if (words.length > 0) return stage.network.mend(routesOf(stage, words));
    stage.network.heal();
  },
  /** The operator's commands, asked of the first node that runs unless `at=NODE` says where. */
  standby: (stage, words) => ask(stage, words, ([node]) => standby(node, true)),
  unstandby: (stage, words) => ask(stage, words, ([node]) => standby(node, false)),
  move: (stage, words) =>
    ask(stage, words, ([group = "", to]) => ({ type: "move", group, ...(to && { to }) })),
  cleanup: (stage, words) => ask(stage, words, ([group = ""]) => ({ type: "cleanup", group })),
  maintenance: (stage, words) =>
    ask(stage, words, ([on]) => ({ type: "maintenance", on: on === "on" })),
  /** `file NODE… spare`: the file with the spare witness is copied there. */
  file(stage, words) {
    for (const word of words) {
      if (word !== "spare") stage.machine(word).replaceFile(SWAPPED);
    }
  },
  /** The same file is pushed. */
  push: (stage, words) =>
    ask(stage, words, () => ({ type: "push", hash: stage.variants[SWAPPED]!.hash })),
  /** A person states that a node is off. */
  "confirm-off": (stage, words) =>
    ask(stage, words, ([node = ""]) => ({ type: "confirmOff", node })),
  /** A person forces the data of the node that is asked. */
  promote(stage, words) {
    stage.forgive();
    ask(stage, words, ([group = ""]) => ({ type: "promote", group }));
  },
  /** `volume serveur-a discard`: what `bascule volume` asks of the volume on a node. */
  volume(stage, [node = "", word = ""]) {
    const operation = VOLUME_OPERATIONS.find((each) => each === word);
    if (operation === undefined) throw new Error(`volume: ${word} is no operation of a volume`);
    const plane = stage.machine(node).agent?.volumes.get(VOLUME)?.plane;
    plane?.turn(() => plane.order({ type: "operate", id: 1, what: operation }));
  },
  /** `write BLOCK [fua] [at=NODE] [volume=logs]` */
  write: (stage, words) => request(stage, RequestKind.Write, words),
  read: (stage, words) => request(stage, RequestKind.Read, words),
  flush: (stage, words) => request(stage, RequestKind.Flush, words),
  /** `disk NODE fails|works|replaced [volume=logs]`, `disk NODE slow 300ms` */
  disk(stage, words) {
    const { names: [node = "", what, latency = ""], options } = optionsOf(words);
    const volume = options.get("volume") ?? VOLUME;
    const machine = stage.machine(node);
    const disk = machine.disks.get(volume)!;
    switch (what) {
      case "fails":
        disk.failing = 5;
        return;
      case "works":
        disk.failing = 0;
        disk.latency = [0.05, 0.5];
        return;
      case "slow":
        disk.latency = [parseDuration(latency), parseDuration(latency)];
        return;
      case "replaced":
        machine.disks.set(
          volume,
          createReplica(
            stage.config.volumes.find(({ name }) => name === volume)!,
            node,
            ++machine.diskCount,
            true,
            disk.volatileCache,
            stage.chance,
          ),
        );
        return;
      default:
        throw new Error(`disk: ${what} is none of fails, works, slow, replaced`);
    }
  },
  /** `switch NODE works|fails|hangs`: its power switch, in mode fencing. */
  switch(stage, [node = "", state]) {
    if (state !== "works" && state !== "fails" && state !== "hangs") {
      throw new Error(`switch: ${state} is none of works, fails, hangs`);
    }
    stage.switches.states.set(node, state);
  },
  /** The state of a voter is lost while its agent is down. */
  forget(stage, [node = ""]) {
    const machine = stage.machine(node);
    if (machine.agent !== null) throw new Error(`forget: the agent of ${node} runs`);
    machine.voterLog = [];
  },
  /** One bit of a voter's log turns over while its agent is down. */
  rot: (stage, [node = ""]) => stage.machine(node).loseVoter(0.5),
  /** `services NODE fail|hang|work` */
  services(stage, [node = "", what]) {
    const { ailment } = stage.machine(node);
    ailment.fails = what === "fail" ? 1 : 0;
    ailment.hangs = what === "hang" ? 1 : 0;
  },
  /** `die NODE GROUP`: the group's process ends by itself. */
  die(stage, [node = "", group = ""]) {
    const machine = stage.machine(node);
    machine.onMain(() => machine.agent!.groups.get(group)!.services[0]!.die());
  },
  /** What `bascule status` shows on a node. */
  status: (stage, words) => words.forEach((word) => status(stage, stage.machine(word))),
  /** What is agreed, seen from outside. */
  records: (stage) => {
    for (const register of ["cluster", ...stage.config.groups.map(({ name }) => `group:${name}`)]) {
      const record = stage.registers.newest(register);
      stage.lines.push(`${register}: ${record === undefined ? "nothing" : describe(record)}`);
    }
  },
  /** From which level on notes are shown; `info` at first. */
  log(stage, [level]) {
    if (level !== "debug" && level !== "info" && level !== "warning") {
      throw new Error(`log: ${level} is none of debug, info, warning`);
    }
    stage.lines.level = level;
  },
};

/**
 * `a b`: between these two, `a`: between it and all others, `a>b`: one direction; then `link=N` or
 * `link=replication` for one path.
 */
function routesOf(stage: Stage, words: readonly string[]): Route[] {
  const { names, options } = optionsOf(words);
  const link = options.get("link");
  const path = link === undefined ? "" : link === "replication" ? "/r" : `/${link}`;
  const [first = "", second = "*"] = names;
  return stage.network.routes([`${first.includes(">") ? first : `${first}-${second}`}${path}`]);
}

function standby(node = "", on: boolean): OperatorCommand {
  return { type: "standby", node, on };
}

function ask(
  stage: Stage,
  words: readonly string[],
  make: (names: readonly string[]) => OperatorCommand,
): void {
  const { names, options } = optionsOf(words);
  const at = options.get("at");
  const machine = at === undefined
    ? stage.machines.find(({ agent }) => agent !== null)
    : stage.machine(at);
  const command = make(names);
  machine?.onMain(() =>
    machine.agent!.command(
      command,
      (error) => stage.line("operator", "", error === null ? `${command.type}: done` : error),
    )
  );
}

function request(stage: Stage, kind: RequestKind, words: readonly string[]): void {
  const { names, options } = optionsOf(words);
  const volume = options.get("volume") ?? VOLUME;
  const history = stage.history(volume);
  const block = Number(names[0] ?? 0);
  const at = options.get("at");
  const plane = at === undefined
    ? stage.serving(volume)
    : stage.machine(at).agent?.volumes.get(volume)?.plane;
  if (!plane) return stage.line("clients", "", "no volume is served");
  const what = kind === RequestKind.Write ? "write" : kind === RequestKind.Read ? "read" : "flush";
  const value = what === "write" ? history.nextValue() : 0;
  const fua = names.includes("fua");
  const where = plane.machine.name;
  const operation = history.begin(what, block, value, fua, stage.now, where);
  const about = () =>
    `${what}${what === "flush" ? "" : ` block ${block} = ${operation.value}`} at ${where}`;
  let over = false;
  plane.turn(() =>
    plane.submit({
      kind,
      first: block,
      blocks: 1,
      value,
      fua,
      answered: (errno, values) => {
        over = true;
        if (errno === 0) {
          if (what === "read") operation.value = values[0]!;
          history.end(operation, stage.now);
        }
        stage.line("clients", "", `${about()}: ${errno === 0 ? "done" : `errno ${errno}`}`);
      },
    })
  );
  if (!stage.pass(PATIENCE, () => over)) stage.line("clients", "", `${what} at ${where} waits`);
}

function status(stage: Stage, machine: Machine): void {
  const { agent } = machine;
  if (agent === null) return stage.lines.push(`${machine.name}: its agent does not run`);
  const document = statusDocument(
    stage.config,
    agent.state,
    machine.now,
    { report: (volume) => agent.volumes.get(volume)?.plane?.state ?? null, failure: () => null },
    { resources: (group) => agent.groups.get(group)?.resources() ?? null },
    { bound: () => true },
  );
  for (const line of statusLines(document)) {
    if (line !== "") stage.lines.push(line);
  }
}

function describe(record: ClusterRecord | GroupRecord): string {
  if ("voters" in record) {
    const { version, voters, votersVersion, standby, maintenance } = record;
    const ids = voters.map(({ voterId }) => voterId).join(" ");
    return `version ${version}, voters ${ids} (version ${votersVersion})` +
      (standby.length > 0 ? `, standby ${standby.join(" ")}` : "") +
      (maintenance ? ", maintenance" : "");
  }
  const { version, epoch, owner, volumes, wanted } = record;
  return `version ${version}, epoch ${epoch}, ` +
    (owner === null ? "released" : `owner ${owner.node} (run ${owner.incarnation})`) +
    Object.entries(volumes).map(([name, { generation, upToDate }]) =>
      `, ${name} up to date on ${upToDate.join(" ")} in generation ${generation}`
    ).join("") +
    (wanted === undefined ? "" : `, wanted on ${wanted}`);
}
