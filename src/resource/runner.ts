/**
 * The order of things in one group, as a pure state machine: resources start one after the other and
 * stop in reverse; each operation has a deadline; what fails is restarted in place, with all that
 * stands on it, up to its limit; then the group fails on this node.
 *
 * Events go in with the time (monotonic milliseconds), effects come out and are carried out in order
 * by `group_runner.ts`. A stop climbs a ladder: orderly; then, when it fails or takes too long,
 * forced (KILL of the process group, demotion that does not ask); a resource that withstands both is
 * `unclean`, and the group is reported as not cleanly stopped.
 */

import {
  ABORT_GRACE,
  type Action,
  BACKOFF_FIRST,
  BACKOFF_MOST,
  type ResourceState,
  type RunnerEffect,
  type RunnerEvent,
  type RunnerResource,
} from "./runner_types.ts";

type Start = Extract<RunnerEvent, { type: "start" }>;

interface Operation {
  readonly id: number;
  readonly action: Action;
  readonly began: number;
  deadline: number;
  /** Why it was told to end; a result after that does not count as success of a start. */
  aborted: string | null;
}

interface Slot {
  readonly config: RunnerResource;
  state: "stopped" | "running" | "failed" | "unclean";
  /** Start or stop in progress. */
  operation: Operation | null;
  monitor: Operation | null;
  nextMonitor: number;
  /** Times of the restarts in place that still count. */
  restarts: number[];
  /** Went down while the group was suspended. */
  pending: string | null;
  /** Withstood the forced stop: not tried again before the next start or stop of the group. */
  givenUp: boolean;
}

/** Drives the resources of one group. */
export class Runner {
  readonly #slots: Slot[];
  #goal: "up" | "down" = "down";
  /** `started` was reported in this service. */
  #started = false;
  /** `startFailed` or `failed` was reported: nothing more happens before a stop. */
  #halted = false;
  #forced = false;
  #clean = true;
  #stopping = false;
  #suspended = false;
  /** Nothing is started or restarted; monitors go on. */
  #held = false;
  /** A start that came while stopping. */
  #again: Start | null = null;
  /** What the start is for; null: all. */
  #only: readonly number[] | null = null;
  /** From this resource on, all have to stop before any starts. */
  #rewind = Infinity;
  #retryAt = 0;
  #nextOperation = 1;
  #effects: RunnerEffect[] = [];

