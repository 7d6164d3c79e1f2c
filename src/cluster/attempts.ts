/** What an attempt that does not get on is worth: whether to wait for it, why it failed, when to try again. */

import { isAlive } from "./membership.ts";
import { nextBetween } from "./random.ts";
import type { Attempt, Register } from "./register_state.ts";
import type { ClusterState } from "./state.ts";
import type { Refused } from "./types.ts";

/** Voters that have answered or may still answer: a dead one is not worth the time-out. */
export function canStillCount(state: ClusterState, attempt: Attempt): number {
  const answered = attempt.phase === "accept" ? attempt.accepted : attempt.promises;
  let count = 0;
  for (const { node } of attempt.electorate.voters) {
    if (attempt.refused.has(node)) continue;
    const peer = state.membership.peers.get(node);
    if (answered.has(node) || attempt.blank.has(node) || peer === undefined || isAlive(peer)) {
      count++;
    }
  }
  return count;
}

/** The refusal that says most about what to do next. */
export function commonReason(attempt: Attempt): Refused["why"] {
  const reasons = [...attempt.refused.values()];
  return reasons.find((why) => why === "granted" || why === "restarted") ??
    reasons.find((why) => why === "votersVersion") ?? "ballot";
}

/** How long to wait after a failure: random between rivals, and longer for who only wants to know. */
export function backOff(
  state: ClusterState,
  register: Register,
  { change, refusedFor }: Attempt,
  granted: boolean,
): number {
  const { keepalive, deadtime } = state.timing;
  // A voter that names its wait may be asked at its end; by the own clock it may come a little early.
  if (granted && refusedFor !== null) return Math.min(deadtime, refusedFor * 1.02 + 1);
  if (granted) return keepalive / 2;
  const most = Math.min(deadtime, keepalive * register.failures);
  return change !== null
    ? nextBetween(state.random, keepalive / 16, Math.max(most, keepalive) / 4)
    : nextBetween(state.random, keepalive / 2, Math.max(most, 2 * keepalive));
}

/** Whether the value can never be chosen at this ballot: too many promised a higher one. */
export function isImpossible(attempt: Attempt): boolean {
  const lost = [...attempt.refused.values()].filter((why) => why === "ballot").length;
  return attempt.electorate.voters.length - lost < attempt.electorate.needed;
}

/**
 * Whether a refused attempt is not worth waiting for: those who may still answer are too few, or they
 * have been silent for a keepalive. Only a PREPARE is given up so early, as it leaves no doubt behind.
 */
export function isHopeless(state: ClusterState, attempt: Attempt, keepalive: number): boolean {
  if (canStillCount(state, attempt) < attempt.electorate.needed) return true;
  const { phase, promises, blank, electorate, startedAt } = attempt;
  return phase === "prepare" && promises.size + blank.size < electorate.needed &&
    state.now - startedAt >= keepalive;
}
