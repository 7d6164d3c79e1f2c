/**
 * Failures of a group on this node. Each bars the group from the node for `failure_timeout`, and for
 * twice as long each time it fails again before the count has aged out: what cannot run here is not
 * tried for ever, and what could be mended by time is tried again without an operator.
 */

import { knownGroup } from "./facts.ts";
import type { Group } from "./group_state.ts";
import { type ClusterState, note } from "./state.ts";

/** The longest bar, in multiples of `failure_timeout`. */
const MOST = 16;

/** Why a group may not run on this node now. */
export interface OwnFailure {
  readonly reason: string;
  /** A cleanup with a higher number forgets it. */
  readonly cleanups: number;
  readonly at: number;
  /** Infinity: only a cleanup ends it. */
  readonly until: number;
}

/** Bars the group from this node. `forGood`: something of it may still run here, so only a human ends it. */
export function markFailed(
  state: ClusterState,
  group: Group,
  reason: string,
  forGood = false,
): void {
  const { name, failureTimeout } = group.config;
  group.failures += 1;
  const bar = Math.min(failureTimeout * 2 ** (group.failures - 1), failureTimeout * MOST);
  const until = forGood ? Infinity : state.now + bar;
  const cleanups = knownGroup(state, group)?.cleanups ?? 0;
  group.failed = { reason, cleanups, at: state.now, until };
  state.urgent = true;
  const when = until === Infinity ? "before a cleanup" : `for ${Math.ceil(bar / 1000)} s`;
  const text = `${name} failed here and will not run here again ${when}: ${reason}`;
  const known = { epoch: group.epoch, reason, failures: group.failures };
  note(state, "error", "failed", text, known, { group: name });
}

/** Ends a bar whose time is over or that an operator cleaned up, and lets the count age out. */
export function clearFailure(state: ClusterState, group: Group): void {
  const { name, failureTimeout } = group.config;
  const { failed } = group;
  if (failed === null) {
    const calm = state.now - group.failuresSince;
    if (group.failures > 0 && calm >= failureTimeout) group.failures = 0;
    return;
  }
  const cleanups = knownGroup(state, group)?.cleanups ?? 0;
  if (cleanups > failed.cleanups) {
    group.failed = null;
    group.failures = 0;
  } else if (state.now >= failed.until) {
    group.failed = null;
    group.failuresSince = state.now;
    const text =
      `${name} may run here again, ${Math.round((state.now - failed.at) / 1000)} s after ` +
      `it failed: ${failed.reason}`;
    note(state, "info", "failure-aged", text, { failures: group.failures }, { group: name });
  } else return;
  state.urgent = true;
}
