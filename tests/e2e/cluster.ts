/**
 * A whole cluster for a test: two nodes, a witness and a client, made of the compiled `dist/bascule`
 * in network namespaces, with one volume `data` and one group `web`.
 *
 * A test says what happens and waits for conditions, never for a time:
 *
 * ```ts
 * e2eTest("the other node takes over", [], () =>
 *   withCluster({}, async (cluster) => {
 *     await cluster.start();
 *     await cluster.alpha.powerCut();
 *     await cluster.waitForOwner(cluster.beta);
 *   }));
 * ```
 *
 * When a test fails, its error carries the last lines of every agent's log.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createKeyFile } from "../../src/config/key_file.ts";
import { basculeExecutable } from "../executable.ts";
import { type HostPlan, must, Network } from "./network.ts";
import { Node } from "./node.ts";

/** The address that moves with group web. */
export const VIRTUAL_ADDRESS = "10.88.0.10";
/** Milliseconds. Long enough that a loaded machine does not lose a node that lives. */
export const DEADTIME = 2000;
/** Longest wait for any condition, milliseconds: no test depends on how long it really takes. */
const PATIENCE = 60_000;
const MIB = 1 << 20;

const HOSTS: readonly HostPlan[] = [
  { name: "alpha", number: 1, networks: [0, 1] },
  { name: "beta", number: 2, networks: [0, 1] },
  { name: "witness", number: 9, networks: [0, 1] },
  { name: "client", number: 100, networks: [0] },
];
const SPARE: HostPlan = { name: "spare", number: 8, networks: [0, 1] };
/** Address of the client. */
export const CLIENT_ADDRESS = "10.88.0.100";

/** What differs between the clusters of tests. */
export interface ClusterOptions {
  /** Default 64. */
  readonly sizeMiB?: number;
  /** Default C. */
  readonly protocol?: "A" | "B" | "C";
  /** TOML of `export`, the same for all volumes; default: none. */
  readonly export?: (network: Network) => string;
  /** A second, small volume of the group. */
  readonly second?: string;
  /** TOML of the resources after volume and address; default: none. */
  readonly resources?: readonly string[];
  /** More lines of `[cluster]` and of `[groups.web]`. */
  readonly cluster?: readonly string[];
  readonly group?: readonly string[];
  /** Without a witness, in this quorum mode. */
  readonly pair?: "fencing" | "survivor";
  /** One more machine, `spare`, that no configuration names yet. */
  readonly spare?: boolean;
}

/** Makes a cluster, hands it to `test`, and takes everything away again. */
export async function withCluster(
  options: ClusterOptions,
  test: (cluster: Cluster) => Promise<void>,
): Promise<void> {
  const executable = await basculeExecutable();
  const network = await Network.create(options.spare ? [...HOSTS, SPARE] : HOSTS);
  let cluster: Cluster | undefined;
  try {
    cluster = new Cluster(network, executable, options);
    await test(cluster);
  } catch (error) {
    const words = cluster?.lastWords() ?? "";
    throw new Error(`${error instanceof Error ? error.message : error}\n${words}`, {
      cause: error,
    });
  } finally {
    for (const node of cluster?.nodes ?? []) await node.discard();
    await network.remove();
  }
}

/** Two nodes and a witness; `client` is a host of the network without an agent. */
export class Cluster {
  readonly network: Network;
  readonly alpha: Node;
  readonly beta: Node;
  readonly witness: Node;
  readonly spare: Node | null;
  /** Bytes of volume data. */
  readonly size: number;
  readonly #volumes: readonly string[];
  readonly #pair: "fencing" | "survivor" | undefined;

