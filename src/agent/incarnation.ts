/**
 * The incarnation: a number that is durable and grows with every start of the agent.
 *
 * @module
 */

import { AgentError } from "./agent_error.ts";
import { replaceFile } from "./durable_file.ts";

/** Name of the file in the state directory. */
const FILE = "incarnation";

/**
 * Raises the incarnation durably and returns it.
 *
 * It is never below the wall clock's seconds: when the state directory was lost, the new run is still
 * higher than the lost ones, so peers do not drop its frames as those of an older run.
 *
 * @param directory state directory of this agent, which must exist
 * @param wallClockSeconds seconds since 1970; a floor only, decides nothing else
 * @throws if the file is there but unreadable: guessing could reuse an incarnation
 */
export function raiseIncarnation(directory: string, wallClockSeconds: number): number {
  const path = `${directory}/${FILE}`;
  const next = Math.max(readIncarnation(path) + 1, Math.floor(wallClockSeconds));
  replaceFile(directory, FILE, new TextEncoder().encode(`${next}\n`)).close();
  return next;
}

function readIncarnation(path: string): number {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
  const value = Number(text.trim());
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new AgentError(
      `${path}: ${JSON.stringify(text.slice(0, 40))} is no incarnation; ` +
        `remove the file, the next start takes one from the clock`,
    );
  }
  return value;
}
