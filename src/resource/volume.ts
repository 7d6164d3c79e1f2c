/** A volume as a resource: started means Primary and served, stopped means Secondary. */

import type { VolumeResource } from "../config/types.ts";
import type { Health, ResourceContext, ResourceKind, StopResult } from "./kind.ts";

/** What the agent gives for each volume. */
export interface VolumeControl {
  /**
   * Makes the local replica Primary in the epoch of the group's record and serves its export.
   * Rejects with the reason. When the signal is aborted it may stay on its way: a demotion follows.
   */
  promote(signal: AbortSignal): Promise<void>;
  /**
   * Ends the export and makes the local replica Secondary. `forced`: openers get errors, nothing is
   * waited for. `clean`: drained, and flushed on every member.
   */
  demote(forced: boolean, signal: AbortSignal): Promise<StopResult>;
  /** How the volume is now. */
  health(): Health;
}

/** `"volume:NAME"`. */
export class VolumeKind implements ResourceKind {
  readonly #control: VolumeControl;

  constructor(config: VolumeResource, context: ResourceContext) {
    this.#control = context.volumes(config.volume);
  }

  start(signal: AbortSignal): Promise<void> {
    return orAborted(signal, this.#control.promote(signal));
  }

  stop(signal: AbortSignal, forced: boolean): Promise<StopResult> {
    return orAborted(signal, this.#control.demote(forced, signal));
  }

  monitor(_signal: AbortSignal): Promise<Health> {
    return Promise.resolve(this.#control.health());
  }
}

/** The promise, or a rejection as soon as the signal is aborted, whatever the promise does. */
function orAborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(new Error(`given up: ${signal.reason}`));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
