/**
 * Makes things go wrong, and later right again, for as long as it is told to. What may happen, and how
 * often, stands in the options.
 */

import type { OperatorCommand } from "../cluster/types.ts";
import type { Chance } from "./chance.ts";
import { GROUP } from "./configuration.ts";
import { complaint } from "./health.ts";
import type { Machine } from "./machine.ts";
import type { Route } from "./network.ts";
import { createReplica } from "./replica.ts";
import { type FaultName, FAULTS } from "./options.ts";
import type { World } from "./world.ts";

/** So many times deadtime after the end of trouble the last thing is mended. */
export const MENDING = 12;

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
  "oneWay",
  "replicationCut",
  "sessionReset",
  "pause",
  "pauseMain",
  "pauseWorker",
  "slowDisk",
];

/** See the module comment. */
export class Adversary {
  readonly #world: World;
  readonly #chance: Chance;
  #over = false;
  /** Waits until all is well after the one fault that is to be survived alone. */
  #single = false;

  constructor(world: World, chance: Chance) {
    this.#world = world;
    this.#chance = chance;
  }

  /** Begins. */
  start(): void {
    const { weights } = this.#world.options;
    const total = FAULTS.reduce((sum, name) => sum + weights[name], 0);
    if (total > 0) this.#next(total);
    if (this.#world.options.ambush > 0) {
      this.#world.onNote = (who, rule) => this.#ambush(this.#world.machine(who), rule);
    }
  }

