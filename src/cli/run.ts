/**
 * `bascule run`: the agent, in the foreground; systemd or a shell keeps it.
 *
 * @module
 */
import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { optional } from "@optique/core/modifiers";
import { option } from "@optique/core/primitives";
import { choice } from "@optique/core/valueparser";
import { AgentError } from "../agent/agent_error.ts";
import { runAgent } from "../agent/daemon.ts";
import { checkKeyFile } from "../config/key_file.ts";
import { formatProblem } from "../config/problem.ts";
import { CommandError, defineCommand, EXIT } from "./command.ts";
import { type GlobalOptions, localNode, openConfig } from "./options.ts";

/** The command `run`. */
export const runCommand = defineCommand(
  "run",
  message`Run the agent of this node in the foreground.`,
  object({
    logLevel: optional(option("--log-level", choice(["debug", "info", "warning", "error"]), {
      description: message`Least level that is logged; default: info.`,
    })),
  }),
  runRun,
);

/** Options of `run`. */
export interface RunOptions extends GlobalOptions {
  readonly logLevel?: "debug" | "info" | "warning" | "error" | undefined;
}

/** Exit code 0 after SIGTERM or SIGINT, 1 when the agent could not start or go on. */
export async function runRun(options: RunOptions): Promise<number> {
  const config = openConfig(options);
  const node = localNode(config, options);
  const { keyFile } = config.cluster;
  const key = checkKeyFile(keyFile);
  switch (key.state) {
    case "absent":
      throw new CommandError(
        `${keyFile}: no such file; copy the cluster's key here, or make one with ` +
          `bascule config key ${keyFile}`,
        EXIT.usage,
      );
    case "unchecked":
      throw new CommandError(`${keyFile}: ${key.why}; run the agent as root`, EXIT.usage);
    case "bad":
      throw new CommandError(
        key.problems.map((problem) => formatProblem(keyFile, problem)).join("\n"),
        EXIT.usage,
      );
  }
  try {
    await runAgent({ config, node, keys: key.keys, logLevel: options.logLevel ?? "info" });
  } catch (error) {
    if (error instanceof AgentError) throw new CommandError(`bascule: ${error.message}`);
    throw error;
  }
  return EXIT.done;
}
