/** What every kind of resource has in common, and what it is given. */

import type { VolumeControl } from "./volume.ts";

/** What a monitor found. `failed` and `stopped` come with a reason for the log. */
export interface Health {
  readonly state: "running" | "stopped" | "failed";
  readonly reason?: string;
}

/** What a stop came to. */
export interface StopResult {
  /** Nothing of it is left, and nothing can be lost by the way it ended. */
  readonly clean: boolean;
}

/**
 * One resource. An operation rejects with an Error that says why it did not do what it should; when
 * its signal is aborted it ends soon, taking along whatever it started. Operations are idempotent.
 */
export interface ResourceKind {
  /** A start after a takeover is likely soon: asks what it will have to know. Changes nothing. */
  prepare?(): void;
  /** Resolves once the resource serves. */
  start(signal: AbortSignal): Promise<void>;
  /** Resolves once it is stopped. `forced`: do not ask, end it. */
  stop(signal: AbortSignal, forced: boolean): Promise<StopResult>;
  /** Looks how it is. */
  monitor(signal: AbortSignal): Promise<Health>;
  /** The lease is lost: whatever others could reach has to be gone when this returns. */
  suspend?(): void;
  /** The lease is back. */
  resume?(): void;
}

/** Takes a line for the log: what a script said, what a resource does. */
export type ResourceLog = (level: "debug" | "info" | "warning" | "error", text: string) => void;

/** What a resource is given by the agent. */
export interface ResourceContext {
  /** Name of this node. */
  readonly node: string;
  /** Name of the group. */
  readonly group: string;
  readonly log: ResourceLog;
  /** The volumes of this node. */
  readonly volumes: (name: string) => VolumeControl;
  /** Whether the old owner may still hold its addresses. Read at each start. */
  readonly probeDuplicates: boolean;
  /** Seconds that an address outlives its agent, 2 or more. Default 3. */
  readonly addressLifetime?: number;
  /** Whether the group's lease holds at this moment; asked before an address is renewed. */
  readonly leaseHolds?: () => boolean;
  /** What tells this agent from all others of the machine: its state directory. */
  readonly instance?: string;
  /** Where the agent's sockets and the exports are. */
  readonly runtimeDir?: string;
  /** The resource ended by itself, or cannot be kept up. */
  readonly died?: (reason: string) => void;
}

/** The environment that children find: who runs them, and for what. */
export function childEnvironment(context: ResourceContext, id: string): Record<string, string> {
  return {
    BASCULE_NODE: context.node,
    BASCULE_GROUP: context.group,
    BASCULE_RESOURCE: id,
    ...(context.instance !== undefined && { BASCULE_INSTANCE: context.instance }),
    ...(context.runtimeDir !== undefined && { BASCULE_RUNTIME_DIR: context.runtimeDir }),
  };
}
