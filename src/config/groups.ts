/**
 * Reads `[groups.NAME]`: what runs together, in which order, and where.
 *
 * @module
 */

import type { Claims } from "./claims.ts";
import { checkPlainName } from "./names.ts";
import type { NodeSet } from "./nodes.ts";
import type { Place, Problems } from "./problem.ts";
import { resource } from "./resources.ts";
import { pingTargets } from "./ping.ts";
import { array, type Field, placed, type Reader, readTable, table, text } from "./schema.ts";
import type { TomlEntry, TomlTable } from "./toml.ts";
import type { Failback, GroupConfig, ResourceConfig } from "./types.ts";
import { parseDuration } from "./units.ts";
import { checkDataNode, type VolumeSet } from "./volumes.ts";

/** What groups are checked against. */
export interface GroupContext {
  readonly nodes: NodeSet;
  readonly volumes: VolumeSet;
  readonly claims: Claims;
  readonly problems: Problems;
  /** Targets of groups that name none. */
  readonly ping: readonly string[];
}

const DEFAULT_FAILURE_TIMEOUT = 10 * 60_000;

const failback: Reader<Failback> = (value, problems) => {
  if (value.kind === "string" && (value.value === "never" || value.value === "now")) {
    return value.value;
  }
  const after = durationOr(value, problems, '"never", "now"');
  return after === undefined ? undefined : { after };
};

const failureTimeout: Reader<number> = (value, problems) =>
  value.kind === "string" && value.value === "never"
    ? Infinity
    : durationOr(value, problems, '"never"');

/** A duration where certain words would do as well. */
function durationOr(
  value: Parameters<Reader<number>>[0],
  problems: Problems,
  words: string,
): number | undefined {
  const written = text(value, problems);
  if (written === undefined) return undefined;
  const parsed = parseDuration(written);
  if ("value" in parsed && parsed.value > 0) return parsed.value;
  problems.error(
    value.at,
    `${JSON.stringify(written)} is not known here; write ${words} or a duration such as "10m"`,
  );
  return undefined;
}

/** Reads all groups and checks them against nodes, volumes and each other. */
export function readGroups(groups: TomlTable | undefined, context: GroupContext): GroupConfig[] {
  const good: GroupConfig[] = [];
  for (const [name, entry] of groups?.entries ?? []) {
    const group = readGroup(name, entry, context);
    if (group !== undefined) good.push(group);
  }
  for (const [name, { at }] of context.volumes.declared) {
    if (context.claims.owner(`volume ${name}`) === undefined) {
      context.problems.warning(
        at,
        `no group has this volume, so it is never served; add "volume:${name}" to a group`,
      );
    }
  }
  return good;
}

function readGroup(
  name: string,
  entry: TomlEntry,
  context: GroupContext,
): GroupConfig | undefined {
  const { problems } = context;
  checkPlainName(name, entry.at, problems);
  const body = table(entry.value, problems);
  if (body === undefined) return undefined;
  return readTable(body, problems, (reader) => {
    const prefer = reader.optional("prefer", array(placed(text), 0, "node names"))?.value ?? [];
    const back = reader.optional("failback", failback);
    const forget = reader.optional("failure_timeout", failureTimeout);
    const ping = reader.optional("ping", pingTargets);
    const one = resource({
      volumes: context.volumes.declared,
      claims: context.claims,
      problems,
    });
    const resources = reader.required("resources", array(one, 1, "resources"), `["volume:data"]`);
    const candidates = findCandidates(resources?.value ?? [], context);
    if (resources !== undefined && candidates.length === 0) noCandidate(resources, context);
    checkPrefer(prefer, resources === undefined ? undefined : candidates, context);
    if (resources === undefined) return undefined;
    return {
      name,
      prefer: prefer.map((field) => field.value),
      failback: back?.value ?? "never",
      failureTimeout: forget?.value ?? DEFAULT_FAILURE_TIMEOUT,
      ping: ping?.value ?? context.ping,
      resources: resources.value,
      candidates,
    };
  });
}

/** Data nodes with a replica of every volume of the group, in file order. */
function findCandidates(resources: readonly ResourceConfig[], context: GroupContext): string[] {
  const { nodes, volumes } = context;
  const replicas = resources
    .filter((item) => item.kind === "volume")
    .map((item) => volumes.declared.get(item.volume)?.replicaNodes ?? []);
  return [...nodes.declared]
    .filter(([name, node]) => !node.witness && replicas.every((set) => set.includes(name)))
    .map(([name]) => name);
}

/** Silent where the cause, a volume without replicas or no data node at all, is an error itself. */
function noCandidate(resources: Field<readonly ResourceConfig[]>, context: GroupContext): void {
  const names = resources.value.flatMap((item) => item.kind === "volume" ? [item.volume] : []);
  const replicas = names.map((name) => context.volumes.declared.get(name)?.replicaNodes ?? []);
  if (names.length === 0 || replicas.some((nodes) => nodes.length === 0)) return;
  context.problems.error(
    resources.at,
    `no node has a replica of all of ${names.join(", ")}; ` +
      "give them one in common or split the group",
  );
}

function checkPrefer(
  prefer: readonly Field<string>[],
  candidates: readonly string[] | undefined,
  context: GroupContext,
): void {
  const seen = new Map<string, Place>();
  for (const { value, at } of prefer) {
    if (!checkDataNode(value, at, "run a group", context.nodes, context.problems)) continue;
    const before = seen.get(value);
    if (before !== undefined) {
      context.problems.error(at, `${value} is already named in ${before.key}; remove one`);
    }
    seen.set(value, at);
    if (candidates !== undefined && candidates.length > 0 && !candidates.includes(value)) {
      context.problems.error(
        at,
        `${value} has no replica of the group's volumes; the nodes that can run it are ` +
          candidates.join(", "),
      );
    }
  }
}
