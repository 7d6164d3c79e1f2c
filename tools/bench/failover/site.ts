/**
 * Where one contender plays: two nodes, a witness for who needs one, and a client, all on a switch of
 * their own. The client never asks again for an address that it knows, so that only an announcement
 * moves it.
 */
import { type Host, Namespaces } from "../../../src/demo/namespaces.ts";
import { output } from "../processes.ts";

/** The two nodes. */
export const NODES = ["a", "b"] as const;
/** One of them. */
export type NodeName = typeof NODES[number];
/** Every host of a site. */
export type HostName = NodeName | "witness" | "client";

const NUMBER: Record<HostName, number> = { a: 1, b: 2, client: 3, witness: 9 };
const HOSTS = Object.keys(NUMBER) as HostName[];

/** The other node. */
export function otherNode(node: NodeName): NodeName {
  return node === "a" ? "b" : "a";
}

/** All sites of a run, in namespaces of this process. */
export async function createSites(count: number): Promise<Site[]> {
  const hosts: Host[] = [];
  for (let site = 0; site < count; site++) {
    for (const name of HOSTS) {
      const addresses: (string | null)[] = new Array(count).fill(null);
      addresses[site] = `10.99.${site}.${NUMBER[name]}/24`;
      hosts.push({ name: hostName(site, name), addresses });
    }
  }
  const namespaces = await Namespaces.create(hosts, count);
  const sites = Array.from({ length: count }, (_, index) => new Site(namespaces, index));
  for (const site of sites) await site.pinClient();
  return sites;
}

function hostName(site: number, name: HostName): string {
  return `s${site}-${name}`;
}

/** One switch with its hosts. */
export class Site {
  /** The address that moves. */
  readonly virtualAddress: string;
  readonly #namespaces: Namespaces;
  readonly #index: number;

  constructor(namespaces: Namespaces, index: number) {
    this.#namespaces = namespaces;
    this.#index = index;
    this.virtualAddress = `10.99.${index}.100`;
  }

  /** Address of a host, without prefix length. */
  address(host: HostName): string {
    return `10.99.${this.#index}.${NUMBER[host]}`;
  }

  /** The interface of a host. */
  get nic(): string {
    return `eth${this.#index}`;
  }

  /** Command line that runs `command` on a host. */
  on(host: HostName, command: readonly string[]): string[] {
    return this.#namespaces.on(hostName(this.#index, host), command);
  }

  /** Switch port down, then SIGKILL for every process: nothing that dies can still speak. */
  async powerCut(node: NodeName): Promise<void> {
    await this.#namespaces.plug(hostName(this.#index, node), false);
    await this.#namespaces.powerCut(hostName(this.#index, node));
  }

  /** The machine is there again, with nothing running and nothing but its own address. */
  async powerOn(node: NodeName): Promise<void> {
    const { nic } = this;
    await this.ip(node, "address", "flush", "dev", nic);
    await this.ip(node, "address", "add", `${this.address(node)}/24`, "dev", nic);
    await this.#namespaces.plug(hostName(this.#index, node), true);
  }

  /** Cuts the two nodes apart, or joins them; both reach everybody else. */
  async isolate(on: boolean): Promise<void> {
    for (const node of NODES) {
      const port = `${hostName(this.#index, node)}-p${this.#index}`;
      await output("bridge", ["link", "set", "dev", port, "isolated", on ? "on" : "off"]);
    }
  }

  /** Processes that run on a host. */
  async pids(host: HostName): Promise<number[]> {
    const text = await output("ip", ["netns", "pids", hostName(this.#index, host)]);
    return text.split("\n").map(Number).filter((pid) => pid > 1);
  }

  /** Whether the moving address is on a node now. */
  async holds(node: NodeName): Promise<boolean> {
    const shown = await this.ip(node, "-o", "-4", "address", "show");
    return shown.includes(`${this.virtualAddress}/`);
  }

  /** Runs `ip` on a host. */
  ip(host: HostName, ...args: string[]): Promise<string> {
    return output("ip", ["-n", hostName(this.#index, host), ...args]);
  }

  /** See the file's comment. */
  async pinClient(): Promise<void> {
    const neigh = `net.ipv4.neigh.${this.nic}`;
    const settings = [`${neigh}.base_reachable_time_ms=7200000`, `${neigh}.gc_stale_time=86400`];
    const [program = "", ...args] = this.on("client", ["sysctl", "-qw", ...settings]);
    await output(program, args);
  }
}
