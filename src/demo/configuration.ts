/**
 * The configuration that the demonstration writes for its three nodes.
 *
 * @module
 */
import { type NodeName, NODES, type Stage } from "./stage.ts";

/** Name of the volume and of the group. */
export const VOLUME = "data";
/** Name of the group. */
export const GROUP = "web";

/** Files of the demonstration, below one temporary directory. */
export class Files {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** State directory of a node: the disks of different machines are different directories. */
  state(node: NodeName): string {
    return `${this.directory}/${node}/state`;
  }

  /** Directory of a node's sockets. */
  runtime(node: NodeName): string {
    return `${this.directory}/${node}/run`;
  }

  /** The one configuration, the same for every node. */
  get configuration(): string {
    return `${this.directory}/bascule.toml`;
  }

  /** Backing file of a node's replica. */
  disk(node: NodeName): string {
    return `${this.directory}/${node}.img`;
  }

  /** The cluster's key. */
  get key(): string {
    return `${this.directory}/key`;
  }

  /** Log of a node's agent. */
  log(node: NodeName): string {
    return `${this.directory}/${node}/agent.log`;
  }
}

/** The TOML text. The service finds its node and its socket in the environment that it is given. */
export function configuration(
  stage: Stage,
  files: Files,
  self: readonly string[],
  sizeMiB: number,
): string {
  const service = [...self, "demo", "--role", "service"];
  const address = stage.virtualAddress === null ? "" : `"ip:${stage.virtualAddress}", `;
  return [
    `[cluster]`,
    `name = "demo"`,
    `key_file = ${JSON.stringify(files.key)}`,
    `keepalive = "200ms"`,
    `deadtime = "1s"`,
    `quorum = "majority"`,
    ``,
    ...NODES.flatMap((name) => [
      `[nodes.${name}]`,
      ...(name === "temoin" ? [`witness = true`] : []),
      `links = ${JSON.stringify(stage.links(name))}`,
      ``,
    ]),
    `[volumes.${VOLUME}]`,
    `size = "${sizeMiB}MiB"`,
    `protocol = "C"`,
    `[volumes.${VOLUME}.replicas]`,
    ...NODES.filter((name) => name !== "temoin").map((name) =>
      `${name} = { disk = ${JSON.stringify(files.disk(name))}, ` +
      `address = "${stage.replicaAddress(name)}" }`
    ),
    ``,
    `[groups.${GROUP}]`,
    `prefer = ["serveur-a"]`,
    `failback = "never"`,
    `resources = ["volume:${VOLUME}", ${address}`,
    `  { kind = "process", name = "records", command = ${JSON.stringify(service)} }]`,
    ``,
  ].join("\n");
}
