/**
 * `deno task bench:failover`: how long a client is without its service when a node dies or hands over,
 * beside Heartbeat, keepalived and Pacemaker on the same topology in the same run.
 *
 * Every contender has two nodes and a client on a switch of its own, in network namespaces that vanish
 * with this process. Rounds are interleaved, so that a slow moment of the machine hits everybody; the
 * table shows medians. It installs nothing: who is missing is named and left out.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { printError, printLine } from "../../../src/cli/output.ts";
import { enterPrivateNamespaces, insidePrivateNamespaces } from "../../../src/demo/namespaces.ts";
import { installed } from "../processes.ts";
import { bascule } from "./bascule.ts";
import type { Contender } from "./contender.ts";
import { heartbeat } from "./heartbeat.ts";
import { keepalived } from "./keepalived.ts";
import { pacemaker } from "./pacemaker.ts";
import { type Results, type Row, tables } from "./results.ts";
import { createSites } from "./site.ts";
import { Trial } from "./trial.ts";

const SCENARIOS = ["idle", "crash", "graceful", "partition", "pause"] as const;
type Scenario = typeof SCENARIOS[number];

const CONTENDERS: readonly Contender[] = [
  bascule(1000),
  bascule(500),
  bascule(200),
  bascule(1000, false),
  heartbeat(100, 500),
  heartbeat(1000, 3000),
  keepalived(100),
  pacemaker(1000),
];

const USAGE = `deno task bench:failover [--rounds N] [--scenario NAME]… [--contender NAME[/MS]]…
  [--json FILE] [--directory DIR] [--keep DIR]
scenarios: ${SCENARIOS.join(", ")}; default: all
contenders: ${CONTENDERS.map(label).join(", ")}; default: all
--json: results are added to those that the file has already
--directory: where nodes keep their state; how fast its disk syncs is part of a move. Default: /tmp
--keep: the same, and everything is left there`;

function label({ name, deadtime }: Contender): string {
  return `${name}/${deadtime}`;
}

interface Settings {
  readonly rounds: number;
  readonly scenarios: readonly Scenario[];
  readonly contenders: readonly Contender[];
  readonly json: string | undefined;
  readonly directory: string;
  readonly keep: string | undefined;
}

function settings(): Settings {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      rounds: { type: "string", default: "10" },
      scenario: { type: "string", multiple: true },
      contender: { type: "string", multiple: true },
      json: { type: "string" },
      directory: { type: "string", default: "/tmp" },
      keep: { type: "string" },
    },
  });
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new TypeError(`--rounds ${values.rounds}`);
  const chosen = values.scenario ?? SCENARIOS;
  for (const name of chosen) {
    if (!SCENARIOS.includes(name as Scenario)) throw new TypeError(`--scenario ${name}`);
  }
  const wanted = values.contender ?? CONTENDERS.map(label);
  const contenders = wanted.flatMap((name) => {
    const found = CONTENDERS.filter((each) => each.name === name || label(each) === name);
    if (found.length === 0) throw new TypeError(`--contender ${name}`);
    return found;
  });
  return {
    rounds,
    scenarios: SCENARIOS.filter((name) => chosen.includes(name)),
    contenders: CONTENDERS.filter((each) => contenders.includes(each)),
    json: values.json,
    directory: values.directory,
    keep: values.keep,
  };
}

async function main(): Promise<number> {
  let how: Settings;
  try {
    how = settings();
  } catch (error) {
    printError(`${error instanceof Error ? error.message : error}\n${USAGE}`);
    return 2;
  }
  if (!insidePrivateNamespaces()) {
    const self = [Deno.execPath(), "run", "-A", "--quiet", Deno.mainModule, ...Deno.args];
    const inside = await enterPrivateNamespaces(self);
    if ("code" in inside) return inside.code;
    printError(`nothing can be measured here, it takes network namespaces: ${inside.refused}`);
    return 1;
  }
  const directory = how.keep ?? Deno.makeTempDirSync({ dir: how.directory, prefix: "bsc-" });
  try {
    await measure(how, directory);
    return 0;
  } finally {
    if (how.keep === undefined) Deno.removeSync(directory, { recursive: true });
  }
}

async function measure(how: Settings, directory: string): Promise<void> {
  const results = earlier(how.json);
  const present = how.contenders.filter((contender) => {
    const missing = contender.needs.filter((program) => !installed(program));
    if (missing.length === 0) return true;
    results.versions[contender.name] = `left out, ${missing.join(", ")} is not installed`;
    return false;
  });
  const sites = await createSites(present.length);
  const trials: Trial[] = [];
  try {
    for (const [index, contender] of present.entries()) {
      const own = `${directory}/${index}`;
      Deno.mkdirSync(own, { recursive: true });
      results.versions[contender.name] = await contender.version();
      trials.push(await Trial.begin(contender, sites[index]!, own));
      printError(`${label(contender)} is up`);
    }
    await rounds(how, trials, results);
  } finally {
    for (const trial of trials) await trial.end();
  }
  for (const line of tables(results)) printLine(line);
}

async function rounds(how: Settings, trials: readonly Trial[], results: Results): Promise<void> {
  for (const scenario of how.scenarios) {
    const count = scenario === "crash" || scenario === "graceful" ? how.rounds : 1;
    for (let round = 0; round < count; round++) {
      for (let n = 0; n < trials.length; n++) {
        // Nobody is always first after another.
        const trial = trials[(n + round) % trials.length]!;
        const row = rowOf(results, trial.contender);
        if (row.failure !== undefined) continue;
        try {
          await once(scenario, trial, row);
        } catch (error) {
          // The others go on without it.
          row.failure = `${scenario}: ${error instanceof Error ? error.message : error}`;
          printError(`${label(trial.contender)}: ${row.failure}`);
        }
      }
      printError(`${scenario}: round ${round + 1} of ${count}`);
      // A run that is cut short has not been for nothing.
      if (how.json !== undefined) {
        Deno.writeTextFileSync(how.json, `${JSON.stringify(results, null, 2)}\n`);
      }
    }
  }
}

async function once(scenario: Scenario, trial: Trial, row: Row): Promise<void> {
  switch (scenario) {
    case "idle":
      row.idle = await trial.idle(10_000);
      return;
    case "crash":
    case "graceful":
      row[scenario].push(await trial[scenario]());
      return;
    case "partition":
      row.partition.push(await trial.partition(10_000));
      return;
    case "pause":
      row.pause.push(await trial.pause(5_000));
  }
}

function rowOf(results: Results, { name, deadtime }: Contender): Row {
  let row = results.rows.find((each) => each.name === name && each.deadtime === deadtime);
  if (row === undefined) {
    row = { name, deadtime, crash: [], graceful: [], partition: [], pause: [] };
    results.rows.push(row);
  }
  return row;
}

function earlier(file: string | undefined): Results {
  if (file !== undefined) {
    try {
      return JSON.parse(Deno.readTextFileSync(file));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return { versions: {}, rows: [] };
}

Deno.exit(await main());
