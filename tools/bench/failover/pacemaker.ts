/** Corosync and Pacemaker with one IPaddr2, no fencing. Corosync's real dead time is about twice `token`. */
import { output } from "../processes.ts";
import type { Cluster, Contender } from "./contender.ts";
import { MachineRoom } from "./machine_room.ts";
import { type NodeName, NODES, type Site } from "./site.ts";

const OWN = [
  "/etc/corosync",
  "/etc/pacemaker",
  "/var/lib/corosync",
  "/var/lib/pacemaker",
  "/var/log",
];

const START = `corosync -f &
n=0
until corosync-cfgtool -s >/dev/null 2>&1 || [ $n = 50 ]; do sleep 0.1; n=$((n + 1)); done
exec pacemakerd -f`;

/** Pacemaker on Corosync with this token time, milliseconds. */
export function pacemaker(token: number): Contender {
  return {
    name: "pacemaker",
    deadtime: token,
    movesService: false,
    needs: ["pacemakerd", "corosync", "crm", "crm_mon", "crm_attribute"],
    async version() {
      const said = [
        await output("pacemakerd", ["--version"]),
        await output("corosync", ["-v"]),
      ];
      return said.map((text) => text.split("\n")[0]).join(", ");
    },
    prepare(site, directory) {
      return Promise.resolve(new Pacemaker(site, directory, token));
    },
  };
}

class Pacemaker implements Cluster {
  readonly #room: MachineRoom;
  readonly #site: Site;
  readonly #token: number;
  readonly #furnished = new Set<NodeName>();

  constructor(site: Site, directory: string, token: number) {
    this.#site = site;
    this.#room = new MachineRoom(site, directory, OWN);
    this.#token = token;
  }

  start(node: NodeName): Promise<void> {
    if (!this.#furnished.has(node)) this.#furnish(node);
    this.#room.run(node, ["sh", "-c", START]);
    return Promise.resolve();
  }

  async startRest(): Promise<void> {
    const { virtualAddress, nic } = this.#site;
    const file = `${this.#room.root("b")}/var/log/site.crm`;
    Deno.writeTextFileSync(
      file,
      `property stonith-enabled=false no-quorum-policy=ignore
rsc_defaults resource-stickiness=1000
primitive vip ocf:heartbeat:IPaddr2 params ip=${virtualAddress} cidr_netmask=24 nic=${nic} \
op monitor interval=10s
`,
    );
    const deadline = performance.now() + 60_000;
    while (!(await this.#monitor("b")).includes("Online: [ node-a node-b")) {
      if (performance.now() > deadline) throw new Error("pacemaker: its nodes do not meet");
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    await this.#ask("b", ["crm", "configure", "load", "update", "/var/log/site.crm"]);
  }

  async ready(active: NodeName, _standby: NodeName): Promise<boolean> {
    const shown = await this.#monitor(active);
    return shown.includes("Online: [ node-a node-b") && shown.includes(`Started node-${active}`);
  }

  async handOver(active: NodeName): Promise<void> {
    const standby = ["-N", `node-${active}`, "-n", "standby", "-v", "on", "-l", "forever"];
    await this.#ask(active, ["crm_attribute", ...standby]);
  }

  async rejoin(node: NodeName): Promise<void> {
    const standby = ["-N", `node-${node}`, "-n", "standby", "-D", "-l", "forever"];
    await this.#ask(node, ["crm_attribute", ...standby]);
    await new Promise((resolve) => setTimeout(resolve, 3000));
  }

  agents(node: NodeName): Promise<number[]> {
    return this.#room.processes(node);
  }

  async #monitor(node: NodeName): Promise<string> {
    return await this.#ask(node, ["crm_mon", "-1"]) ?? "";
  }

  #ask(node: NodeName, command: readonly string[]): Promise<string | null> {
    return this.#room.ask(node, "corosync", command);
  }

  #furnish(node: NodeName): void {
    this.#furnished.add(node);
    this.#room.furnish(node);
    const root = this.#room.root(node);
    for (const name of ["crmsh", "corosync", "pacemaker"]) {
      Deno.mkdirSync(`${root}/var/log/${name}`, { recursive: true });
    }
    new Deno.Command("chown", { args: ["hacluster:haclient", `${root}/var/log/pacemaker`] })
      .outputSync();
    const nodes = NODES.map((each, index) =>
      `  node {
    ring0_addr: ${this.#site.address(each)}
    name: node-${each}
    nodeid: ${index + 1}
  }
`
    );
    Deno.writeTextFileSync(
      `${root}/etc/corosync/corosync.conf`,
      `totem {
  version: 2
  cluster_name: bench
  transport: knet
  crypto_cipher: none
  crypto_hash: none
  token: ${this.#token}
}
nodelist {
${nodes.join("")}}
quorum {
  provider: corosync_votequorum
  two_node: 1
}
logging {
  to_logfile: yes
  logfile: /var/log/corosync/corosync.log
  timestamp: hires
}
`,
    );
  }
}
