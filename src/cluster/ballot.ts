/** Ballots: their order, and runs of nodes as they are named in them. */

import type { Ballot, NodeRun } from "./types.ts";

/** Orders by n, then node name, then incarnation. Negative: `a` is lower. */
export function compareBallots(a: Ballot, b: Ballot): number {
  if (a.n !== b.n) return a.n - b.n;
  if (a.node !== b.node) return a.node < b.node ? -1 : 1;
  return a.incarnation - b.incarnation;
}

/** Whether two ballots, or two absences of one, are the same. */
export function sameBallot(a: Ballot | null | undefined, b: Ballot | null | undefined): boolean {
  if (!a || !b) return !a && !b;
  return compareBallots(a, b) === 0;
}

/** Whether both name the same run of the same node. */
export function sameRun(a: NodeRun | null | undefined, b: NodeRun | null | undefined): boolean {
  return !!a && !!b && a.node === b.node && a.incarnation === b.incarnation;
}

/** For notes: `n.node.incarnation`. */
export function formatBallot(ballot: Ballot): string {
  return `${ballot.n}.${ballot.node}.${ballot.incarnation}`;
}

/** For notes: `node (run incarnation)`. */
export function formatRun(run: NodeRun | null): string {
  return run === null ? "nobody" : `${run.node} (run ${run.incarnation})`;
}
