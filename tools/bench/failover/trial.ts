/** One contender at its site, and what is done to it. */
import type { Cluster, Contender } from "./contender.ts";
import { Probe, type ProbeReport } from "./probe.ts";
import { responder } from "./responder.ts";
import { type NodeName, NODES, otherNode, type Site } from "./site.ts";
import { AddressWatch } from "./watch.ts";

/** How long a cluster may take for anything, milliseconds. */
const PATIENCE = 60_000;
/** How long the client listens on after a takeover, milliseconds. */
const AFTERMATH = 600;

/** What one blow cost. */
export interface Measured {
  /** The longest silence that the client saw, milliseconds. */
  readonly outage: number;
  /** Lateness of the latest probe: no difference below it means anything. */
  readonly noise: number;
}

/** What a partition or a pause cost. */
export interface Ordeal {
  /** All silences together while it lasted and in the 10 s after it, milliseconds. */
  readonly dark: number;
  readonly darkAfter: number;
  /** For how long both nodes had the address, milliseconds. */
  readonly both: number;
  /** How often the client was answered by another node than before. */
  readonly switches: number;
}

/** What it costs to do nothing. */
export interface Idle {
  /** Of both nodes and, where there is one, the witness. */
  readonly hosts: readonly {
    readonly host: string;
    readonly processes: number;
    readonly pssMiB: number;
    readonly rssMiB: number;
    readonly cpuPercent: number;
  }[];
}

/** See the file's comment. */
export class Trial {
  readonly contender: Contender;
  readonly #site: Site;
  readonly #cluster: Cluster;
  readonly #probe: Probe;
  #active: NodeName = "a";

  private constructor(contender: Contender, site: Site, cluster: Cluster) {
    this.contender = contender;
    this.#site = site;
    this.#cluster = cluster;
    this.#probe = new Probe(site);
  }

  /** Starts the cluster and waits until it is whole. */
  static async begin(contender: Contender, site: Site, directory: string): Promise<Trial> {
    const cluster = await contender.prepare(site, directory);
    const trial = new Trial(contender, site, cluster);
    for (const node of NODES) await trial.#start(node);
    await cluster.startRest();
    await trial.#settled();
    return trial;
  }

  /** Ends the client; what runs at the site ends with the site. */
  end(): Promise<void> {
    return this.#probe.end();
  }

  /** Power cut of the active node. */
  async crash(): Promise<Measured> {
    const victim = this.#active;
    const measured = await this.#measure(() => this.#site.powerCut(victim));
    await this.#site.powerOn(victim);
    await this.#start(victim);
    await this.#settled();
    return measured;
  }

  /** The active node hands over in order. */
  async graceful(): Promise<Measured> {
    const giver = this.#active;
    const measured = await this.#measure(() => this.#cluster.handOver(giver));
    await this.#cluster.rejoin(giver);
    await this.#settled();
    return measured;
  }

