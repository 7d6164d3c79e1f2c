/** Heartbeat 3 with haresources, as it was used in 2005. */
import { output } from "../processes.ts";
import type { Cluster, Contender } from "./contender.ts";
import { MachineRoom } from "./machine_room.ts";
import { type NodeName, NODES, otherNode, type Site } from "./site.ts";

const PROGRAM = "/usr/libexec/heartbeat/heartbeat";
const OWN = ["/etc/ha.d", "/var/lib/heartbeat", "/var/log"];

/** Heartbeat with this keepalive and dead time, milliseconds. */
export function heartbeat(keepalive: number, deadtime: number): Contender {
  return {
    name: "heartbeat",
    deadtime,
    movesService: false,
    needs: ["cl_status"],
    async version() {
      return `Heartbeat ${(await output(PROGRAM, ["-V"])).trim()}`;
    },
    prepare(site, directory) {
      return Promise.resolve(new Heartbeat(site, directory, keepalive, deadtime));
    },
  };
}

class Heartbeat implements Cluster {
  readonly #room: MachineRoom;
  readonly #site: Site;
  readonly #keepalive: number;
  readonly #deadtime: number;

  constructor(site: Site, directory: string, keepalive: number, deadtime: number) {
    this.#site = site;
    this.#room = new MachineRoom(site, directory, OWN);
    this.#keepalive = keepalive;
    this.#deadtime = deadtime;
  }

  start(node: NodeName): Promise<void> {
    this.#room.furnish(node);
    const directory = `${this.#room.root(node)}/etc/ha.d`;
    const { virtualAddress, nic } = this.#site;
    const lines = [
      "logfile /var/log/ha-log",
      `keepalive ${this.#keepalive}ms`,
      `warntime ${this.#deadtime / 2}ms`,
      `deadtime ${this.#deadtime}ms`,
      `initdead ${Math.max(5000, 2 * this.#deadtime)}ms`,
      "udpport 694",
      ...NODES.map((each) => `ucast ${nic} ${this.#site.address(each)}`),
      "auto_failback off",
      ...NODES.map((each) => `node node-${each}`),
      "",
    ];
    Deno.writeTextFileSync(`${directory}/ha.cf`, lines.join("\n"));
    const resource = `IPaddr2::${virtualAddress}/24/${nic}`;
    Deno.writeTextFileSync(`${directory}/haresources`, `node-a ${resource}\n`);
    Deno.writeTextFileSync(`${directory}/authkeys`, "auth 1\n1 sha1 secret\n");
    Deno.chmodSync(`${directory}/authkeys`, 0o600);
    this.#room.run(node, [PROGRAM]);
    return Promise.resolve();
  }

  startRest(): Promise<void> {
    return Promise.resolve();
  }

  async ready(active: NodeName, standby: NodeName): Promise<boolean> {
    const held = await this.#status(standby, "rscstatus");
    if (held === null || held === "" || held === "transition" || held === "all") return false;
    for (const node of [active, standby]) {
      if (await this.#status(node, "nodestatus", `node-${otherNode(node)}`) !== "active") {
        return false;
      }
    }
    const own = await this.#status(active, "rscstatus");
    return own === "all" || own === "local";
  }

  async handOver(active: NodeName): Promise<void> {
    await this.#room.ask(active, "heartbeat", ["/usr/share/heartbeat/hb_standby", "all"]);
  }

  rejoin(): Promise<void> {
    // It takes no second stand-by so soon after the first.
    return new Promise((resolve) => setTimeout(resolve, 2000));
  }

  agents(node: NodeName): Promise<number[]> {
    return this.#room.processes(node);
  }

  async #status(node: NodeName, ...what: string[]): Promise<string | null> {
    const said = await this.#room.ask(node, "heartbeat", ["cl_status", ...what]);
    return said?.trim() ?? null;
  }
}
