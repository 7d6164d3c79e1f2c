/** keepalived: VRRPv3. Its dead time is three advertisements and a skew. */
import { output } from "../processes.ts";
import type { Cluster, Contender } from "./contender.ts";
import { MachineRoom } from "./machine_room.ts";
import type { NodeName, Site } from "./site.ts";

/** keepalived that advertises every so many milliseconds. */
export function keepalived(advertisement: number): Contender {
  return {
    name: "keepalived",
    deadtime: Math.round(3 * advertisement + advertisement * (256 - 100) / 256),
    movesService: false,
    needs: ["keepalived"],
    async version() {
      return (await output("sh", ["-c", "keepalived --version 2>&1"])).split("\n")[0]!;
    },
    prepare(site, directory) {
      return Promise.resolve(new Keepalived(site, directory, advertisement));
    },
  };
}

class Keepalived implements Cluster {
  readonly #room: MachineRoom;
  readonly #configuration: string;

  constructor(site: Site, directory: string, advertisement: number) {
    this.#room = new MachineRoom(site, directory, ["/etc/keepalived", "/var/log"]);
    this.#configuration = `
global_defs {
  vrrp_version 3
}
vrrp_instance V {
  state BACKUP
  nopreempt
  interface ${site.nic}
  virtual_router_id 51
  priority 100
  advert_int ${advertisement / 1000}
  virtual_ipaddress {
    ${site.virtualAddress}/24 dev ${site.nic}
  }
}
`;
  }

  start(node: NodeName): Promise<void> {
    this.#room.furnish(node);
    const file = `${this.#room.root(node)}/etc/keepalived/keepalived.conf`;
    Deno.writeTextFileSync(file, this.#configuration);
    this.#room.run(node, ["keepalived", "-n", "-l", "-f", "/etc/keepalived/keepalived.conf"]);
    return Promise.resolve();
  }

  startRest(): Promise<void> {
    return Promise.resolve();
  }

  ready(_active: NodeName, standby: NodeName): Promise<boolean> {
    return Promise.resolve(this.#room.log(standby).includes("Entering BACKUP STATE"));
  }

  /** What `systemctl stop keepalived` does. */
  async handOver(active: NodeName): Promise<void> {
    const [parent] = (await this.agents(active)).sort((one, other) => one - other);
    if (parent !== undefined) Deno.kill(parent, "SIGTERM");
  }

  async rejoin(node: NodeName): Promise<void> {
    for (let n = 0; n < 100 && (await this.agents(node)).length > 0; n++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await this.start(node);
  }

  agents(node: NodeName): Promise<number[]> {
    return this.#room.processes(node, ["keepalived"]);
  }
}
