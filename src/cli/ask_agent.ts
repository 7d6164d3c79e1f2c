/**
 * How commands reach the agent of this machine.
 *
 * @module
 */

import { AgentRefused, AgentUnreachable, request } from "../status/client.ts";
import { CommandError } from "./command.ts";
import { type GlobalOptions, openConfig } from "./options.ts";

/** Where the agent's socket is: `--runtime-dir`, else what the configuration says. */
export function runtimeDirectory(options: GlobalOptions): string {
  return options.paths.runtime ?? openConfig(options).paths.runtime;
}

/**
 * Asks the agent and gives the JSON of its answer.
 *
 * @throws {CommandError} when none answers, or it refuses
 */
export async function askAgent(
  runtimeDir: string,
  method: "GET" | "POST",
  path: string,
  body?: unknown,
): Promise<unknown> {
  try {
    return await request(runtimeDir, method, path, body);
  } catch (error) {
    if (error instanceof AgentUnreachable || error instanceof AgentRefused) {
      throw new CommandError(error.message);
    }
    throw error;
  }
}
