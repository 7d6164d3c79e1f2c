/** Ends process groups and waits until they are gone, bounded. */

import { groupMembers, killGroup } from "../os/process.ts";

/** How often a dying group is looked at, in milliseconds. */
export const LOOK_INTERVAL = 20;
/** How long KILL may take to show, in milliseconds; longer means uninterruptible I/O. */
export const KILL_PATIENCE = 4_000;

/** KILLs a process group and waits until it is gone. Rejects when something withstands. */
export function endGroup(group: number): Promise<void> {
  return endAll(() => groupMembers(group), () => killGroup(group, "SIGKILL"));
}

/** Kills until `left` finds nobody any more. Rejects when somebody withstands, naming the pids. */
export async function endAll(left: () => readonly number[], kill: () => void): Promise<void> {
  const end = performance.now() + KILL_PATIENCE;
  for (let members = left(); members.length > 0; members = left()) {
    if (performance.now() > end) {
      throw new Error(
        `pid ${members.join(", ")} withstands KILL for ${
          KILL_PATIENCE / 1000
        } s, probably in the ` +
          "middle of I/O to a dead disk",
      );
    }
    kill();
    await pause(LOOK_INTERVAL);
  }
}

/** Resolves after so many milliseconds, or when the signal is aborted. */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal?.addEventListener("abort", end, { once: true });
  });
}
