/**
 * Draws what goes wrong. What may happen, and how often, stands in the options; what is drawn is done,
 * and remembered, by the injector.
 */

import type { Chance } from "./chance.ts";
import { EIO, ENOSPC } from "./disk.ts";
import type { Fault } from "./faults.ts";
import type { Injector } from "./injector.ts";
import type { Machine } from "./machine.ts";
import { type FaultName, FAULTS } from "./options.ts";
import type { World } from "./world.ts";
import { names } from "./configuration.ts";

/** Moments at which something is decided: there a fault does most harm. */
const MOMENTS = new Set([
  "take",
  "start",
  "promoted",
  "stop",
  "released",
  "shrink",
  "grow",
  "record",
  "sync-decision",
  "connected",
  "resync-done",
  "deposed",
  "lease-lost",
  "admit-voter",
]);
/** What may happen then. */
const AMBUSHES: readonly FaultName[] = [
  "kill",
  "fuse",
  "fuse",
  "fuse",
  "power",
  "isolate",
  "pairCut",
  "pairCut",
  "linkCut",
  "oneWay",
  "replicationCut",
  "sessionReset",
  "pause",
  "pauseMain",
  "pauseWorker",
  "freeze",
  "slowDisk",
  "heal",
  "heal",
];

/** See the module comment. */
export class Adversary {
  readonly #world: World;
  readonly #chance: Chance;
  readonly #injector: Injector;
  #over = false;

  constructor(world: World, chance: Chance, injector: Injector) {
    this.#world = world;
    this.#chance = chance;
    this.#injector = injector;
  }

  /** Begins. */
  start(): void {
    const { weights } = this.#world.options;
    const total = FAULTS.reduce((sum, name) => sum + weights[name], 0);
    if (total > 0) this.#next(total);
    if (this.#world.options.ambush > 0) {
      this.#world.onPrepare = (who) => this.#ambushAccept(this.#world.machine(who));
      this.#world.onNote = (who, { rule }) => this.#ambush(this.#world.machine(who), rule);
    }
  }

  /** Draws nothing more. */
  stop(): void {
    this.#over = true;
  }

