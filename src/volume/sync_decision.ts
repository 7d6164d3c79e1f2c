/**
 * How much must be copied when a Primary meets a replica: one pure function over both sides.
 *
 * The direction is never a question here: the Primary by the cluster's record is the source.
 * Generations only say whether the target's data are an older state of the source's (then the dirty
 * bits name every difference), unrelated, or newer in a way that nobody may throw away unasked.
 */

import type { Generations } from "./types.ts";

/** What the decision looks at on one side. */
export interface SyncSide {
  readonly generations: Generations;
  /** Dirty blocks in its bitmap about the other, activity logs of crashed Primaries included. */
  readonly dirtyBlocks: number;
  /** Its data are a mixture left by a resync that did not finish. */
  readonly inconsistent: boolean;
  /** Never written by this program. */
  readonly blank: boolean;
}

/** What is to be done, and why, in words for the journal. */
export interface SyncDecision {
  /**
   * `none`: nothing to copy. `bitmap`: the union of both sides' dirty blocks. `full`: everything.
   * `split-brain`: both have data of their own. `unrelated`: nothing in common. The last two connect
   * only after a person has said whose data are to be discarded.
   */
  readonly verdict: "none" | "bitmap" | "full" | "split-brain" | "unrelated";
  readonly reason: string;
  /** With `split-brain`: the dirty blocks of both name every difference. */
  readonly tracked?: boolean;
}

/**
 * Decides. `bound`: the source's bitmap is about this very target (or about none yet); a bitmap kept
 * for another replica says nothing of this one's data.
 */
export function decideSync(source: SyncSide, target: SyncSide, bound: boolean): SyncDecision {
  const s = source.generations;
  const t = target.generations;
  if (source.inconsistent) {
    return { verdict: "unrelated", reason: "the source itself is Inconsistent" };
  }
  if (bound && s.current === t.current) {
    return byBitmap(source, target, "both have the same generation");
  }
  if (bound && s.bitmap !== "" && s.bitmap === t.current) {
    return byBitmap(source, target, "the target has the generation since which bits are kept");
  }
  if (target.blank) {
    return { verdict: "full", reason: "the target was never written" };
  }
  if (s.current === t.current || s.bitmap === t.current || s.history.includes(t.current)) {
    return {
      verdict: "full",
      reason: bound
        ? "the target has an older generation, from before the bits were kept"
        : "the target is another replica than the bits were kept for",
    };
  }
  if (target.inconsistent) {
    return { verdict: "full", reason: "the target is Inconsistent, with no generation in common" };
  }
  if (t.bitmap !== "" && (t.bitmap === s.bitmap || t.bitmap === s.current)) {
    const reason = "the target was written apart from the source";
    return { verdict: "split-brain", reason, tracked: bound };
  }
  const past = [s.current, s.bitmap, ...s.history].filter((one) => one !== "");
  if (past.some((one) => t.bitmap === one || t.history.includes(one))) {
    return { verdict: "split-brain", reason: "both went on from a common generation" };
  }
  return { verdict: "unrelated", reason: "no generation in common" };
}

/** The bits decide; a single one on either side forbids "nothing to do". */
function byBitmap(source: SyncSide, target: SyncSide, reason: string): SyncDecision {
  const dirty = source.dirtyBlocks > 0 || target.dirtyBlocks > 0;
  return { verdict: dirty ? "bitmap" : "none", reason };
}
