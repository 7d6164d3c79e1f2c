/**
 * Makes the list of faults that broke a promise minimal: delta debugging (Zeller and Hildebrandt 2002).
 * Whatever is left out changes what follows, so every shorter list is run anew in the same world; it
 * counts if it breaks the same promise.
 */

import type { TimedFault } from "./faults.ts";
import type { Options } from "./options.ts";
import { type Run, simulate } from "./simulation.ts";

/** What is left. */
export interface Shrunk {
  /** None of these can be left out by itself. */
  readonly faults: readonly TimedFault[];
  readonly violation: string;
  /** Worlds that were run for it. */
  readonly runs: number;
}

/** Short name of the promise that a violation is about, such as `P3`. */
export function promiseOf(violation: string): string {
  return violation.slice(0, violation.indexOf(":"));
}

/**
 * Shrinks a list that breaks a promise in its world.
 *
 * @param progress called with the length of the list whenever it became shorter
 */
export function shrink(
  options: Options,
  faults: readonly TimedFault[],
  violation: string,
  { progress = () => {}, prepare }: { progress?: (left: number) => void } & Pick<Run, "prepare"> =
    {},
): Shrunk {
  const promise = promiseOf(violation);
  let best = faults;
  let found = violation;
  let runs = 0;
  const breaks = (list: readonly TimedFault[]): boolean => {
    runs++;
    const outcome = simulate(options, prepare ? { faults: list, prepare } : { faults: list });
    if (outcome.violation === null || promiseOf(outcome.violation) !== promise) return false;
    found = outcome.violation;
    return true;
  };
  /** Takes a shorter list if it breaks the promise as well. */
  const take = (list: readonly TimedFault[]): boolean => {
    if (!breaks(list)) return false;
    best = list;
    progress(list.length);
    return true;
  };
  let parts = 2;
  while (best.length >= 2) {
    const size = Math.ceil(best.length / parts);
    let shorter = false;
    for (let from = 0; from < best.length && !shorter; from += size) {
      if (take(best.slice(from, from + size))) {
        parts = 2;
        shorter = true;
      }
    }
    for (let from = 0; from < best.length && !shorter && parts > 2; from += size) {
      if (take([...best.slice(0, from), ...best.slice(from + size)])) {
        parts = Math.max(2, parts - 1);
        shorter = true;
      }
    }
    if (shorter) continue;
    if (size === 1) break;
    parts = Math.min(best.length, 2 * parts);
  }
  if (best.length === 1) take([]);
  return { faults: best, violation: found, runs };
}
