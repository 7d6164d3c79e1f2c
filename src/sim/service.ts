/** A simulated service or address: it starts and stops in its own time, fails, hangs, lies, dies. */

import type { Action } from "../resource/runner_types.ts";
import type { Abort, Part, Result } from "./group_shell.ts";
import type { Machine } from "./machine.ts";

/** What is wrong with the services of a machine at the moment. */
export interface Ailment {
  /** Probability that a start, stop or monitor fails. */
  fails: number;
  /** Probability that one hangs until it is told to end. */
  hangs: number;
  /** Probability that a script says what is not so: that it started, stopped, or runs. */
  lies: number;
}

/** See the module comment. */
export class Service implements Part {
  readonly #machine: Machine;
  readonly #id: string;
  readonly #isAddress: boolean;
  readonly #died: (reason: string) => void;
  #up = false;
  #suspended = false;

  constructor(machine: Machine, id: string, isAddress: boolean, died: (reason: string) => void) {
    this.#machine = machine;
    this.#id = id;
    this.#isAddress = isAddress;
    this.#died = died;
  }

  /** Whether it is up and not suspended. */
  get answers(): boolean {
    return this.#up && !this.#suspended;
  }

  /** The lease is lost. */
  suspend(): void {
    this.#suspended = true;
  }

  /** The lease is back. */
  resume(): void {
    this.#suspended = false;
  }

  /** It ends by itself. */
  die(): void {
    if (!this.#up) return;
    this.#up = false;
    this.#died("it ended by itself");
  }

  /** See Part. */
  run(action: Action, finish: (result: Result) => void): Abort {
    const { world, ailment } = this.#machine;
    const { chance } = world;
    let over = false;
    const end = (result: Result) => {
      if (over) return;
      over = true;
      finish(result);
    };
    const hangs = action !== "forcedStop" && chance.is(ailment.hangs);
    // Addresses are the agent's own work: no script speaks for them.
    const lies = !this.#isAddress && action !== "forcedStop" && chance.is(ailment.lies);
    const fails = action !== "forcedStop" && chance.is(ailment.fails);
    if (action === "start") this.#suspended = false;
    if (!hangs) {
      this.#later(chance.between(1, 30), () => {
        if (over) return;
        if (lies) return end({});
        if (action === "start") this.#up = !fails || chance.is(0.5);
        else if (action !== "monitor" && (!fails || chance.is(0.5))) this.#up = false;
        if (fails) end({ failure: `${this.#id} refuses to ${action}` });
        else if (action === "monitor" && !this.#up) end({ failure: `${this.#id} is not there` });
        else end({});
      });
    } else if (action === "start") {
      this.#later(chance.between(1, 30), () => {
        if (!over) this.#up = chance.is(0.5);
      });
    }
    return (reason) => this.#later(chance.between(1, 20), () => end({ failure: reason }));
  }

  #later(delay: number, action: () => void): void {
    const { agent, world } = this.#machine;
    world.schedule.after(delay, () => {
      if (this.#machine.agent === agent) this.#machine.onMain(action);
    });
  }
}
