/** Runs the resources of one group on this node: the pure runner with real resources and timers. */

import type { GroupRecord, Note } from "../cluster/types.ts";
import type { GroupConfig } from "../config/types.ts";
import type { ResourceContext, ResourceKind } from "./kind.ts";
import { createResource } from "./resource.ts";
import { Runner } from "./runner.ts";
import {
  type ResourceStatus,
  type RunnerEffect,
  type RunnerEvent,
  startOf,
} from "./runner_types.ts";

/** What the agent is told. The epoch is that of the start or stop that is answered. */
export interface GroupCallbacks {
  /** Everything runs. */
  started(epoch: number): void;
  /** Something did not start; what did start is still up, and a stop is expected. */
  startFailed(epoch: number, reason: string): void;
  /** All is stopped. `clean`: in order, and nothing can be lost by the way it ended. */
  stopped(epoch: number, clean: boolean): void;
  /** A resource failed beyond its restarts. */
  failed(reason: string): void;
  /** For the log and the journal. */
  note(note: Note): void;
}

/** What a group is given; the rest of a resource's context is the runner's own. */
export type GroupContext = Omit<ResourceContext, "group" | "probeDuplicates" | "died">;

/** How a group is started. */
export interface StartOptions {
  /** Nobody knows whether the old owner still has the addresses. */
  readonly probeDuplicates?: boolean;
  /** Names of the volumes that are started alone; undefined: everything is. */
  readonly part?: readonly string[] | undefined;
}

interface Running {
  readonly resource: number;
  readonly controller: AbortController;
}

/** Drives one group. Every call returns at once; callbacks may come before it does. */
export class GroupRunner {
  readonly #config: GroupConfig;
  readonly #context: GroupContext;
  readonly #callbacks: GroupCallbacks;
  readonly #resources: readonly ResourceKind[];
  readonly #runner: Runner;
  readonly #running = new Map<number, Running>();
  readonly #queue: RunnerEvent[] = [];
  #taking = false;
  #closed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #startEpoch = 0;
  #stopEpoch = 0;
  #probeDuplicates = false;

