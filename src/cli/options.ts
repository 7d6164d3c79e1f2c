/**
 * The options that every command takes, and what follows from them.
 *
 * @module
 */

import { resolve } from "node:path";
import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { map, optional, withDefault } from "@optique/core/modifiers";
import { option } from "@optique/core/primitives";
import { string } from "@optique/core/valueparser";
import { path } from "@optique/run/valueparser";
import { loadConfig } from "../config/load.ts";
import { formatProblem } from "../config/problem.ts";
import type { Config, NodeConfig, PathsConfig } from "../config/types.ts";
import { CommandError, EXIT } from "./command.ts";

/** The file that every node of a cluster has. */
export const DEFAULT_CONFIG_FILE = "/etc/bascule/bascule.toml";

/** Values of the global options. */
export interface GlobalOptions {
  /** `-c`, `--config`. */
  readonly config: string;
  /** `--node`; without it the host name decides. */
  readonly node: string | undefined;
  /** `--state-dir` and `--runtime-dir`, absolute; they go before `[paths]`. */
  readonly paths: Partial<PathsConfig>;
}

/** Parser of the global options, accepted before and after the command. */
export const globalOptions = map(
  object("Global options", {
    config: withDefault(
      option("-c", "--config", path({ metavar: "FILE" }), {
        description: message`The configuration.`,
      }),
      DEFAULT_CONFIG_FILE,
    ),
    node: optional(option("--node", string({ metavar: "NAME" }), {
      description:
        message`Which node of the configuration this machine is; default: its host name.`,
    })),
    stateDir: optional(option("--state-dir", path({ metavar: "DIR" }), {
      description: message`Where state is kept; goes before paths.state in the configuration.`,
    })),
    runtimeDir: optional(option("--runtime-dir", path({ metavar: "DIR" }), {
      description: message`Where sockets are made; goes before paths.runtime in the configuration.`,
    })),
  }),
  ({ config, node, stateDir, runtimeDir }): GlobalOptions => ({
    config,
    node,
    paths: {
      ...(stateDir !== undefined && { state: resolve(stateDir) }),
      ...(runtimeDir !== undefined && { runtime: resolve(runtimeDir) }),
    },
  }),
);

/**
 * The configuration named by the options, for commands that cannot go on without.
 *
 * @throws {CommandError} with every problem, one a line, and exit code 2
 */
export function openConfig(options: GlobalOptions): Config {
  const { config, problems } = loadConfig(options.config, options.paths);
  if (config !== undefined) return config;
  const lines = problems.map((problem) => formatProblem(options.config, problem));
  throw new CommandError(lines.join("\n"), EXIT.usage);
}

/**
 * The node that this machine is: the one that `--node` names, else the one whose name is the host
 * name, else the one whose name is the host name up to its first dot.
 *
 * @throws {CommandError} with exit code 2 if the configuration has no such node
 */
export function localNode(config: Config, options: GlobalOptions): NodeConfig {
  const host = Deno.hostname();
  const wanted = options.node === undefined ? [host, host.split(".")[0]] : [options.node];
  for (const name of wanted) {
    const node = config.nodes.find((candidate) => candidate.name === name);
    if (node !== undefined) return node;
  }
  const names = config.nodes.map((node) => node.name).join(", ");
  const who = options.node === undefined ? `this host, ${host},` : options.node;
  throw new CommandError(
    `${config.file}: ${who} is not a node of the cluster; name one of ${names} with --node`,
    EXIT.usage,
  );
}