  #ambush(machine: Machine, rule: string): void {
    const { options, machines } = this.#world;
    const chance = this.#chance;
    if (this.#over || !MOMENTS.has(rule) || !chance.is(options.ambush)) return;
    const allowed = AMBUSHES.filter((name) => options.weights[name] > 0);
    if (allowed.length === 0) return;
    const fault = chance.pick(allowed);
    const target = chance.is(0.7) ? machine : chance.pick(machines);
    this.#after(chance.is(0.3) ? 0 : chance.around(5), () => {
      if (!this.#over && !this.#single) this.#do(fault, target);
    });
  }

  /** Mends everything and does nothing any more. */
  stop(): void {
    this.#over = true;
    const { machines, network, options } = this.#world;
    this.#world.say("sim", () => "=== everything is mended");
    network.heal();
    for (const machine of machines) {
      machine.fuse = -1;
      machine.release();
      machine.ailment.fails = 0;
      machine.ailment.hangs = 0;
      if (machine.disk !== null) {
        machine.disk.latency = [0.05, 0.5];
        const failed = machine.disk.failing !== 0 ||
          machine.agent?.volume?.plane?.state.disk === "Diskless";
        machine.disk.failing = 0;
        if (failed && machine.agent !== null) machine.kill(false);
      }
      if (machine.agent === null) this.#startLater(machine, options.deadtime / 10, true);
    }
    // One more look: some end in order after this.
    this.#after(3 * options.deadtime, () => this.#startAll());
    this.#after(8 * options.deadtime, () => this.#startAll());
    this.#after(4 * options.deadtime, () => this.#pardon());
    this.#after(MENDING * options.deadtime, () => this.#pardon());
  }

  /** Cleans up after failed services, and ends every standby. */
  #pardon(): void {
    const { machines, config } = this.#world;
    const first = machines.find(({ agent }) => agent !== null && !agent.over);
    if (first === undefined) return;
    for (const { name } of machines) this.#ask(first, { type: "standby", node: name, on: false });
    for (const { name } of config.groups) this.#ask(first, { type: "cleanup", group: name });
  }

  #startAll(): void {
    for (const machine of this.#world.machines) {
      if (machine.agent === null) this.#startLater(machine, 1, true);
    }
  }

  #next(total: number): void {
    this.#after(this.#chance.around(this.#world.options.faultInterval), () => {
      if (this.#over) return;
      if (this.#single && complaint(this.#world) === null) this.#single = false;
      // All is not well while a group has failed somewhere: what services did is cleaned up.
      if (this.#single && this.#chance.is(0.3)) this.#pardon();
      if (!this.#single) this.#do(this.#draw(total));
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

  #do(fault: FaultName, machine = this.#chance.pick(this.#world.machines)): void {
    const { machines, network, options } = this.#world;
    const chance = this.#chance;
    const { deadtime } = options;
    const while_ = (least = 0.2, most = 6) => deadtime * chance.between(least, most);
    const up = machine.agent !== null;
    this.#world.say("sim", () => `... ${fault} (${machine.name})`);
    switch (fault) {
      case "kill":
        return up ? this.#kill(machine, false) : undefined;
      case "fuse":
        if (!up) return;
        machine.light(
          chance.below(chance.pick([4, 30, 200])),
          () => chance.is(0.5) && this.#mayCutPower(),
        );
        return this.#watchFuse(machine);
      case "power":
        return up && this.#mayCutPower() ? this.#kill(machine, true) : undefined;
      case "blackout":
        for (const each of machines) if (each.agent !== null) this.#kill(each, true);
        return;
      case "shutdown":
        return this.#shutdown(machine);
      case "isolate":
        return this.#cut(
          while_(),
          ({ from, to }) => from === machine.index || to === machine.index,
        );
      case "pairCut": {
        // Both are heard by the others, so that these have to choose.
        const other = chance.pick(machines).index;
        const pair = [machine.index, other];
        return this.#cut(while_(), ({ from, to }) => pair.includes(from) && pair.includes(to));
      }
      case "split": {
        const side = machines.map(() => chance.is(0.5));
        return this.#cut(while_(), ({ from, to }) => side[from] !== side[to]);
      }
      case "oneWay": {
        const other = chance.pick(machines);
        const path = chance.is(0.5) ? -1 : chance.below(options.links + 1);
        return this.#cut(
          while_(),
          (route) =>
            route.from === machine.index && (chance.is(0.3) || route.to === other.index) &&
            (path < 0 || route.path === path),
        );
      }
      case "replicationCut":
        return this.#cut(while_(0.05, 6), ({ path }) => path === network.replicationPath);
      case "sessionReset":
        return machine.agent?.volume?.plane?.resetConnection(deadtime);
      case "weather":
        return this.#weather(while_(1, 10));
      case "pause":
        return machine.hold([machine.main, machine.worker], while_(0.01, 3));
      case "pauseMain":
        return machine.hold([machine.main], while_(0.01, 3));
      case "pauseWorker":
        return machine.hold([machine.worker], while_(0.01, 3));
      case "slowDisk":
        return this.#slowDisk(machine, while_());
      case "diskError":
        return this.#diskError(machine, while_());
      case "move":
        return this.#ask(machine, { type: "move", group: GROUP });
      case "standby":
        return this.#ask(machine, {
          type: "standby",
          node: chance.pick(machines).name,
          on: chance.is(0.4),
        });
      case "serviceDies": {
        const groups = [...machine.agent?.groups.values() ?? []];
        if (groups.length === 0) return;
        const service = chance.pick(chance.pick(groups).services);
        return machine.onMain(() => service.die());
      }
      case "serviceFails":
      case "serviceHangs":
        return this.#ail(machine, fault === "serviceFails" ? "fails" : "hangs", while_());
      case "voterLoss":
        return this.#loseVoter(machine);
      case "diskLoss":
        return this.#loseDisk(machine);
    }
  }

  /** Power goes at any time, or only when that is the one thing wrong. */
  #mayCutPower(): boolean {
    const { power } = this.#world.options;
    if (power === "none") return false;
    if (power === "many") return true;
    if (!this.#allIsWell()) return false;
    this.#single = true;
    return true;
  }

  #allIsWell(): boolean {
    const { machines, network } = this.#world;
    return complaint(this.#world) === null && network.whole && network.weather.loss === 0 &&
      machines.every(({ disk, main, worker, fuse }) =>
        fuse < 0 && main.heldUntil <= this.#world.now && worker.heldUntil <= this.#world.now &&
        (disk?.failing ?? 0) === 0 && (disk?.latency[1] ?? 0) < 1
      );
  }

  #kill(machine: Machine, power: boolean): void {
    machine.kill(power);
    this.#startLater(
      machine,
      this.#world.options.deadtime * this.#chance.between(0, power ? 6 : 4),
    );
  }

  /** Whoever is killed by a fuse has to be started again as well. */
  #watchFuse(machine: Machine): void {
    this.#after(this.#world.options.deadtime, () => {
      if (machine.agent === null) this.#startLater(machine, this.#world.options.deadtime);
      else if (machine.fuse >= 0) this.#watchFuse(machine);
    });
  }

  #startLater(machine: Machine, delay: number, now = false): void {
    this.#after(delay, () => {
      if (machine.agent === null && (now || !this.#over)) machine.start();
    });
  }

  #shutdown(machine: Machine): void {
    const { agent } = machine;
    if (agent === null) return;
    machine.onMain(() => agent.dispatch({ type: "shutdown" }));
    const reboots = this.#chance.is(0.3);
    const again = () =>
      this.#after(this.#world.options.deadtime * this.#chance.between(0.5, 4), () => {
        if (this.#over) return;
        if (machine.agent === agent) return again();
        if (machine.agent !== null) return;
        if (reboots) machine.rebooted();
        machine.start();
      });
    again();
  }

  #cut(milliseconds: number, which: (route: Route) => boolean): void {
    const { network } = this.#world;
    const routes = network.routes(which);
    network.cut(routes);
    this.#world.say("sim", () =>
      `    cut for ${milliseconds.toFixed(0)} ms: ` +
      routes.map(({ from, to, path }) =>
        `${this.#world.machines[from]!.name}>${this.#world.machines[to]!.name}#${path}`
      ).join(" "));
    this.#after(milliseconds, () => {
      if (!this.#over) network.mend(routes);
    });
  }

  #weather(milliseconds: number): void {
    const { network, options } = this.#world;
    const chance = this.#chance;
    const { weather } = network;
    weather.loss = chance.is(0.7) ? chance.between(0, 0.3) : 0;
    weather.duplication = chance.is(0.5) ? 0.2 : 0;
    weather.delay = [0.2, chance.pick([1, 20, options.deadtime / 10, options.deadtime])];
    this.#after(milliseconds, () => {
      if (!this.#over) network.weather = { loss: 0, duplication: 0, delay: [0.2, 1] };
    });
  }

  #slowDisk({ disk }: Machine, milliseconds: number): void {
    if (disk === null) return;
    const { deadtime } = this.#world.options;
    disk.latency = [1, deadtime * this.#chance.pick([0.01, 0.1, 1])];
    this.#after(milliseconds, () => {
      if (!this.#over) disk.latency = [0.05, 0.5];
    });
  }

  #diskError(machine: Machine, milliseconds: number): void {
    const { disk } = machine;
    if (disk === null) return;
    disk.failing = 5;
    this.#after(milliseconds, () => {
      if (this.#over) return;
      disk.failing = 0;
      // A disk that failed once is taken again by a new run of the agent.
      if (machine.agent?.volume?.plane?.state.disk === "Diskless") this.#kill(machine, false);
    });
  }

  #ail(machine: Machine, how: "fails" | "hangs", milliseconds: number): void {
    machine.ailment[how] = this.#chance.between(0.1, 0.9);
    this.#after(milliseconds, () => machine.ailment[how] = 0);
  }

  /** A voter's disk is lost while its agent is down; never more than one at a time. */
  #loseVoter(machine: Machine): void {
    if (machine.agent === null || !this.#allIsWell()) return;
    this.#world.say(machine.name, () => "--- the voter's state is lost");
    machine.kill(false);
    machine.voterLog = [];
    this.#single = true;
    this.#startLater(machine, this.#world.options.deadtime * this.#chance.between(0, 3), true);
  }

  /** A replica's disk is replaced by a used one, with a new replica on it. */
  #loseDisk(machine: Machine): void {
    const { world } = machine;
    if (machine.disk === null || machine.agent === null || !this.#allIsWell()) return;
    world.say(machine.name, () => "--- the disk is replaced");
    machine.kill(false);
    machine.disk = createReplica(world.options, machine.name, ++machine.disks, this.#chance.fork());
    this.#single = true;
    this.#startLater(machine, world.options.deadtime * this.#chance.between(0, 3), true);
  }

  #ask({ agent, onMain }: Machine, command: OperatorCommand): void {
    if (agent === null) return;
    onMain.call(agent.machine, () => agent.command(command));
  }

  #after(delay: number, action: () => void): void {
    this.#world.schedule.after(delay, action);
  }
}
