/**
 * Starts programs through setsid(1), each the leader of a session and process group of its own. Deno could
 * make the group by itself, but has to fork for that: in a process as large as the agent this takes
 * five milliseconds in which it does nothing else.
 */

import { leadsGroup } from "../os/process.ts";
import { pause } from "./process_group.ts";
import { findProgram } from "./program.ts";

/** How often it is looked whether a program leads its group already, in milliseconds. */
const LEAD_INTERVAL = 1;
/** How long that may take, in milliseconds. */
const LEAD_PATIENCE = 2_000;

/** Path of setsid(1); null: this system has none. */
export const SETSID = (() => {
  try {
    return findProgram("setsid", Deno.env.get("PATH") ?? "");
  } catch {
    return null;
  }
})();

/**
 * Starts a program, and resolves when it leads its group. Rejects when there is no such program, as setsid(1)
 * itself could only say by an exit code.
 */
export async function startSession(
  setsid: string,
  program: string,
  args: readonly string[],
  options: Omit<Deno.CommandOptions, "args">,
): Promise<Deno.ChildProcess> {
  const path = options.env?.["PATH"] ?? Deno.env.get("PATH") ?? "";
  findProgram(program, path, options.cwd?.toString());
  const process = new Deno.Command(setsid, { ...options, args: [program, ...args] }).spawn();
  const limit = performance.now() + LEAD_PATIENCE;
  while (!leadsGroup(process.pid)) {
    if (performance.now() > limit) {
      process.kill("SIGKILL");
      throw new Error(`${setsid} made no process group within ${LEAD_PATIENCE / 1000} s`);
    }
    await pause(LEAD_INTERVAL);
  }
  return process;
}
