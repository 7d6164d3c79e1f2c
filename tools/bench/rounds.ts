/** Interleaved rounds: a slow moment of the machine hits everybody. */
import { printError } from "../../src/cli/output.ts";
import type { Contender, Running } from "./contenders.ts";
import { copyIn, copyOut } from "./copy.ts";
import { fill, measure, sizeSeen, type Workload } from "./fio.ts";
import { installed } from "./processes.ts";

/** One round of one contender with one workload. */
export interface Round {
  readonly iops: number;
  readonly mibPerSecond: number;
  /** Percentiles of the completion latency, microseconds; 0 where nobody measures it. */
  readonly p50: number;
  readonly p99: number;
  /** Processor time of the servers in the round, seconds. */
  readonly cpuSeconds: number;
  /** Length of the round, seconds. */
  readonly seconds: number;
}

/** All rounds of one contender with one workload. */
export interface Cell {
  readonly suite: string;
  readonly contender: string;
  /** Whether ours is compared with it. */
  readonly rival: boolean;
  readonly workload: string;
  readonly rounds: Round[];
}

/** Who is measured with what, and how. */
export interface Suite {
  readonly name: string;
  readonly contenders: readonly Contender[];
  readonly workloads: readonly Workload[];
  /** Whether nbdcopy is measured too. */
  readonly copies: boolean;
}

/** What all suites of a run share. */
export interface Run {
  readonly rounds: number;
  /** Of one workload in one round. */
  readonly seconds: number;
  /** Bytes of an export. */
  readonly size: number;
  readonly directory: string;
  /** Only workloads whose name contains this. */
  readonly only: string;
}

/** Measures a suite. Who cannot be measured here is named in `facts`. */
export async function runSuite(
  suite: Suite,
  run: Run,
  facts: Record<string, string>,
): Promise<Cell[]> {
  const directory = Deno.makeTempDirSync({ dir: run.directory, prefix: "bascule-bench-" });
  const field: { contender: Contender; running: Running }[] = [];
  const tasks = tasksOf(suite, run, directory, facts);
  try {
    for (const contender of suite.contenders) {
      const fact = `${suite.name}, ${contender.name}`;
      const missing = contender.needs.filter((tool) => !installed(tool));
      if (missing.length > 0) {
        facts[fact] = `not measured here, ${missing.join(", ")} is not installed`;
        continue;
      }
      const running = await contender.start(directory, run.size);
      facts[fact] = `${await contender.version()}; ${running.detail}`;
      const size = await sizeSeen(running.uri);
      if (size !== run.size) {
        facts[fact] += `; not measured, libnbd sees ${size} bytes of it`;
        await running.stop();
        continue;
      }
      field.push({ contender, running });
      await fill(running.uri);
    }
    const cells = new Map<string, Cell>();
    for (let round = 0; round < run.rounds; round++) {
      for (const { name, measured } of tasks) {
        // Nobody is always first after another workload.
        for (let n = 0; n < field.length; n++) {
          const { contender, running } = field[(n + round) % field.length]!;
          const key = `${contender.name}\0${name}`;
          let cell = cells.get(key);
          if (cell === undefined) {
            const { rival = true } = contender;
            const names = { suite: suite.name, contender: contender.name, workload: name };
            cells.set(key, cell = { ...names, rival, rounds: [] });
          }
          cell.rounds.push(await accounted(running, measured));
        }
      }
      printError(`${suite.name}: round ${round + 1} of ${run.rounds}`);
    }
    return [...cells.values()];
  } finally {
    for (const { running } of field) await running.stop();
    Deno.removeSync(directory, { recursive: true });
  }
}

type Measured = (uri: string) => Promise<Omit<Round, "cpuSeconds">>;

function tasksOf(
  suite: Suite,
  run: Run,
  directory: string,
  facts: Record<string, string>,
): { name: string; measured: Measured }[] {
  const { seconds } = run;
  const tasks: { name: string; measured: Measured }[] = suite.workloads.map((workload) => ({
    name: workload.name,
    measured: async (uri) => ({ ...await measure(uri, workload, seconds), seconds }),
  }));
  if (suite.copies && installed("nbdcopy")) {
    const file = `${directory}/copied`;
    tasks.push({ name: "nbdcopy out", measured: (uri) => copyOut(uri, run.size) });
    tasks.push({ name: "nbdcopy in", measured: (uri) => copyIn(uri, file, run.size) });
  } else if (suite.copies) facts["nbdcopy"] = "not measured here, nbdcopy is not installed";
  return tasks.filter(({ name }) => name.includes(run.only));
}

async function accounted(running: Running, measured: Measured): Promise<Round> {
  const cpu = () => running.servers.reduce((sum, server) => sum + server.cpuSeconds(), 0);
  const before = cpu();
  const round = await measured(running.uri);
  return { ...round, cpuSeconds: cpu() - before };
}
