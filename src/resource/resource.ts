/**
 * Resources: what a group consists of, and how each kind is started, stopped and watched.
 *
 * - `runner.ts` is the pure order of things in a group: start one after the other, stop in reverse,
 *   deadlines, restarts, the ladder of a stop that fails;
 * - `group_runner.ts` carries its wishes out at the resources of one group and tells the agent;
 * - `ip.ts`, `process.ts`, `command.ts`, `volume.ts`: one file a kind, behind
 *   {@linkcode ResourceKind};
 * - `child.ts`, `process_group.ts`, `account.ts`: children in process groups of their own.
 *
 * @module
 */

import type { ResourceConfig } from "../config/types.ts";
import { CommandKind } from "./command.ts";
import { IpKind } from "./ip.ts";
import type { ResourceContext, ResourceKind } from "./kind.ts";
import { ProcessKind } from "./process.ts";
import { VolumeKind } from "./volume.ts";

/** The resource that a configuration describes. Nothing happens before its first operation. */
export function createResource(config: ResourceConfig, context: ResourceContext): ResourceKind {
  switch (config.kind) {
    case "volume":
      return new VolumeKind(config, context);
    case "ip":
      return new IpKind(config, context);
    case "process":
      return new ProcessKind(config, context);
    case "command":
      return new CommandKind(config, context);
  }
}
