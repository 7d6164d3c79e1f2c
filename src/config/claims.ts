/**
 * Things that may be used once: addresses, sockets, disks, names.
 *
 * @module
 */

import type { Place, Problems } from "./problem.ts";

/** Remembers who uses what, and reports the second user. */
export class Claims {
  readonly #owners = new Map<string, Place>();

  /**
   * Claims `what`, e.g. `address 192.0.2.1:6940`. Two claims meet if their `what` are equal.
   * Returns whether the claim is the first.
   */
  claim(what: string, at: Place, problems: Problems): boolean {
    const owner = this.#owners.get(what);
    if (owner === undefined) {
      this.#owners.set(what, at);
      return true;
    }
    const where = `${owner.key} (line ${owner.line})`;
    problems.error(at, `${what} is already used by ${where}; each needs its own`);
    return false;
  }

  /** Like {@link claim}, for things that many may share but somebody else may not have. */
  note(what: string, at: Place): void {
    if (!this.#owners.has(what)) this.#owners.set(what, at);
  }

  /** Who claimed or noted `what` first, if anybody did. */
  owner(what: string): Place | undefined {
    return this.#owners.get(what);
  }
}
