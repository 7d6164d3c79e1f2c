/**
 * Reads `[nodes.NAME]`: who takes part, who votes only, and over which links they hear each other.
 *
 * @module
 */

import { type IpAddress, parseEndpoint } from "./address.ts";
import type { Claims } from "./claims.ts";
import { isHostName } from "./names.ts";
import type { Place, Problems } from "./problem.ts";
import { bytesPerSecond } from "./resync.ts";
import {
  array,
  boolean,
  duration,
  fail,
  type Field,
  placed,
  type Reader,
  readTable,
  table as tableReader,
  text,
} from "./schema.ts";
import type { TomlTable } from "./toml.ts";
import {
  type FenceMethod,
  type LinkConfig,
  MAX_NODES,
  type NodeConfig,
  type QuorumMode,
} from "./types.ts";

/** A majority of fewer voters cannot lose one. */
const LEAST_VOTERS = 3;
/** Milliseconds that a fence command may take. */
const FENCE_TIMEOUT = 30_000;

/** What later sections may refer to, kept even where a node has errors of its own. */
export interface NodeSet {
  /** Every name in the file, in file order. */
  readonly declared: ReadonlyMap<string, { readonly witness: boolean }>;
  /** The nodes without errors. */
  readonly nodes: readonly NodeConfig[];
}

interface Link extends LinkConfig {
  readonly ip: IpAddress;
  readonly endpoint: string;
}

/** Reads all nodes and checks them against each other. */
export function readNodes(
  table: TomlTable,
  claims: Claims,
  problems: Problems,
  quorum: QuorumMode | undefined,
): NodeSet {
  const declared = new Map<string, { witness: boolean }>();
  const nodes: NodeConfig[] = [];
  const networks: LinkNetworks = new Map();
  for (const [name, entry] of table.entries) {
    if (checkNodeName(name, entry.at, problems)) {
      claims.claim(`host name ${name.toLowerCase()}`, entry.at, problems);
    }
    declared.set(name, { witness: false });
    if (entry.value.kind !== "table") {
      fail(entry.value, `a node is a table; write [nodes.${name}] and its links below`, problems);
      continue;
    }
    const written = entry.value.entries.get("links")?.value;
    const hasFence = entry.value.entries.has("fence");
    readTable(entry.value, problems, (reader) => {
      const witness = reader.optional("witness", boolean)?.value ?? false;
      declared.set(name, { witness });
      const example = `["udp://192.0.2.1:6940"]`;
      const links = reader.required("links", array(placed(link), 1, "links"), example)?.value;
      const fence = reader.optional("fence", fenceMethods);
      checkFence(name, entry.at, { written: hasFence, fence, witness, quorum }, problems);
      const resyncMax = reader.optional("resync_max", bytesPerSecond)?.value ?? null;
      if (links === undefined) return;
      checkLinks(links, claims, networks, problems);
      if (written?.kind === "array" && written.items.length === 1 && !witness) {
        problems.warning(
          entry.at,
          "with one link only a cut cable looks like a dead node; add a link on a second network",
        );
      }
      const plain = links.map(({ value: { address, host, port } }) => ({ address, host, port }));
      nodes.push({ name, witness, links: plain, fence: fence?.value ?? [], resyncMax });
    });
  }
  checkCount(declared, table.at, problems, quorum ?? "majority");
  return { declared, nodes };
}

const fenceMethod: Reader<FenceMethod> = (value, problems) => {
  const body = tableReader(value, problems);
  if (body === undefined) return undefined;
  return readTable(body, problems, (reader) => {
    const command = reader.required(
      "command",
      array(text, 1, "arguments"),
      `["/usr/local/sbin/power", "off"]`,
    );
    const program = command?.value[0];
    if (command !== undefined && program !== undefined && !program.startsWith("/")) {
      problems.error(
        command.at,
        `${JSON.stringify(program)} is not absolute; start it with /, so that it is the same ` +
          "program wherever the agent was started",
      );
    }
    const timeout = reader.optional("timeout", duration(100))?.value ?? FENCE_TIMEOUT;
    return command === undefined ? undefined : { command: command.value, timeout };
  });
};

/** One method as a table, or several in their order. */
const fenceMethods: Reader<readonly FenceMethod[]> = (value, problems) => {
  if (value.kind === "array") return array(fenceMethod, 1, "methods")(value, problems);
  const only = fenceMethod(value, problems);
  return only === undefined ? undefined : [only];
};

