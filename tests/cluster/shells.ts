/**
 * What stands around the core in the simulation: one replica of one volume and a runner. They keep the
 * protocol's rules as far as the core relies on them (what is durable when, when is a write
 * acknowledged), so that a wrong decision of the core shows as lost data or two owners.
 */

import type {
  ClusterEffect,
  ClusterEvent,
  GroupRecord,
  ReplicaReport,
} from "../../src/cluster/types.ts";

/** What survives a crash of the agent: the superblock and the data. */
export interface Disk {
  replicaId: string;
  generation: string;
  pending: string | null;
  epoch: number;
  sole: number | null;
  blank: "no" | "zero" | "unknown";
  inconsistent: boolean;
  unclean: boolean;
  /** Numbers of all writes it holds. */
  data: Set<number>;
}

export function blankDisk(replicaId: string): Disk {
  return {
    replicaId,
    generation: "0000000000000000",
    pending: null,
    epoch: 0,
    sole: null,
    blank: "zero",
    inconsistent: false,
    unclean: false,
    data: new Set(),
  };
}

/** What the shells need of the world. */
export interface Surroundings {
  readonly node: string;
  localNow(): number;
  /** Milliseconds of latency of something local. */
  latency(): number;
  /** Runs later in this run of the agent; lost in a crash. */
  later(delay: number, action: () => void): void;
  feed(event: ClusterEvent): void;
  /** The shells of the other replica, if its agent runs and both directions are open; else null. */
  peer(): Shells | null;
  acknowledged(write: number): void;
  mustHold(data: ReadonlySet<number>): void;
  nextWrite(): number;
}

interface PendingWrite {
  readonly write: number;
  readonly waiting: Set<string>;
}

/** Runner and volume of group `web` with volume `data`, and runners of groups without one. */
export class Shells {
  readonly #world: Surroundings;
  readonly disk: Disk;
  readonly #hasVolume: boolean;
  /** Per group: epoch that was started, whether it is started, suspended, until when leased. */
  readonly running = new Map<
    string,
    { epoch: number; started: boolean; suspended: boolean; until: number }
  >();
  primary: number | null = null;
  #record: GroupRecord | null = null;
  /** Counted for acknowledgement besides the record's members. */
  #joining: { id: string; version: number } | null = null;
  #resyncing = false;
  #writes: PendingWrite[] = [];
  stopFails = false;
  /** No client writes. */
  idle = false;
  startFails = false;

  constructor(world: Surroundings, disk: Disk, hasVolume: boolean) {
    this.#world = world;
    this.disk = disk;
    this.#hasVolume = hasVolume;
  }

