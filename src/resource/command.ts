/** Start, stop and status commands in the manner of a resource script. */

import type { CommandResource } from "../config/types.ts";
import { type CommandResult, runCommand } from "./child.ts";
import { childEnvironment } from "./kind.ts";
import type { Health, ResourceContext, ResourceKind, StopResult } from "./kind.ts";

/** Exit codes of `status` that mean "not running": LSB says 3, OCF says 7. */
const NOT_RUNNING: readonly number[] = [3, 7];

/**
 * `{ kind = "command", … }`. A start or stop that exits with 0 did what it should. Each command runs
 * in a process group of its own, which is KILLed when the command hangs; what a start leaves running
 * in the background lives on when it ends by itself.
 */
export class CommandKind implements ResourceKind {
  readonly #config: CommandResource;
  readonly #context: ResourceContext;

  constructor(config: CommandResource, context: ResourceContext) {
    this.#config = config;
    this.#context = context;
  }

  async start(signal: AbortSignal): Promise<void> {
    const { code, text } = await this.#run(this.#config.start, signal);
    if (code !== 0) throw new Error(text);
  }

  /** A forced stop asks `status` first: the command that was KILLed may have done its work. */
  async stop(signal: AbortSignal, forced: boolean): Promise<StopResult> {
    if (forced && await this.#isStopped(signal)) return { clean: true };
    const { code, text } = await this.#run(this.#config.stop, signal);
    if (code === 0) return { clean: true };
    if (await this.#isStopped(signal)) {
      this.#context.log("warning", `${text}, but its status command says that it is stopped`);
      return { clean: true };
    }
    throw new Error(text);
  }

  async monitor(signal: AbortSignal): Promise<Health> {
    if (this.#config.status === undefined) return { state: "running" };
    const { code, text } = await this.#run(this.#config.status, signal);
    if (code === 0) return { state: "running" };
    return { state: NOT_RUNNING.includes(code) ? "stopped" : "failed", reason: text };
  }

  async #isStopped(signal: AbortSignal): Promise<boolean> {
    if (this.#config.status === undefined) return false;
    return (await this.monitor(signal)).state === "stopped";
  }

  #run(command: readonly string[], signal: AbortSignal): Promise<CommandResult> {
    const { id } = this.#config;
    return runCommand({
      command,
      environment: childEnvironment(this.#context, id),
      onLine: (line) => this.#context.log("info", `${id}: ${line}`),
    }, signal);
  }
}
