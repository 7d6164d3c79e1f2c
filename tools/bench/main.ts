/**
 * `deno task bench`, `bench:nbd`, `bench:replication`, `bench:engine`: our NBD exports against those
 * of others on the same machine, disk and file size, measured by fio and nbdcopy. Rounds are
 * interleaved; tables show medians. What could not be measured is named.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { printError, printLine } from "../../src/cli/output.ts";
import { installed, output } from "./processes.ts";
import { type Cell, type Run, runSuite } from "./rounds.ts";
import { OURS, type SuiteName, suitesOf } from "./suites.ts";
import { suiteTable } from "./table.ts";

interface Settings extends Run {
  readonly suite: SuiteName;
  readonly json: string | undefined;
}

const USAGE = `deno task bench[:nbd|:replication|:engine] [--rounds N] [--seconds N] [--size MIB]
  [--directory DIR] [--only WORKLOAD] [--json FILE]`;

function settings(): Settings {
  const { values, positionals } = parseArgs({
    args: Deno.args,
    allowPositionals: true,
    options: {
      rounds: { type: "string", default: "5" },
      seconds: { type: "string", default: "1" },
      size: { type: "string", default: "256" },
      directory: { type: "string", default: "/var/tmp" },
      only: { type: "string", default: "" },
      json: { type: "string" },
    },
  });
  const [suite = "overview", more] = positionals;
  const known = suite === "overview" || suite === "nbd" || suite === "replication" ||
    suite === "engine";
  if (!known || more !== undefined) throw new TypeError(`unknown: ${positionals.join(" ")}`);
  return {
    suite,
    rounds: wholeNumber("rounds", values.rounds),
    seconds: wholeNumber("seconds", values.seconds),
    size: wholeNumber("size", values.size) * (1 << 20),
    directory: values.directory,
    only: values.only,
    json: values.json,
  };
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new TypeError(`--${name} ${text}`);
  return value;
}

async function machine(how: Settings): Promise<Record<string, string>> {
  const kernel = (await output("uname", ["-sr"])).trim();
  const cpu = /model name\s*:\s*(.*)/.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1];
  const where = (await output("df", ["--output=fstype,source", how.directory])).trim();
  return {
    kernel,
    cpu: `${navigator.hardwareConcurrency} × ${cpu ?? "unknown"}`,
    load: Deno.loadavg().map((load) => load.toFixed(1)).join(" "),
    disk: `${where.split("\n")[1]} (${how.directory})`,
    fio: (await output("fio", ["--version"])).trim(),
    run: `median of ${how.rounds} rounds of ${how.seconds} s, file of ${how.size >> 20} MiB`,
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
  const missing = ["fio", "nbdinfo"].filter((tool) => !installed(tool));
  if (missing.length > 0) {
    printError(
      `${missing.join(", ")} not installed, and nothing can be measured without: ` +
        `apt install fio libnbd-bin`,
    );
    return 1;
  }
  const facts = await machine(how);
  const cells: Cell[] = [];
  const suites = suitesOf(how.suite);
  for (const suite of suites) cells.push(...await runSuite(suite, how, facts));
  for (const [name, fact] of Object.entries(facts)) printLine(`${name}: ${fact}`);
  for (const { name } of suites) {
    printLine("");
    printLine(name);
    for (const line of suiteTable(cells.filter(({ suite }) => suite === name), OURS)) {
      printLine(line);
    }
  }
  if (how.json !== undefined) {
    Deno.writeTextFileSync(how.json, `${JSON.stringify({ facts, cells }, null, 2)}\n`);
  }
  return 0;
}

Deno.exit(await main());
