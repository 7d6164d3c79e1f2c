/**
 * Hosts of one test: network namespaces with unique names, joined by two bridges.
 *
 * The bridges live in a namespace of their own, so nothing of a test shows on the machine itself. A
 * guardian, a small shell that waits for the end of its standard input, ends every process and takes
 * every namespace away however the test ends, `kill -9` included; the orderly way is the same one.
 *
 * @module
 */
import { namespacesMissing } from "../os/namespace.ts";
import { hasTool } from "../dataplane/fixtures.ts";

/** How a program that ran to its end went. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Longest run of a helper program, milliseconds: far above what any needs. */
const PATIENCE = 60_000;
/** Ends what the test left, as soon as nobody holds the other end of its standard input. */
const GUARDIAN = `read -r _
directory=$1; shift
for name in "$@"; do
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    pids=$(ip netns pids "$name") && [ -n "$pids" ] || break
    kill -9 $pids
    sleep 0.1
  done
  ip netns del "$name"
done
for file in "$directory"/*/*; do
  losetup -j "$file" | cut -d: -f1 | xargs -r -n1 losetup -d
done
rm -rf "$directory"`;

/** Runs a program to its end; it is killed when it takes far too long. */
export async function run(command: readonly string[], patience = PATIENCE): Promise<Outcome> {
  const [program = "", ...args] = command;
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), patience);
  try {
    const { code, stdout, stderr } = await new Deno.Command(program, {
      args,
      stdin: "null",
      signal: limit.signal,
    }).output();
    const text = new TextDecoder();
    return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
  } finally {
    clearTimeout(timer);
  }
}

/** Runs a program that must succeed; gives its standard output. */
export async function must(command: readonly string[], patience = PATIENCE): Promise<string> {
  const { code, stdout, stderr } = await run(command, patience);
  if (code !== 0) throw new Error(`${command.join(" ")}: exit code ${code}: ${stdout}${stderr}`);
  return stdout;
}

/** An end-to-end test; where it cannot run, the list of tests names it with what it needs. */
export function e2eTest(name: string, tools: readonly string[], test: () => Promise<void>): void {
  const reason = namespacesMissing();
  const missing = tools.filter((tool) => !hasTool(tool)).join(", ");
  const needs = reason ?? (missing === "" ? undefined : `needs ${missing}`);
  if (needs === undefined) Deno.test(name, test);
  else Deno.test.ignore(`not run here (${needs}): ${name}`, () => {});
}

/** A host, with its number in the address plan. */
export interface HostPlan {
  readonly name: string;
  readonly number: number;
  /** On which networks it is, of 0 (the LAN) and 1 (between the servers). */
  readonly networks: readonly (0 | 1)[];
}

/** The namespaces of one test. */
export class Network {
  /** For files of the test; removed with the network. Its path is short: sockets are put here. */
  readonly directory: string;
  readonly #id: string;
  readonly #hosts: ReadonlyMap<string, HostPlan>;
  readonly #guardian: Deno.ChildProcess;

