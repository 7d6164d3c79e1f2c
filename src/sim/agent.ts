/**
 * The agent of a simulated machine: the production core and volume, tied together as the daemon ties
 * them. Effects are carried out in order; events that they cause wait for their turn.
 */

import { type ClusterState, createCluster, step, wakeAt } from "../cluster/cluster.ts";
import { lineageOf } from "../cluster/facts.ts";
import type {
  ClusterEffect,
  ClusterEvent,
  GroupRecord,
  OperatorCommand,
  ProtocolRange,
} from "../cluster/types.ts";
import type { Config } from "../config/types.ts";
import { GroupShell } from "./group_shell.ts";
import type { Machine } from "./machine.ts";
import { RegisterObserver } from "./register_clients.ts";
import { VolumeShell } from "./volume_shell.ts";

/** The core is ticked so often in a keepalive. */
const TICKS = 4;

/** See the module comment. */
export class Agent {
  readonly machine: Machine;
  readonly state: ClusterState;
  readonly groups = new Map<string, GroupShell>();
  /** By name. */
  readonly volumes = new Map<string, VolumeShell>();
  readonly #queue: ClusterEvent[] = [];
  #running = false;
  #over = false;
  /** The timer that is set: its number, and the world's time when it fires. */
  #wake = 0;
  #wakeAt = Infinity;
  /** World time of the newest step of the core. */
  steppedAt = -Infinity;
  #commands = 0;
  /** Registers' records last said to be chosen. */
  readonly #claimed = new Map<string, unknown>();
  readonly #observer: RegisterObserver;
  readonly #answers = new Map<number, (error: string | null) => void>();

  constructor(machine: Machine, incarnation: number, config: Config, speaks: ProtocolRange) {
    const { world } = machine;
    this.machine = machine;
    this.#observer = new RegisterObserver(world.registerClients, machine.name);
    this.state = createCluster({
      config,
      node: machine.name,
      incarnation,
      voterId: machine.voterId,
      now: machine.now,
      seed: world.chance.below(2 ** 32),
      log: machine.voterLog,
      speaks,
    });
    for (const group of config.groups) {
      if (!group.candidates.includes(machine.name)) continue;
      this.groups.set(group.name, new GroupShell(this, group));
    }
    for (const volume of config.volumes) {
      const disk = machine.disks.get(volume.name);
      if (disk !== undefined) this.volumes.set(volume.name, new VolumeShell(this, volume, disk));
    }
  }

  /** The first thing that happens on the main thread. */
  begin(): void {
    for (const volume of this.volumes.values()) volume.open();
    this.dispatch({ type: "tick" });
  }

