/**
 * The groups that may run on this node: one runner each, told what the cluster core decided.
 *
 * @module
 */
import type { ClusterEvent, GroupRecord, Note } from "../cluster/types.ts";
import type { Config, GroupConfig } from "../config/types.ts";
import { boottimeMs } from "../os/clock.ts";
import { GroupRunner } from "../resource/group_runner.ts";
import type { Health } from "../resource/kind.ts";
import type { ResourceStatus } from "../resource/runner_types.ts";
import { sweepLeftovers } from "../resource/sweep.ts";
import type { VolumeControl } from "../resource/volume.ts";

/** What groups need of the agent. */
export interface GroupsPorts {
  /** Makes a volume Primary in the epoch of this record; rejects with the reason. */
  promote(volume: string, record: GroupRecord): Promise<void>;
  /** Makes it Secondary; `clean`: drained, and flushed on every member. */
  demote(volume: string, forced: boolean): Promise<{ clean: boolean }>;
  /** How the volume is now. */
  health(volume: string): Health;
  /** To the cluster core. */
  event(event: ClusterEvent): void;
  /** One line for the log and the journal. */
  note(note: Note): void;
}

interface Managed {
  readonly config: GroupConfig;
  readonly runner: GroupRunner;
  /** The record under which the group was started last. */
  started: GroupRecord | null;
  /** Newest known-chosen record, and whether its epoch was taken from an owner that did not let go. */
  known: GroupRecord | null;
  wrested: boolean;
  /** Of CLOCK_BOOTTIME, milliseconds. */
  leaseUntil: number;
}

/** Every group of which this node is a candidate. */
export class Groups {
  readonly #ports: GroupsPorts;
  readonly #config: Config;
  readonly #node: string;
  readonly #managed = new Map<string, Managed>();

  /** Nothing is started before the core says so. */
  constructor(config: Config, node: string, ports: GroupsPorts) {
    this.#ports = ports;
    this.#config = config;
    this.#node = node;
    for (const group of config.groups) {
      if (!group.candidates.includes(node)) continue;
      const runner = new GroupRunner(group, {
        node,
        instance: config.paths.state,
        runtimeDir: config.paths.runtime,
        addressLifetime: Math.ceil(config.cluster.deadtime / 1000),
        leaseHolds: () => (this.#managed.get(group.name)?.leaseUntil ?? 0) > boottimeMs(),
        log: (level, text) =>
          ports.note({ level, rule: "resource", group: group.name, node, text, known: {} }),
        volumes: (volume) => this.#control(group.name, volume),
      }, this.#callbacks(group.name));
      this.#managed.set(group.name, {
        config: group,
        runner,
        started: null,
        known: null,
        wrested: false,
        leaseUntil: 0,
      });
    }
  }

  /** TAKE is known chosen: start in order; `part`: these volumes alone. */
  start(group: string, record: GroupRecord, part?: readonly string[]): void {
    const managed = this.#expect(group);
    managed.started = record;
    managed.runner.start(record, { probeDuplicates: managed.wrested, part });
  }

  /** The group is about to be taken, perhaps from an owner that does not let go. */
  prepare(group: string): void {
    const managed = this.#expect(group);
    const owner = managed.known?.owner ?? null;
    if (owner !== null && owner.node !== this.#node) managed.runner.prepare();
  }

  /** A newer record is known chosen. Comes before the `start` that follows from it. */
  record(group: string, record: GroupRecord): void {
    const managed = this.#managed.get(group);
    if (!managed) return;
    if (record.epoch !== managed.known?.epoch) {
      const last = managed.known?.owner ?? null;
      managed.wrested = last !== null && last.node !== this.#node;
    }
    managed.known = record;
  }

  /** The group's lease, in milliseconds of CLOCK_BOOTTIME. */
  lease(group: string, until: number): void {
    const managed = this.#managed.get(group);
    if (managed) managed.leaseUntil = until;
  }

  /** Takes away what an earlier run of this agent left running. Before any group is started. */
  async sweep(): Promise<void> {
    const resources = [...this.#managed.values()].flatMap(({ config }) => config.resources);
    const { removed, failed } = await sweepLeftovers(resources, this.#config.paths.state);
    for (const text of removed) this.#note("info", "leftover-swept", text);
    for (const text of failed) this.#note("error", "leftover-stays", text);
  }

  /** Stop in reverse; answered by a `stopped` event. */
  stop(group: string, epoch: number, forced: boolean): void {
    this.#expect(group).runner.stop({ epoch, forced });
  }

  /** The lease is lost: addresses are gone when this returns. */
  suspend(group: string): void {
    this.#managed.get(group)?.runner.suspend();
  }

  /** The lease is back. */
  resume(group: string): void {
    this.#managed.get(group)?.runner.resume();
  }

  /** Maintenance begins or ends: what runs stays as it is. */
  hold(on: boolean): void {
    for (const { runner } of this.#managed.values()) runner.hold(on);
  }

  /** Names of the volumes of a group. */
  volumesOf(group: string): string[] {
    const resources = this.#managed.get(group)?.config.resources ?? [];
    return resources.flatMap((each) => each.kind === "volume" ? [each.volume] : []);
  }

  /** State of a group's resources on this node; null where it cannot run here. */
  resources(group: string): ResourceStatus[] | null {
    return this.#managed.get(group)?.runner.resources() ?? null;
  }

  /** Ends timers. Resources stay as they are. */
  close(): void {
    for (const { runner } of this.#managed.values()) runner.close();
  }

  #control(group: string, volume: string): VolumeControl {
    return {
      promote: () => {
        const { started } = this.#expect(group);
        if (started === null) throw new Error(`group ${group} was not started by a record`);
        return this.#ports.promote(volume, started);
      },
      demote: (forced) => this.#ports.demote(volume, forced),
      health: () => this.#ports.health(volume),
    };
  }

  #callbacks(group: string) {
    const { event, note } = this.#ports;
    return {
      started: (epoch: number) => event({ type: "started", group, epoch }),
      startFailed: (epoch: number, reason: string) =>
        event({ type: "startFailed", group, epoch, reason }),
      stopped: (epoch: number, clean: boolean) => event({ type: "stopped", group, epoch, clean }),
      failed: (reason: string) => event({ type: "failed", group, reason }),
      note,
    };
  }

  #note(level: Note["level"], rule: string, text: string): void {
    this.#ports.note({ level, rule, node: this.#node, text, known: {} });
  }

  #expect(group: string): Managed {
    const managed = this.#managed.get(group);
    if (!managed) throw new Error(`group ${group} has no candidate ${this.#node}`);
    return managed;
  }
}
