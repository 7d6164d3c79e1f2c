/**
 * Does to a simulated cluster what it is told, and mends it again. Draws nothing: the same faults at
 * the same times in the same world give the same run, whether they were drawn or read from a list.
 */

import { protocolOf } from "../cluster/protocol.ts";
import type { ClusterRecord, OperatorCommand } from "../cluster/types.ts";
import { Chance } from "./chance.ts";
import { describeFault, type Duration, type Fault, type TimedFault } from "./faults.ts";
import { complaint } from "./health.ts";
import type { Machine } from "./machine.ts";
import { createReplica } from "./replica.ts";
import { Survivors } from "./survivors.ts";
import type { World } from "./world.ts";
import { names } from "./configuration.ts";

/** So many times deadtime after the end of trouble the last thing is mended. */
export const MENDING = 12;

/** See the module comment. */
export class Injector {
  readonly #world: World;
  #over = false;
  /** Variant of the configuration that is to be in force in the end. */
  #settled = 0;
  /** Waits until all is well after the one fault that is to be survived alone. */
  #single = false;
  /** By group: where a person asked for a promotion that is not done yet. */
  readonly #promoting = new Map<string, Machine>();
  /** What was done. */
  readonly done: TimedFault[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  /** Whether nothing more happens before all is well again. */
  get waits(): boolean {
    return this.#single;
  }

  /** Begins to watch whether all is well again after what is to be survived alone. */
  start(): void {
    const look = () => {
      if (this.#over) return;
      if (this.#single && complaint(this.#world) === null) this.#single = false;
      this.#after(this.#world.options.deadtime / 3, look);
    };
    look();
  }

  /** Does everything in a list at its time. */
  play(faults: readonly TimedFault[]): void {
    for (const { at, ...fault } of faults) {
      this.#world.schedule.after(at - this.#world.now, () => this.inject(fault as Fault));
    }
  }

  /** Does one thing now, if it may be done: a machine that is down is not killed again. */
  inject(fault: Fault): void {
    if (this.#over || (this.#single && fault.fault !== "pardon")) return;
    if (!this.#isPossible(fault)) return;
    this.done.push({ at: this.#world.now, ...fault });
    this.#world.say("sim", () => `... ${describeFault(fault)}`);
    this.#do(fault);
  }

  /** Mends everything and does nothing any more. */
  stop(): void {
    this.#over = true;
    const { machines, network, options, variants, settledVariant, registers } = this.#world;
    const inForce = protocolOf((registers.newest("cluster") ?? null) as ClusterRecord | null);
    this.#settled = settledVariant;
    this.#world.say("sim", () => "=== everything is mended");
    network.heal();
    for (const machine of machines) {
      machine.fuse = -1;
      machine.release();
      Object.assign(machine.ailment, { fails: 0, hangs: 0, lies: 0 });
      const isNamed = names(variants[settledVariant]!, machine.name);
      const isOld = isNamed && machine.isOlderThan(inForce);
      machine.upgrade(isOld ? inForce : 1);
      if (isNamed && machine.variant !== settledVariant) machine.replaceFile(settledVariant);
      let failed = isOld;
      for (const [volume, disk] of machine.disks) {
        disk.latency = [0.05, 0.5];
        failed ||= disk.failing !== 0 || isDiskless(machine, volume);
        disk.failing = 0;
      }
      if (failed && machine.agent !== null) machine.kill(false);
      if (machine.agent === null) this.#start(machine, options.deadtime / 10, true);
    }
    // One more look: some end in order after this.
    this.#after(3 * options.deadtime, () => this.#startAll());
    this.#after(8 * options.deadtime, () => this.#startAll());
    this.#after(4 * options.deadtime, () => this.#pardon());
    this.#after(MENDING * options.deadtime, () => this.#pardon());
  }

  #isPossible(fault: Fault): boolean {
    const up = this.#machineOf(fault).agent !== null || !("node" in fault);
    switch (fault.fault) {
      case "start":
        return !up;
      case "power":
        return up && this.#takePower();
      case "voterLoss":
        // In a pair there is one other to remember, and it has to go on.
        if (this.#world.options.mode !== "majority") return up && this.#beginSingle();
        return up && this.#othersRemember(fault.node);
      case "diskLoss":
        return up && this.#beginSingle();
      case "command":
        // What a person states is so, in a list that was shortened, too.
        if (fault.command.type !== "confirmOff") return up;
        return up && this.#world.machine(fault.command.node).agent === null;
      default:
        return up;
    }
  }

  #do(fault: Fault): void {
    const { network, options } = this.#world;
    const machine = this.#machineOf(fault);
    switch (fault.fault) {
      case "kill":
      case "power":
        machine.kill(fault.fault === "power");
        return this.#start(machine, fault.down);
      case "start":
        return machine.start();
      case "fuse":
        return machine.light(fault.effects, () => {
          this.#start(machine, fault.down);
          return fault.power && this.#takePower();
        });
      case "shutdown":
        return this.#shutdown(machine, fault.down, fault.reboot);
      case "cut": {
        const routes = network.routes(fault.routes);
        network.cut(routes);
        return this.#undo(fault.for, () => network.mend(routes));
      }
      case "heal":
        if (fault.routes.length === 0) return network.mend(network.routes(["*-*"]), true);
        return network.mend(network.routes(fault.routes), true);
      case "reset":
        return machine.agent?.volumes.get(fault.volume)?.plane?.resetConnection(options.deadtime);
      case "weather": {
        const routes = network.routes(fault.routes);
        const { loss, duplication, delay } = fault;
        const weather = { loss, duplication, delay };
        network.setWeather(routes, weather);
        return this.#undo(fault.for, () => network.clear(routes, weather));
      }
      case "pause": {
        const { main, worker } = machine;
        const threads = { both: [main, worker], main: [main], worker: [worker] }[fault.threads];
        return machine.hold(threads, fault.for);
      }
      case "resume":
        return machine.release();
      case "freeze":
        return machine.freeze(fault.for);
      case "slowDisk":
      case "diskError":
        return this.#ailDisk(machine, fault);
      case "command":
        if (fault.command.type === "promote") return this.#promote(machine, fault.command);
        return this.#ask(machine, fault.command);
      case "file":
        return machine.replaceFile(fault.variant);
      case "upgrade":
        machine.upgrade(fault.newest);
        return this.#shutdown(machine, fault.down, false);
      case "wallJump":
        machine.wallOffset += fault.by;
        return;
      case "pardon":
        return this.#pardon();
      case "serviceDies": {
        const service = machine.agent!.groups.get(fault.group)?.services[fault.service];
        return machine.onMain(() => service?.die());
      }
      case "ail": {
        const { how } = fault;
        machine.ailment[how] = fault.share;
        return this.#undo(fault.for, () => machine.ailment[how] = 0);
      }
      case "voterLoss":
        this.#world.say(machine.name, () => "--- the voter's state is lost");
        machine.kill(false);
        machine.loseVoter(fault.rot);
        return this.#start(machine, fault.down, true);
      case "diskLoss":
        return this.#replaceDisk(machine, fault.volume, fault.seed, fault.down);
    }
  }

  /** A person forces a promotion, and stands by it until it is done. */
  #promote(machine: Machine, command: Extract<OperatorCommand, { type: "promote" }>): void {
    const { group } = command;
    this.#forced(group);
    this.#promoting.set(group, machine);
    this.#ask(machine, command, (error) => {
      if (error === null) this.#promoting.delete(group);
    });
  }

  /** Where a crash cut a promotion short, its new era may wait for the person to ask again. */
  #promoteAgain(): void {
    for (const [group, machine] of this.#promoting) {
      const rule = machine.agent?.state.groups.get(group)?.decision.why.rule;
      if (rule === "first-take-conflict") this.#promote(machine, { type: "promote", group });
    }
  }

  /** Data are given up by a person: the rest of what is promised about them ends here. */
  #forced(group: string): void {
    const world = this.#world;
    world.survivors ??= new Survivors(world);
    world.survivors.forced = true;
    const { resources } = world.config.groups.find(({ name }) => name === group)!;
    for (const each of resources) {
      if (each.kind === "volume") world.survivors.doubled.add(each.volume);
    }
  }

  /** What is to be survived alone begins only when all is well. */
  #beginSingle(): boolean {
    if (!this.#allIsWell()) return false;
    this.#single = true;
    return true;
  }

  /** Power goes at any time, or only when that is the one thing wrong. */
  #takePower(): boolean {
    const { power } = this.#world.options;
    if (power === "none") return false;
    if (power === "many") return true;
    if (!this.#allIsWell()) return false;
    this.#single = true;
    return true;
  }

  #allIsWell(): boolean {
    const { machines, network, now } = this.#world;
    const { survivors, config: { volumes } } = this.#world;
    if (volumes.some(({ name }) => survivors?.isApart(name))) return false;
    return complaint(this.#world) === null && network.whole &&
      machines.every(({ disks, main, worker, fuse }) =>
        fuse < 0 && main.heldUntil <= now && worker.heldUntil <= now &&
        [...disks.values()].every(({ failing, latency }) => failing === 0 && latency[1] < 1)
      );
  }

  /** Whether this voter is the only one that may have nothing to say: one may be lost at a time. */
  #othersRemember(node: string): boolean {
    const { machines, registers, config } = this.#world;
    const cluster = registers.newest("cluster") as ClusterRecord | undefined;
    const names = ["cluster", ...config.groups.map(({ name }) => `group:${name}`)];
    // What nobody ever wrote has to be said by all: a voter lost a second time would be waited for.
    if (names.some((name) => registers.newest(name) === undefined)) return false;
    // A new era begins with nothing written.
    const era = cluster?.era ?? 0;
    const voters = machines.filter(({ name }) =>
      cluster?.voters.some((each) => each.node === name)
    );
    return voters.some(({ name }) => name === node) &&
      voters.every(({ name, voterId, voterLog }) =>
        cluster?.voters.some((voter) => voter.node === name && voter.voterId === voterId) &&
        (name === node ||
          names.every((register) =>
            voterLog.some((record) =>
              record.kind === "accept" && record.register === register && (record.era ?? 0) === era
            )
          ))
      );
  }