  boot(): void {
    if (this.#hasVolume) this.report();
  }

  report(): void {
    if (!this.#hasVolume) return;
    const { replicaId, generation, pending, epoch, sole, blank, inconsistent, unclean } = this.disk;
    const report: ReplicaReport = {
      replicaId,
      generation,
      pending,
      epoch,
      sole,
      blank,
      unclean,
      disk: inconsistent ? "Inconsistent" : unclean ? "Consistent" : "UpToDate",
      role: this.primary === null ? "Secondary" : "Primary",
    };
    this.#world.feed({ type: "replica", volume: "data", report });
  }

  /** Whether clients are served now. */
  serves(group: string): boolean {
    const run = this.running.get(group);
    return run !== undefined && run.started && !run.suspended && run.until > this.#world.localNow();
  }

  carryOut(effect: ClusterEffect): void {
    switch (effect.type) {
      case "mint":
        return this.#mint(effect.generation);
      case "record":
        return effect.group === "web" ? this.#takeRecord(effect.record) : undefined;
      case "start":
        return this.#start(effect.group, effect.record);
      case "stop":
        return this.#stop(effect.group, effect.epoch, effect.forced);
      case "lease": {
        const run = this.#run(effect.group);
        run.until = effect.until;
        return;
      }
      case "suspend":
        this.#run(effect.group).suspended = true;
        return;
      case "resume":
        this.#run(effect.group).suspended = false;
        return;
    }
  }

  #run(group: string) {
    let run = this.running.get(group);
    if (!run) {
      run = { epoch: 0, started: false, suspended: false, until: 0 };
      this.running.set(group, run);
    }
    return run;
  }

  #mint(generation: string): void {
    this.#world.later(this.#world.latency(), () => {
      this.disk.pending = generation;
      this.report();
      this.#world.feed({ type: "minted", volume: "data", generation });
    });
  }

  #takeRecord(record: GroupRecord): void {
    if (!this.#hasVolume || (this.#record && record.version <= this.#record.version)) return;
    this.#record = record;
    const { disk } = this;
    const members = record.volumes["data"]!;
    const member = members.upToDate.includes(disk.replicaId);
    if (disk.pending !== null) {
      if (member && disk.pending === members.generation) disk.generation = disk.pending;
      disk.pending = null;
    }
    if (record.epoch > (disk.sole ?? Infinity)) disk.sole = null;
    if (this.#joining && record.version > this.#joining.version) this.#joining = null;
    this.#answerWrites();
    this.#markSole();
    this.report();
  }

  /** Only after U = {me} is known chosen, in the epoch that is served here. */
  #markSole(): void {
    const record = this.#record;
    if (!record || this.primary !== record.epoch || this.#joining) return;
    const members = record.volumes["data"]!.upToDate;
    if (members.length !== 1 || members[0] !== this.disk.replicaId) return;
    if (this.disk.sole === record.epoch) return;
    const { version } = record;
    this.#world.later(this.#world.latency(), () => {
      if (this.#record?.version !== version || this.#joining || this.primary === null) return;
      this.disk.sole = record.epoch;
      this.report();
    });
  }

  #start(group: string, record: GroupRecord): void {
    const run = this.#run(group);
    run.epoch = record.epoch;
    run.suspended = false;
    const epoch = record.epoch;
    this.#world.later(this.#world.latency() * 3, () => {
      if (run.epoch !== epoch || run.started && this.primary === epoch) return;
      if (this.startFails) {
        return this.#world.feed({ type: "startFailed", group, epoch, reason: "start failed" });
      }
      run.started = true;
      if (group === "web" && this.#hasVolume) {
        if (epoch < this.disk.epoch) throw new Error(`promotion below the durable epoch`);
        this.disk.epoch = epoch;
        this.disk.blank = "no";
        this.disk.unclean = false;
        this.primary = epoch;
        if (!this.#record || this.#record.version < record.version) this.#record = record;
        this.#world.mustHold(this.disk.data);
        this.#markSole();
        this.report();
      }
      this.#world.feed({ type: "started", group, epoch });
    });
  }

  #stop(group: string, epoch: number, forced: boolean): void {
    const run = this.#run(group);
    if (forced) this.#demote(group);
    const started = this.#world.localNow();
    const attempt = () => {
      if (run.epoch !== epoch) return;
      const held = run.until > this.#world.localNow();
      // A frozen volume cannot be flushed: it waits, and gives up in the end.
      const waited = this.#world.localNow() - started;
      if (!forced && !held && waited < 3000 && run.started) {
        return this.#world.later(100, attempt);
      }
      const clean = !forced && !this.stopFails && (held || !run.started) &&
        this.#writes.length === 0;
      if (!clean && !forced && waited < 3000 && !this.stopFails) {
        return this.#world.later(100, attempt);
      }
      this.#demote(group);
      run.epoch = 0;
      this.#world.feed({ type: "stopped", group, epoch, clean });
    };
    this.#world.later(this.#world.latency() * 2, attempt);
  }

  #demote(group: string): void {
    const run = this.#run(group);
    run.started = false;
    if (group !== "web" || !this.#hasVolume) return;
    this.primary = null;
    this.disk.sole = null;
    this.#joining = null;
    this.#writes = [];
    this.report();
  }

  /** A client's write, and the volume's care for its peer; called now and then. */
  work(): void {
    if (!this.#hasVolume || this.primary === null || !this.#record) return;
    if (this.#record.epoch !== this.primary) return;
    if (!this.idle && this.serves("web") && this.#writes.length < 3) this.#write();
    this.#carePeer();
  }

  #ackSet(): Set<string> {
    const set = new Set(this.#record!.volumes["data"]!.upToDate);
    if (this.#joining) set.add(this.#joining.id);
    set.delete(this.disk.replicaId);
    return set;
  }

  #write(): void {
    const write = this.#world.nextWrite();
    this.disk.data.add(write);
    const waiting = this.#ackSet();
    const peer = this.#session();
    if (peer) {
      // Every connected replica gets it, in the set or not.
      if (!peer.disk.inconsistent) peer.disk.data.add(write);
      waiting.delete(peer.disk.replicaId);
    }
    this.#writes.push({ write, waiting });
    this.#answerWrites();
    for (const id of waiting) this.#ask("shrink", id, "missed a write");
  }

  #answerWrites(): void {
    if (this.primary === null) return;
    const set = this.#ackSet();
    this.#writes = this.#writes.filter(({ write, waiting }) => {
      for (const id of waiting) if (set.has(id)) return true;
      this.#world.acknowledged(write);
      return false;
    });
  }

  /** The peer, if a session in this epoch can stand: it refuses a lower epoch, and raises its own. */
  #session(): Shells | null {
    const peer = this.#world.peer();
    if (!peer || peer.primary !== null || peer.disk.epoch > this.primary!) return null;
    peer.disk.epoch = this.primary!;
    return peer;
  }

  #ask(type: "shrink" | "grow", replicaId: string, reason: string): void {
    this.#world.feed({
      type,
      volume: "data",
      epoch: this.primary!,
      replicaId,
      reason,
      version: this.#record!.version,
    });
  }

  #carePeer(): void {
    const members = this.#record!.volumes["data"]!.upToDate;
    if (this.#joining) {
      const peer = this.#session();
      if (!peer) this.#ask("shrink", this.#joining.id, "lost while joining");
      return;
    }
    const peer = this.#session();
    if (!peer || this.#resyncing || members.includes(peer.disk.replicaId)) return;
    if (this.#writes.length > 0) return;
    this.#resyncing = true;
    const epoch = this.primary;
    peer.disk.inconsistent = true;
    peer.report();
    this.#world.later(200, () => {
      this.#resyncing = false;
      const target = this.primary === epoch && epoch !== null ? this.#session() : null;
      if (!target || this.#writes.length > 0) return;
      // JOIN: everything durable and flag cleared at the target before the grow is asked for.
      target.disk.data = new Set(this.disk.data);
      target.disk.generation = this.disk.generation;
      target.disk.inconsistent = false;
      target.disk.unclean = false;
      target.disk.blank = "no";
      target.report();
      this.disk.sole = null;
      this.#joining = { id: target.disk.replicaId, version: this.#record!.version };
      this.report();
      this.#ask("grow", target.disk.replicaId, "synchronized");
    });
  }
}
