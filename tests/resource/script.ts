/** A runner and what it wants, written down as words. */

import assert from "node:assert/strict";
import { Runner } from "../../src/resource/runner.ts";
import type { RunnerEffect, RunnerEvent, RunnerResource } from "../../src/resource/runner_types.ts";

const BASE = {
  startTimeout: 1000,
  stopTimeout: 500,
  monitorInterval: 0,
  monitorTimeout: 300,
  restarts: 2,
  restartWindow: 60_000,
} as const;

export function resource(
  kind: RunnerResource["kind"],
  id: string,
  change: Partial<RunnerResource> = {},
): RunnerResource {
  return {
    ...BASE,
    kind,
    id,
    suspends: kind === "ip",
    ...change,
  };
}

export const VOLUME = resource("volume", "volume");
export const WEB = resource("process", "web");
export const IP = resource("ip", "ip");

/** Runs a runner and writes down what it wants, one word a thing. */
export class Script {
  readonly #runner: Runner;
  readonly #ids: readonly string[];
  readonly #open = new Map<string, number>();
  #now = 1000;

  constructor(...resources: readonly RunnerResource[]) {
    this.#runner = new Runner(resources);
    this.#ids = resources.map(({ id }) => id);
  }

  event(event: RunnerEvent): string {
    return this.#runner.step(this.#now, event).map((effect) => this.#word(effect)).filter((word) =>
      word !== ""
    ).join(" ");
  }

  /** The operation `web:start` ended well, or failed; `unclean` is a stop that lost something. */
  ends(what: string, failure?: string, unclean = false): string {
    const operation = this.#open.get(what);
    assert.ok(operation !== undefined, `${what} is not under way`);
    return this.event({
      type: "finished",
      operation,
      unclean,
      ...(failure !== undefined && { failure }),
    });
  }

  died(id: string): string {
    return this.event({ type: "died", resource: this.#ids.indexOf(id), reason: "exited with 1" });
  }

  /** Lets time pass, waking only when the runner asked for it. */
  pass(milliseconds: number): string {
    const end = this.#now + milliseconds;
    const words: string[] = [];
    for (let turn = 0; this.#runner.wakeAt() <= end; turn++) {
      assert.ok(turn < 100, "it wakes again and again");
      this.#now = Math.max(this.#now, this.#runner.wakeAt());
      words.push(this.event({ type: "tick" }));
    }
    this.#now = end;
    return words.filter((word) => word !== "").join(" ");
  }

  /** Everything up. */
  up(): this {
    let words = this.event({ type: "start" });
    for (const id of this.#ids) words = this.ends(`${id}:start`);
    assert.match(words, /started$/);
    return this;
  }

  states(): string {
    return this.#runner.states().join(" ");
  }

  #word(effect: RunnerEffect): string {
    switch (effect.type) {
      case "run": {
        const word = `${this.#ids[effect.resource]}:${effect.action}`;
        this.#open.set(word, effect.operation);
        return word;
      }
      case "abort": {
        const [word] = [...this.#open].find(([, id]) => id === effect.operation) ?? ["?"];
        return `abort(${word})`;
      }
      case "suspend":
      case "resume":
        return `${effect.type}(${this.#ids[effect.resource]})`;
      case "stopped":
        return effect.clean ? "stopped" : "stopped-unclean";
      case "failed":
      case "startFailed":
      case "started":
        return effect.type;
      case "note":
        return "";
    }
  }
}

export const START: RunnerEvent = { type: "start" };
export const STOP: RunnerEvent = { type: "stop", forced: false };
export const FORCE: RunnerEvent = { type: "stop", forced: true };

/** A table: what happens, then what the runner must want. */
export function table(...rows: readonly (readonly [() => string, string])[]): void {
  rows.forEach(([act, wanted], row) => assert.equal(act(), wanted, `row ${row + 1}`));
}
