/**
 * Reads `[volumes.NAME]`: size, protocol, export and the disks that hold the replicas.
 *
 * @module
 */

import { type Endpoint, parseEndpoint } from "./address.ts";
import { type ExportContext, readExport } from "./exports.ts";
import { checkPlainName } from "./names.ts";
import type { NodeSet } from "./nodes.ts";
import type { Place, Problems } from "./problem.ts";
import {
  absolutePath,
  array,
  boolean,
  choice,
  duration,
  fail,
  type Field,
  integer,
  placed,
  type Reader,
  readTable,
  size,
  table,
  type TableReader,
  text,
} from "./schema.ts";
import { readResync, SPLIT_BRAIN_POLICIES, verifyInterval } from "./resync.ts";
import { didYouMean } from "./suggest.ts";
import type { TomlEntry, TomlTable } from "./toml.ts";
import type { ReplicaConfig, VolumeConfig } from "./types.ts";
import { formatSize } from "./units.ts";

/** Bytes of one bit in the dirty bitmap, hence the unit of a volume's size. */
const BLOCK = 4096;
/** Block numbers of the replica's metadata have 32 bits. */
const MAX_SIZE = 16 * 2 ** 40;
const MAX_REPLICAS = 2;
/** What DRBD allows, too: fewer extents thrash, more do not fit the ring. */
const AL_EXTENTS = { least: 67, most: 65534 };

/** What later sections may refer to, kept even where a volume has errors of its own. */
export interface VolumeSet {
  /** Every name in the file, with the nodes that are named as replicas. */
  readonly declared: ReadonlyMap<string, VolumeDeclaration>;
  /** The volumes without errors. */
  readonly volumes: readonly VolumeConfig[];
}

/** A volume as groups see it. */
export interface VolumeDeclaration {
  readonly at: Place;
  readonly replicaNodes: readonly string[];
  /** The file leaves the export to the default, which lies below the runtime directory. */
  readonly defaultExport: boolean;
}

/** What volumes are checked against. */
export interface VolumeContext extends ExportContext {
  readonly nodes: NodeSet;
  /** Milliseconds; nothing if the file has no usable deadtime. */
  readonly deadtime: number | undefined;
}

/** Default of `freeze_limit`, in milliseconds, unless deadtime is long. */
const FREEZE_LIMIT = 60_000;

/** Reads all volumes and checks them against nodes and each other. */
export function readVolumes(volumes: TomlTable | undefined, context: VolumeContext): VolumeSet {
  const declared = new Map<string, VolumeDeclaration>();
  const good: VolumeConfig[] = [];
  for (const [name, entry] of volumes?.entries ?? []) {
    const { declaration, volume } = readVolume(name, entry, context);
    declared.set(name, declaration);
    if (volume !== undefined) good.push(volume);
  }
  return { declared, volumes: good };
}

function readVolume(
  name: string,
  entry: TomlEntry,
  context: VolumeContext,
): { declaration: VolumeDeclaration; volume: VolumeConfig | undefined } {
  const { problems } = context;
  const named = checkPlainName(name, entry.at, problems);
  const body = table(entry.value, problems);
  const nothing = { at: entry.at, replicaNodes: [], defaultExport: false };
  if (body === undefined) return { declaration: nothing, volume: undefined };
  return readTable(body, problems, (reader) => {
    const bytes = reader.required("size", volumeSize, `"20GiB"`);
    const protocol = reader.optional("protocol", choice(["A", "B", "C"]));
    const defaultExport = !body.entries.has("export");
    const socket = readExport(reader, named ? name : undefined, entry.at, context);
    const afterPowerLoss = reader.optional("after_power_loss", choice(["wait", "go"]));
    const soleBoot = reader.optional("sole_boot", boolean);
    const io = reader.optional("io", choice(["buffered", "direct"]));
    const timeout = reader.optional("timeout", duration());
    const freezeLimit = reader.optional("freeze_limit", duration(2 * (context.deadtime ?? 0)));
    const encrypt = reader.optional("encrypt", boolean);
    const onIoError = reader.optional("on_io_error", choice(["detach", "hand-over"]));
    const alExtents = reader.optional("al_extents", activityLogExtents);
    reader.refused(
      "device",
      "attaching a kernel device is not in this version; " +
        "remove the key and connect an NBD client to the export",
    );
    const verify = reader.optional("verify", verifyInterval);
    const verifyRepair = reader.optional("verify_repair", boolean);
    const afterSplitBrain = reader.optional("after_split_brain", choice(SPLIT_BRAIN_POLICIES));
    const resync = readResync(reader.optional("resync", table)?.value, problems);
    const section = reader.section("replicas");
    const replicas = section === undefined ? undefined : readReplicas(section, context);

    const declaration = { at: entry.at, replicaNodes: replicas?.nodes ?? [], defaultExport };
    if (!bytes || !socket || !replicas) return { declaration, volume: undefined };
    const volume: VolumeConfig = {
      name,
      size: bytes.value,
      protocol: protocol?.value ?? "C",
      export: socket,
      afterPowerLoss: afterPowerLoss?.value ?? "wait",
      soleBoot: soleBoot?.value ?? false,
      io: io?.value ?? "buffered",
      timeout: timeout?.value ?? 2 * (context.deadtime ?? 0),
      freezeLimit: freezeLimit?.value ?? Math.max(FREEZE_LIMIT, 10 * (context.deadtime ?? 0)),
      ...(encrypt?.value === true ? { encrypt: true } : {}),
      onIoError: onIoError?.value ?? "detach",
      alExtents: alExtents?.value ?? "auto",
      resync,
      verify: { every: verify?.value ?? null, repair: verifyRepair?.value ?? false },
      afterSplitBrain: afterSplitBrain?.value ?? "disconnect",
      replicas: replicas.replicas,
    };
    return { declaration, volume };
  });
}

