/**
 * Reads the `export` of a volume: a unix socket, or TCP with TLS and a list of networks. Volumes
 * that name the same socket share it.
 *
 * @module
 */

import { type Endpoint, isLoopback, parseEndpoint, parseNetwork } from "./address.ts";
import type { Claims } from "./claims.ts";
import type { Place, Problems } from "./problem.ts";
import {
  absolutePath,
  array,
  fail,
  integer,
  normalPath,
  type Reader,
  readTable,
  type TableReader,
  text,
  whyNotAbsolute,
} from "./schema.ts";
import type { TomlValue } from "./toml.ts";
import type { ExportConfig, IpNetwork, TcpExportConfig, TlsConfig } from "./types.ts";

/** `sockaddr_un.sun_path` holds 108 bytes, one of them NUL: unix(7). */
const MAX_SOCKET_PATH = 107;
/** Each costs some 100 KiB of memory once it is used. */
const MAX_CONNECTIONS = 1024;

/** What exports are checked against. */
export interface ExportContext {
  readonly claims: Claims;
  readonly problems: Problems;
  /** Where exports go by default. */
  readonly runtime: string;
  /** Sockets that a volume has named already. */
  readonly sockets: Map<string, SharedSocket>;
}

/** A socket, how it is served, and who said so first. */
export interface SharedSocket {
  readonly config: ExportConfig;
  readonly at: Place;
}

/** What an address says by itself. */
interface Address {
  readonly address: string;
  readonly path: string;
  readonly endpoint?: Endpoint;
}

/**
 * Reads the key `export`, or makes the default for a volume of this name at this place; undefined, and
 * an error recorded, if neither can be had.
 */
export function readExport(
  reader: TableReader,
  volume: string | undefined,
  at: Place,
  context: ExportContext,
): ExportConfig | undefined {
  let written = false;
  const field = reader.optional("export", (value, problems) => {
    written = true;
    return exportValue(value, problems);
  });
  const config = written
    ? field?.value
    : volume === undefined
    ? undefined
    : defaultSocket(volume, at, context);
  if (config !== undefined) claimSocket(config, field?.at ?? at, context);
  return config;
}

const exportValue: Reader<ExportConfig> = (value, problems) => {
  if (value.kind !== "table") {
    const address = exportAddress(value, problems);
    if (address === undefined) return undefined;
    return assemble(address, value, undefined, [], undefined, problems);
  }
  return readTable(value, problems, (reader) => {
    const address = reader.required("address", exportAddress, `"tcp://192.0.2.3:10809"`);
    const tls = reader.optional("tls", tlsValue);
    const allow = reader.optional("allow", array(network, 1, "networks"));
    const connections = reader.optional("connections", integer(1, MAX_CONNECTIONS));
    if (address === undefined) return undefined;
    if (address.value.endpoint === undefined) {
      for (const [key, found] of [["tls", tls], ["allow", allow]] as const) {
        if (found === undefined) continue;
        problems.error(
          found.at,
          `a unix socket takes no ${key}, its file mode says who may connect; remove the key`,
        );
      }
    }
    // What could not be read is said already; no word about its absence is due.
    if (value.entries.has("tls") && tls === undefined) return undefined;
    if (value.entries.has("allow") && allow === undefined) return undefined;
    return assemble(
      address.value,
      value,
      tls?.value,
      allow?.value ?? [],
      connections?.value,
      problems,
    );
  });
};

function assemble(
  { address, path, endpoint }: Address,
  value: TomlValue,
  tls: TlsConfig | "none" | undefined,
  allow: readonly IpNetwork[],
  connections: number | undefined,
  problems: Problems,
): ExportConfig | undefined {
  const limit = connections === undefined ? {} : { connections };
  if (endpoint === undefined) return { address, path, ...limit };
  const reachable = !isLoopback(endpoint.ip);
  if (reachable && tls === undefined) {
    return fail(
      value,
      `${address} can be reached from other machines and says nothing of TLS; write export = { ` +
        `address = "${address}", tls = { certificate = "/etc/bascule/nbd.pem", key = ` +
        `"/etc/bascule/nbd-key.pem" }, allow = ["192.0.2.0/24"] }, or tls = "none" for a network ` +
        `that only trusted machines are on`,
      problems,
    );
  }
  if (reachable && allow.length === 0) {
    return fail(
      value,
      `whoever reaches ${address} could read and write the volume; write export = { address = ` +
        `"${address}", allow = ["192.0.2.0/24"], … } with the networks of its clients`,
      problems,
    );
  }
  const tcp: TcpExportConfig = {
    host: endpoint.ip.text,
    port: endpoint.port,
    tls: typeof tls === "object" ? tls : null,
    allow,
  };
  return { address, path: "", tcp, ...limit };
}

