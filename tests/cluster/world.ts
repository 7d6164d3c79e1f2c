/**
 * A small world in simulated time: nodes that run the production core, a network that loses, doubles,
 * delays and cuts, clocks that drift, agents that crash between any two effects, pause and restart.
 * Everything follows from one seed.
 */

import assert from "node:assert/strict";
import { type ClusterState, createCluster, step } from "../../src/cluster/cluster.ts";
import { createRandom, nextRandom } from "../../src/cluster/random.ts";
import type {
  ClusterEffect,
  ClusterEvent,
  Frame,
  Note,
  ProtocolRange,
  VoterLogRecord,
} from "../../src/cluster/types.ts";
import { type ClusterView, view } from "../../src/cluster/view.ts";
import type { Config } from "../../src/config/types.ts";
import { Observer } from "./observer.ts";
import { blankDisk, type Disk, Shells } from "./shells.ts";

export interface NodeSim {
  readonly name: string;
  state: ClusterState | null;
  shells: Shells | null;
  incarnation: number;
  log: VoterLogRecord[];
  disk: Disk;
  /** local = offset + rate × world time */
  rate: number;
  offset: number;
  /** Paused until then: events wait. */
  pausedUntil: number;
  waiting: (() => void)[];
  /** Its clock stood still in a pause: until then its leases may outlast what the others allow. */
  excusedUntil: number;
  /** Grows with every start and crash: what belongs to an earlier run is dropped. */
  run: number;
  /** Crash before this many more effects are carried out; -1: not planned. */
  fuse: number;
  voterIds: number;
  notes: Note[];
  /** By register: the record last checked to be chosen. */
  claimed: Map<string, unknown>;
  commands: Map<number, string | null>;
  shutdownDone: boolean;
  /** What its configuration file holds. */
  file: Config;
}

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly action: () => void;
}

export interface WorldOptions {
  readonly seed?: number;
  readonly config: Config;
  /** Clocks run up to 10 % fast or slow. */
  readonly drift?: boolean;
  /** Every frame passes through this; for codecs and spies. null drops it. */
  readonly wire?: (frame: Frame, from: string, to: string) => Frame | null;
}

/** What happens to the target, and what the command says. Milliseconds from the asking. */
export interface FenceDevice {
  readonly offAt: number | null;
  readonly answersAt: number;
  readonly confirmed: boolean;
}

export const FENCE_WORKS: FenceDevice = { offAt: 100, answersAt: 150, confirmed: true };
export const FENCE_FAILS: FenceDevice = { offAt: null, answersAt: 150, confirmed: false };

export class World {
  readonly config: Config;
  readonly nodes = new Map<string, NodeSim>();
  readonly observer: Observer;
  now = 0;
  loss = 0;
  duplication = 0;
  /** Milliseconds. */
  delay: [number, number] = [0.5, 2];
  /** Directed cuts "from>to" or "from>to#link". */
  readonly cuts = new Set<string>();
  /** Versions of the protocol that a node's next agent speaks; default: what the program does. */
  readonly speaks = new Map<string, ProtocolRange>();
  /** Frames on the wire, newest last, for replay. */
  readonly recorded: { link: number; to: string; frame: Frame }[] = [];
  readonly #random;
  readonly #heap: Timer[] = [];
  #order = 0;
  #write = 0;
  readonly acknowledged = new Set<number>();
  readonly #wire: WorldOptions["wire"];
  /** What a fence command that is asked for does, and when; null: it never ends. */
  fenceDevice: (target: string, by: string) => FenceDevice | null = () => FENCE_WORKS;
  /** Nodes may serve at the same time: they do not hear each other, and the mode allows it. */
  mayDouble = false;
  /** Acknowledged writes may be missing: a person gave them up. */
  mayLose = false;
  /** Called after every event; throw to fail. */
  watch: (() => void) | null = null;

