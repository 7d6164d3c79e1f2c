/**
 * What an operator tells the cluster: `bascule standby`, `unstandby`, `move` and `cleanup`. Each
 * returns when the cluster has done it, or says why not.
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { optional } from "@optique/core/modifiers";
import { argument } from "@optique/core/primitives";
import { string } from "@optique/core/valueparser";
import type { OperatorCommand } from "../cluster/types.ts";
import { askAgent, runtimeDirectory } from "./ask_agent.ts";
import { defineCommand, EXIT } from "./command.ts";
import { type GlobalOptions, localNode, openConfig } from "./options.ts";
import { printLine } from "./output.ts";

const nodeArgument = optional(argument(string({ metavar: "NODE" }), {
  description: message`Default: this machine.`,
}));
const groupArgument = argument(string({ metavar: "GROUP" }), {
  description: message`A group of the configuration.`,
});

/** The command `standby`. */
export const standbyCommand = defineCommand(
  "standby",
  message`Move all groups off a node and keep them off.`,
  object({ target: nodeArgument }),
  (options) => runStandby(options, true),
);

/** The command `unstandby`. */
export const unstandbyCommand = defineCommand(
  "unstandby",
  message`Let a node run groups again.`,
  object({ target: nodeArgument }),
  (options) => runStandby(options, false),
);

/** The command `move`. */
export const moveCommand = defineCommand(
  "move",
  message`Move a group to another node.`,
  object({
    group: groupArgument,
    to: optional(argument(string({ metavar: "NODE" }), {
      description: message`Default: the best of the others.`,
    })),
  }),
  runMove,
);

/** The command `cleanup`. */
export const cleanupCommand = defineCommand(
  "cleanup",
  message`Forget that a group failed, once what made it fail is mended.`,
  object({ group: groupArgument }),
  runCleanup,
);

/** Exit code 0 when it is done; otherwise throws a `CommandError`. */
export async function runStandby(
  options: GlobalOptions & { readonly target: string | undefined },
  on: boolean,
): Promise<number> {
  const node = options.target ?? localNode(openConfig(options), options).name;
  await tell(options, { type: "standby", node, on });
  printLine(on ? `${node} is in standby` : `${node} may run groups again`);
  return EXIT.done;
}

/** Exit code 0 when it is done; otherwise throws a `CommandError`. */
export async function runMove(
  options: GlobalOptions & { readonly group: string; readonly to: string | undefined },
): Promise<number> {
  const { group, to } = options;
  await tell(options, { type: "move", group, ...(to !== undefined && { to }) });
  printLine(to === undefined ? `${group} has moved` : `${group} has moved to ${to}`);
  return EXIT.done;
}

/** Exit code 0 when it is done; otherwise throws a `CommandError`. */
export async function runCleanup(
  options: GlobalOptions & { readonly group: string },
): Promise<number> {
  await tell(options, { type: "cleanup", group: options.group });
  printLine(`failures of ${options.group} are forgotten`);
  return EXIT.done;
}

async function tell(options: GlobalOptions, command: OperatorCommand): Promise<void> {
  await askAgent(runtimeDirectory(options), "POST", "/v1/command", command);
}