  #start(machine: Machine, delay: Duration, now = false): void {
    if (delay === null) return;
    this.#after(delay, () => {
      if (machine.agent === null && (now || !this.#over)) machine.start();
    });
  }

  #startAll(): void {
    for (const machine of this.#world.machines) {
      if (machine.agent === null) this.#start(machine, 1, true);
    }
  }

  #shutdown(machine: Machine, down: Duration, reboot: boolean): void {
    const agent = machine.agent!;
    machine.onMain(() => agent.dispatch({ type: "shutdown" }));
    if (down === null) return;
    const again = () =>
      this.#after(down, () => {
        if (this.#over) return;
        if (machine.agent === agent) return again();
        if (machine.agent !== null) return;
        if (reboot) machine.rebooted();
        machine.start();
      });
    again();
  }

  #ailDisk(machine: Machine, fault: Extract<Fault, { fault: "slowDisk" | "diskError" }>): void {
    const disk = machine.disks.get(fault.volume);
    if (disk === undefined) return;
    if (fault.fault === "slowDisk") {
      disk.latency = fault.latency;
      return this.#undo(fault.for, () => disk.latency = [0.05, 0.5]);
    }
    disk.failing = fault.errno;
    disk.onlyReads = fault.reads === true;
    this.#undo(fault.for, () => {
      disk.failing = 0;
      // A disk that failed once is taken again by a new run of the agent.
      if (!isDiskless(machine, fault.volume)) return;
      machine.kill(false);
      this.#start(machine, this.#world.options.deadtime);
    });
  }

  /** A replica's disk is replaced by a used one, with a new replica on it. */
  #replaceDisk(machine: Machine, volume: string, seed: number, down: number): void {
    const { world } = machine;
    const before = machine.disks.get(volume);
    const config = world.config.volumes.find(({ name }) => name === volume);
    if (before === undefined || config === undefined) return;
    world.say(machine.name, () => `--- the disk of ${volume} is replaced`);
    machine.kill(false);
    const disk = createReplica(
      config,
      machine.name,
      ++machine.diskCount,
      true,
      before.volatileCache,
      new Chance(seed),
    );
    machine.disks.set(volume, disk);
    this.#start(machine, down, true);
  }

  /**
   * Cleans up after failed services, ends maintenance and every standby, pushes the first file, and
   * asks again for promotions that were cut short.
   */
  #pardon(): void {
    const { machines, config, variants } = this.#world;
    const settled = variants[this.#settled]!;
    const those = machines.filter(({ name }) => names(settled, name));
    const first = those.find(({ agent }) => agent !== null && !agent.over);
    if (first === undefined) return;
    this.#ask(first, { type: "maintenance", on: false });
    if (those.every(({ variant }) => variant === this.#settled)) {
      this.#ask(first, { type: "push", hash: settled.hash });
    }
    for (const { name } of those) this.#ask(first, { type: "standby", node: name, on: false });
    for (const { name } of config.groups) this.#ask(first, { type: "cleanup", group: name });
    this.#promoteAgain();
  }

  #ask(
    machine: Machine,
    command: OperatorCommand,
    answered: (error: string | null) => void = () => {},
  ): void {
    const { agent } = machine;
    if (agent === null) return;
    machine.onMain(() =>
      agent.command(command, (error) => {
        this.#world.say("sim", () => `... ${command.type}: ${error ?? "done"}`);
        answered(error);
      })
    );
  }

  /** Whom a fault is about; for those about nobody, the first that runs. */
  #machineOf(fault: Fault): Machine {
    const { machines } = this.#world;
    if ("node" in fault && fault.node !== undefined) return this.#world.machine(fault.node);
    return machines.find(({ agent }) => agent !== null && !agent.over) ?? machines[0]!;
  }

  #undo(after: Duration, action: () => void): void {
    if (after === null) return;
    this.#after(after, () => {
      if (!this.#over) action();
    });
  }

  #after(delay: number, action: () => void): void {
    this.#world.schedule.after(delay, action);
  }
}

function isDiskless({ agent }: Machine, volume: string): boolean {
  return agent?.volumes.get(volume)?.plane?.state.disk === "Diskless";
}