  constructor(options: WorldOptions) {
    this.config = options.config;
    this.#random = createRandom(options.seed ?? 1);
    this.#wire = options.wire;
    this.observer = new Observer(options.config);
    options.config.nodes.forEach(({ name }, index) => {
      const swing = options.drift ? (this.random() < 0.5 ? 1.1 : 0.9) : 1;
      this.nodes.set(name, newNode(name, options.config, index, swing));
    });
  }

  /** A machine more, with this configuration; not started yet. */
  addNode(name: string, file: Config): void {
    this.nodes.set(name, newNode(name, file, this.nodes.size, 1));
  }

  /** The file is copied to a node, whose running agent can take it over without a restart, or not. */
  copy(config: Config, names: readonly string[], live = true): void {
    for (const name of names) {
      this.node(name).file = config;
      const runs = this.node(name).state?.pushed.hash === config.hash;
      this.event(name, { type: "file", found: runs ? null : { config, live } });
    }
  }

  random(): number {
    return nextRandom(this.#random);
  }

  node(name: string): NodeSim {
    return this.nodes.get(name)!;
  }

  localNow(node: NodeSim): number {
    return node.offset + node.rate * this.now;
  }

  view(name: string): ClusterView {
    const node = this.node(name);
    return view(node.state!, this.localNow(node));
  }

  // ---- time ----

  at(delay: number, action: () => void): void {
    const timer = { at: this.now + Math.max(0, delay), order: this.#order++, action };
    const heap = this.#heap;
    heap.push(timer);
    for (let i = heap.length - 1; i > 0;) {
      const parent = (i - 1) >> 1;
      if (before(heap[parent]!, heap[i]!)) break;
      [heap[parent], heap[i]] = [heap[i]!, heap[parent]!];
      i = parent;
    }
  }

  #pop(): Timer {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return top;
    heap[0] = last;
    for (let i = 0;;) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2]) {
        if (child < heap.length && before(heap[child]!, heap[least]!)) least = child;
      }
      if (least === i) return top;
      [heap[least], heap[i]] = [heap[i]!, heap[least]!];
      i = least;
    }
  }

  /** Lets time pass. */
  run(milliseconds: number): void {
    const end = this.now + milliseconds;
    while (this.#heap.length > 0 && this.#heap[0]!.at <= end) {
      const timer = this.#pop();
      this.now = timer.at;
      timer.action();
      this.#check();
    }
    this.now = end;
  }

  /** Lets time pass until something is so; fails after `limit` milliseconds. Gives how long it took. */
  until(what: string, is: () => boolean, limit: number): number {
    const start = this.now;
    while (!is()) {
      if (this.now - start >= limit) {
        throw new Error(`not within ${limit} ms: ${what}\n${this.story()}`);
      }
      this.run(5);
    }
    return this.now - start;
  }

  /** The last notes of every node, for a failed test. */
  story(): string {
    return [...this.nodes.values()].map(({ name, notes }) =>
      notes.slice(-12).map(({ rule, text, known }) =>
        `${name}: ${rule}: ${text} ${JSON.stringify(known)}`
      ).join("\n")
    ).join("\n");
  }

  // ---- agents ----

  startAll(): void {
    for (const { name } of this.nodes.values()) this.start(name);
  }

  start(name: string): void {
    const node = this.node(name);
    assert.equal(node.state, null, `${name} runs already`);
    node.incarnation += 1;
    node.run += 1;
    node.shutdownDone = false;
    node.fuse = -1;
    if (node.log.length === 0) node.voterIds += 1;
    node.state = createCluster({
      config: node.file,
      ...(this.speaks.has(name) ? { speaks: this.speaks.get(name)! } : {}),
      node: name,
      incarnation: node.incarnation,
      voterId: `voter-${name}-${node.voterIds}`,
      now: this.localNow(node),
      seed: Math.floor(this.random() * 2 ** 32),
      log: node.log,
    });
    const holdsReplica = this.config.volumes.some(({ replicas }) =>
      replicas.some((replica) => replica.node === name)
    );
    node.shells = new Shells(this.#surroundings(node), node.disk, holdsReplica);
    node.shells.boot();
    this.#tick(node, node.run);
  }

  #tick(node: NodeSim, run: number): void {
    if (node.run !== run) return;
    this.#feed(node, { type: "tick" });
    if (node.run !== run) return;
    node.shells?.work();
    const period = this.config.cluster.keepalive / 4 / node.rate;
    this.at(period * (0.95 + 0.1 * this.random()), () => this.#tick(node, run));
  }

  /** kill -9: what is durable stays. */
  crash(name: string): void {
    const node = this.node(name);
    node.run += 1;
    node.state = null;
    node.shells = null;
    node.waiting = [];
    node.pausedUntil = 0;
  }

  /** Not scheduled for a while; `clockStops`: its clock stands still too, as a paused VM's may. */
  pause(name: string, milliseconds: number, clockStops = false): void {
    const node = this.node(name);
    node.pausedUntil = this.now + milliseconds;
    const { run } = node;
    this.at(milliseconds, () => {
      if (node.run !== run) return;
      if (clockStops) {
        node.offset -= node.rate * milliseconds;
        node.excusedUntil = this.now + this.config.cluster.deadtime;
      }
      const { waiting } = node;
      node.waiting = [];
      for (const action of waiting) if (node.run === run) action();
    });
  }

  event(name: string, event: ClusterEvent): void {
    this.#feed(this.node(name), event);
  }

  #feed(node: NodeSim, event: ClusterEvent): void {
    if (node.state === null) return;
    if (this.now < node.pausedUntil) {
      node.waiting.push(() => this.#feed(node, event));
      return;
    }
    const { run } = node;
    // Effects may cause events; these wait, as in the agent.
    const effects = step(node.state, this.localNow(node), event);
    for (const effect of effects) {
      if (node.run !== run) return;
      if (node.fuse === 0) return this.crash(node.name);
      if (node.fuse > 0) node.fuse -= 1;
      this.#carryOut(node, effect);
    }
    // The own vote, which may be the last that was needed, is durable only now.
    if (node.run === run) this.#claims(node);
    if (node.shutdownDone) this.crash(node.name);
  }

  #claims(node: NodeSim): void {
    for (const [register, { known }] of node.state!.registers) {
      if (!known?.record || node.claimed.get(register) === known.record) continue;
      node.claimed.set(register, known.record);
      this.observer.claimed(register, known.record.version, JSON.stringify(known.record));
    }
  }

  #carryOut(node: NodeSim, effect: ClusterEffect): void {
    switch (effect.type) {
      case "persist": {
        node.log.push(effect.record);
        const voterId = `${node.name}-${node.voterIds}`;
        return this.observer.persisted(voterId, effect.record);
      }
      case "send":
        this.observer.sent(effect);
        return this.#send(node, effect.to, effect.frame);
      case "note":
        node.notes.push(effect.note);
        return;
      case "fence":
        return this.#fence(node, effect.node, effect.attempt);
      case "commandDone":
        node.commands.set(effect.id, effect.error ?? null);
        return;
      case "shutdownDone":
        node.shutdownDone = true;
        return;
      default:
        return node.shells!.carryOut(effect);
    }
  }

  #fence(by: NodeSim, target: string, attempt: number): void {
    const device = this.fenceDevice(target, by.name);
    if (device === null) return;
    const { run } = by;
    if (device.offAt !== null) {
      this.at(device.offAt, () => {
        if (this.node(target).state) this.crash(target);
      });
    }
    this.at(device.answersAt, () => {
      if (by.run !== run) return;
      const { confirmed } = device;
      const detail = confirmed ? "off" : "the switch does not answer";
      this.#feed(by, { type: "fenced", node: target, attempt, confirmed, detail });
    });
  }

  #surroundings(node: NodeSim) {
    const { run } = node;
    return {
      node: node.name,
      localNow: () => this.localNow(node),
      latency: () => 1 + 9 * this.random(),
      later: (delay: number, action: () => void) =>
        this.at(delay, () => {
          if (node.run !== run) return;
          if (this.now < node.pausedUntil) node.waiting.push(action);
          else action();
        }),
      feed: (event: ClusterEvent) =>
        this.at(0, () => {
          if (node.run === run) this.#feed(node, event);
        }),
      peer: () => {
        const replicas = this.config.volumes[0]?.replicas ?? [];
        const other = replicas.find((replica) => replica.node !== node.name);
        const peer = other && this.node(other.node);
        if (!peer?.shells || this.now < peer.pausedUntil) return null;
        return this.isOpen(node.name, peer.name, 0) && this.isOpen(peer.name, node.name, 0)
          ? peer.shells
          : null;
      },
      acknowledged: (write: number) => void this.acknowledged.add(write),
      mustHold: (data: ReadonlySet<number>) => {
        for (const write of this.mayLose ? [] : this.acknowledged) {
          assert.ok(data.has(write), `${node.name} serves without acknowledged write ${write}`);
        }
      },
      nextWrite: () => ++this.#write,
    };
  }

  // ---- network ----

  isOpen(from: string, to: string, link: number): boolean {
    return !this.cuts.has(`${from}>${to}`) && !this.cuts.has(`${from}>${to}#${link}`);
  }

  /** Cuts one node off from others, both ways. */
  cut(name: string, others: readonly string[]): void {
    for (const other of others) {
      this.cuts.add(`${name}>${other}`);
      this.cuts.add(`${other}>${name}`);
    }
  }

  heal(): void {
    this.cuts.clear();
  }

  #send(node: NodeSim, to: string, frame: Frame): void {
    for (const target of this.nodes.values()) {
      if (target.name === node.name || (to !== "*" && to !== target.name)) continue;
      const passed = this.#wire ? this.#wire(frame, node.name, target.name) : frame;
      if (passed === null) continue;
      for (let link = 0; link < 2; link++) {
        if (!this.isOpen(node.name, target.name, link)) continue;
        this.recorded.push({ link, to: target.name, frame: passed });
        const copies = this.random() < this.duplication ? 2 : 1;
        for (let copy = 0; copy < copies; copy++) {
          if (this.random() < this.loss) continue;
          const [least, most] = this.delay;
          this.at(
            least + (most - least) * this.random(),
            () => this.#feed(target, { type: "frame", link, frame: passed }),
          );
        }
      }
    }
    if (this.recorded.length > 4000) this.recorded.splice(0, 2000);
  }

  // ---- invariants ----

  /** Nodes that serve clients of a group now, each by its own clock. */
  serving(group = "web"): string[] {
    const names: string[] = [];
    for (const node of this.nodes.values()) {
      // A paused node does not answer; one whose clock stood still may, it is a stated limit.
      if (this.now < node.pausedUntil || this.now < node.excusedUntil) continue;
      if (node.shells?.serves(group)) names.push(node.name);
    }
    return names;
  }

  #check(): void {
    for (const { name } of this.config.groups) {
      const serving = this.serving(name);
      if (serving.length > 1 && !this.mayDouble) {
        throw new Error(
          `${serving.join(" and ")} both serve ${name} at ${this.now}\n${this.story()}`,
        );
      }
    }
    this.watch?.();
  }

  /** The one node that serves the group, in its core's and its runner's opinion; null: none. */
  owner(group = "web"): string | null {
    const [name] = this.serving(group);
    if (name === undefined) return null;
    const state = this.node(name).state?.groups.get(group)?.phase;
    return state === "running" ? name : null;
  }
}

function before(a: Timer, b: Timer): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

function newNode(name: string, file: Config, index: number, rate: number): NodeSim {
  return {
    name,
    file,
    rate,
    offset: 1000 + 777 * index,
    disk: blankDisk(`replica-${name}`),
    state: null,
    shells: null,
    incarnation: 0,
    log: [],
    pausedUntil: 0,
    waiting: [],
    excusedUntil: 0,
    run: 0,
    fuse: -1,
    voterIds: 0,
    notes: [],
    claimed: new Map(),
    commands: new Map(),
    shutdownDone: false,
  };
}