  constructor(network: Network, executable: string, options: ClusterOptions) {
    this.network = network;
    this.alpha = new Node("alpha", network, executable);
    this.beta = new Node("beta", network, executable);
    this.witness = new Node("witness", network, executable);
    this.spare = options.spare ? new Node("spare", network, executable) : null;
    this.size = (options.sizeMiB ?? 64) * MIB;
    this.#volumes = ["data", ...(options.second === undefined ? [] : [options.second])];
    this.#pair = options.pair;
    createKeyFile(this.key);
    if (options.pair === "fencing") this.#writeFence();
    Deno.writeTextFileSync(this.configuration, this.#toml(options));
  }

  /** Path of the one configuration. */
  get configuration(): string {
    return `${this.network.directory}/bascule.toml`;
  }

  /** Path of the cluster's key. */
  get key(): string {
    return `${this.network.directory}/key`;
  }

  /** Path of a file; while it is there, the fence command fails. */
  get fenceFault(): string {
    return `${this.network.directory}/no-fence`;
  }

  /** What the fence command was asked, one `by action node` each. */
  get fences(): string[] {
    try {
      return Deno.readTextFileSync(`${this.network.directory}/fences`).trimEnd().split("\n");
    } catch {
      return [];
    }
  }

  /** Kills by id whatever runs on the machine, and confirms when nothing is left. */
  #writeFence(): void {
    const { directory } = this.network;
    const script = `#!/bin/sh
ns=${this.network.namespace("")}$BASCULE_FENCE_NODE
echo "$BASCULE_NODE $BASCULE_FENCE_ACTION $BASCULE_FENCE_NODE" >>${directory}/fences
if [ -e ${this.fenceFault} ]; then echo "the switch does not answer"; exit 1; fi
for pid in $(ip netns pids "$ns"); do kill -9 "$pid"; done
sleep 0.2
[ -z "$(ip netns pids "$ns")" ]
`;
    Deno.writeTextFileSync(`${directory}/fence`, script, { mode: 0o755 });
  }

