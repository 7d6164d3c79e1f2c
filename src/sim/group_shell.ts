/**
 * The resources of one group on one machine: the production runner with simulated services, as the
 * group runner of the daemon drives it.
 */

import type { GroupRecord } from "../cluster/types.ts";
import type { GroupConfig } from "../config/types.ts";
import { Runner } from "../resource/runner.ts";
import {
  type Action,
  type ResourceStatus,
  type RunnerEffect,
  type RunnerEvent,
  startOf,
} from "../resource/runner_types.ts";
import type { Agent } from "./agent.ts";
import { Service } from "./service.ts";

/** How an operation ended. */
export interface Result {
  readonly failure?: string;
  readonly unclean?: boolean;
}

/** Something that a group is made of. `finish` is called once by each operation. */
export interface Part {
  /** Begins an operation; the result is to be called to abort it. */
  run(action: Action, finish: (result: Result) => void): Abort;
}

/** Ends an operation early; it still has to finish. */
export type Abort = (reason: string) => void;

/** See the module comment. */
export class GroupShell {
  readonly #agent: Agent;
  readonly #config: GroupConfig;
  readonly #runner: Runner;
  readonly #parts: Part[];
  readonly #running = new Map<number, Abort>();
  readonly #queue: RunnerEvent[] = [];
  #taking = false;
  #wake = 0;
  #startEpoch = 0;
  #stopEpoch = 0;
  /** The record under which the group was started last. */
  #started: GroupRecord | null = null;
  readonly services: Service[] = [];
  /** Names of its volumes. */
  readonly volumes: readonly string[];
  readonly #addresses: Service[] = [];

  constructor(agent: Agent, config: GroupConfig) {
    this.#agent = agent;
    this.#config = config;
    this.volumes = config.resources.flatMap((each) => each.kind === "volume" ? each.volume : []);
    this.#parts = config.resources.map((resource, index) => {
      if (resource.kind === "volume") {
        return { run: (action, finish) => this.#volume(resource.volume, action, finish) };
      }
      const service = new Service(
        agent.machine,
        resource.id,
        resource.kind === "ip",
        (reason) => this.#feed({ type: "died", resource: index, reason }),
      );
      this.services.push(service);
      if (resource.kind === "ip") this.#addresses.push(service);
      return service;
    });
    this.#runner = new Runner(config.resources.map((resource) => ({
      ...resource,
      suspends: resource.kind === "ip",
    })));
  }

  /** Whether one of the group's addresses is up; where it has none, whether anything of it is. */
  get holdsAddress(): boolean {
    const { services } = this;
    for (const address of this.#addresses) if (address.answers) return true;
    if (this.#addresses.length > 0 || !this.#mayServe) return false;
    return services.length === 0 || services.some(({ answers }) => answers);
  }

  /** Whether everything of it is up. */
  get isUp(): boolean {
    return this.services.every(({ answers }) => answers);
  }

  /** Without addresses there is nothing that the lease alone takes away. */
  get #mayServe(): boolean {
    const state = this.#agent.state.groups.get(this.#config.name);
    return state?.phase === "running" && state.frozenSince === null && state.part === null;
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

  /** A newer record is known chosen; it means nothing to the resources themselves. */
  record(_record: GroupRecord): void {}

  /** Starts the resources in order; `part`: these volumes alone. */
  start(record: GroupRecord, part?: readonly string[]): void {
    this.#started = record;
    this.#startEpoch = record.epoch;
    this.#feed(startOf(this.#config, part));
  }

  /** Stops them in reverse. */
  stop(epoch: number, forced: boolean): void {
    this.#stopEpoch = epoch;
    this.#feed({ type: "stop", forced });
  }

  /** The lease is lost. */
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

  #feed(event: RunnerEvent): void {
    this.#queue.push(event);
    if (this.#taking) return;
    this.#taking = true;
    for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
      for (const effect of this.#runner.step(this.#agent.machine.now, next)) {
        this.#carryOut(effect);
      }
    }
    this.#taking = false;
    this.#setTimer();
  }

  #setTimer(): void {
    const turn = ++this.#wake;
    const at = this.#runner.wakeAt();
    if (at === Infinity) return;
    const { machine } = this.#agent;
    const wait = Math.max(0, Math.ceil(at - machine.now)) / machine.rate;
    machine.world.schedule.after(wait, () => {
      if (machine.agent !== this.#agent || turn !== this.#wake) return;
      machine.onMain(() => {
        if (turn === this.#wake) this.#feed({ type: "tick" });
      });
    });
  }

  #carryOut(effect: RunnerEffect): void {
    const { machine } = this.#agent;
    if (effect.type !== "note") machine.effect();
    const group = this.#config.name;
    const tell = (event: Parameters<Agent["dispatch"]>[0]) => this.#agent.dispatch(event);
    switch (effect.type) {
      case "run": {
        const { operation, resource, action } = effect;
        let ended = false;
        const abort = this.#parts[resource]!.run(action, (result) => {
          if (ended) return;
          ended = true;
          // A promise's answer comes in a turn of its own.
          machine.world.schedule.after(0, () => {
            if (machine.agent !== this.#agent) return;
            machine.onMain(() => {
              this.#running.delete(operation);
              this.#feed({ type: "finished", operation, ...result });
            });
          });
        });
        this.#running.set(operation, abort);
        return;
      }
      case "abort":
        return this.#running.get(effect.operation)?.(effect.reason);
      case "suspend":
      case "resume":
        return this.#service(effect.resource)?.[effect.type]();
      case "started":
        return tell({ type: "started", group, epoch: this.#startEpoch });
      case "startFailed":
        return tell({ type: "startFailed", group, epoch: this.#startEpoch, reason: effect.reason });
      case "stopped":
        return tell({ type: "stopped", group, epoch: this.#stopEpoch, clean: effect.clean });
      case "failed":
        return tell({ type: "failed", group, reason: effect.reason });
      case "note":
        return machine.world.say(machine.name, () => `[${effect.rule}] ${effect.text}`);
    }
  }

  #service(resource: number): Service | null {
    const part = this.#parts[resource];
    return part instanceof Service ? part : null;
  }

  /** The volume as a resource: started means Primary and served. */
  #volume(name: string, action: Action, finish: (result: Result) => void): Abort {
    const volume = this.#agent.volumes.get(name)!;
    const failed = (failure: string) => finish({ failure });
    switch (action) {
      case "start": {
        const record = this.#started!;
        const lineage = this.#agent.lineageOf(record);
        const entry = record.volumes[name];
        if (entry === undefined) failed("the record does not name it");
        else volume.promote(record, lineage, entry, () => finish({}), failed);
        break;
      }
      case "stop":
      case "forcedStop":
        volume.demote(action === "forcedStop", (clean) => finish({ unclean: !clean }));
        break;
      case "monitor": {
        const ill = volume.illness();
        finish(ill === null ? {} : { failure: ill });
      }
    }
    return (reason) => failed(`given up: ${reason}`);
  }
}
