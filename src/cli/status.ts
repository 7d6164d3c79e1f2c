/**
 * `bascule status`: nodes, groups and volumes, once or again and again.
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { optional } from "@optique/core/modifiers";
import { option } from "@optique/core/primitives";
import type { StatusDocument } from "../status/types.ts";
import { askAgent, runtimeDirectory } from "./ask_agent.ts";
import { CommandError, defineCommand, EXIT } from "./command.ts";
import type { GlobalOptions } from "./options.ts";
import { printLine } from "./output.ts";
import { statusLines } from "./status_table.ts";

/** Time between two looks, in milliseconds. */
const WATCH_INTERVAL = 1_000;
/** To the top left corner, and clear from there: ECMA-48 CUP and ED. */
const CLEAR = "\x1b[H\x1b[J";

/** The command `status`. */
export const statusCommand = defineCommand(
  "status",
  message`Show nodes, groups and volumes, as the agent of this machine sees them.`,
  object({
    json: optional(option("--json", {
      description: message`For programs: the whole document; with --watch, one a line.`,
    })),
    watch: optional(option("--watch", {
      description: message`Show it again every second, until interrupted.`,
    })),
  }),
  runStatus,
);

/** Exit code 0 when the agent answered; otherwise throws a {@link CommandError}. */
export async function runStatus(
  options: GlobalOptions & {
    readonly json: boolean | undefined;
    readonly watch: boolean | undefined;
  },
): Promise<number> {
  const runtimeDir = runtimeDirectory(options);
  if (options.watch !== true) {
    const document = await askStatus(runtimeDir);
    if (options.json === true) printLine(JSON.stringify(document, null, 2));
    else for (const line of statusLines(document)) printLine(line);
    return EXIT.done;
  }
  // An agent that restarts must not end the watch, but one that never answered is an error.
  await askStatus(runtimeDir);
  for (;;) {
    printLine(await picture(runtimeDir, options.json === true));
    await new Promise((resolve) => setTimeout(resolve, WATCH_INTERVAL));
  }
}

/** One picture of the watch. */
async function picture(runtimeDir: string, json: boolean): Promise<string> {
  const clear = !json && Deno.stdout.isTerminal() ? CLEAR : "";
  try {
    const document = await askStatus(runtimeDir);
    if (json) return JSON.stringify(document);
    const end = clear === "" ? "\n" : "";
    return clear + statusLines(document).join("\n") + end;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return json ? JSON.stringify({ error: error.message }) : clear + error.message;
  }
}

async function askStatus(runtimeDir: string): Promise<StatusDocument> {
  return await askAgent(runtimeDir, "GET", "/v1/status") as StatusDocument;
}
