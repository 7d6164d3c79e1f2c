/**
 * Reads the resources of a group, in the one-line form (`"ip:192.0.2.3/24"`) or as tables.
 *
 * @module
 */

import { parsePrefix } from "./address.ts";
import type { Claims } from "./claims.ts";
import { checkPlainName } from "./names.ts";
import type { Place, Problems } from "./problem.ts";
import { argv, userName, variables } from "./program.ts";
import {
  absolutePath,
  duration,
  fail,
  type Field,
  integer,
  type Reader,
  readTable,
  type TableReader,
  text,
} from "./schema.ts";
import { didYouMean } from "./suggest.ts";
import type { TomlTable, TomlValue } from "./toml.ts";
import type {
  CommandResource,
  IpResource,
  ProcessResource,
  ResourceBase,
  ResourceConfig,
  VolumeResource,
} from "./types.ts";
import type { VolumeDeclaration } from "./volumes.ts";

/** What resources are checked against. */
export interface ResourceContext {
  readonly volumes: ReadonlyMap<string, VolumeDeclaration>;
  readonly claims: Claims;
  readonly problems: Problems;
}

type Kind = ResourceConfig["kind"];

const KINDS: readonly Kind[] = ["volume", "ip", "process", "command"];
const LATER_KINDS = ["mount", "filesystem", "systemd", "ocf", "lsb", "heartbeat"];

const DEFAULTS = {
  startTimeout: 30_000,
  stopTimeout: 30_000,
  monitorInterval: 5_000,
  monitorTimeout: 10_000,
  restarts: 3,
  restartWindow: 300_000,
} as const;

const MAX_RESTARTS = 1000;

/** Reads one resource in either form. */
export function resource(context: ResourceContext): Reader<ResourceConfig> {
  return (value, problems) => {
    if (value.kind === "table") return fromTable(value, context);
    if (value.kind === "string") return fromLine(value, value.value, context);
    return fail(value, `write "KIND:NAME" or a table { kind = "…", … }`, problems);
  };
}

function fromLine(
  value: TomlValue,
  line: string,
  context: ResourceContext,
): ResourceConfig | undefined {
  const { problems } = context;
  const colon = line.indexOf(":");
  const kind = checkKind(colon < 0 ? line : line.slice(0, colon), value.at, problems);
  const rest = line.slice(colon + 1);
  switch (kind) {
    case undefined:
      return undefined;
    case "volume":
      return volumeResource({ value: colon < 0 ? "" : rest, at: value.at }, times(false), context);
    case "ip":
      return ipResource({ value: colon < 0 ? "" : rest, at: value.at }, times(true), {}, context);
    case "process":
      return needsTable(value, `{ kind = "process", name = "web", command = ["/usr/bin/web"] }`);
    case "command":
      return needsTable(
        value,
        `{ kind = "command", name = "web", start = ["/usr/bin/web", "start"], stop = […] }`,
      );
  }
  function needsTable(at: TomlValue, form: string): undefined {
    return fail(at, `a ${kind} needs the table form; write ${form}`, problems);
  }
}

function fromTable(value: TomlTable, context: ResourceContext): ResourceConfig | undefined {
  const { problems } = context;
  const written = value.entries.get("kind")?.value;
  const word = written === undefined ? undefined : text(written, problems);
  const kind = word === undefined ? undefined : checkKind(word, written?.at ?? value.at, problems);
  if (kind === undefined) {
    if (written === undefined) {
      fail(
        value,
        `this resource has no kind; add kind = "…", one of ${KINDS.join(", ")}`,
        problems,
      );
    }
    return undefined;
  }
  return readTable(value, problems, (reader) => {
    reader.optional("kind", text);
    return READERS[kind](reader, context);
  });
}

const READERS: Readonly<
  Record<Kind, (reader: TableReader, context: ResourceContext) => ResourceConfig | undefined>
> = { volume: readVolume, ip: readIp, process: readProcess, command: readCommand };

function checkKind(word: string, at: Place, problems: Problems): Kind | undefined {
  const kind = KINDS.find((known) => known === word);
  if (kind !== undefined) return kind;
  const known = `the kinds are ${KINDS.join(", ")}`;
  if (LATER_KINDS.includes(word)) {
    problems.error(at, `resources of kind ${word} are not in this version; ${known}`);
  } else {
    const guess = didYouMean(word, KINDS);
    problems.error(at, `${JSON.stringify(word)} is no kind of resource; ${known}${guess}`);
  }
  return undefined;
}

function readVolume(reader: TableReader, context: ResourceContext): VolumeResource | undefined {
  const volume = reader.required("volume", text, `"data"`);
  const base = readTimes(reader, false);
  return volume && volumeResource(volume, base, context);
}

function volumeResource(
  name: Field<string>,
  base: Times,
  { volumes, claims, problems }: ResourceContext,
): VolumeResource | undefined {
  if (!volumes.has(name.value)) {
    const known = [...volumes.keys()];
    const hint = didYouMean(name.value, known) ||
      (known.length === 0 ? "; add [volumes.NAME]" : `; the volumes are ${known.join(", ")}`);
    problems.error(name.at, `there is no volume ${JSON.stringify(name.value)}${hint}`);
    return undefined;
  }
  claims.claim(`volume ${name.value}`, name.at, problems);
  return { kind: "volume", id: `volume:${name.value}`, ...base, volume: name.value };
}