  /** All that have an agent: two or three, and the spare one. */
  get nodes(): readonly Node[] {
    if (this.#pair !== undefined) return [this.alpha, this.beta];
    const three = [this.alpha, this.beta, this.witness];
    return this.spare === null ? three : [...three, this.spare];
  }

  /** Edits the configuration, which all nodes read: as if it were copied to every one of them. */
  reconfigure(...edits: readonly (readonly [from: string, to: string])[]): void {
    let text = Deno.readTextFileSync(this.configuration);
    for (const [from, to] of edits) {
      assert.ok(text.includes(from), `the configuration does not hold ${from}`);
      text = text.replaceAll(from, to);
    }
    Deno.writeTextFileSync(this.configuration, text);
  }

  /** The node with data that is not `node`. */
  other(node: Node): Node {
    return node === this.alpha ? this.beta : this.alpha;
  }

  /** Makes the replicas, starts the agents, waits until alpha runs the group with both in sync. */
  async start(): Promise<void> {
    await this.createVolumes();
    for (const node of [this.alpha, this.beta, this.witness]) node.start();
    await this.waitForOwner(this.alpha);
    await this.waitInSync(this.alpha);
  }

  /** Runs `bascule volume create data` on both nodes. */
  async createVolumes(): Promise<void> {
    for (const node of [this.alpha, this.beta]) {
      for (const volume of this.#volumes) await must(node.command("volume", "create", volume));
    }
  }

  /** Waits until this node says that it runs the group. */
  waitForOwner(node: Node): Promise<void> {
    return this.until(`${node.name} runs the group`, async () => {
      const group = await node.group();
      return group?.owner === node.name && group.state === "running";
    });
  }

  /** Waits until one of the nodes runs the group, in an epoch above `epoch`, and gives it. */
  async waitForAnyOwner(epoch = 0): Promise<Node> {
    let owner: Node | undefined;
    await this.until(`a node runs the group in an epoch above ${epoch}`, async () => {
      for (const node of [this.alpha, this.beta]) {
        const group = await node.group();
        const here = group?.owner === node.name && group.state === "running";
        if (here && (group.epoch ?? 0) > epoch) owner = node;
      }
      return owner !== undefined;
    });
    return owner!;
  }

  /** Waits until Primary and Secondary both know that both replicas are up to date. */
  waitInSync(primary: Node): Promise<void> {
    return this.until("both replicas are up to date", async () => {
      const volume = await primary.volume();
      if (volume?.upToDate.length !== 2 || volume.connection !== "Connected") return false;
      return (await this.other(primary).volume())?.disk === "UpToDate";
    });
  }

  /** Epoch of the group as this node knows it. */
  async epoch(node: Node): Promise<number> {
    const epoch = (await node.group())?.epoch;
    assert.ok(epoch !== undefined, `${node.name} does not know the group's epoch`);
    return epoch;
  }

  /** Whether the data of both replicas, the first bytes of their backing files, are the same. */
  async sameData(): Promise<boolean> {
    const { success } = await new Deno.Command("cmp", {
      args: ["--quiet", `--bytes=${this.size}`, this.alpha.disk, this.beta.disk],
    }).output();
    return success;
  }

  /** Waits for {@linkcode sameData}. */
  waitForSameData(): Promise<void> {
    return this.until("the data of both replicas are identical", () => this.sameData());
  }

  /** Waits for a condition; fails with `what` when it does not come. */
  async until(what: string, probe: () => boolean | Promise<boolean>): Promise<void> {
    const deadline = performance.now() + PATIENCE;
    do {
      if (await probe()) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    } while (performance.now() < deadline);
    assert.fail(`waited ${PATIENCE / 1000} s in vain: ${what}`);
  }

  /** The end of every agent's log. */
  lastWords(): string {
    return this.nodes.map((node) => {
      return `--- log of ${node.name}\n${node.log.trimEnd().split("\n").slice(-25).join("\n")}`;
    }).join("\n");
  }

  #toml(options: ClusterOptions): string {
    const { protocol = "C", resources = [], cluster = [], group = [], export: where } = options;
    const links = (node: Node) =>
      ([0, 1] as const).map((network) => `udp://${this.network.address(node.name, network)}:6940`);
    const replica = (node: Node, index: number) =>
      `${node.name} = { disk = "${node.disk}${index === 0 ? "" : index}", ` +
      `address = "${this.network.address(node.name, 1)}:${6941 + index}" }`;
    return [
      `[cluster]`,
      `name = "e2e"`,
      `key_file = "${this.key}"`,
      `keepalive = "200ms"`,
      `deadtime = "${DEADTIME}ms"`,
      `quorum = "${options.pair ?? "majority"}"`,
      ...(options.pair === "fencing" ? [`fence_delay = "1s"`] : []),
      ...cluster,
      ...this.nodes.filter((node) => node !== this.spare).flatMap((node) => [
        `[nodes.${node.name}]`,
        `links = ${JSON.stringify(links(node))}`,
        ...(node === this.witness ? [`witness = true`] : []),
        ...(options.pair === "fencing"
          ? [`fence = { command = ["${this.network.directory}/fence"], timeout = "10s" }`]
          : []),
      ]),
      ...this.#volumes.flatMap((volume, index) => [
        `[volumes.${volume}]`,
        `size = "${index === 0 ? this.size / MIB : 8}MiB"`,
        `protocol = "${protocol}"`,
        ...(where === undefined ? [] : [`export = ${where(this.network)}`]),
        `[volumes.${volume}.replicas]`,
        replica(this.alpha, index),
        replica(this.beta, index),
      ]),
      `[groups.web]`,
      `prefer = ["alpha"]`,
      ...group,
      `resources = [`,
      ...this.#volumes.map((volume) => `  "volume:${volume}",`),
      `  "ip:${VIRTUAL_ADDRESS}/24"`,
      ...resources.map((resource) => `  , ${resource}`),
      `]`,
      ``,
    ].join("\n");
  }
}