  private constructor(directory: string, id: string, hosts: readonly HostPlan[]) {
    this.directory = directory;
    this.#id = id;
    this.#hosts = new Map(hosts.map((host) => [host.name, host]));
    const names = [...hosts.map(({ name }) => this.namespace(name)), this.#switch];
    this.#guardian = new Deno.Command("sh", {
      args: ["-c", GUARDIAN, "guardian", directory, ...names],
      stdin: "piped",
      stdout: "null",
      stderr: "null",
      // In a session of its own it outlives an interrupt from the terminal.
      detached: true,
    }).spawn();
  }

  /** Makes the hosts, cabled and with their addresses. */
  static async create(hosts: readonly HostPlan[]): Promise<Network> {
    const directory = await Deno.makeTempDir({ prefix: "bsc-" });
    const network = new Network(directory, crypto.randomUUID().slice(0, 6), hosts);
    try {
      await network.#build();
      return network;
    } catch (error) {
      await network.remove();
      throw error;
    }
  }

  /** Name of a host's network namespace. */
  namespace(host: string): string {
    return `bsc-${this.#id}-${host}`;
  }

  /** Address of a host on a network, without its prefix length. */
  address(host: string, network: 0 | 1): string {
    return `10.88.${network}.${this.#plan(host).number}`;
  }

  /** Command line that runs `command` on `host`. */
  on(host: string, command: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.namespace(host), ...command];
  }

  /** Hardware address of a host on the LAN, as `ip` and `tcpdump` write it. */
  async mac(host: string): Promise<string> {
    const shown = await this.#ip(host, "-o", "link", "show", "eth0");
    const found = shown.match(/link\/ether ([0-9a-f:]{17})/);
    if (!found) throw new Error(`no hardware address in: ${shown}`);
    return found[1]!;
  }

  /** IPv4 addresses that a host has now, on all its interfaces. */
  async addresses(host: string): Promise<string[]> {
    const shown = await this.#ip(host, "-o", "-4", "address", "show");
    return [...shown.matchAll(/inet ([0-9.]+)/g)].map((found) => found[1]!);
  }

  /** Pulls every cable of a host, or plugs them in again. */
  async plug(host: string, up: boolean): Promise<void> {
    for (const network of this.#plan(host).networks) {
      await this.#ipSwitch("link", "set", `${host}-${network}`, up ? "up" : "down");
    }
  }

  /** Lets no packet pass between `host` and `others` any more; everybody else still hears them. */
  async cut(host: string, others: readonly string[]): Promise<void> {
    await this.#blackholes("add", host, others);
  }

  /** Undoes {@linkcode cut}. */
  async heal(host: string, others: readonly string[]): Promise<void> {
    await this.#blackholes("del", host, others);
  }

  /** Ids of the processes that run on a host. */
  async pids(host: string): Promise<number[]> {
    const { stdout } = await run(["ip", "netns", "pids", this.namespace(host)]);
    return stdout.split("\n").map(Number).filter((pid) => pid > 1);
  }

  /** Ends every process of a host with SIGKILL. */
  async killAll(host: string): Promise<void> {
    for (const pid of await this.pids(host)) {
      try {
        Deno.kill(pid, "SIGKILL");
      } catch {
        // It ended by itself meanwhile.
      }
    }
  }

  /** Ends all processes on the hosts and takes everything away. */
  async remove(): Promise<void> {
    await this.#guardian.stdin.close().catch(() => {});
    await this.#guardian.status;
  }

  get #switch(): string {
    return `bsc-${this.#id}-switch`;
  }

  #plan(host: string): HostPlan {
    const plan = this.#hosts.get(host);
    if (!plan) throw new Error(`there is no host ${host}`);
    return plan;
  }

  #ip(host: string, ...args: string[]): Promise<string> {
    return must(["ip", "-n", this.namespace(host), ...args]);
  }

  #ipSwitch(...args: string[]): Promise<string> {
    return must(["ip", "-n", this.#switch, ...args]);
  }

  async #build(): Promise<void> {
    await must(["ip", "netns", "add", this.#switch]);
    for (const bridge of ["lan0", "lan1"]) {
      await this.#ipSwitch("link", "add", bridge, "type", "bridge");
      await this.#ipSwitch("link", "set", bridge, "up");
    }
    for (const { name, number, networks } of this.#hosts.values()) {
      const namespace = this.namespace(name);
      await must(["ip", "netns", "add", namespace]);
      await this.#ip(name, "link", "set", "lo", "up");
      for (const network of networks) {
        const [port, nic] = [`${name}-${network}`, `eth${network}`];
        const peer = ["peer", "name", nic, "netns", namespace];
        await this.#ipSwitch("link", "add", port, "type", "veth", ...peer);
        await this.#ipSwitch("link", "set", port, "master", `lan${network}`, "up");
        await this.#ip(name, "address", "add", `10.88.${network}.${number}/24`, "dev", nic);
        await this.#ip(name, "link", "set", nic, "up");
      }
    }
  }

  /** Both directions: a host sends nothing to a blackhole, and takes nothing that claims to be it. */
  async #blackholes(verb: "add" | "del", host: string, others: readonly string[]): Promise<void> {
    const pairs = others.flatMap((other) => [[host, other], [other, host]] as const);
    for (const [from, to] of pairs) {
      for (const network of this.#plan(to).networks) {
        await this.#ip(from, "route", verb, "blackhole", `${this.address(to, network)}/32`);
      }
    }
  }
}
