/** The events and effects of the runner of a group, and the words for the states of a resource. */

import type { GroupConfig, ResourceBase, ResourceConfig } from "../config/types.ts";

/** An operation that was told to end gets this long, in milliseconds, before nobody waits any more. */
export const ABORT_GRACE = 5_000;
/** Pause before the second restart in place, in milliseconds; doubles with each further one. */
export const BACKOFF_FIRST = 1_000;
/** Longest pause before a restart in place, in milliseconds. */
export const BACKOFF_MOST = 30_000;

/** What the machine has to know of a resource. */
export interface RunnerResource extends ResourceBase {
  readonly kind: ResourceConfig["kind"];
  /** It has to go at once when the lease is lost. */
  readonly suspends: boolean;
}

/** State of a resource, as `status` shows it. */
export type ResourceState =
  | "stopped"
  | "starting"
  | "running"
  | "suspended"
  | "stopping"
  | "failed"
  /** It withstood the forced stop: something of it may still run. */
  | "unclean";

/** One resource, for `status`. */
export interface ResourceStatus {
  readonly id: string;
  readonly kind: ResourceConfig["kind"];
  readonly state: ResourceState;
}

/** What can happen. */
export type RunnerEvent =
  /** `only`: indices of the resources that are to be started; absent: all. */
  | { readonly type: "start"; readonly only?: readonly number[] }
  | { readonly type: "stop"; readonly forced: boolean }
  | { readonly type: "suspend" }
  | { readonly type: "resume" }
  /** Maintenance begins or ends: what fails meanwhile is shown and left as it is. */
  | { readonly type: "hold"; readonly on: boolean }
  /**
   * An operation ended. `failure` says why it did not do what it should; `unclean`: it stopped, but
   * something may be lost by it, so that the group must not be released as cleanly stopped.
   */
  | {
    readonly type: "finished";
    readonly operation: number;
    readonly failure?: string;
    readonly unclean?: boolean;
  }
  /** A running resource ended by itself, or could not be resumed. */
  | { readonly type: "died"; readonly resource: number; readonly reason: string }
  | { readonly type: "tick" };

/** The start of a group; `part`: of these volumes alone. */
export function startOf(config: GroupConfig, part?: readonly string[]): RunnerEvent {
  if (part === undefined) return { type: "start" };
  const only = config.resources.flatMap((resource, index) =>
    resource.kind === "volume" && part.includes(resource.volume) ? [index] : []
  );
  return { type: "start", only };
}

/** What is to be done at one resource. */
export type Action = "start" | "stop" | "forcedStop" | "monitor";

/** What is to be done, in order. */
export type RunnerEffect =
  | {
    readonly type: "run";
    readonly operation: number;
    readonly resource: number;
    readonly action: Action;
  }
  /** End this operation now; it still has to report that it finished. */
  | { readonly type: "abort"; readonly operation: number; readonly reason: string }
  | { readonly type: "suspend" | "resume"; readonly resource: number }
  | { readonly type: "started" }
  | { readonly type: "startFailed"; readonly reason: string }
  | { readonly type: "stopped"; readonly clean: boolean }
  | { readonly type: "failed"; readonly reason: string }
  | {
    readonly type: "note";
    readonly level: "info" | "warning" | "error";
    readonly rule: string;
    readonly resource: number;
    readonly text: string;
  };
