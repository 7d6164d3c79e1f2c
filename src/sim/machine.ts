/**
 * A machine: its clock, what survives on it, and the agent that runs on it or does not. Its agent has
 * two threads, the main one and the volume's; both can be held up, together or one by one, and
 * both end when the agent is killed, which may be between any two effects of either.
 */

import type { Frame, VoterLogRecord } from "../cluster/types.ts";
import { appendRecord, readLog, writeLog } from "../wire/voter_log.ts";
import { Agent } from "./agent.ts";
import type { Disk } from "./disk.ts";
import type { Ailment } from "./service.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";
import { names } from "./configuration.ts";

/** What wall clocks show when a world begins, milliseconds. */
const WALL = 1.8e12;

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
  /** By volume. */
  readonly disks: Map<string, Disk>;
  /** How many disks it has had. */
  diskCount: number;
  /** local = offset + rate × world time */
  readonly rate: number;
  #offset: number;
  /** World time at which its clock stopped; null: it runs. */
  #frozenAt: number | null = null;
  /** Until then a machine whose clock stood still may take an old lease for a valid one. */
  staleUntil = -Infinity;
  voterLog: VoterLogRecord[] = [];
  #voters = 0;
  /** Durable; the wall clock is a floor for it, so that a lost one is not told again. */
  #incarnation = 0;
  /** Milliseconds by which the wall clock is wrong. */
  wallOffset = 0;
  /** What the file holds: an index of the world's variants. */
  variant = 0;
  /** Newest version of the cluster's protocol that its program speaks. */
  #newest = 1;
  #boots = 1;
  #thaw: () => void = () => {};
  agent: Agent | null = null;
  /** It may be started again by whoever restarts what is down; false while somebody else will. */
  restartAt = 0;
  /** What is wrong with the services here. */
  readonly ailment: Ailment = { fails: 0, hangs: 0, lies: 0 };
  readonly main = new Thread();
  readonly worker = new Thread();
  /** Effects until the agent is killed; -1: not planned. */
  fuse = -1;
  #blown: () => boolean = () => false;

  constructor(world: World, index: number, rate: number, disks: Map<string, Disk>) {
    const node = world.nodes[index]!;
    this.world = world;
    this.index = index;
    this.name = node.name;
    this.witness = node.witness;
    this.rate = rate;
    this.#offset = 5000 * (index + 1);
    this.disks = disks;
    this.diskCount = disks.size;
    this.variant = world.variants.findIndex((each) => names(each, node.name));
  }

  /** This machine's clock, milliseconds. */
  get now(): number {
    return this.#offset + this.rate * (this.#frozenAt ?? this.world.now);
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
      this.#incarnation = Math.max(this.#incarnation + 1, this.#floor());
      const speaks = { least: 1, newest: this.#newest };
      return new Agent(this, this.#incarnation, this.world.variants[this.variant]!, speaks);
    } catch (error) {
      throw this.#broken(error);
    }
  }

  /** Plain numbers read better; where it could matter they are what the daemon makes of its clock. */
  #floor(): number {
    const { options, now } = this.world;
    if (this.#incarnation > 0 && options.weights.wallJump === 0) return 0;
    if (this.#voters === 1 && this.#incarnation === 0 && options.weights.wallJump === 0) return 0;
    return Math.floor((WALL + now + this.wallOffset) / 1000);
  }

  #broken(error: unknown): Violation {
    const what = error instanceof Error ? error.stack ?? error.message : String(error);
    return new Violation("exception", `${this.name} at ${this.world.now.toFixed(1)} ms: ${what}`);
  }

  /** Ends the agent at once; `power`: and the machine with it. */
  kill(power: boolean): void {
    const { agent } = this;
    this.world.say(this.name, () => power ? "--- power lost" : "--- agent killed");
    this.agent = null;
    this.#thaw();
    this.fuse = -1;
    this.main.waiting = [];
    this.worker.waiting = [];
    agent?.crashed(power);
    for (const disk of this.disks.values()) disk.crash(power);
    if (power) this.#boots++;
  }

  /** The voter's state goes with its disk, or (`rot`) one bit of its log turns over. */
  loseVoter(rot: number | null): void {
    this.voterLog = rot === null ? [] : rotted(this.voterLog, rot);
    if (rot === null) this.#incarnation = 0;
  }

  /** The agent ended in order. */
  ended(): void {
    this.world.say(this.name, () => "--- agent ended");
    this.agent = null;
    this.main.waiting = [];
    this.worker.waiting = [];
    // One whose patience ended leaves writes under way. They are done now or never: the kernel lets
    // nobody else lock the disk before.
    for (const disk of this.disks.values()) disk.crash(false);
  }

  /** The file holds another variant of the configuration, as the agent sees at once. */
  replaceFile(variant: number): void {
    this.variant = variant;
    const { agent } = this;
    if (agent !== null) this.onMain(() => agent.fileChanged(this.world.variants[variant]!));
  }

  /** Whether its program does not speak this version of the cluster's protocol. */
  isOlderThan(version: number): boolean {
    return this.#newest < version;
  }

  /** The next run is of a program that speaks versions up to this one. */
  upgrade(newest: number): void {
    this.#newest = Math.max(this.#newest, newest);
  }

  /** The machine was started again in order. */
  rebooted(): void {
    this.#boots++;
  }

  /** The agent will be killed after so many effects; `blown` says then whether power goes as well. */
  light(effects: number, blown: () => boolean): void {
    this.fuse = effects;
    this.#blown = blown;
  }

  /** To be called before each effect. */
  effect(): void {
    if (this.fuse < 0 || this.fuse-- > 0) return;
    this.kill(this.#blown());
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

  /** Holds threads up for so long; null: until they are released. */
  hold(threads: readonly Thread[], milliseconds: number | null): void {
    const { agent } = this;
    const until = milliseconds === null ? Infinity : this.world.now + milliseconds;
    for (const thread of threads) thread.heldUntil = Math.max(thread.heldUntil, until);
    if (milliseconds === null) return;
    this.world.schedule.after(milliseconds, () => {
      if (this.agent !== agent) return;
      for (const thread of threads) this.#resume(thread);
    });
  }

  /**
   * Everything stands still for so long, the clock included: a virtual machine that is paused. For as
   * long as a lease afterwards it cannot know better than that it still owns what it owned.
   */
  freeze(milliseconds: number): void {
    if (this.#frozenAt !== null) return;
    const { world, agent } = this;
    this.#frozenAt = world.now;
    const until = world.now + milliseconds;
    const lease = world.config.cluster.deadtime / this.rate;
    this.staleUntil = Math.max(this.staleUntil, until + lease);
    const thaw = () => {
      if (this.#frozenAt === null) return;
      this.#offset -= this.rate * (world.now - this.#frozenAt);
      this.#frozenAt = null;
    };
    world.schedule.after(milliseconds, thaw);
    this.#thaw = thaw;
    if (agent !== null) this.hold([this.main, this.worker], milliseconds);
  }

  /** Whether its clock stands still, or did a short while ago. */
  get stale(): boolean {
    return this.#frozenAt !== null || this.world.now < this.staleUntil;
  }

  /** Threads go on at once. */
  release(): void {
    if (this.#frozenAt !== null) {
      this.staleUntil = this.world.now + this.world.config.cluster.deadtime / this.rate;
    }
    this.#thaw();
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

  /** Whether all of a group is up here. */
  runs(group: string): boolean {
    return this.holdsAddress(group) && (this.agent?.groups.get(group)?.isUp ?? false);
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

/** What is read back of a voter's log, all of it answered for, after damage at this share of it. */
function rotted(records: readonly VoterLogRecord[], share: number): VoterLogRecord[] {
  const { bytes: header, state: begun } = writeLog(1, []);
  const parts = [header];
  let state = begun;
  for (const record of records) {
    const appended = appendRecord(state, record);
    parts.push(appended.bytes);
    state = appended.state;
  }
  const log = new Uint8Array(state.length);
  let at = 0;
  for (const part of parts) {
    log.set(part, at);
    at += part.length;
  }
  log[Math.floor(share * log.length)]! ^= 0x10;
  const { verdict, records: read } = readLog(log, { generation: 1, length: log.length });
  return verdict === "lost" ? [] : [...read];
}
