/**
 * A machine: its clock, what survives on it, and the agent that runs on it or does not. Its agent has
 * two threads, the main one and the volume's; both can be held up, together or one by one, and
 * both end when the agent is killed, which may be between any two effects of either.
 */

import type { Frame, VoterLogRecord } from "../cluster/types.ts";
import { Agent } from "./agent.ts";
import type { Disk } from "./disk.ts";
import type { Ailment } from "./service.ts";
import { Violation, type World } from "./world.ts";

/** Thrown out of an effect: the agent ends in the middle of what it does. */
class Killed extends Error {}

/** A thread of the agent: what happens to it waits while it is held up. */
class Thread {
  heldUntil = 0;
  waiting: (() => void)[] = [];
}

/** See the module comment. */
export class Machine {
  readonly world: World;
  readonly name: string;
  readonly index: number;
  readonly witness: boolean;
  disk: Disk | null;
  /** How many disks it has had. */
  disks = 1;
  /** local = offset + rate × world time */
  readonly rate: number;
  readonly #offset: number;
  voterLog: VoterLogRecord[] = [];
  #voters = 0;
  #incarnation = 0;
  #boots = 1;
  agent: Agent | null = null;
  /** It may be started again by whoever restarts what is down; false while somebody else will. */
  restartAt = 0;
  /** What is wrong with the services here. */
  readonly ailment: Ailment = { fails: 0, hangs: 0 };
  readonly main = new Thread();
  readonly worker = new Thread();
  /** Effects until the agent is killed; -1: not planned. */
  fuse = -1;
  #mayCutPower: () => boolean = () => false;

  constructor(world: World, index: number, rate: number, disk: Disk | null) {
    const node = world.config.nodes[index]!;
    this.world = world;
    this.index = index;
    this.name = node.name;
    this.witness = node.witness;
    this.rate = rate;
    this.#offset = 5000 * (index + 1);
    this.disk = disk;
  }

  /** This machine's clock, milliseconds. */
  get now(): number {
    return this.#offset + this.rate * this.world.now;
  }

  /** Name of the voter under its present id, for who watches the registers. */
  get voterId(): string {
    return `${this.name}-${this.#voters}`;
  }

  /** Name of the present boot. */
  get bootId(): string {
    return `${this.name}-boot-${this.#boots}`;
  }

  /** Starts an agent. */
  start(): void {
    if (this.agent !== null) throw new Error(`${this.name} runs already`);
    if (this.voterLog.length === 0) this.#voters++;
    this.fuse = -1;
    this.main.waiting = [];
    this.worker.waiting = [];
    this.main.heldUntil = 0;
    this.worker.heldUntil = 0;
    const agent = this.#newAgent();
    this.agent = agent;
    this.world.say(this.name, () => `--- agent started, run ${this.#incarnation}`);
    this.onMain(() => agent.begin());
  }

  #newAgent(): Agent {
    try {
      return new Agent(this, ++this.#incarnation);
    } catch (error) {
      throw this.#broken(error);
    }
  }

  #broken(error: unknown): Violation {
    const what = error instanceof Error ? error.stack ?? error.message : String(error);
    return new Violation("exception", `${this.name} at ${this.world.now.toFixed(1)} ms: ${what}`);
  }

  /** Ends the agent at once; `power`: and the machine with it. */
  kill(power: boolean): void {
    const { agent, world } = this;
    this.world.say(this.name, () => power ? "--- power lost" : "--- agent killed");
    this.agent = null;
    this.fuse = -1;
    this.main.waiting = [];
    this.worker.waiting = [];
    agent?.crashed(power);
    if (this.disk !== null) {
      const lost = this.disk.crash(power);
      if (lost > 0) world.history.storageLost(world.now);
    }
    if (power) this.#boots++;
  }

  /** The agent ended in order. */
  ended(): void {
    this.world.say(this.name, () => "--- agent ended");
    this.agent = null;
    this.main.waiting = [];
    this.worker.waiting = [];
  }

  /** The machine was started again in order. */
  rebooted(): void {
    this.#boots++;
  }

  /** The agent will be killed after so many effects, and the machine with it if it may be then. */
  light(effects: number, mayCutPower: () => boolean): void {
    this.fuse = effects;
    this.#mayCutPower = mayCutPower;
  }

  /** To be called before each effect. */
  effect(): void {
    if (this.fuse < 0 || this.fuse-- > 0) return;
    this.kill(this.#mayCutPower());
    throw new Killed();
  }

  /** Something happens to the main thread. */
  onMain(action: () => void): void {
    this.#on(this.main, action);
  }

  /** Something happens to the volume's thread. */
  onWorker(action: () => void): void {
    this.#on(this.worker, action);
  }

  /** Holds threads up for so long. */
  hold(threads: readonly Thread[], milliseconds: number): void {
    const { agent } = this;
    for (const thread of threads) {
      thread.heldUntil = Math.max(thread.heldUntil, this.world.now + milliseconds);
    }
    this.world.schedule.after(milliseconds, () => {
      if (this.agent !== agent) return;
      for (const thread of threads) this.#resume(thread);
    });
  }

  /** Threads go on at once. */
  release(): void {
    for (const thread of [this.main, this.worker]) {
      // The core has not looked at the clock since.
      thread.heldUntil = Math.min(thread.heldUntil, this.world.now);
      this.#resume(thread);
    }
  }

  #resume(thread: Thread): void {
    if (this.world.now < thread.heldUntil) return;
    const { waiting } = thread;
    thread.waiting = [];
    for (const action of waiting) this.#on(thread, action);
  }

  #on(thread: Thread, action: () => void): void {
    const { agent, world } = this;
    if (agent === null) return;
    if (world.now < thread.heldUntil) {
      thread.waiting.push(action);
      return;
    }
    try {
      action();
    } catch (error) {
      if (error instanceof Violation) throw error;
      if (!(error instanceof Killed)) throw this.#broken(error);
      return;
    }
    if (thread === this.main) world.checkOneOwner();
  }

  /** A datagram comes in. */
  receive(link: number, frame: Frame): void {
    const { agent } = this;
    if (agent !== null) this.onMain(() => agent.dispatch({ type: "frame", link, frame }));
  }

  /**
   * Whether it answers for the address of a group. A machine held up answers nothing, and afterwards
   * the core must have looked at the clock: meanwhile the address's lifetime has run out.
   */
  holdsAddress(group: string): boolean {
    const { agent, main, world } = this;
    return agent !== null && world.now >= main.heldUntil && agent.steppedAt >= main.heldUntil &&
      agent.holdsAddress(group);
  }
}