const exportAddress: Reader<Address> = (value, problems) => {
  const address = text(value, problems);
  if (address === undefined) return undefined;
  if (address.startsWith("tcp://")) {
    const read = parseEndpoint(address.slice("tcp://".length), { any: true });
    if ("error" in read) return fail(value, read.error, problems);
    return { address: `tcp://${read.value.text}`, path: "", endpoint: read.value };
  }
  if (!address.startsWith("unix:")) {
    return fail(
      value,
      `${JSON.stringify(address)} is neither a unix socket nor TCP; write ` +
        "unix:/run/bascule/NAME.sock or tcp://ADDRESS:10809",
      problems,
    );
  }
  const path = address.slice("unix:".length);
  const why = whyNotAbsolute(path) ?? whyTooLong(path);
  return why === undefined ? { address, path: normalPath(path) } : fail(value, why, problems);
};

const tlsValue: Reader<TlsConfig | "none"> = (value, problems) => {
  if (value.kind === "string" && value.value === "none") return "none";
  if (value.kind !== "table") {
    return fail(
      value,
      `write tls = { certificate = "/etc/bascule/nbd.pem", key = "/etc/bascule/nbd-key.pem" }, ` +
        `or tls = "none" for a network that only trusted machines are on`,
      problems,
    );
  }
  return readTable(value, problems, (reader) => {
    const certificate = reader.required("certificate", absolutePath, `"/etc/bascule/nbd.pem"`);
    const key = reader.required("key", absolutePath, `"/etc/bascule/nbd-key.pem"`);
    reader.refused(
      "clients",
      "client certificates are not supported, the TLS of this program's runtime takes them without " +
        "proof of their keys; remove the key, and let allow say who may connect",
    );
    reader.refused(
      "psk",
      "pre-shared keys are not supported, the TLS of this program's runtime has none; " +
        "write certificate and key, and let allow say who may connect",
    );
    if (certificate === undefined || key === undefined) return undefined;
    return { certificate: certificate.value, key: key.value };
  });
};

const network: Reader<IpNetwork> = (value, problems) => {
  const written = text(value, problems);
  if (written === undefined) return undefined;
  const read = parseNetwork(written);
  return "error" in read ? fail(value, read.error, problems) : read.value;
};

function defaultSocket(name: string, at: Place, context: ExportContext): ExportConfig | undefined {
  const path = normalPath(`${context.runtime}/${name}.sock`);
  const why = whyTooLong(path);
  if (why === undefined) return { address: `unix:${path}`, path };
  context.problems.error(at, why);
  return undefined;
}

/** Volumes may share a socket, whose other settings are then the same; others may not have it. */
function claimSocket(config: ExportConfig, at: Place, context: ExportContext): void {
  const { claims, problems, sockets } = context;
  const { tcp, path } = config;
  const what = tcp === undefined ? `socket ${path}` : `address ${config.address.slice(6)}`;
  const first = sockets.get(what);
  if (first === undefined) {
    sockets.set(what, { config, at });
    claims.claim(what, at, problems);
  } else if (!sameService(first.config, config)) {
    problems.error(
      at,
      `${what} is shared with ${first.at.key} (line ${first.at.line}), whose tls, allow and ` +
        `connections differ; write the same for both`,
    );
  }
}

function sameService(one: ExportConfig, other: ExportConfig): boolean {
  const service = ({ tcp, connections }: ExportConfig) => JSON.stringify([tcp, connections]);
  return service(one) === service(other);
}

function whyTooLong(path: string): string | undefined {
  const length = new TextEncoder().encode(path).length;
  if (length <= MAX_SOCKET_PATH) return undefined;
  return `socket path ${path} has ${length} bytes and the system allows ${MAX_SOCKET_PATH}; ` +
    "choose a shorter one";
}