function readIp(reader: TableReader, context: ResourceContext): IpResource | undefined {
  const address = reader.required("address", text, `"192.0.2.3/24"`);
  const device = reader.optional("interface", interfaceName);
  const base = readTimes(reader, true);
  if (address === undefined) return undefined;
  return ipResource(address, base, device && { interface: device.value }, context);
}

function ipResource(
  address: Field<string>,
  base: Times,
  device: { readonly interface?: string } | undefined,
  { claims, problems }: ResourceContext,
): IpResource | undefined {
  const read = parsePrefix(address.value);
  if ("error" in read) {
    problems.error(address.at, read.error);
    return undefined;
  }
  const { ip, prefix } = read.value;
  const owner = claims.owner(`host ${ip.text}`);
  if (owner !== undefined) {
    problems.error(
      address.at,
      `${ip.text} is a node's own address, ${owner.key} (line ${owner.line}); ` +
        "an address that moves must be another one",
    );
  }
  claims.claim(`floating address ${ip.text}`, address.at, problems);
  const id = `ip:${ip.text}/${prefix}`;
  return { kind: "ip", id, ...base, address: ip.text, prefix, family: ip.family, ...device };
}

function readProcess(reader: TableReader, context: ResourceContext): ProcessResource | undefined {
  const id = readId("process", reader, context);
  const command = reader.required("command", argv, `["/usr/bin/web"]`);
  const environment = reader.optional("environment", variables);
  const directory = reader.optional("directory", absolutePath);
  const user = reader.optional("user", userName);
  const health = reader.optional("health", argv);
  const base = readTimes(reader, health !== undefined, context, "health");
  if (!id || !command) return undefined;
  return {
    kind: "process",
    id,
    ...base,
    command: command.value,
    environment: environment?.value ?? {},
    ...(directory && { directory: directory.value }),
    ...(user && { user: user.value }),
    ...(health && { health: health.value }),
  };
}

function readCommand(reader: TableReader, context: ResourceContext): CommandResource | undefined {
  const id = readId("command", reader, context);
  const start = reader.required("start", argv, `["/usr/bin/web", "start"]`);
  const stop = reader.required("stop", argv, `["/usr/bin/web", "stop"]`);
  const status = reader.optional("status", argv);
  const base = readTimes(reader, status !== undefined, context, "status");
  if (!id || !start || !stop) return undefined;
  return {
    kind: "command",
    id,
    ...base,
    start: start.value,
    stop: stop.value,
    ...(status && { status: status.value }),
  };
}

function readId(kind: Kind, reader: TableReader, context: ResourceContext): string | undefined {
  const name = reader.required("name", text, `"web"`);
  if (name === undefined) return undefined;
  if (!checkPlainName(name.value, name.at, context.problems)) return undefined;
  context.claims.claim(`resource name ${name.value}`, name.at, context.problems);
  return `${kind}:${name.value}`;
}

type Times = Omit<ResourceBase, "id">;

/** The defaults. `monitored`: there is something to run at an interval. */
function times(monitored: boolean): Times {
  return { ...DEFAULTS, monitorInterval: monitored ? DEFAULTS.monitorInterval : 0 };
}

/**
 * Reads timeouts and restart limits. `probe` names the key whose command the monitor runs: without
 * it an interval has nothing to do. Kinds that the agent watches by itself have no monitor keys.
 */
function readTimes(
  reader: TableReader,
  monitored: boolean,
  context?: ResourceContext,
  probe?: string,
): Times {
  const base = times(monitored);
  const interval = monitored || probe
    ? reader.optional("monitor_interval", duration(0))
    : undefined;
  const timeout = monitored || probe ? reader.optional("monitor_timeout", duration()) : undefined;
  for (const field of [interval, timeout]) {
    if (!monitored && probe !== undefined && field !== undefined) {
      context?.problems.error(field.at, `there is nothing to monitor with; add ${probe} = […]`);
    }
  }
  return {
    startTimeout: reader.optional("start_timeout", duration())?.value ?? base.startTimeout,
    stopTimeout: reader.optional("stop_timeout", duration())?.value ?? base.stopTimeout,
    monitorInterval: interval?.value ?? base.monitorInterval,
    monitorTimeout: timeout?.value ?? base.monitorTimeout,
    restarts: reader.optional("restarts", integer(0, MAX_RESTARTS))?.value ?? base.restarts,
    restartWindow: reader.optional("restart_window", duration())?.value ?? base.restartWindow,
  };
}

/** IFNAMSIZ is 16 with its NUL; the kernel's dev_valid_name() excludes these characters. */
const interfaceName: Reader<string> = (value, problems) => {
  const name = text(value, problems);
  if (name === undefined) return undefined;
  if (/^[^\s/:]{1,15}$/.test(name) && name !== "." && name !== "..") return name;
  return fail(value, `${JSON.stringify(name)} cannot be an interface; see ip link`, problems);
};
