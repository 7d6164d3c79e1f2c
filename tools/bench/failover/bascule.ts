/** The contender from this repository: two nodes, a witness, a group of an address and a process. */
import { createKeyFile } from "../../../src/config/key_file.ts";
import { request } from "../../../src/status/client.ts";
import type { StatusDocument } from "../../../src/status/types.ts";
import { AGENTS, MAIN, runAgent, runtimeOf } from "./agents.ts";
import type { Cluster, Contender } from "./contender.ts";
import { responder } from "./responder.ts";
import { type HostName, type NodeName, otherNode, type Site } from "./site.ts";

/**
 * Bascule with this dead time; it says that it lives five times in it. Its group is an address and a
 * process, or the address alone, as with the others.
 */
export function bascule(deadtime: number, movesService = true): Contender {
  return {
    name: movesService ? "bascule" : "bascule-address",
    deadtime,
    movesService,
    needs: ["perl"],
    version: () => Promise.resolve(`from this repository, Deno ${Deno.version.deno}`),
    prepare(site, directory) {
      createKeyFile(`${directory}/key`);
      Deno.writeTextFileSync(
        `${directory}/bascule.toml`,
        toml(site, directory, deadtime, movesService),
      );
      return Promise.resolve(new BasculeCluster(site, directory));
    },
  };
}

function toml(
  site: Site,
  directory: string,
  deadtime: number,
  movesService: boolean,
): string {
  const command = JSON.stringify(responder("", site.virtualAddress));
  const service = `{ kind = "process", name = "web", command = ${command} },`;
  return `
[cluster]
name = "bench"
key_file = "${directory}/key"
keepalive = "${deadtime / 5}ms"
deadtime = "${deadtime}ms"
quorum = "majority"

${
    AGENTS.map((name) =>
      `[nodes.${name}]
${name === "witness" ? "witness = true\n" : ""}links = ["udp://${site.address(name)}:6940"]
`
    ).join("\n")
  }
[groups.web]
failback = "never"
resources = [
  "ip:${site.virtualAddress}/24",
  ${movesService ? service : ""}
]
`;
}

class BasculeCluster implements Cluster {
  readonly #site: Site;
  readonly #directory: string;

  constructor(site: Site, directory: string) {
    this.#site = site;
    this.#directory = directory;
  }

  start(node: NodeName): Promise<void> {
    runAgent(this.#site, node, this.#directory);
    return Promise.resolve();
  }

  startRest(): Promise<void> {
    runAgent(this.#site, "witness", this.#directory);
    return Promise.resolve();
  }

  async ready(active: NodeName, standby: NodeName): Promise<boolean> {
    for (const node of [active, standby]) {
      const status = await this.#status(node);
      const group = status?.groups.find(({ name }) => name === "web");
      if (group?.owner !== active || (node === active && group.state !== "running")) return false;
      if (status!.nodes.some(({ state }) => state !== "online")) return false;
    }
    return true;
  }

  async handOver(active: NodeName): Promise<void> {
    const command = { type: "move", group: "web", to: otherNode(active) };
    await request(runtimeOf(this.#directory, active), "POST", "/v1/command", command);
  }

  rejoin(): Promise<void> {
    return Promise.resolve();
  }

  async agents(node: NodeName): Promise<number[]> {
    const pids = await this.#site.pids(node);
    return pids.filter((pid) => {
      const command = Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0");
      return command.includes(MAIN) && command.includes("run");
    });
  }

  async #status(node: HostName): Promise<StatusDocument | null> {
    try {
      return await request(runtimeOf(this.#directory, node), "GET", "/v1/status") as StatusDocument;
    } catch {
      return null;
    }
  }
}
