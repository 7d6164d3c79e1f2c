/**
 * Looks for work for some microseconds before a thread goes to sleep. Falling asleep and being woken
 * costs a virtual machine more than a whole request; a client that answers at once is met awake.
 *
 * How long it looks adapts itself, as the kernel's own halt polling does: nothing while the waits are
 * long (an idle volume costs no processor time), and ever more rarely while looking was in vain (where
 * processors are short, whoever would bring the work needs this one).
 *
 * @module
 */
import { monotonicMs } from "./clock.ts";

/** Longest look, milliseconds. A wait this short is worth being met awake. */
const LONGEST_MS = 0.05;
/** Looks at the memory between two looks at the clock. */
const BURST = 64;
/** After a look in vain so many short waits must pass, doubled with every further one. */
const MOST_PATIENCE = 1024;

/** See the module comment. */
export class SpinWait {
  /** Short waits still to be slept through before the next look. */
  #sleeps = 1;
  #patience = 1;
  #sleptAt = 0;

  /** Looks until `ready` says true, or in vain. Then {@linkcode slept} is to be called after the sleep. */
  spin(ready: () => boolean): boolean {
    const began = monotonicMs();
    if (this.#sleeps > 0) {
      this.#sleptAt = began;
      return false;
    }
    let now = began;
    do {
      for (let i = 0; i < BURST; i++) {
        if (ready()) {
          this.#patience = 1;
          return true;
        }
      }
      now = monotonicMs();
    } while (now - began < LONGEST_MS);
    this.#sleeps = this.#patience;
    this.#patience = Math.min(MOST_PATIENCE, this.#patience * 2);
    this.#sleptAt = now;
    return false;
  }

  /** The thread slept and has work again. */
  slept(): void {
    if (monotonicMs() - this.#sleptAt < LONGEST_MS) {
      if (this.#sleeps > 0) this.#sleeps--;
    } else if (this.#sleeps === 0) this.#sleeps = 1;
  }
}