  constructor(resources: readonly RunnerResource[]) {
    this.#slots = resources.map((config) => ({
      config,
      state: "stopped",
      operation: null,
      monitor: null,
      nextMonitor: Infinity,
      restarts: [],
      pending: null,
      givenUp: false,
    }));
  }

  /** Takes an event; gives what is to be done, in order. */
  step(now: number, event: RunnerEvent): RunnerEffect[] {
    this.#effects = [];
    this.#take(now, event);
    this.#checkDeadlines(now);
    this.#advance(now);
    return this.#effects;
  }

  /** When the next tick is due; Infinity when only events matter. */
  wakeAt(): number {
    const idle = this.#slots.every((slot) => slot.operation === null);
    const waits = idle && this.#goal === "up" && !this.#halted && !this.#suspended && !this.#held;
    let at = waits && this.#retryAt > 0 ? this.#retryAt : Infinity;
    for (const slot of this.#slots) {
      for (const operation of [slot.operation, slot.monitor]) {
        if (operation !== null) at = Math.min(at, operation.deadline);
      }
      if (idle && slot.monitor === null && this.#mayMonitor(slot)) {
        at = Math.min(at, slot.nextMonitor);
      }
    }
    return at;
  }

  /** State of each resource, in order. */
  states(): ResourceState[] {
    return this.#slots.map((slot) => {
      if (slot.operation !== null) {
        return slot.operation.action === "start" ? "starting" : "stopping";
      }
      const suspended = this.#suspended && slot.state === "running" && slot.config.suspends;
      return suspended ? "suspended" : slot.state;
    });
  }

  #take(now: number, event: RunnerEvent): void {
    switch (event.type) {
      case "start":
        return this.#takeStart(event);
      case "stop":
        return this.#takeStop(now, event.forced);
      case "suspend":
        return this.#takeSuspend();
      case "resume":
        return this.#takeResume(now);
      case "hold":
        return this.#takeHold(now, event.on);
      case "finished":
        return this.#takeFinished(now, event.operation, event.failure, event.unclean);
      case "died":
        return this.#takeDied(now, event.resource, event.reason);
      case "tick":
        return;
    }
  }

  #takeStart(start: Start): void {
    if (this.#stopping) {
      this.#again = start;
      return;
    }
    if (this.#goal === "up" && !this.#halted) {
      if (this.#started) this.#effects.push({ type: "started" });
      return;
    }
    this.#goal = "up";
    this.#only = start.only ?? null;
    this.#started = false;
    this.#halted = false;
    this.#suspended = false;
    this.#retryAt = 0;
    const left = this.#slots.findIndex((slot) => slot.state !== "stopped");
    this.#rewind = left < 0 ? Infinity : left;
    for (const slot of this.#slots) {
      slot.restarts = [];
      slot.givenUp = false;
    }
  }

  #takeStop(now: number, forced: boolean): void {
    this.#again = null;
    if (!this.#stopping) {
      this.#stopping = true;
      this.#clean = true;
      this.#forced = false;
      for (const slot of this.#slots) slot.givenUp = false;
    }
    this.#goal = "down";
    for (const slot of this.#slots) {
      this.#dropMonitor(slot, "the group stops");
      const running = slot.operation;
      if (running?.action === "start") this.#abort(now, running, "the group stops");
      if (running?.action === "stop" && forced && !this.#forced) {
        this.#abort(now, running, "the group has to stop at once");
      }
    }
    this.#forced ||= forced;
  }

  #takeSuspend(): void {
    this.#slots.forEach((slot, resource) => {
      // What failed, or hangs in its stop, may still be there.
      const there = slot.state !== "stopped" || slot.operation?.action === "start";
      if (there && slot.config.suspends) this.#effects.push({ type: "suspend", resource });
    });
    if (this.#goal === "down") return;
    this.#suspended = true;
    for (const slot of this.#slots) this.#dropMonitor(slot, "the group is frozen");
  }

  #takeResume(now: number): void {
    if (!this.#suspended) return;
    this.#suspended = false;
    this.#slots.forEach((slot, resource) => {
      // In maintenance what failed is left as it was, and an address was there.
      const there = slot.state === "running" || slot.operation?.action === "start" ||
        (this.#held && slot.state === "failed");
      if (there && slot.config.suspends) this.#effects.push({ type: "resume", resource });
      slot.nextMonitor = now + (slot.config.monitorInterval || Infinity);
    });
    this.#takePending(now);
  }

  #takeHold(now: number, on: boolean): void {
    this.#held = on;
    if (!on && !this.#suspended) this.#takePending(now);
  }

  /** Acts upon what failed while nothing could be done about it. */
  #takePending(now: number): void {
    this.#slots.forEach((slot, resource) => {
      const reason = slot.pending;
      slot.pending = null;
      if (reason !== null) this.#fail(now, resource, reason);
    });
  }

  #takeDied(now: number, resource: number, reason: string): void {
    const slot = this.#slots[resource];
    if (slot?.state !== "running" || slot.operation !== null) return;
    slot.state = "failed";
    this.#dropMonitor(slot, "it ended");
    if (this.#suspended) slot.pending = reason;
    else this.#fail(now, resource, reason);
  }

  #takeFinished(
    now: number,
    id: number,
    failure: string | undefined,
    unclean: boolean | undefined,
  ): void {
    const resource = this.#slots.findIndex((slot) =>
      slot.operation?.id === id || slot.monitor?.id === id
    );
    const slot = this.#slots[resource];
    // Whoever was no longer waited for comes late: what it says was decided already.
    if (slot === undefined) return;
    if (slot.monitor?.id === id) {
      const why = slot.monitor.aborted ?? failure;
      slot.monitor = null;
      slot.nextMonitor = now + slot.config.monitorInterval;
      if (why === undefined) return this.#monitoredWell(slot, resource);
      if (slot.state === "failed") return;
      slot.state = "failed";
      return this.#fail(now, resource, why);
    }
    const operation = slot.operation!;
    slot.operation = null;
    const why = operation.aborted ?? failure;
    switch (operation.action) {
      case "start":
        return this.#startEnded(now, resource, operation, why);
      case "stop":
        this.#clean &&= unclean !== true;
        return this.#stopEnded(now, resource, operation, failure);
      case "forcedStop":
        this.#clean &&= unclean !== true;
        return this.#forcedStopEnded(now, resource, operation, failure);
    }
  }

  /** In maintenance an operator may have mended what had failed. */
  #monitoredWell(slot: Slot, resource: number): void {
    if (slot.state !== "failed") return;
    slot.state = "running";
    slot.pending = null;
    this.#note("info", "resource-back", resource, `${slot.config.id} runs again`);
  }

  #startEnded(
    now: number,
    resource: number,
    operation: Operation,
    why: string | undefined,
  ): void {
    const slot = this.#slots[resource]!;
    if (why === undefined) {
      slot.state = "running";
      this.#noteEnd(now, resource, operation, "started");
      slot.nextMonitor = now + (slot.config.monitorInterval || Infinity);
      if (this.#suspended && slot.config.suspends) {
        this.#effects.push({ type: "suspend", resource });
      }
      return;
    }
    slot.state = "failed";
    if (this.#goal === "down" || this.#rewind <= resource) return;
    const reason = `${slot.config.id} did not start: ${why}`;
    if (this.#started) return this.#fail(now, resource, reason);
    this.#halted = true;
    this.#note("error", "start-failed", resource, reason);
    this.#effects.push({ type: "startFailed", reason });
  }

  #stopEnded(
    now: number,
    resource: number,
    operation: Operation,
    failure: string | undefined,
  ): void {
    const slot = this.#slots[resource]!;
    if (failure === undefined) {
      slot.state = "stopped";
      return this.#noteEnd(now, resource, operation, "stopped");
    }
    slot.state = "failed";
    if (this.#forced) return;
    const why = operation.aborted ?? failure;
    this.#note("warning", "stop-failed", resource, `${slot.config.id} did not stop: ${why}`);
    this.#run(now, resource, "forcedStop");
  }

  #forcedStopEnded(
    now: number,
    resource: number,
    operation: Operation,
    failure: string | undefined,
  ): void {
    const slot = this.#slots[resource]!;
    if (failure === undefined) {
      slot.state = "stopped";
      return this.#noteEnd(now, resource, operation, "stopped by force");
    }
    slot.state = "unclean";
    slot.givenUp = true;
    this.#clean = false;
    const why = operation.aborted ?? failure;
    const reason = `${slot.config.id} withstood the forced stop, it may still run: ${why}`;
    this.#note("error", "stop-unclean", resource, reason);
    if (this.#goal === "up") this.#halt(reason);
  }

  /** A resource that should run does not: restart it in place, or give the group up. */
  #fail(now: number, resource: number, reason: string): void {
    const slot = this.#slots[resource]!;
    if (this.#goal === "down" || this.#halted) return;
    const { id, restarts, restartWindow } = slot.config;
    if (this.#held) {
      slot.pending = reason;
      const text = `${id}: ${reason}; it is left as it is until maintenance ends`;
      return this.#note("error", "failed-held", resource, text);
    }
    slot.restarts = slot.restarts.filter((at) => at > now - restartWindow);
    if (slot.restarts.length >= restarts) {
      const limit = restarts === 0
        ? "no restart is allowed"
        : `${restarts} restarts within ${restartWindow / 1000} s did not help`;
      this.#note("error", "restarts-used-up", resource, `${id}: ${reason}; ${limit}`);
      return this.#halt(`${id}: ${reason}; ${limit}`);
    }
    slot.restarts.push(now);
    const nth = slot.restarts.length;
    const pause = nth === 1 ? 0 : Math.min(BACKOFF_FIRST * 2 ** (nth - 2), BACKOFF_MOST);
    this.#retryAt = Math.max(this.#retryAt, now + pause);
    this.#rewind = Math.min(this.#rewind, resource);
    this.#note(
      "warning",
      "restart",
      resource,
      `${id}: ${reason}; restarting it in place, ${nth} of ${restarts}`,
    );
    for (const above of this.#slots.slice(resource)) {
      if (above.operation?.action === "start") {
        this.#abort(now, above.operation, `${id} below it failed`);
      }
    }
  }

  #halt(reason: string): void {
    this.#halted = true;
    this.#effects.push(
      this.#started ? { type: "failed", reason } : { type: "startFailed", reason },
    );
  }

  #checkDeadlines(now: number): void {
    this.#slots.forEach((slot) => {
      for (const operation of [slot.operation, slot.monitor]) {
        if (operation === null || now < operation.deadline) continue;
        if (operation.aborted === null) {
          const seconds = (now - operation.began) / 1000;
          this.#abort(now, operation, `no end after ${seconds.toFixed(1)} s`);
        } else {
          operation.aborted += ", and it did not let go";
          this.#takeFinished(now, operation.id, operation.aborted, true);
        }
      }
    });
  }

  /** The next operation towards the goal, unless one is in progress. */
  #advance(now: number): void {
    if (this.#slots.some((slot) => slot.operation !== null)) return;
    if (this.#goal === "up" && this.#halted) return;
    const down = this.#goal === "down" ? 0 : this.#held ? Infinity : this.#rewind;
    const resource = this.#slots.findLastIndex((slot, index) =>
      index >= down && slot.state !== "stopped" && !slot.givenUp
    );
    if (resource >= 0) return this.#run(now, resource, this.#forced ? "forcedStop" : "stop");
    if (this.#goal === "down") return this.#finishStop(now);
    if (this.#suspended || now < this.#retryAt) return;
    if (!this.#held) {
      this.#rewind = Infinity;
      this.#retryAt = 0;
      const next = this.#slots.findIndex((slot, index) =>
        slot.state === "stopped" && this.#isWanted(index)
      );
      if (next >= 0) return this.#run(now, next, "start");
    }
    const isUp = this.#slots.every((slot, index) =>
      slot.state === "running" || !this.#isWanted(index)
    );
    if (!this.#started && isUp) {
      this.#started = true;
      this.#effects.push({ type: "started" });
    }
    this.#slots.forEach((slot, index) => {
      if (slot.monitor === null && this.#mayMonitor(slot) && now >= slot.nextMonitor) {
        this.#run(now, index, "monitor");
      }
    });
  }

  #finishStop(now: number): void {
    if (!this.#stopping) return;
    this.#stopping = false;
    this.#forced = false;
    this.#started = false;
    this.#halted = false;
    this.#suspended = false;
    this.#effects.push({ type: "stopped", clean: this.#clean });
    for (const slot of this.#slots) slot.pending = null;
    const again = this.#again;
    if (again === null) return;
    this.#again = null;
    this.#takeStart(again);
    this.#advance(now);
  }

  #isWanted(resource: number): boolean {
    return this.#only?.includes(resource) ?? true;
  }

  #mayMonitor(slot: Slot): boolean {
    const watched = slot.state === "running" || (this.#held && slot.state === "failed");
    return slot.config.monitorInterval > 0 && watched && this.#started &&
      this.#goal === "up" && !this.#suspended && !this.#halted &&
      (this.#rewind === Infinity || this.#held);
  }

  #run(now: number, resource: number, action: Action): void {
    const slot = this.#slots[resource]!;
    const { startTimeout, stopTimeout, monitorTimeout } = slot.config;
    const timeout = { start: startTimeout, monitor: monitorTimeout }[action as string] ??
      stopTimeout;
    const id = this.#nextOperation++;
    const operation = { id, action, began: now, deadline: now + timeout, aborted: null };
    if (action === "monitor") {
      slot.monitor = operation;
    } else {
      this.#dropMonitor(slot, `${action} comes first`);
      slot.operation = operation;
    }
    this.#effects.push({ type: "run", operation: id, resource, action });
  }

  #abort(now: number, operation: Operation, reason: string): void {
    if (operation.aborted !== null) return;
    operation.aborted = reason;
    operation.deadline = now + ABORT_GRACE;
    this.#effects.push({ type: "abort", operation: operation.id, reason });
  }

  /** Ends a monitor whose answer no longer matters. */
  #dropMonitor(slot: Slot, reason: string): void {
    if (slot.monitor === null) return;
    this.#effects.push({ type: "abort", operation: slot.monitor.id, reason });
    slot.monitor = null;
  }

  #noteEnd(now: number, resource: number, operation: Operation, what: string): void {
    const seconds = ((now - operation.began) / 1000).toFixed(1);
    const { id } = this.#slots[resource]!.config;
    this.#note("info", `resource-${operation.action}`, resource, `${id} ${what} in ${seconds} s`);
  }

  #note(level: "info" | "warning" | "error", rule: string, resource: number, text: string): void {
    this.#effects.push({ type: "note", level, rule, resource, text });
  }
}
