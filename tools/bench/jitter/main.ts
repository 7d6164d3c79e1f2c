/**
 * `deno task bench:jitter`: whether load is taken for death. Three agents with a short deadtime, every
 * processor saturated, the volume under full write load: how regularly the nodes hear each other, and
 * whether anybody was taken for late or dead, which nobody was.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { createKeyFile } from "../../../src/config/key_file.ts";
import { formatTable, printError, printLine } from "../../../src/cli/output.ts";
import { enterPrivateNamespaces, insidePrivateNamespaces } from "../../../src/demo/namespaces.ts";
import { request } from "../../../src/status/client.ts";
import type { JournalEntry } from "../../../src/status/journal.ts";
import type { StatusDocument } from "../../../src/status/types.ts";
import { AGENTS, runAgent, runtimeOf } from "../failover/agents.ts";
import { createSites, type HostName, type Site } from "../failover/site.ts";
import { installed, output } from "../processes.ts";

/** Rules of the journal that say that load was taken for something else. */
const ALARMS = [
  "peer-late",
  "peer-dead",
  "lease-lost",
  "own-pause",
  "take",
  "lost-connection",
] as const;
/** Warnings of each node that are shown. */
const SHOWN = 20;
const PATIENCE = 60_000;
const USAGE = "deno task bench:jitter [--seconds N] [--deadtime MS] [--directory DIR]";

interface Settings {
  readonly seconds: number;
  readonly deadtime: number;
  readonly directory: string;
}

function settings(): Settings {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      seconds: { type: "string", default: "600" },
      deadtime: { type: "string", default: "200" },
      directory: { type: "string", default: "/var/tmp" },
    },
  });
  const [seconds, deadtime] = [Number(values.seconds), Number(values.deadtime)];
  if (!Number.isInteger(seconds) || seconds < 1) throw new TypeError(`--seconds ${values.seconds}`);
  if (!Number.isInteger(deadtime) || deadtime < 50) {
    throw new TypeError(`--deadtime ${values.deadtime}`);
  }
  return { seconds, deadtime, directory: values.directory };
}

function toml(site: Site, home: string, deadtime: number): string {
  const nodes = AGENTS.map((name) =>
    `[nodes.${name}]
${name === "witness" ? "witness = true\n" : ""}links = ["udp://${site.address(name)}:6940"]
`
  );
  return `[cluster]
name = "jitter"
key_file = "${home}/key"
keepalive = "${deadtime / 5}ms"
deadtime = "${deadtime}ms"
quorum = "majority"

${nodes.join("\n")}
[volumes.data]
size = "256MiB"
protocol = "C"
[volumes.data.replicas]
a = { disk = "${home}/a.img", address = "${site.address("a")}:6941" }
b = { disk = "${home}/b.img", address = "${site.address("b")}:6941" }

[groups.web]
failback = "never"
resources = ["volume:data", "ip:${site.virtualAddress}/24"]
`;
}

/** The run: everything that it starts ends with this process. */
class Run {
  readonly #how: Settings;
  readonly #home: string;
  readonly #site: Site;

  constructor(how: Settings, home: string, site: Site) {
    this.#how = how;
    this.#home = home;
    this.#site = site;
  }

