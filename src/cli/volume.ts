/**
 * `bascule volume create` and `bascule volume status`: the replicas of this node.
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { optional } from "@optique/core/modifiers";
import { argument, option } from "@optique/core/primitives";
import { string } from "@optique/core/valueparser";
import { DiskError } from "../agent/dataplane/disk.ts";
import { type CreatedReplica, createReplica } from "../agent/volume_create.ts";
import { readReplica, type ReplicaOnDisk } from "../agent/volume_inspect.ts";
import type { Config, VolumeConfig } from "../config/types.ts";
import { AgentUnreachable, request } from "../status/client.ts";
import type { StatusDocument, VolumeStatus } from "../status/types.ts";
import { CommandError, defineCommand, EXIT } from "./command.ts";
import { type GlobalOptions, localNode, openConfig } from "./options.ts";
import { count, formatTable, printError, printLine } from "./output.ts";
import { formatBytes, progressLines } from "./progress.ts";
import { formatMicroseconds } from "./status_table.ts";

/** The command `volume create`. */
export const volumeCreateCommand = defineCommand(
  "create",
  message`Make this node's replica of a volume: its file, or the check of its device, and metadata.`,
  object({
    volume: argument(string({ metavar: "VOLUME" }), {
      description: message`A volume of the configuration.`,
    }),
    keepData: optional(option("--keep-data", {
      description: message`Begin the volume with what the disk holds; on one node only.`,
    })),
    force: optional(option("--force", {
      description: message`Take the disk whatever is on it. What is on it is lost.`,
    })),
  }),
  runVolumeCreate,
);

/** The command `volume status`. */
export const volumeStatusCommand = defineCommand(
  "status",
  message`Show volumes: from the agent if it runs, else from the disks of this node.`,
  object({
    volume: optional(argument(string({ metavar: "VOLUME" }), {
      description: message`Only this one.`,
    })),
    json: optional(option("--json", { description: message`For programs.` })),
  }),
  runVolumeStatus,
);

/** Exit code 0 when the replica was made; otherwise throws a {@link CommandError}. */
export function runVolumeCreate(
  options: GlobalOptions & {
    readonly volume: string;
    readonly keepData: boolean | undefined;
    readonly force: boolean | undefined;
  },
): Promise<number> {
  const config = openConfig(options);
  const node = localNode(config, options).name;
  const volume = findVolume(config, options.volume);
  const created = attempt(volume, () =>
    createReplica(volume, node, {
      force: options.force === true,
      keepData: options.keepData === true,
    }));
  for (const line of creationLines(volume, node, created)) printLine(line);
  return Promise.resolve(EXIT.done);
}

/** Exit code 0 when something could be shown of every volume asked for. */
export async function runVolumeStatus(
  options: GlobalOptions & {
    readonly volume: string | undefined;
    readonly json: boolean | undefined;
  },
): Promise<number> {
  const config = openConfig(options);
  const wanted = options.volume === undefined
    ? config.volumes
    : [findVolume(config, options.volume)];
  const names = new Set(wanted.map((volume) => volume.name));
  try {
    const answer = await request(config.paths.runtime, "GET", "/v1/status");
    const { volumes } = answer as StatusDocument;
    printVolumes(volumes.filter((volume) => names.has(volume.name)), options.json === true);
    return EXIT.done;
  } catch (error) {
    if (!(error instanceof AgentUnreachable)) throw error;
    printError(`${error.message}; from the disks of this node:`);
    return offline(wanted, localNode(config, options).name, options.json === true);
  }
}

/** A volume of the configuration by its name, or what is wrong with the name. */
export function findVolume(config: Config, name: string): VolumeConfig {
  const volume = config.volumes.find((candidate) => candidate.name === name);
  if (volume !== undefined) return volume;
  const names = config.volumes.map((candidate) => candidate.name).join(", ");
  throw new CommandError(
    `${config.file}: there is no volume ${name}; ${
      names === "" ? "none is named" : `name one of ${names}`
    }`,
    EXIT.usage,
  );
}

