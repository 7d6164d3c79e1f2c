/**
 * The main thread's side of a simulated volume: orders go through a pipe, reports and answers come
 * back by messages, the lease through shared memory; as the daemon's volumes do it.
 */

import type { GroupRecord, VolumeRecord } from "../cluster/types.ts";
import type { VolumeAsk, VolumeOrder, VolumeReport } from "../volume/types.ts";
import type { Agent } from "./agent.ts";
import { Chance } from "./chance.ts";
import type { VolumeConfig } from "../config/types.ts";
import { DataPlane } from "./data_plane.ts";
import { checkVerified } from "./health.ts";
import type { Disk } from "./disk.ts";

/** Milliseconds between the threads, at most. */
const BETWEEN_THREADS = 0.5;

/** See the module comment. */
export class VolumeShell {
  readonly agent: Agent;
  readonly config: VolumeConfig;
  readonly #disk: Disk;
  plane: DataPlane | null = null;
  /** Shared memory: written here, read there. */
  leaseCell = { epoch: 0, until: 0 };
  #report: VolumeReport | null = null;
  #promotion: { resolve(): void; reject(reason: string): void } | null = null;
  #demotion: ((clean: boolean) => void) | null = null;
  #closed: (() => void) | null = null;
  #ordersUntil = 0;
  #messagesUntil = 0;

  constructor(agent: Agent, config: VolumeConfig, disk: Disk) {
    this.agent = agent;
    this.config = config;
    this.#disk = disk;
  }

  /** Starts the volume's thread; a disk may come late. */
  open(): void {
    const { machine, state } = this.agent;
    const { options: { seed, deadtime, lateDisks } } = machine.world;
    const run = `${machine.name} ${state.self.incarnation} opens ${this.config.name}`;
    const chance = Chance.named(seed, run);
    const wait = chance.is(lateDisks) ? chance.between(0, deadtime) : 0;
    this.#ordersUntil = machine.world.now + wait;
    this.#later("orders", () => {
      const plane = new DataPlane(this, machine, this.#disk);
      machine.onWorker(() => {
        plane.open();
        this.plane = plane;
      });
    });
  }

  /** Passes an order on. */
  order(order: VolumeOrder): void {
    this.#later("orders", () => this.plane?.turn(() => this.plane!.order(order)));
  }

  /** The lease of the volume's group. */
  lease(epoch: number, until: number): void {
    const rounded = until === Infinity ? until : Math.floor(until * 1000) / 1000;
    this.leaseCell = { epoch, until: rounded };
    this.#later("orders", () => this.plane?.turn(() => {}));
  }

  /** Makes the replica Primary; one of the callbacks is called, unless another order comes first. */
  promote(
    { epoch, version }: GroupRecord,
    lineage: string | null,
    record: VolumeRecord,
    resolve: () => void,
    reject: (reason: string) => void,
  ): void {
    if (this.plane === null) return reject(`volume ${this.config.name}: it is not open yet`);
    this.#promotion = { resolve, reject };
    this.order({ type: "promote", epoch, version, lineage, record });
  }

  /** Makes it Secondary. */
  demote(forced: boolean, done: (clean: boolean) => void): void {
    if (this.plane === null) return done(false);
    this.#demotion = done;
    this.order({ type: "demote", forced });
  }

  /** Why it is no running resource; null: it is one. */
  illness(): string | null {
    if (this.#report?.role !== "Primary") return "it is not Primary";
    const { disk, throughPeer } = this.#report;
    return disk === "Diskless" && !throughPeer ? "its disk failed" : null;
  }

  /** Ends it in order. */
  close(ended: () => void): void {
    this.#closed = ended;
    const { machine } = this.agent;
    if (this.plane === null) return ended();
    this.order({ type: "close" });
    machine.world.schedule.after(8000 / machine.rate, () => {
      this.plane?.end(false);
      ended();
    });
  }

  /** The agent was killed. */
  crashed(power: boolean): void {
    this.plane?.end(power);
  }

  /** A message from the volume's thread. */
  post(action: () => void): void {
    this.#later("messages", () => this.agent.machine.onMain(action));
  }

  /** The volume's state changed. */
  reported(report: VolumeReport): void {
    checkVerified(this.agent.machine, report);
    this.post(() => {
      this.#report = report;
      this.agent.dispatch({ type: "replica", volume: this.config.name, report });
    });
  }

  /** The volume asks, or answers an order. */
  asked(ask: VolumeAsk): void {
    switch (ask.type) {
      case "promoted":
        this.agent.machine.world.history(this.config.name)
          .promoted(this.agent.machine.world.now, this.plane);
        this.#promotion?.resolve();
        this.#promotion = null;
        return;
      case "promoteFailed":
        this.#promotion?.reject(`volume ${this.config.name}: ${ask.reason}`);
        this.#promotion = null;
        return;
      case "demoted":
        this.#demotion?.(ask.clean);
        this.#demotion = null;
        return;
      case "closed":
        this.#closed?.();
        return;
      case "operated":
        return;
      default:
        this.agent.dispatch({ ...ask, volume: this.config.name });
    }
  }

  /** In the order of asking, after the time that passes between threads. */
  #later(way: "orders" | "messages", action: () => void): void {
    const { machine } = this.agent;
    const { schedule, chance, now } = machine.world;
    const at = Math.max(
      now + chance.between(0, BETWEEN_THREADS),
      way === "orders" ? this.#ordersUntil : this.#messagesUntil,
    );
    if (way === "orders") this.#ordersUntil = at;
    else this.#messagesUntil = at;
    schedule.after(at - now, () => {
      if (machine.agent === this.agent) action();
    });
  }
}