  /** Takes an event on the main thread. */
  dispatch(event: ClusterEvent): void {
    if (this.#over) return;
    this.#queue.push(event);
    if (this.#running) return;
    this.#running = true;
    for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
      const effects = step(this.state, this.machine.now, next);
      this.steppedAt = this.machine.world.now;
      for (const effect of effects) {
        if (effect.type !== "note" && effect.type !== "persist") this.machine.effect();
        this.#carryOut(effect);
      }
      // The own vote, which may be the last that was needed, is durable only now.
      this.#claim();
      if (this.machine.world.survivors === null) {
        this.#observer.look(this.state.registers.values(), this.machine.world.now);
      }
    }
    this.#running = false;
    this.#wakeLater();
  }

  /** The configuration file changed. */
  fileChanged(config: Config): void {
    const same = config.hash === this.state.config.hash;
    this.dispatch({ type: "file", found: same ? null : { config, live: true } });
  }

  /** Asks what an operator would; `answered` gets the error, or null. */
  command(command: OperatorCommand, answered: (error: string | null) => void = () => {}): void {
    const id = ++this.#commands;
    this.#answers.set(id, answered);
    this.dispatch({ type: "command", id, command });
  }

  /** Whether the address of a group is up here. */
  holdsAddress(group: string): boolean {
    return this.groups.get(group)?.holdsAddress ?? false;
  }

  /** The agent was killed. */
  crashed(power: boolean): void {
    this.#over = true;
    for (const volume of this.volumes.values()) volume.crashed(power);
  }

  /** Whether the agent is over: nothing is done any more. */
  get over(): boolean {
    return this.#over;
  }

  /** Wakes the core when it asks for it, or for its next ordinary tick, as the daemon does. */
  #wakeLater(): void {
    const { machine } = this;
    const { world, rate } = machine;
    const period = Math.max(10, world.config.cluster.keepalive / TICKS);
    const asked = Math.max(0, wakeAt(this.state) - machine.now);
    // Timers fire late, by a little.
    const wait = Math.min(asked, period) / rate + world.chance.between(0, 1);
    const at = world.now + wait;
    if (at >= this.#wakeAt) return;
    this.#wakeAt = at;
    const turn = ++this.#wake;
    world.schedule.after(wait, () => {
      if (machine.agent !== this || turn !== this.#wake) return;
      this.#wakeAt = Infinity;
      machine.onMain(() => this.dispatch({ type: "tick" }));
    });
  }

  /** What the core takes for chosen has to be so. */
  #claim(): void {
    for (const [name, { known }] of this.state.registers) {
      if (!known?.record || this.#claimed.get(name) === known.record) continue;
      this.#claimed.set(name, known.record);
      this.machine.world.registers.claimed(name, known.record);
    }
  }

  #carryOut(effect: ClusterEffect): void {
    const { machine } = this;
    const { world } = machine;
    switch (effect.type) {
      case "persist": {
        // The record may be durable or not when the agent ends here.
        const durable = () => {
          machine.voterLog.push(effect.record);
          world.registers.persisted(machine.voterId, effect.record);
          if (world.survivors === null) world.bearers.look();
        };
        if (machine.fuse === 0 && world.chance.is(0.5)) durable();
        machine.effect();
        return durable();
      }
      case "send":
        world.registers.sent(effect.frame.body);
        if (effect.frame.body.type === "PREPARE") world.onPrepare(machine.name);
        return world.network.send(machine, effect.to, effect.frame);
      case "mint":
        return this.volumes.get(effect.volume)
          ?.order({ type: "mint", generation: effect.generation });
      case "record":
        return this.#record(effect.group, effect.record);
      case "prepare":
        return;
      case "start":
        return this.#group(effect.group).start(effect.record, effect.part);
      case "stop":
        return this.#group(effect.group).stop(effect.epoch, effect.forced);
      case "lease":
        for (const volume of this.groups.get(effect.group)?.volumes ?? []) {
          this.volumes.get(volume)?.lease(effect.epoch, effect.until);
        }
        return;
      case "suspend":
        return this.#group(effect.group).suspend();
      case "resume":
        return this.#group(effect.group).resume();
      case "fence":
        return world.fences.fence(this, effect.node, effect.attempt);
      case "commandDone":
        this.#answers.get(effect.id)?.(effect.error ?? null);
        this.#answers.delete(effect.id);
        return;
      case "maintenance":
        for (const group of this.groups.values()) group.hold(effect.on);
        return;
      case "config":
        return;
      case "shutdownDone":
        return this.#close();
      case "note":
        return world.note(machine.name, effect.note);
    }
  }

  #record(group: string, record: GroupRecord): void {
    const { self } = this.state;
    const mine = record.owner?.node === self.node && record.owner.incarnation === self.incarnation;
    for (const [volume, entry] of Object.entries(record.volumes)) {
      const { epoch, version } = record;
      this.volumes.get(volume)?.order({ type: "record", epoch, version, mine, record: entry });
    }
    this.groups.get(group)?.record(record);
  }

  #group(name: string): GroupShell {
    const group = this.groups.get(name);
    if (group === undefined) throw new Error(`group ${name} has no candidate ${this.machine.name}`);
    return group;
  }

  #close(): void {
    this.#over = true;
    let open = this.volumes.size;
    const ended = () => {
      if (open <= 0 && this.machine.agent === this) this.machine.ended();
    };
    ended();
    for (const volume of this.volumes.values()) {
      volume.close(() => {
        open--;
        ended();
      });
    }
  }

  /** Lineage of a group's data, for a promotion; null: not known. */
  lineageOf(record: GroupRecord): string | null {
    return lineageOf(this.state, record);
  }
}
