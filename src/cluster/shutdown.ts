/** A planned stop of the agent: announce it, stop and release every own group, then end, bounded. */

import { countVotes } from "./quorum.ts";
import { handOver } from "./fencing.ts";
import { type ClusterState, emit, note } from "./state.ts";

/** Announces the stop. The groups stop by themselves from now on, see `group.ts`. */
export function beginShutdown(state: ClusterState): void {
  if (state.shutdown) return;
  state.shutdown = { at: state.now, stoppedAt: null, idleAt: null, done: false };
  state.phase = "stopping";
  state.urgent = true;
  note(state, "info", "shutdown", "The agent stops: its groups are stopped and released", {}, {
    node: state.self.node,
  });
}

/** Ends the agent when everything is released, or when waiting for that has no more use. */
export function driveShutdown(state: ClusterState): void {
  const { shutdown, timing, now } = state;
  if (!shutdown || shutdown.done) return;
  const groups = [...state.groups.values()];
  const busy = groups.filter(({ phase }) => phase !== "idle");
  if (busy.length === 0 && !takesInFlight(state)) {
    shutdown.idleAt ??= now;
    if (now - shutdown.idleAt < 3 * timing.deadtime && !handOver(state)) return;
    // Ended without a last word, the others would learn of the release only after deadtime.
    if (state.urgent || state.lastHeartbeat < shutdown.idleAt) return;
    shutdown.done = true;
    emit(state, { type: "shutdownDone" });
    return;
  }
  shutdown.idleAt = null;
  const running = busy.some(({ phase }) => phase !== "releasing");
  if (!running) shutdown.stoppedAt ??= now;
  const patience = groups.flatMap(({ config }) => config.resources)
    .reduce((sum, { stopTimeout }) => sum + stopTimeout, 10 * timing.deadtime);
  const late = shutdown.stoppedAt !== null && now - shutdown.stoppedAt >= 3 * timing.deadtime;
  if (!late && now - shutdown.at < patience) return;
  shutdown.done = true;
  const names = busy.map(({ config }) => config.name).join(", ");
  const text = running
    ? `${names || "Nothing"} did not stop in time: the agent ends without it`
    : `${names || "Nothing"} could not be released in time: the others take it after deadtime`;
  const { votes, needed } = countVotes(state);
  note(state, "warning", "shutdown-unreleased", text, { votes, needed }, {
    node: state.self.node,
  });
  emit(state, { type: "shutdownDone" });
}

/** A take of this run may still be chosen: better to see its end and release it. */
function takesInFlight(state: ClusterState): boolean {
  for (const { name, attempt, doubt } of state.registers.values()) {
    if (name !== "cluster" && (doubt || attempt?.change?.purpose === "take")) return true;
  }
  return false;
}
