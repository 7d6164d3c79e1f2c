/**
 * What is done by itself when both replicas were written apart. Pure.
 *
 * The Primary by the cluster's record is the source whatever a policy says: only the other's data can be
 * given up. Where a policy would give up the Primary's, a person decides.
 */

import type { SplitBrainPolicy } from "../config/types.ts";

/** What a policy looks at on one side. */
export interface SplitSide {
  /** Blocks written since both were the same. */
  readonly dirtyBlocks: number;
  /** Wall clock of its promotion; 0: unknown. */
  readonly primarySince: number;
}

/** Whether the target's data are given up, and why or why not. */
export interface SplitChoice {
  readonly discard: boolean;
  readonly reason: string;
}

/** Applies a policy. */
export function afterSplitBrain(
  policy: SplitBrainPolicy,
  source: SplitSide,
  target: SplitSide,
): SplitChoice {
  switch (policy) {
    case "disconnect":
      return { discard: false, reason: "a person decides" };
    case "discard-zero-changes":
      return target.dirtyBlocks === 0
        ? { discard: true, reason: "it has no changes of its own" }
        : { discard: false, reason: "it has changes of its own" };
    case "discard-younger-primary":
      if (source.primarySince === 0 || target.primarySince === 0) {
        return { discard: false, reason: "it is not known which was Primary first" };
      }
      return target.primarySince > source.primarySince
        ? { discard: true, reason: "it became Primary later" }
        : { discard: false, reason: "it was Primary earlier" };
    case "discard-least-changes":
      return target.dirtyBlocks < source.dirtyBlocks
        ? { discard: true, reason: "it has fewer changes" }
        : { discard: false, reason: "it has no fewer changes than the Primary" };
  }
}