const volumeSize: Reader<number> = (value, problems) => {
  const bytes = size(value, problems);
  if (bytes === undefined) return undefined;
  if (bytes === 0) return fail(value, "a volume of size 0 holds nothing; give it a size", problems);
  if (bytes > MAX_SIZE) {
    return fail(value, "a volume has at most 16TiB; split it into several volumes", problems);
  }
  if (bytes % BLOCK === 0) return bytes;
  const rounded = formatSize(Math.ceil(bytes / BLOCK) * BLOCK);
  return fail(
    value,
    `${bytes} bytes is not a multiple of ${BLOCK}; write "${rounded}"`,
    problems,
  );
};

const activityLogExtents: Reader<number | "auto"> = (value, problems) => {
  if (value.kind !== "string") return integer(AL_EXTENTS.least, AL_EXTENTS.most)(value, problems);
  if (value.value === "auto") return "auto";
  const { least, most } = AL_EXTENTS;
  const word = JSON.stringify(value.value);
  return fail(value, `${word} is not "auto" or a number from ${least} to ${most}`, problems);
};

function readReplicas(
  section: TomlTable,
  context: VolumeContext,
): { nodes: string[]; replicas: ReplicaConfig[] } {
  const { problems } = context;
  const count = section.entries.size;
  if (count < 1 || count > MAX_REPLICAS) {
    problems.error(
      section.at,
      `${count} replicas; a volume has 1 or ${MAX_REPLICAS}, one line each: ` +
        'NODE = { disk = "/dev/sdb", address = "192.0.2.1:6941" }',
    );
  }
  const nodes: string[] = [];
  const replicas: ReplicaConfig[] = [];
  let first: { family: 4 | 6; key: string } | undefined;
  for (const [node, entry] of section.entries) {
    if (checkDataNode(node, entry.at, "hold a replica", context.nodes, problems)) nodes.push(node);
    const body = table(entry.value, problems);
    if (body === undefined) continue;
    const replica = readTable(body, problems, (reader) => readReplica(node, reader, context));
    if (replica === undefined) continue;
    const { endpoint: { ip }, config, at } = replica;
    if (first !== undefined && first.family !== ip.family) {
      problems.error(
        at,
        `this is IPv${ip.family} and ${first.key} is IPv${first.family}; ` +
          "both replicas must be on one network",
      );
    }
    first ??= { family: ip.family, key: at.key };
    replicas.push(config);
  }
  return { nodes, replicas };
}

function readReplica(node: string, reader: TableReader, context: VolumeContext) {
  const { claims, problems } = context;
  const disk = reader.required("disk", absolutePath, `"/dev/sdb"`);
  const metaDisk = reader.optional("meta_disk", metaDiskPath);
  for (const field of [disk, metaDisk]) {
    if (field === undefined || field.value === "internal") continue;
    claims.claim(`disk ${field.value} of ${node}`, field.at, problems);
  }
  const addresses = reader.required("address", endpoints, `"192.0.2.1:6941"`)?.value ?? [];
  for (const { value, at } of addresses) {
    claims.claim(`address ${value.text}`, at, problems);
    claims.note(`host ${value.ip.text}`, at);
  }
  const [address, ...more] = addresses;
  if (!disk || !address) return undefined;
  const config: ReplicaConfig = {
    node,
    disk: disk.value,
    metaDisk: metaDisk?.value ?? "internal",
    host: address.value.ip.text,
    port: address.value.port,
    ...(more.length === 0
      ? {}
      : { more: more.map(({ value }) => ({ host: value.ip.text, port: value.port })) }),
  };
  return { config, endpoint: address.value, at: address.at };
}

/** One replication address, or several in order of preference. */
const endpoints: Reader<readonly Field<Endpoint>[]> = (value, problems) => {
  if (value.kind === "array") return array(placed(endpoint), 1, "addresses")(value, problems);
  const one = placed(endpoint)(value, problems);
  return one === undefined ? undefined : [one];
};

const metaDiskPath: Reader<string> = (value, problems) =>
  value.kind === "string" && value.value === "internal"
    ? "internal"
    : absolutePath(value, problems);

const endpoint: Reader<Endpoint> = (value, problems) => {
  const address = text(value, problems);
  if (address === undefined) return undefined;
  const read = parseEndpoint(address);
  return "error" in read ? fail(value, read.error, problems) : read.value;
};

/** Checks that a name is a node's and that this node has data. Returns whether both are so. */
export function checkDataNode(
  name: string,
  at: Place,
  purpose: string,
  nodes: NodeSet,
  problems: Problems,
): boolean {
  const node = nodes.declared.get(name);
  if (node === undefined) {
    const known = [...nodes.declared.keys()];
    const hint = didYouMean(name, known) || `; the nodes are ${known.join(", ")}`;
    problems.error(at, `there is no node ${JSON.stringify(name)}${hint}`);
    return false;
  }
  if (node.witness) {
    problems.error(at, `${name} is a witness and cannot ${purpose}; name a node that has data`);
    return false;
  }
  return true;
}
