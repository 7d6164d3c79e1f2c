/**
 * Where the demonstration plays: namespaces where the kernel allows them, else plain loopback.
 *
 * @module
 */
import { type Host, insidePrivateNamespaces, Namespaces } from "./namespaces.ts";

/** The nodes of the demonstration, by the names of its configuration. */
export const NODES = ["serveur-a", "serveur-b", "temoin"] as const;
/** One of them. */
export type NodeName = typeof NODES[number];

/** Port of the record service. */
export const SERVICE_PORT = 7000;

/** A place with two nodes, a witness and a client. */
export interface Stage {
  /** One line for the reader. */
  readonly description: string;
  /** Heartbeat addresses of a node, one a link. */
  links(node: NodeName): string[];
  /** Where a node's replica listens. */
  replicaAddress(node: NodeName): string;
  /** The virtual address in CIDR form; null where there can be none. */
  readonly virtualAddress: string | null;
  /** Addresses that the client tries in turn. */
  readonly clientTargets: readonly string[];
  /** Command line that runs `command` on a node or as the client. */
  on(host: NodeName | "client", command: readonly string[]): string[];
  /** Ends everything on a node with SIGKILL and pulls its cables, as a power cut does. */
  powerCut(node: NodeName, agent: number): Promise<void>;
  /** Plugs the cables in again. */
  powerOn(node: NodeName): Promise<void>;
  /** Takes everything away again. */
  remove(): Promise<void>;
}

const NUMBER: Record<NodeName, number> = { "serveur-a": 1, "serveur-b": 2, temoin: 9 };

/** Network namespaces: a LAN with a virtual address, and a second network for heartbeats and data. */
export async function namespaceStage(): Promise<Stage> {
  const hosts: Host[] = NODES.map((name) => ({
    name,
    addresses: [`10.77.0.${NUMBER[name]}/24`, `10.77.1.${NUMBER[name]}/24`],
  }));
  hosts.push({ name: "client", addresses: ["10.77.0.100/24", null] });
  const namespaces = await Namespaces.create(hosts, 2);
  return {
    description: "network namespaces: two servers, a witness and a client on two networks",
    links: (node) => [`udp://10.77.0.${NUMBER[node]}:6940`, `udp://10.77.1.${NUMBER[node]}:6940`],
    replicaAddress: (node) => `10.77.1.${NUMBER[node]}:6941`,
    virtualAddress: "10.77.0.10/24",
    clientTargets: ["10.77.0.10"],
    on: (host, command) => namespaces.on(host, command),
    async powerCut(node) {
      await namespaces.plug(node, false);
      await namespaces.powerCut(node);
    },
    powerOn: (node) => namespaces.plug(node, true),
    remove: () => namespaces.remove(),
  };
}

/**
 * Where the service of a node listens: everywhere on a host of its own, and on the node's own address
 * where all nodes share one host.
 */
export function serviceHost(node: string): string {
  const number = NUMBER[node as NodeName];
  return insidePrivateNamespaces() ? "0.0.0.0" : `127.77.0.${number}`;
}

/** Loopback: no virtual address and no cable to pull; the rest is the same. */
export function loopbackStage(): Stage {
  return {
    description: "loopback only: no virtual address here, and no cable to pull",
    links: (node) => [
      `udp://127.77.0.${NUMBER[node]}:6940`,
      `udp://127.77.1.${NUMBER[node]}:6940`,
    ],
    replicaAddress: (node) => `127.77.1.${NUMBER[node]}:6941`,
    virtualAddress: null,
    clientTargets: [`127.77.0.${NUMBER["serveur-a"]}`, `127.77.0.${NUMBER["serveur-b"]}`],
    on: (_host, command) => [...command],
    powerCut(_node, agent) {
      // Children first would let the agent notice; the agent first leaves nobody to restart them.
      const family = [agent, ...descendants(agent)];
      for (const pid of family) {
        try {
          Deno.kill(pid, "SIGKILL");
        } catch {
          // It ended by itself meanwhile.
        }
      }
      return Promise.resolve();
    },
    powerOn: () => Promise.resolve(),
    remove: () => Promise.resolve(),
  };
}

/** Process ids below `pid`, from /proc. */
function descendants(pid: number): number[] {
  const found: number[] = [];
  let threads: Deno.DirEntry[];
  try {
    threads = [...Deno.readDirSync(`/proc/${pid}/task`)];
  } catch {
    return found;
  }
  for (const thread of threads) {
    try {
      const children = Deno.readTextFileSync(`/proc/${pid}/task/${thread.name}/children`);
      for (const child of children.split(" ").map(Number).filter((child) => child > 0)) {
        found.push(child, ...descendants(child));
      }
    } catch {
      // The thread ended meanwhile.
    }
  }
  return found;
}
