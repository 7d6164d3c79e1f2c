/**
 * `deno task bench`: our NBD exports against those of others on the same machine, disk and file size,
 * measured by fio over unix sockets. Rounds are interleaved, so that a slow moment of the machine hits
 * everybody; the table shows medians. What could not be measured is named.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { formatTable, printError, printLine } from "../../src/cli/output.ts";
import type { EngineName } from "../../src/os/engine.ts";
import {
  type Contender,
  localContenders,
  replicatedContenders,
  type Running,
} from "./contenders.ts";
import { fill, measure, type Measurement, type Workload, WORKLOADS } from "./fio.ts";
import { installed, output } from "./processes.ts";

interface Settings {
  readonly rounds: number;
  readonly seconds: number;
  readonly size: number;
  readonly directory: string;
  readonly io: "direct" | "buffered";
  readonly engine: EngineName | undefined;
  readonly json: string | undefined;
}

/** All rounds of one contender with one workload. */
interface Cell {
  readonly suite: string;
  readonly contender: string;
  readonly workload: string;
  readonly rounds: (Measurement & { readonly cpuSeconds: number })[];
}

const USAGE = `deno task bench [--rounds N] [--seconds N] [--size MIB] [--directory DIR]
  [--io buffered|direct] [--engine io_uring|epoll] [--json FILE]`;

function settings(): Settings {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      rounds: { type: "string", default: "5" },
      seconds: { type: "string", default: "2" },
      size: { type: "string", default: "256" },
      directory: { type: "string", default: "/var/tmp" },
      io: { type: "string", default: "buffered" },
      engine: { type: "string" },
      json: { type: "string" },
    },
  });
  const { io, engine } = values;
  if (io !== "buffered" && io !== "direct") throw new TypeError(`--io ${io}`);
  if (engine !== undefined && engine !== "io_uring" && engine !== "epoll") {
    throw new TypeError(`--engine ${engine}`);
  }
  return {
    rounds: wholeNumber("rounds", values.rounds),
    seconds: wholeNumber("seconds", values.seconds),
    size: wholeNumber("size", values.size) * (1 << 20),
    directory: values.directory,
    io,
    engine,
    json: values.json,
  };
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new TypeError(`--${name} ${text}`);
  return value;
}

async function runSuite(
  suite: string,
  contenders: readonly Contender[],
  how: Settings,
  facts: Record<string, string>,
): Promise<Cell[]> {
  const directory = Deno.makeTempDirSync({ dir: how.directory, prefix: "bascule-bench-" });
  const field: { contender: Contender; running: Running }[] = [];
  try {
    for (const contender of contenders) {
      const missing = contender.needs.filter((tool) => !installed(tool));
      if (missing.length > 0) {
        facts[contender.name] = `not measured here, ${missing.join(", ")} is not installed`;
        continue;
      }
      const running = await contender.start(directory, how.size);
      field.push({ contender, running });
      facts[contender.name] = `${await contender.version()}; ${running.detail}`;
      await fill(running.uri);
    }
    const cells = new Map<string, Cell>();
    for (let round = 0; round < how.rounds; round++) {
      for (const workload of WORKLOADS) {
        // Nobody is always first after another workload.
        for (let n = 0; n < field.length; n++) {
          const { contender, running } = field[(n + round) % field.length]!;
          const key = `${contender.name}\0${workload.name}`;
          let cell = cells.get(key);
          if (cell === undefined) {
            const names = { suite, contender: contender.name, workload: workload.name };
            cells.set(key, cell = { ...names, rounds: [] });
          }
          cell.rounds.push(await oneRound(running, workload, how.seconds));
        }
      }
      printError(`${suite}: round ${round + 1} of ${how.rounds}`);
    }
    return [...cells.values()];
  } finally {
    for (const { running } of field) await running.stop();
    Deno.removeSync(directory, { recursive: true });
  }
}

async function oneRound(running: Running, workload: Workload, seconds: number) {
  const cpu = () => running.servers.reduce((sum, server) => sum + server.cpuSeconds(), 0);
  const before = cpu();
  const measured = await measure(running.uri, workload, seconds);
  return { ...measured, cpuSeconds: cpu() - before };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function tableOf(cells: readonly Cell[]): string[] {
  const rows = WORKLOADS.flatMap((workload) =>
    cells.filter((cell) => cell.workload === workload.name).map((cell, index) => {
      const of = (pick: (one: Cell["rounds"][number]) => number) => median(cell.rounds.map(pick));
      const all = cell.rounds.map((one) => one.iops);
      return [
        index === 0 ? workload.name : "",
        cell.contender,
        Math.round(of((one) => one.iops)).toString(),
        `${Math.round(Math.min(...all))}-${Math.round(Math.max(...all))}`,
        Math.round(of((one) => one.mibPerSecond)).toString(),
        Math.round(of((one) => one.p99)).toString(),
        of((one) => one.cpuSeconds).toFixed(2),
      ];
    })
  );
  const header = ["WORKLOAD", "SERVER", "IOPS", "RANGE", "MIB/S", "P99 US", "CPU S"];
  return formatTable(header, rows);
}

async function machine(how: Settings): Promise<Record<string, string>> {
  const kernel = (await output("uname", ["-sr"])).trim();
  const cpu = /model name\s*:\s*(.*)/.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1];
  const where = (await output("df", ["--output=fstype,source", how.directory])).trim();
  return {
    kernel,
    cpu: `${navigator.hardwareConcurrency} × ${cpu ?? "unknown"}`,
    disk: `${where.split("\n")[1]} (${how.directory})`,
    fio: (await output("fio", ["--version"])).trim(),
    run: `median of ${how.rounds} rounds of ${how.seconds} s, file of ${how.size >> 20} MiB, ` +
      `${how.io} I/O`,
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
  if (!installed("fio")) {
    printError("fio is not installed, and nothing can be measured without: apt install fio");
    return 1;
  }
  const facts = await machine(how);
  const local = await runSuite("one copy", localContenders(how), how, facts);
  const twice = await runSuite("two copies", replicatedContenders(how), how, facts);
  for (const [name, fact] of Object.entries(facts)) printLine(`${name}: ${fact}`);
  printLine("");
  printLine("One copy:");
  for (const line of tableOf(local)) printLine(line);
  printLine("");
  printLine("Two copies, answered when both have it (ours over loopback TCP):");
  for (const line of tableOf(twice)) printLine(line);
  if (how.json !== undefined) {
    const cells = [...local, ...twice];
    Deno.writeTextFileSync(how.json, `${JSON.stringify({ facts, cells }, null, 2)}\n`);
  }
  return 0;
}

Deno.exit(await main());