  #ambush(machine: Machine, rule: string): void {
    const { options, machines } = this.#world;
    const chance = this.#chance;
    if (this.#over) return;
    if (rule === "take" && chance.is(options.ambush / 2)) this.#killVoter(machine);
    if (!MOMENTS.has(rule) || !chance.is(options.ambush)) return;
    const allowed = AMBUSHES.filter((name) => options.weights[name] > 0);
    if (allowed.length === 0) return;
    // Who was thought dead is heard again, between the question and the vote.
    const returns = rule === "take" && options.weights.heal > 0 && chance.is(0.3);
    const name = returns ? "heal" : chance.pick(allowed);
    const target = chance.is(0.7) ? machine : chance.pick(machines);
    // Never at the very moment of anything else: a list of faults is replayed by its times.
    const delay = chance.is(0.3) ? chance.between(1e-6, 1e-3) : chance.around(5);
    this.#world.schedule.after(delay, () => {
      if (!this.#over && !this.#injector.waits) this.#inject(name, target);
    });
  }

  /** Whoever is asked for its vote forgets, by a quick restart, whom it granted what. */
  #killVoter(taker: Machine): void {
    const { machines, options: { weights, deadtime } } = this.#world;
    const others = machines.filter((each) => each !== taker);
    if (weights.kill === 0 || others.length === 0) return;
    const { name: node } = this.#chance.pick(others);
    const down = deadtime * this.#chance.between(0, 0.2);
    this.#world.schedule.after(this.#chance.around(20), () => {
      if (!this.#over && !this.#injector.waits) {
        this.#injector.inject({ fault: "kill", node, down });
      }
    });
  }

  /** An operation on a register begins: a crash between the effects of its ACCEPT is rare by chance. */
  #ambushAccept({ name: node }: Machine): void {
    const { ambush, weights, deadtime } = this.#world.options;
    const chance = this.#chance;
    if (weights.fuse === 0 || !chance.is(ambush / 10)) return;
    const down = deadtime * chance.between(0, 2);
    const fault = { fault: "fuse", node, effects: chance.below(6), power: false, down } as const;
    this.#world.schedule.after(chance.between(1e-6, 1e-3), () => {
      if (!this.#over && !this.#injector.waits) this.#injector.inject(fault);
    });
  }

  #next(total: number): void {
    this.#world.schedule.after(this.#chance.around(this.#world.options.faultInterval), () => {
      if (this.#over) return;
      // All is not well while a group has failed somewhere: what services did is cleaned up.
      if (!this.#injector.waits) this.#inject(this.#draw(total));
      else if (this.#chance.is(0.3)) this.#injector.inject({ fault: "pardon" });
      this.#next(total);
    });
  }

  #draw(total: number): FaultName {
    const { weights } = this.#world.options;
    let left = this.#chance.next() * total;
    for (const name of FAULTS) {
      left -= weights[name];
      if (left < 0) return name;
    }
    return FAULTS[0];
  }

  #inject(name: FaultName, machine = this.#chance.pick(this.#world.machines)): void {
    for (const fault of this.#make(name, machine)) this.#injector.inject(fault);
  }

  /** Fills in what stands behind a name; nothing where it has no place in this world. */
  #make(name: FaultName, machine: Machine): Fault[] {
    const { machines, config, options } = this.#world;
    const chance = this.#chance;
    const { deadtime } = options;
    const node = machine.name;
    const other = chance.pick(machines).name;
    const during = (least = 0.2, most = 6) => deadtime * chance.between(least, most);
    const volume = [...machine.disks.keys()].at(chance.below(machine.disks.size));
    switch (name) {
      case "kill":
        return [{ fault: "kill", node, down: during(0, 4) }];
      case "fuse":
        return [{
          fault: "fuse",
          node,
          effects: chance.below(chance.pick([4, 30, 200])),
          power: chance.is(0.5),
          down: during(0, 4),
        }];
      case "power":
        return [{ fault: "power", node, down: during(0, 6) }];
      case "blackout":
        return machines.map((each) => ({ fault: "power", node: each.name, down: during(0, 6) }));
      case "stopAll":
        return machines.map((each) => ({ fault: "kill", node: each.name, down: during(0, 4) }));
      case "shutdown":
        return [{ fault: "shutdown", node, down: during(0.5, 4), reboot: chance.is(0.3) }];
      case "isolate":
        return [{ fault: "cut", routes: [`${node}-*`], for: during() }];
      case "pairCut":
        // Both are heard by the others, so that these have to choose.
        if (other === node) return [];
        return [{ fault: "cut", routes: [`${node}-${other}`], for: during() }];
      case "split": {
        const sides = machines.map((each) => ({ name: each.name, side: chance.is(0.5) }));
        const routes = sides.flatMap((one) =>
          sides.filter((two) => one.side && !two.side).map((two) => `${one.name}-${two.name}`)
        );
        return routes.length === 0 ? [] : [{ fault: "cut", routes, for: during() }];
      }
      case "oneWay": {
        const to = chance.is(0.3) || other === node ? "*" : other;
        const path = chance.is(0.5) ? "" : `/${this.#path()}`;
        return [{ fault: "cut", routes: [`${node}>${to}${path}`], for: during() }];
      }
      case "linkCut": {
        const ends = chance.is(0.5) || other === node ? `${node}-*` : `${node}-${other}`;
        return [{ fault: "cut", routes: [`${ends}/${this.#link()}`], for: during(0.2, 12) }];
      }
      case "replicationCut":
        return [{ fault: "cut", routes: ["*-*/r"], for: during(0.05, 6) }];
      case "sessionReset":
        return volume === undefined ? [] : [{ fault: "reset", node, volume }];
      case "weather":
        return [{ ...this.#weather(), routes: ["*-*"], for: during(1, 10) }];
      case "linkWeather": {
        const sign = chance.is(0.5) ? "-" : ">";
        const to = other === node ? "*" : other;
        const routes = [`${node}${sign}${to}/${this.#path()}`];
        return [{ ...this.#weather(), routes, for: during(1, 10) }];
      }
      case "pause":
        return [{ fault: "pause", node, threads: "both", for: during(0.01, 3) }];
      case "pauseMain":
        return [{ fault: "pause", node, threads: "main", for: during(0.01, 3) }];
      case "pauseWorker":
        return [{ fault: "pause", node, threads: "worker", for: during(0.01, 3) }];
      case "freeze":
        return [{ fault: "freeze", node, for: during(0.01, chance.pick([1, 4])) }];
      case "slowDisk": {
        if (volume === undefined) return [];
        const latency = [1, deadtime * chance.pick([0.01, 0.1, 1])] as const;
        return [{ fault: "slowDisk", node, volume, latency, for: during() }];
      }
      case "diskUnreadable":
        if (volume === undefined) return [];
        return [{ fault: "diskError", node, volume, errno: EIO, reads: true, for: during() }];
      case "diskError":
      case "diskFull": {
        if (volume === undefined) return [];
        const errno = name === "diskFull" ? ENOSPC : EIO;
        return [{ fault: "diskError", node, volume, errno, for: during() }];
      }
      case "move": {
        const group = chance.pick(config.groups).name;
        return [{ fault: "command", node, command: { type: "move", group } }];
      }
      case "standby": {
        const command = { type: "standby", node: other, on: chance.is(0.4) } as const;
        return [{ fault: "command", node, command }];
      }
      case "maintenance": {
        const command = { type: "maintenance", on: chance.is(0.4) } as const;
        return [{ fault: "command", node, command }];
      }
      case "configure":
        return this.#configure(machine);
      case "upgrade":
        return [{ fault: "upgrade", node, newest: chance.pick([2, 3]), down: during(0.1, 2) }];
      case "wallJump":
        return [{ fault: "wallJump", node, by: chance.between(-1, 1) * chance.pick([2e3, 1e8]) }];
      case "serviceDies": {
        const groups = [...machine.agent?.groups ?? []];
        if (groups.length === 0) return [];
        const [group, { services }] = chance.pick(groups);
        return [{ fault: "serviceDies", node, group, service: chance.below(services.length) }];
      }
      case "serviceFails":
      case "serviceHangs":
      case "serviceLies": {
        const how =
          ({ serviceFails: "fails", serviceHangs: "hangs", serviceLies: "lies" } as const)[
            name
          ];
        return [{ fault: "ail", node, how, share: chance.between(0.1, 0.9), for: during() }];
      }
      case "voterLoss":
        return [{
          fault: "voterLoss",
          node,
          rot: chance.is(0.5) ? chance.next() : null,
          down: during(0, 3),
        }];
      case "heal":
        return [{ fault: "heal", routes: [] }];
      case "diskLoss": {
        if (volume === undefined) return [];
        const seed = chance.below(2 ** 32);
        return [{ fault: "diskLoss", node, volume, seed, down: during(0, 3) }];
      }
    }
  }

  /** An operator copies another file to the nodes, perhaps not to all, and then pushes it. */
  #configure(asked: Machine): Fault[] {
    const { machines, variants, schedule, options } = this.#world;
    const chance = this.#chance;
    const { settledVariant } = this.#world;
    // Whoever has left the voters is not taken back without new state.
    const variant = settledVariant +
      chance.below(settledVariant === 0 ? variants.length : variants.length - settledVariant);
    const command = { type: "push", hash: variants[variant]!.hash } as const;
    schedule.after(options.deadtime * chance.between(0.1, 1), () => {
      if (!this.#over) this.#injector.inject({ fault: "command", node: asked.name, command });
    });
    const those = machines.filter(({ name }) => names(variants[variant]!, name));
    return those.filter(() => chance.is(0.95)).map(({ name }) => ({
      fault: "file",
      node: name,
      variant,
    }));
  }

  #link(): number {
    return this.#chance.below(this.#world.network.places.links);
  }

  #path(): string {
    const { links } = this.#world.network.places;
    const path = this.#chance.below(links + 1);
    return path === links ? "r" : `${path}`;
  }

  #weather(): Omit<Extract<Fault, { fault: "weather" }>, "routes" | "for"> {
    const chance = this.#chance;
    const { deadtime } = this.#world.options;
    return {
      fault: "weather",
      loss: chance.is(0.7) ? chance.between(0, 0.3) : 0,
      duplication: chance.is(0.5) ? 0.2 : 0,
      delay: [0.2, chance.pick([1, 20, deadtime / 10, deadtime])],
    };
  }
}