  /** Both nodes reach the client but not each other. */
  partition(milliseconds: number): Promise<Ordeal> {
    return this.#ordeal(milliseconds, () => this.#site.isolate(true), () => {
      return this.#site.isolate(false);
    });
  }

  /** SIGSTOP for the agent of the active node. */
  async pause(milliseconds: number): Promise<Ordeal> {
    const agents = await this.#cluster.agents(this.#active);
    const signal = (which: Deno.Signal) => {
      for (const pid of agents) {
        try {
          Deno.kill(pid, which);
        } catch {
          // It was one of a moment.
        }
      }
      return Promise.resolve();
    };
    return await this.#ordeal(milliseconds, () => signal("SIGSTOP"), () => signal("SIGCONT"));
  }

  /** Nothing happens for so long. */
  async idle(milliseconds: number): Promise<Idle> {
    const hosts = ["a", "b", "witness"] as const;
    const before = await Promise.all(hosts.map((host) => this.#accounts(host)));
    await sleep(milliseconds);
    const after = await Promise.all(hosts.map((host) => this.#accounts(host)));
    return {
      hosts: hosts.map((host, index) => {
        const now = after[index]!;
        const ns = now.reduce((sum, each) => sum + each.runNs, 0) -
          before[index]!.reduce((sum, each) => sum + each.runNs, 0);
        return {
          host: host === this.#active ? "active" : host === "witness" ? host : "standby",
          processes: now.length,
          pssMiB: now.reduce((sum, each) => sum + each.pss, 0) / 1024,
          rssMiB: now.reduce((sum, each) => sum + each.rss, 0) / 1024,
          cpuPercent: ns / milliseconds / 1e4,
        };
      }).filter(({ processes }) => processes > 0),
    };
  }

  async #start(node: NodeName): Promise<void> {
    if (!this.contender.movesService) this.#serve(node);
    await this.#cluster.start(node);
  }

  #serve(node: NodeName): void {
    const service = responder(node, this.#site.virtualAddress);
    const [program = "", ...args] = this.#site.on(node, service);
    new Deno.Command(program, { args, stdin: "null", stdout: "null", stderr: "null" }).spawn();
  }

  /** Does something that moves the address, and gives the longest silence. */
  async #measure(blow: () => Promise<void>): Promise<Measured> {
    const from = this.#active;
    await this.#probe.start();
    // At any moment of a heartbeat's period.
    await sleep(400 + Math.random() * this.contender.deadtime);
    await Promise.all([blow(), this.#moved(from)]);
    await sleep(AFTERMATH);
    const report = await this.#probe.stop();
    this.#active = otherNode(from);
    const crossing = report.gaps.filter(({ before, after }) => before === from && after !== from);
    if (report.runs.at(-1)?.who !== this.#active) {
      throw new Error(`${this.contender.name}: the client was answered by ${describe(report)}`);
    }
    const outage = Math.max(0, ...crossing.map(({ ms }) => ms));
    return { outage, noise: report.latestProbe };
  }

  /** Waits until the other node has the address. */
  async #moved(from: NodeName): Promise<void> {
    const deadline = performance.now() + PATIENCE;
    while (!await this.#site.holds(otherNode(from))) {
      if (performance.now() > deadline) {
        throw new Error(`${this.contender.name}: the address did not leave node ${from}`);
      }
      await sleep(50);
    }
  }

  async #settled(): Promise<void> {
    const deadline = performance.now() + PATIENCE;
    for (;;) {
      for (const active of [this.#active, otherNode(this.#active)]) {
        const held = await this.#site.holds(active) && !await this.#site.holds(otherNode(active));
        if (held && await this.#cluster.ready(active, otherNode(active))) {
          this.#active = active;
          // What follows a return, such as announcements, is not to fall into the next blow.
          return await sleep(500);
        }
      }
      if (performance.now() > deadline) {
        throw new Error(`${this.contender.name}: no node has the address and a standby`);
      }
      await sleep(100);
    }
  }

  async #ordeal(
    milliseconds: number,
    begin: () => Promise<void>,
    end: () => Promise<void>,
  ): Promise<Ordeal> {
    const watch = await AddressWatch.begin(this.#site);
    await this.#probe.start();
    await sleep(500);
    await begin();
    await sleep(milliseconds);
    const during = await this.#probe.stop();
    await this.#probe.start();
    await end();
    await sleep(10_000);
    const after = await this.#probe.stop();
    const { bothMs } = await watch.end();
    await this.#settled();
    return {
      dark: darkness(during),
      darkAfter: darkness(after),
      both: bothMs,
      switches: during.runs.length + after.runs.length - 2,
    };
  }

  async #accounts(host: NodeName | "witness") {
    const pids = await this.#site.pids(host);
    return pids.filter((pid) => !commandOf(pid).includes("perl")).map((pid) => ({
      runNs: runTime(pid),
      rss: kibibytes(`/proc/${pid}/status`, "VmRSS:"),
      pss: kibibytes(`/proc/${pid}/smaps_rollup`, "Pss:"),
    }));
  }
}

/** Silences, the one at the end included. */
function darkness({ gaps, silentAtEnd }: ProbeReport): number {
  return gaps.reduce((sum, { ms }) => sum + ms, silentAtEnd >= 20 ? silentAtEnd : 0);
}

function describe({ runs }: ProbeReport): string {
  return runs.length === 0 ? "nobody" : runs.map(({ who }) => who).join(", then ");
}

function commandOf(pid: number): string {
  return readOr(`/proc/${pid}/cmdline`, "");
}

/** CPU time of all threads, nanoseconds: the ticks of `stat` are too coarse for idle processes. */
function runTime(pid: number): number {
  let sum = 0;
  try {
    for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
      sum += Number(readOr(`/proc/${pid}/task/${name}/schedstat`, "0").split(" ")[0]);
    }
  } catch {
    // It ended.
  }
  return sum;
}

function kibibytes(file: string, key: string): number {
  const line = readOr(file, "").split("\n").find((each) => each.startsWith(key));
  return Number(line?.match(/\d+/)?.[0] ?? 0);
}

function readOr(file: string, otherwise: string): string {
  try {
    return Deno.readTextFileSync(file);
  } catch {
    return otherwise;
  }
}

/** Resolves after so many milliseconds. */
export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