function attempt<T>(volume: VolumeConfig, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    throw new CommandError(`volume ${volume.name}: ${error.message}`);
  }
}

function creationLines(volume: VolumeConfig, node: string, created: CreatedReplica): string[] {
  const { disk, newFile, metaDisk, metaStart, metaBytes, replicaId, blank } = created;
  const content = {
    zero: "empty: it reads as zeroes, so that two new replicas need no first resync",
    unknown: "taken as unknown: one replica is copied to the other at the start",
    no: "kept: the volume begins with it, and the other replica is copied from here",
  }[blank];
  const others = volume.replicas.filter((replica) => replica.node !== node);
  const next = others.length === 0
    ? "next: bascule run"
    : `next: bascule volume create ${volume.name} on ${
      others.map((one) => one.node).join(", ")
    }, ` +
      `then bascule run on every node`;
  return [
    `volume ${volume.name}: replica ${replicaId} made on ${disk}${newFile ? ", a new file" : ""}`,
    `  data      ${volume.size} bytes, ${content}`,
    `  metadata  ${metaBytes} bytes at byte ${metaStart} of ${metaDisk}`,
    next,
  ];
}

function printVolumes(volumes: readonly VolumeStatus[], json: boolean): void {
  if (json) return printLine(JSON.stringify(volumes, null, 2));
  const rows = volumes.map((volume) => [
    volume.name,
    volume.role,
    volume.disk,
    volume.connection,
    volume.peers.map(({ node, disk, outOfSyncBytes }) =>
      `${node} ${disk}${outOfSyncBytes > 0 ? `, ${outOfSyncBytes} bytes out of sync` : ""}`
    ).join("; "),
    volume.upToDate.join(", "),
  ]);
  const header = ["VOLUME", "ROLE", "DISK", "CONNECTION", "PEERS", "UP TO DATE"];
  for (const line of formatTable(header, rows)) printLine(line);
  for (const line of volumes.flatMap(progressLines)) printLine(line);
  for (const volume of volumes) {
    for (const line of ioLines(volume)) printLine(line);
  }
}

/** What clients have asked for, and how long it took; nothing before the first request. */
function ioLines({ name, clients, io }: VolumeStatus): string[] {
  const used = Object.entries(io ?? {}).filter(([, { requests }]) => requests > 0);
  if (used.length === 0) return [];
  const rows = used.map(([kind, { requests, errors, bytes, latency }]) => [
    kind,
    String(requests),
    String(errors),
    kind === "flush" ? "-" : formatBytes(bytes),
    ...[latency.total, latency.queue, latency.disk, latency.replica].map(({ p50, p99 }) =>
      p50 === null || p99 === null ? "-" : `${formatMicroseconds(p50)}, ${formatMicroseconds(p99)}`
    ),
  ]);
  const header = ["REQUEST", "COUNT", "ERRORS", "BYTES", "TOTAL", "QUEUE", "DISK", "REPLICA"];
  return [
    "",
    `volume ${name}: ${
      count(clients ?? 0, "NBD client")
    }; latencies up to which 50 and 99 of 100 took`,
    ...formatTable(header, rows),
  ];
}

function offline(volumes: readonly VolumeConfig[], node: string, json: boolean): number {
  const found: ReplicaOnDisk[] = [];
  let failed = false;
  for (const volume of volumes) {
    if (!volume.replicas.some((replica) => replica.node === node)) continue;
    try {
      found.push(attempt(volume, () => readReplica(volume, node)));
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      failed = true;
      printError(error.message);
    }
  }
  if (json) {
    printLine(JSON.stringify(found, null, 2));
  } else {
    const rows = found.map((one) => [
      one.name,
      one.disk,
      one.state,
      String(one.epoch),
      one.generation,
      one.replicaId,
      one.clean ? "clean" : "not closed in order",
    ]);
    const header = ["VOLUME", "DISK", "STATE", "EPOCH", "GENERATION", "REPLICA", "STOP"];
    for (const line of formatTable(header, rows)) printLine(line);
  }
  return failed ? EXIT.failed : EXIT.done;
}