function checkFence(
  name: string,
  at: Place,
  { written, fence, witness, quorum }: {
    readonly written: boolean;
    readonly fence: Field<readonly FenceMethod[]> | undefined;
    readonly witness: boolean;
    readonly quorum: QuorumMode | undefined;
  },
  problems: Problems,
): void {
  if (quorum === "fencing" && !written && !witness) {
    problems.error(
      { ...at, key: `nodes.${name}.fence` },
      `this key is missing, and with quorum = "fencing" the other node must be able to switch ` +
        `${name} off; add fence = { command = ["/usr/local/sbin/power", "off"] }, a command that ` +
        "exits with 0 only when the machine is certainly off or was reset by power",
    );
  }
  if (fence !== undefined && quorum !== undefined && quorum !== "fencing") {
    problems.warning(fence.at, `nobody is fenced with quorum = "${quorum}"; remove it`);
  }
}

/** Fencing and survivor mode are rules between two machines. */
function checkPair(
  declared: ReadonlyMap<string, { readonly witness: boolean }>,
  at: Place,
  problems: Problems,
  quorum: "fencing" | "survivor",
): void {
  const witnesses = [...declared].filter(([, { witness }]) => witness).map(([name]) => name);
  if (declared.size === 2 && witnesses.length === 0) return;
  const found = witnesses.length > 0
    ? `${witnesses.join(", ")} is a witness`
    : `there ${declared.size === 1 ? "is 1 node" : `are ${declared.size} nodes`}`;
  const mend = declared.size > 2
    ? '; write quorum = "majority", which is safer, or remove'
    : "; name";
  problems.error(
    at,
    `quorum = "${quorum}" is for exactly two nodes that hold data, and ${found}${mend} ` +
      (declared.size > 2 ? "all but two nodes" : "two nodes without witness = true"),
  );
}

function checkNodeName(name: string, at: Place, problems: Problems): boolean {
  if (isHostName(name)) return true;
  problems.error(
    at,
    `${JSON.stringify(name)} is not a host name; ` +
      "use letters, digits and hyphens, at most 63 between two dots",
  );
  return false;
}

const link: Reader<Link> = (value, problems) => {
  const address = text(value, problems);
  if (address === undefined) return undefined;
  if (address.startsWith("serial:")) {
    return fail(value, "this version knows udp links only; remove the serial link", problems);
  }
  if (!address.startsWith("udp://")) {
    return fail(value, `${JSON.stringify(address)} is not a link; write udp://HOST:PORT`, problems);
  }
  const read = parseEndpoint(address.slice("udp://".length));
  if ("error" in read) return fail(value, read.error, problems);
  const { ip, port, text: endpoint } = read.value;
  return { address, host: ip.text, port, ip, endpoint };
};

/** Per link number: the family of its network, and the key that said so first. */
type LinkNetworks = Map<number, { readonly family: 4 | 6; readonly key: string }>;

function checkLinks(
  links: readonly Field<Link>[],
  claims: Claims,
  networks: LinkNetworks,
  problems: Problems,
): void {
  const hosts = new Map<string, Place>();
  for (const [index, { value, at }] of links.entries()) {
    const first = claims.claim(`address ${value.endpoint}`, at, problems);
    claims.note(`host ${value.host}`, at);
    const same = hosts.get(value.host);
    if (first && same !== undefined) {
      problems.warning(
        at,
        `${same.key} has the same host, so both fail together; use an address on a second network`,
      );
    }
    hosts.set(value.host, at);

    const network = networks.get(index);
    if (network === undefined) {
      networks.set(index, { family: value.ip.family, key: at.key });
    } else if (network.family !== value.ip.family) {
      problems.error(
        at,
        `this is IPv${value.ip.family} and ${network.key} is IPv${network.family}; ` +
          "links of the same number must be on one network",
      );
    }
  }
}

function checkCount(
  declared: ReadonlyMap<string, { readonly witness: boolean }>,
  at: Place,
  problems: Problems,
  quorum: QuorumMode,
): void {
  const count = declared.size;
  if (quorum !== "majority") return checkPair(declared, at, problems, quorum);
  if (count > MAX_NODES) {
    problems.error(at, `${count} nodes are too many; a cluster has at most ${MAX_NODES}`);
  }
  if (count < 2) {
    problems.error(at, `a cluster needs at least 2 nodes and a witness; add [nodes.NAME] tables`);
  } else if (count < LEAST_VOTERS) {
    problems.error(
      at,
      `a majority needs at least ${LEAST_VOTERS} voters, and there are ${count} nodes; ` +
        "add one with witness = true on a third machine",
    );
  }
  if (count > 0 && [...declared.values()].every((node) => node.witness)) {
    problems.error(at, "every node is a witness, so none can run a group; remove a witness = true");
  }
}
