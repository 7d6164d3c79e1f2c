/** A child that the agent supervises itself. */

import type { ProcessResource } from "../config/types.ts";
import { Child, runCommand } from "./child.ts";
import { childEnvironment } from "./kind.ts";
import type { Health, ResourceContext, ResourceKind, StopResult } from "./kind.ts";
import { pause } from "./process_group.ts";

/** A process without health command has started when it lives for so long, in milliseconds. */
const SETTLE = 100;
/** How often the health command is tried while the process starts, in milliseconds. */
const HEALTH_INTERVAL = 250;

/**
 * `{ kind = "process", … }`. The process stays in the foreground, in a process group of its own;
 * whatever remains of the group when it ends is ended too. A stop is TERM, a forced stop is KILL, of
 * the whole group. Once it runs, its end is told at once; the runner decides about restarts.
 */
export class ProcessKind implements ResourceKind {
  readonly #config: ProcessResource;
  readonly #context: ResourceContext;
  #child: Child | null = null;
  /** `exited with code 3`, once it did. */
  #end: string | null = null;
  #watched = false;

  constructor(config: ProcessResource, context: ResourceContext) {
    this.#config = config;
    this.#context = context;
  }

  async start(signal: AbortSignal): Promise<void> {
    // An earlier run is over, but what it left behind may hold its port.
    if (this.#child !== null && this.#end !== null) await this.#finish(this.#child);
    if (this.#child === null) await this.#spawn();
    try {
      await this.#settle(signal);
    } catch (error) {
      if (this.#child !== null) await this.#finish(this.#child);
      throw error;
    }
    this.#watched = true;
    // It may have ended between the last look and the line above.
    if (this.#end !== null) this.#context.died?.(this.#end);
  }

  async stop(signal: AbortSignal, forced: boolean): Promise<StopResult> {
    this.#watched = false;
    const child = this.#child;
    if (child === null) return { clean: true };
    if (!forced) {
      child.signal("SIGTERM");
      if (!await child.ended(signal)) {
        throw new Error(`pid ${child.members().join(", ")} still run after TERM`);
      }
    }
    await this.#finish(child);
    return { clean: true };
  }

  async monitor(signal: AbortSignal): Promise<Health> {
    if (this.#child === null) return { state: "stopped", reason: "it was not started" };
    if (this.#end !== null) return { state: "stopped", reason: this.#end };
    const why = await this.#askHealth(signal);
    return why === null ? { state: "running" } : { state: "failed", reason: why };
  }

  async #spawn(): Promise<void> {
    const { id, command, environment, directory, user } = this.#config;
    const child = await Child.spawn({
      command,
      environment: { ...childEnvironment(this.#context, id), ...environment },
      ...(directory !== undefined && { directory }),
      ...(user !== undefined && { user }),
      onLine: (line) => this.#context.log("info", `${id}: ${line}`),
    });
    this.#child = child;
    this.#end = null;
    this.#watch(child);
  }

  /** Waits for the end of the child, and tells it if nobody asked for it. */
  async #watch(child: Child): Promise<void> {
    const { code, text } = await child.exited;
    await child.outputEnded();
    if (this.#child !== child) return;
    const said = child.lastLine === "" ? "" : `: ${child.lastLine}`;
    const hint = code === 0 ? "; a supervised process has to stay in the foreground" : "";
    this.#end = `${text}${said}${hint}`;
    if (!this.#watched) return;
    this.#watched = false;
    this.#context.died?.(this.#end);
  }

  /** Waits until the process serves, as far as one can tell. */
  async #settle(signal: AbortSignal): Promise<void> {
    if (this.#config.health === undefined) {
      await pause(SETTLE, signal);
      if (this.#end !== null) throw new Error(this.#end);
      return;
    }
    for (;;) {
      const why = await this.#askHealth(signal);
      if (this.#end !== null) throw new Error(this.#end);
      if (signal.aborted) throw new Error(`it did not get healthy: ${why ?? signal.reason}`);
      if (why === null) return;
      await pause(HEALTH_INTERVAL, signal);
    }
  }

  /** Null when it is healthy, else why not. */
  async #askHealth(signal: AbortSignal): Promise<string | null> {
    const { id, health, directory, user, environment } = this.#config;
    if (health === undefined) return null;
    try {
      const { code, text } = await runCommand({
        command: health,
        environment: { ...childEnvironment(this.#context, id), ...environment },
        ...(directory !== undefined && { directory }),
        ...(user !== undefined && { user }),
        onLine: (line) => this.#context.log("debug", `${id} health: ${line}`),
      }, signal);
      return code === 0 ? null : text;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** Ends whatever is left of the group. */
  async #finish(child: Child): Promise<void> {
    await child.kill();
    if (this.#child === child) this.#child = null;
  }
}
