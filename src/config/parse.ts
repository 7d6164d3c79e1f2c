/**
 * The configuration: one TOML file, identical on every node.
 *
 * {@link parseConfig} turns its text into a checked {@link Config} or into a list of everything
 * that is wrong with it. It goes in layers: `toml.ts` gives every value its line and column,
 * `schema.ts` reads fields and collects problems, and one file for each section (`cluster.ts`,
 * `nodes.ts`, `volumes.ts`, `groups.ts`, `resources.ts`) knows what makes sense there and against
 * the sections before it. All of that is pure; `load.ts` reads the file and `key_file.ts` the
 * cluster's key.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { Claims } from "./claims.ts";
import { readCluster, readPaths } from "./cluster.ts";
import { readGroups } from "./groups.ts";
import { type NodeSet, readNodes } from "./nodes.ts";
import { type Problem, Problems } from "./problem.ts";
import { readTable, table } from "./schema.ts";
import { readToml } from "./toml.ts";
import type { Config, PathsConfig } from "./types.ts";
import { readVolumes, type VolumeSet } from "./volumes.ts";

/** The configuration if it has no errors, and in any case what there is to say about it. */
export interface ParsedConfig {
  readonly config?: Config;
  /** In file order; warnings only if there is a configuration. */
  readonly problems: readonly Problem[];
}

/**
 * Checks the text of a configuration. Never throws, whatever the text.
 *
 * @param text the whole file
 * @param file its path, kept in the configuration for messages
 * @param paths directories from the command line, which go before those of the file
 */
export function parseConfig(
  text: string,
  file: string,
  paths: Partial<PathsConfig> = {},
): ParsedConfig {
  const problems = new Problems();
  const root = readToml(text, problems);
  if (root === undefined) return { problems: problems.list() };
  const config = readTable(root, problems, (reader): Config | undefined => {
    const claims = new Claims();
    const clusterTable = reader.section("cluster");
    const written = clusterTable && readCluster(clusterTable, problems);
    const pathsConfig = readPaths(reader.optional("paths", table)?.value, paths, problems);
    const nodesTable = reader.section("nodes");
    const nodes: NodeSet = nodesTable === undefined
      ? { declared: new Map(), nodes: [] }
      : readNodes(nodesTable, claims, problems, written?.quorum);
    const volumes = readVolumes(reader.optional("volumes", table)?.value, {
      nodes,
      claims,
      problems,
      deadtime: written?.deadtime,
      sockets: new Map(),
      runtime: pathsConfig.runtime,
    });
    const groups = readGroups(reader.optional("groups", table)?.value, {
      nodes,
      volumes,
      claims,
      problems,
      ping: written?.ping ?? [],
    });
    if (written === undefined) return undefined;
    const { ping: _ofGroups, ...cluster } = written;
    const checked = { cluster, nodes: nodes.nodes, volumes: volumes.volumes, groups };
    return { file, hash: hash(checked, volumes), paths: pathsConfig, ...checked };
  });
  const list = problems.list();
  return config === undefined || problems.failed ? { problems: list } : { config, problems: list };
}

/**
 * SHA-256 of what must be the same on every node: not the file's path or the directories, which may
 * differ, and hence not the exports that follow the runtime directory.
 */
function hash(checked: Omit<Config, "file" | "hash" | "paths">, volumes: VolumeSet): string {
  const shared = {
    ...checked,
    volumes: checked.volumes.map((volume) =>
      volumes.declared.get(volume.name)?.defaultExport ? { ...volume, export: null } : volume
    ),
  };
  return createHash("sha256").update(canonical(shared)).digest("hex");
}

/** JSON with sorted keys and without spaces. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => {
    if (part === null || typeof part !== "object" || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => a < b ? -1 : 1));
  });
}
