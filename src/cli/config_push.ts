/**
 * `bascule config push`: bring the configuration on the disks into force, without stopping anything
 * that need not stop.
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import type { ConfigStatus, StatusDocument } from "../status/types.ts";
import { askAgent, runtimeDirectory } from "./ask_agent.ts";
import { CommandError, defineCommand, EXIT } from "./command.ts";
import { type GlobalOptions, openConfig } from "./options.ts";
import { printLine } from "./output.ts";

/** The command `config push`. */
export const configPushCommand = defineCommand(
  "push",
  message`Bring the configuration that was copied to every node into force: running agents take over what they can, and voters change one at a time.`,
  object({}),
  runConfigPush,
);

/** Exit code 0 when it is in force, or in the record and waits for restarts that are named. */
export async function runConfigPush(options: GlobalOptions): Promise<number> {
  const { hash } = openConfig(options);
  const directory = runtimeDirectory(options);
  const before = await askAgent(directory, "GET", "/v1/config") as ConfigStatus;
  if (before.problem !== null) throw new CommandError(before.problem, EXIT.usage);
  for (const line of differenceLines(before)) printLine(line);
  await askAgent(directory, "POST", "/v1/command", { type: "push", hash });
  const after = await askAgent(directory, "GET", "/v1/status") as StatusDocument;
  for (const line of outcomeLines(after, hash)) printLine(line);
  return EXIT.done;
}

/** What differs between the running configuration and the file. */
export function differenceLines(config: ConfigStatus): string[] {
  const { live, restart, refused } = config;
  if (live.length + restart.length + refused.length === 0) {
    return ["the file holds what runs here"];
  }
  return [
    "the file differs from what runs here:",
    ...live.map((line) => `  ${line}`),
    ...restart.map((line) => `  ${line} (needs a restart of the agent)`),
    ...refused.map((line) => `  ${line} (cannot be pushed)`),
  ];
}

/** Who runs what was pushed, and who has to be restarted. */
export function outcomeLines({ nodes, config }: StatusDocument, hash: string): string[] {
  const voters = nodes.filter(({ voter }) => voter === true).map(({ name }) => name);
  const heard = nodes.filter((node) => node.state !== "offline" && node.config !== null);
  const late = heard.filter((node) => node.config !== hash).map(({ name }) => name)
    .filter((name) => !(config?.leaving ?? []).includes(name));
  const lines = [`configuration ${hash.slice(0, 12)} is in force; voters: ${voters.join(", ")}`];
  if (late.length > 0) {
    lines.push(
      `${late.join(", ")} still ${
        late.length === 1 ? "runs" : "run"
      } another: what changes there ` +
        "needs a restart of the agent, one node after the other (its groups are handed over)",
    );
  }
  return lines;
}