  /**
   * @param create makes the resources; tests put in their own
   */
  constructor(
    config: GroupConfig,
    context: GroupContext,
    callbacks: GroupCallbacks,
    create: typeof createResource = createResource,
  ) {
    this.#config = config;
    this.#context = context;
    this.#callbacks = callbacks;
    this.#resources = config.resources.map((resource, index) =>
      create(resource, this.#contextOf(index))
    );
    this.#runner = new Runner(config.resources.map((resource, index) => ({
      ...resource,
      suspends: this.#resources[index]!.suspend !== undefined,
    })));
  }

  /**
   * Starts the resources in order; answered by `started` or `startFailed`, the latter to be followed
   * by a stop.
   */
  start(record: GroupRecord, options: StartOptions = {}): void {
    this.#startEpoch = record.epoch;
    this.#probeDuplicates = options.probeDuplicates ?? false;
    this.#feed(startOf(this.#config, options.part));
  }

  /** A takeover from a node that did not let go is under way. Changes nothing. */
  prepare(): void {
    for (const resource of this.#resources) resource.prepare?.();
  }

  /** Stops them in reverse, whatever they are doing; always answered by `stopped`. */
  stop(options: { readonly forced: boolean; readonly epoch: number }): void {
    this.#stopEpoch = options.epoch;
    this.#feed({ type: "stop", forced: options.forced });
  }

  /** The lease is lost: addresses are gone when this returns. */
  suspend(): void {
    this.#feed({ type: "suspend" });
  }

  /** The lease is back. */
  resume(): void {
    this.#feed({ type: "resume" });
  }

  /** Maintenance begins or ends. */
  hold(on: boolean): void {
    this.#feed({ type: "hold", on });
  }

  /** State of the resources, in order. */
  resources(): ResourceStatus[] {
    const states = this.#runner.states();
    return this.#config.resources.map(({ id, kind }, index) => ({
      id,
      kind,
      state: states[index]!,
    }));
  }

  /** Ends timers and operations under way; resources stay as they are. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const { controller } of this.#running.values()) controller.abort("the agent ends");
  }

  #feed(event: RunnerEvent): void {
    if (this.#closed) return;
    this.#queue.push(event);
    if (this.#taking) return;
    this.#taking = true;
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        for (const effect of this.#runner.step(performance.now(), next)) this.#carryOut(effect);
      }
    } finally {
      this.#taking = false;
    }
    this.#setTimer();
  }

  #setTimer(): void {
    clearTimeout(this.#timer);
    const at = this.#runner.wakeAt();
    if (at === Infinity || this.#closed) return;
    const wait = Math.max(0, Math.ceil(at - performance.now()));
    this.#timer = setTimeout(() => this.#feed({ type: "tick" }), Math.min(wait, 2 ** 31 - 1));
  }

  #carryOut(effect: RunnerEffect): void {
    switch (effect.type) {
      case "run":
        this.#run(effect);
        return;
      case "abort":
        return this.#running.get(effect.operation)?.controller.abort(effect.reason);
      case "suspend":
      case "resume":
        return this.#pass(effect.type, effect.resource);
      case "started":
        return this.#callbacks.started(this.#startEpoch);
      case "startFailed":
        return this.#callbacks.startFailed(this.#startEpoch, effect.reason);
      case "stopped":
        return this.#callbacks.stopped(this.#stopEpoch, effect.clean);
      case "failed":
        return this.#callbacks.failed(effect.reason);
      case "note": {
        const { level, rule, text } = effect;
        return this.#note(level, rule, text, effect.resource);
      }
    }
  }

  async #run(effect: Extract<RunnerEffect, { type: "run" }>): Promise<void> {
    const { operation, resource, action } = effect;
    const controller = new AbortController();
    this.#running.set(operation, { resource, controller });
    const result = await this.#perform(resource, action, controller.signal);
    this.#running.delete(operation);
    this.#feed({ type: "finished", operation, ...result });
  }

  /** What an operation came to, in the runner's words. Never rejects. */
  async #perform(
    index: number,
    action: Extract<RunnerEffect, { type: "run" }>["action"],
    signal: AbortSignal,
  ): Promise<{ failure?: string; unclean?: boolean }> {
    const resource = this.#resources[index]!;
    try {
      switch (action) {
        case "start":
          await resource.start(signal);
          return {};
        case "stop":
        case "forcedStop": {
          const { clean } = await resource.stop(signal, action === "forcedStop");
          return { unclean: !clean };
        }
        case "monitor": {
          const { state, reason } = await resource.monitor(signal);
          return state === "running" ? {} : { failure: reason ?? `it is ${state}` };
        }
      }
    } catch (error) {
      return { failure: error instanceof Error ? error.message : String(error) };
    }
  }

  #pass(what: "suspend" | "resume", index: number): void {
    try {
      this.#resources[index]![what]?.();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const { id } = this.#config.resources[index]!;
      this.#note("error", `${what}-failed`, `${id}: ${what} failed: ${reason}`, index);
      if (what === "resume") this.#queue.push({ type: "died", resource: index, reason });
    }
  }

  #contextOf(index: number): ResourceContext {
    const probeDuplicates = () => this.#probeDuplicates;
    return {
      ...this.#context,
      group: this.#config.name,
      get probeDuplicates() {
        return probeDuplicates();
      },
      died: (reason) => this.#feed({ type: "died", resource: index, reason }),
    };
  }

  #note(level: Note["level"], rule: string, text: string, index: number): void {
    this.#callbacks.note({
      level,
      rule,
      group: this.#config.name,
      node: this.#context.node,
      text,
      known: { resource: this.#config.resources[index]!.id },
    });
  }
}
