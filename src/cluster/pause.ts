/**
 * An own pause: this agent was not scheduled for longer than its lease lasts (a stopped VM, a starved
 * host). Others may have taken over meanwhile, and frames of that time still wait in the sockets.
 */

import { forgivePause } from "./membership.ts";
import { isServing } from "./group_state.ts";
import { isSole } from "./lease.ts";
import { abandonAttempt } from "./register.ts";
import { type ClusterState, note } from "./state.ts";

/**
 * Assumes the worst: every leased group is frozen until a quorum read, running operations are given up,
 * and the own voter takes no group from anybody for deadtime, as after a restart.
 *
 * @param gap milliseconds since the step before
 */
export function handlePause(state: ClusterState, gap: number): void {
  const { deadtime, lease } = state.timing;
  const known = { pausedForMs: Math.round(gap), leaseMs: lease };
  const text = `This agent did not run for ${Math.round(gap)} ms, longer than its lease: ` +
    `it serves nothing before it has asked the others`;
  note(state, "warning", "own-pause", text, known, { node: state.self.node });
  state.acceptor.restartedUntil = state.now + deadtime;
  forgivePause(state);
  for (const register of state.registers.values()) {
    abandonAttempt(state, register);
    register.wantRead = true;
  }
  for (const group of state.groups.values()) {
    const mayDouble = state.config.cluster.quorum === "survivor";
    if (isServing(group) && (mayDouble || !isSole(state, group))) group.awaitingRead = true;
  }
  state.urgent = true;
}