  /** Gives the exit code: 0 if load was taken for load. */
  async play(): Promise<number> {
    const { seconds, deadtime } = this.#how;
    createKeyFile(`${this.#home}/key`);
    Deno.writeTextFileSync(`${this.#home}/bascule.toml`, toml(this.#site, this.#home, deadtime));
    for (const node of ["a", "b"] as const) await this.#create(node);
    for (const host of AGENTS) runAgent(this.#site, host, this.#home);
    const owner = await this.#ready();
    const marks = new Map<HostName, number>();
    for (const host of AGENTS) marks.set(host, (await this.#journal(host)).at(-1)?.id ?? 0);
    const load = this.#load(owner, seconds);
    const fio = await load;
    const silences = await this.#histogram();
    const counts = await Promise.all(
      AGENTS.map(async (host) => {
        const entries = await this.#journal(host);
        return entries.filter(({ id }) => id > marks.get(host)!);
      }),
    );
    printLine(
      `${seconds} s at deadtime ${deadtime} ms, keepalive ${deadtime / 5} ms, ` +
        `${navigator.hardwareConcurrency} processors saturated; agents run ` +
        `${(await this.#status(owner)).scheduling}`,
    );
    printLine(fio);
    printLine("");
    for (const line of silences) printLine(line);
    printLine("");
    const rows = AGENTS.map((host, index) => [
      host,
      ...ALARMS.map((rule) => `${counts[index]!.filter((each) => each.rule === rule).length}`),
    ]);
    for (const line of formatTable(["NODE", ...ALARMS], rows)) printLine(line);
    printLine("");
    for (const [index, host] of AGENTS.entries()) {
      const told = counts[index]!.filter(({ level }) => level === "warning" || level === "error");
      for (const { time, rule, text } of told.slice(0, SHOWN)) {
        printLine(`${time} ${host}: ${rule}: ${text}`);
      }
    }
    const fatal = counts.flat().filter(({ rule }) => rule === "peer-dead" || rule === "take");
    return fatal.length === 0 ? 0 : 1;
  }

  async #create(node: HostName): Promise<void> {
    const home = `${this.#home}/${node}`;
    Deno.mkdirSync(home, { recursive: true });
    const main = new URL("../../../main.ts", import.meta.url).pathname;
    const create = ["run", "-A", "--quiet", main, "volume", "create", "data"];
    const paths = ["--state-dir", `${home}/state`, "--runtime-dir", `${home}/run`];
    const where = ["-c", `${this.#home}/bascule.toml`, "--node", node, ...paths];
    const [program = "", ...args] = this.#site.on(node, [Deno.execPath(), ...create, ...where]);
    await output(program, args);
  }

  /** Full write load and busy processors for so long; gives what the load came to. */
  async #load(owner: HostName, seconds: number): Promise<string> {
    const hogs = Array.from(
      { length: navigator.hardwareConcurrency },
      () => new Deno.Command("sh", { args: ["-c", "while :; do :; done"], stdin: "null" }).spawn(),
    );
    try {
      const uri = `nbd+unix:///data?socket=${runtimeOf(this.#home, owner)}/data.sock`;
      const said = await output("fio", [
        "--name=load",
        "--ioengine=nbd",
        `--uri=${uri}`,
        "--rw=randwrite",
        "--bs=4k",
        "--iodepth=16",
        "--norandommap",
        "--time_based",
        `--runtime=${seconds}`,
        "--output-format=json",
      ]);
      const { jobs } = JSON.parse(said.slice(said.indexOf("{")));
      const iops = Math.round(jobs[0].write.iops);
      return `volume: 4k random writes at depth 16, protocol C: ${iops} a second on average`;
    } finally {
      for (const hog of hogs) hog.kill("SIGKILL");
      for (const hog of hogs) await hog.status;
    }
  }

  async #ready(): Promise<HostName> {
    const deadline = performance.now() + PATIENCE;
    for (;;) {
      for (const host of ["a", "b"] as const) {
        try {
          const { groups, volumes, nodes } = await this.#status(host);
          const served = groups[0]?.owner === host && groups[0].state === "running";
          const whole = volumes[0]?.upToDate.length === 2;
          if (served && whole && nodes.every(({ state }) => state === "online")) return host;
        } catch {
          // It is still starting.
        }
      }
      if (performance.now() > deadline) throw new Error("the cluster did not start");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  #status(host: HostName): Promise<StatusDocument> {
    return request(runtimeOf(this.#home, host), "GET", "/v1/status") as Promise<StatusDocument>;
  }

  #journal(host: HostName): Promise<JournalEntry[]> {
    const text = Deno.readTextFileSync(`${this.#home}/${host}/state/journal.jsonl`);
    const whole = text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter((line) => line);
    return Promise.resolve(whole.map((line) => JSON.parse(line)));
  }

  /** Silences as each node heard the others, one column each. */
  async #histogram(): Promise<string[]> {
    const columns: { name: string; counts: readonly number[]; longest: number; step: number }[] =
      [];
    for (const host of AGENTS) {
      for (const { name, silence } of (await this.#status(host)).nodes) {
        if (!silence) continue;
        const { counts, longestMs, stepMs } = silence;
        columns.push({ name: `${host} of ${name}`, counts, longest: longestMs, step: stepMs });
      }
    }
    const steps = Math.max(...columns.map(({ counts }) => counts.length));
    const { step } = columns[0]!;
    const rows = Array.from({ length: steps }, (_, n) => [
      `${n * step}-${(n + 1) * step}`,
      ...columns.map(({ counts }) => `${counts[n] ?? 0}`),
    ]);
    rows.push(["longest", ...columns.map(({ longest }) => longest.toFixed(1))]);
    return [
      "Silence between two frames, milliseconds: how often each node heard so much of the others",
      ...formatTable(["SILENCE", ...columns.map(({ name }) => name)], rows),
    ];
  }
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
    printError("fio is not installed, and there is no load without: apt install fio");
    return 1;
  }
  if (!insidePrivateNamespaces()) {
    const self = [Deno.execPath(), "run", "-A", "--quiet", Deno.mainModule, ...Deno.args];
    const inside = await enterPrivateNamespaces(self);
    if ("code" in inside) return inside.code;
    printError(`nothing can be measured here, it takes network namespaces: ${inside.refused}`);
    return 1;
  }
  const home = Deno.makeTempDirSync({ dir: how.directory, prefix: "bsc-" });
  try {
    const [site] = await createSites(1);
    return await new Run(how, home, site!).play();
  } finally {
    Deno.removeSync(home, { recursive: true });
  }
}

Deno.exit(await main());
