/** What an agent that was killed left behind, taken away before its successor takes part. */

import type { ResourceConfig } from "../config/types.ts";
import { findMarked, killProcess, type ProcessIdentity } from "../os/process.ts";
import { removeAddress } from "./address_keeper.ts";
import { endAll } from "./process_group.ts";

/** What was found and taken away, one sentence each, for the journal. */
export interface Swept {
  readonly removed: readonly string[];
  /** What could not be taken away, with the reason. */
  readonly failed: readonly string[];
}

/**
 * Removes the configured addresses from this machine, and KILLs the supervised processes of an
 * earlier agent with the same `instance` (its state directory; two agents never share one). To be
 * called while no group runs. Never rejects.
 */
export async function sweepLeftovers(
  resources: readonly ResourceConfig[],
  instance: string,
): Promise<Swept> {
  const removed: string[] = [];
  const failed: string[] = [];
  for (const resource of resources) {
    try {
      if (resource.kind === "ip") {
        for (const name of removeAddress(resource.address)) {
          removed.push(`removed ${resource.id}, left on ${name} by an earlier run`);
        }
      } else if (resource.kind === "process") {
        const left = () => leftProcesses(resource.id, instance);
        const found = left();
        if (found.length === 0) continue;
        await endAll(
          () => left().map(({ pid }) => pid),
          () => left().forEach((one) => killProcess(one, "SIGKILL")),
        );
        const pids = found.map(({ pid }) => pid).join(", ");
        removed.push(`ended ${resource.id}, pid ${pids}, left by an earlier run`);
      }
    } catch (error) {
      failed.push(`${resource.id}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { removed, failed };
}

/** Pids that were started for this resource by this instance, and what those started. */
function leftProcesses(id: string, instance: string): ProcessIdentity[] {
  const ofInstance = new Set(findMarked("BASCULE_INSTANCE", instance).map(({ pid }) => pid));
  return findMarked("BASCULE_RESOURCE", id).filter(({ pid }) => ofInstance.has(pid));
}
