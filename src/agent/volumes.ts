/**
 * The volumes of this node: one data-plane Worker each, kept alive, ordered about, listened to.
 *
 * A Worker that cannot open its disk, or dies, is reported as Diskless with the reason and tried again:
 * `bascule volume create` or a disk that comes back needs no restart of the agent.
 *
 * @module
 */
import type { GroupRecord, Note, VolumeRecord } from "../cluster/types.ts";
import type { Config, VolumeConfig } from "../config/types.ts";
import type { Health } from "../resource/kind.ts";
import type { VolumeAsk, VolumeOperation, VolumeOrder, VolumeReport } from "../volume/types.ts";
import { VolumeWorker } from "./dataplane/handle.ts";
import { ResyncShare } from "./resync_share.ts";
import { VolumeOperations } from "./volume_operations.ts";
import type { IoSnapshot } from "./dataplane/io_stats.ts";
import { ExportSockets } from "./export_sockets.ts";
import { TlsRelay } from "./tls_relay.ts";
import type { ClusterKeys } from "../config/key_file.ts";

/** How often a volume that could not be opened is tried again, in milliseconds. */
const REOPEN_INTERVAL = 2000;
/** A disk that has failed is taken again after so long at first, and at most; milliseconds. */
const REATTACH_FIRST = 5000;
const REATTACH_LAST = 300_000;

/** What the volumes tell the agent. */
export interface VolumeEvents {
  /** The state of a replica changed. */
  report(volume: string, report: VolumeReport): void;
  /** `shrink`, `grow` and `minted` go to the cluster core. */
  ask(volume: string, ask: VolumeAsk): void;
  /** One line for the log and the journal. */
  note(note: Note): void;
}

/** Facts of this node that every volume needs. */
export interface VolumesInit {
  readonly config: Config;
  readonly node: string;
  readonly keys: ClusterKeys;
  readonly bootId: string;
}

interface Managed {
  readonly config: VolumeConfig;
  worker: VolumeWorker | null;
  report: VolumeReport | null;
  failure: string | null;
  timer: ReturnType<typeof setTimeout> | null;
  /** Until a disk that fails next is taken again, milliseconds. */
  reattachAfter: number;
  promotion: Waiter<void> | null;
  demotion: Waiter<{ clean: boolean }> | null;
  /** The newest record and lease, told again to a Worker that starts later. */
  record: Extract<VolumeOrder, { type: "record" }> | null;
}

interface Waiter<T> {
  resolve(value: T): void;
  reject(reason: Error): void;
}

/** All volumes with a replica on this node. */
export class Volumes {
  readonly #init: VolumesInit;
  readonly #events: VolumeEvents;
  readonly #managed = new Map<string, Managed>();
  readonly #operations = new VolumeOperations();
  readonly #share: ResyncShare;
  readonly #sockets: ExportSockets;
  readonly #tls: TlsRelay;
  #closing = false;

  /** Starts a Worker for each volume that has a replica on this node. */
  constructor(init: VolumesInit, events: VolumeEvents) {
    this.#init = init;
    this.#events = events;
    const own = init.config.volumes.filter(({ replicas }) =>
      replicas.some((replica) => replica.node === init.node)
    );
    const note = (level: Note["level"], rule: string, text: string) =>
      events.note({ level, rule, node: init.node, text, known: {} });
    this.#sockets = new ExportSockets(own, note);
    this.#tls = new TlsRelay(note);
    if (own.some((volume) => volume.export.tcp?.tls)) void this.#tls.start();
    const node = init.config.nodes.find(({ name }) => name === init.node);
    this.#share = new ResyncShare(node?.resyncMax ?? null, (volume, order) => {
      this.order(volume, order);
    });
    for (const config of own) {
      const managed: Managed = {
        config,
        worker: null,
        report: null,
        failure: null,
        timer: null,
        reattachAfter: REATTACH_FIRST,
        promotion: null,
        demotion: null,
        record: null,
      };
      this.#managed.set(config.name, managed);
      this.#open(managed);
    }
  }

  /** Newest report of a volume; null before the first one. */
  report(volume: string): VolumeReport | null {
    return this.#managed.get(volume)?.report ?? null;
  }

  /** Why a volume has no running Worker; null when it has one. */
  failure(volume: string): string | null {
    return this.#managed.get(volume)?.failure ?? null;
  }

  /** Counters and latencies of a volume's I/O here since its Worker started; null without one. */
  stats(volume: string): IoSnapshot | null {
    return this.#managed.get(volume)?.worker?.stats() ?? null;
  }

  /** Passes an order on. A volume without a Worker has nobody to obey it. */
  order(volume: string, order: VolumeOrder): void {
    const managed = this.#managed.get(volume);
    if (!managed) return;
    if (order.type === "record") managed.record = order;
    managed.worker?.order(order);
  }

  /** What an operator wants; resolves to null when it is done or has begun, else to why not. */
  operate(volume: string, what: VolumeOperation): Promise<string | null> {
    const managed = this.#managed.get(volume);
    if (!managed?.worker) {
      return Promise.resolve(`volume ${volume}: ${managed?.failure ?? "no replica on this node"}`);
    }
    return this.#operations.ask(volume, what, (order) => this.order(volume, order));
  }

  /** The lease of the volume's group, monotonic milliseconds. */
  lease(volume: string, epoch: number, until: number): void {
    this.#managed.get(volume)?.worker?.lease(epoch, until);
  }

  /** Makes the local replica Primary; done once its superblock names the epoch. */
  promote(
    volume: string,
    { epoch, version }: GroupRecord,
    lineage: string | null,
    record: VolumeRecord,
  ): Promise<void> {
    const managed = this.#managed.get(volume);
    const worker = managed?.worker;
    if (!managed || !worker) {
      return Promise.reject(
        new Error(`volume ${volume}: ${managed?.failure ?? "no replica on this node"}`),
      );
    }
    return new Promise((resolve, reject) => {
      managed.promotion = { resolve, reject };
      worker.order({ type: "promote", epoch, version, lineage, record });
    });
  }

  /** Makes the local replica Secondary. `clean`: drained and flushed on every member. */
  demote(volume: string, forced: boolean): Promise<{ clean: boolean }> {
    const managed = this.#managed.get(volume);
    const worker = managed?.worker;
    if (!managed || !worker) return Promise.resolve({ clean: false });
    return new Promise((resolve, reject) => {
      managed.demotion = { resolve, reject };
      worker.order({ type: "demote", forced });
    });
  }

  /** How the local replica is, as a resource: running while it is Primary with its disk. */
  health(volume: string): Health {
    const managed = this.#managed.get(volume);
    if (!managed?.worker) {
      return { state: "failed", reason: managed?.failure ?? "no replica on this node" };
    }
    const { report } = managed;
    if (report?.role !== "Primary") return { state: "stopped", reason: "it is not Primary" };
    if (report.disk === "Diskless" && !report.throughPeer) {
      return { state: "failed", reason: "its disk failed" };
    }
    return { state: "running" };
  }

  /** Writes the clean marks and ends every Worker. Only after every group was stopped. */
  async close(): Promise<void> {
    this.#closing = true;
    await Promise.all([...this.#managed.values()].map(async (managed) => {
      if (managed.timer !== null) clearTimeout(managed.timer);
      await managed.worker?.close();
    }));
    this.#sockets.close();
    this.#tls.close();
  }

  #open(managed: Managed): void {
    managed.timer = null;
    const { config, node, keys, bootId } = this.#init;
    const { name, export: { tcp } } = managed.config;
    const shared = this.#sockets.shared(name);
    const worker = VolumeWorker.start({
      config,
      volume: managed.config,
      node,
      keys,
      bootId,
      shared,
    });
    managed.worker = worker;
    worker.onServing = (entry) => this.#sockets.serving(name, worker, entry);
    worker.onPass = (client) => this.#sockets.pass(client);
    if (tcp?.tls) {
      const { tls } = tcp;
      worker.onTls = (fd, plain) => this.#tls.begin(fd, plain, tls);
    }
    worker.onReport = (report) => {
      this.#share.reported(managed.config.name, report);
      managed.report = report;
      if (managed.failure !== null) {
        managed.failure = null;
        this.#note(managed, "info", "volume-open", "the disk is open again");
      }
      this.#events.report(managed.config.name, report);
      this.#reattach(managed, worker, report);
    };
    worker.onAsk = (ask) => this.#asked(managed, ask);
    worker.onNote = (note) => this.#events.note(note);
    worker.onFatal = (reason) => this.#failed(managed, reason);
    if (managed.record) worker.order(managed.record);
  }

  /**
   * A disk that failed under a Secondary may work again: it had no room, or its cable was loose. It is
   * opened anew and resynced; one that keeps failing is tried ever more seldom.
   */
  #reattach(managed: Managed, worker: VolumeWorker, report: VolumeReport): void {
    if (report.disk === "UpToDate") managed.reattachAfter = REATTACH_FIRST;
    const failed = report.disk === "Diskless" && report.role === "Secondary";
    if (!failed || managed.timer !== null || this.#closing) return;
    const delay = managed.reattachAfter;
    managed.reattachAfter = Math.min(2 * delay, REATTACH_LAST);
    this.#note(managed, "info", "reattach", `the disk is tried again in ${delay / 1000} s`);
    managed.timer = setTimeout(async () => {
      managed.timer = null;
      const again = managed.report?.disk === "Diskless" && managed.report.role === "Secondary";
      if (this.#closing || managed.worker !== worker || !again) return;
      managed.worker = null;
      this.#operations.lost(managed.config.name, "its disk is opened anew; ask again");
      await worker.close();
      if (!this.#closing) this.#open(managed);
    }, delay);
  }

  #asked(managed: Managed, ask: VolumeAsk): void {
    if (ask.type === "operated") return this.#operations.answered(ask);
    if (ask.type === "promoted") {
      managed.promotion?.resolve();
      managed.promotion = null;
    } else if (ask.type === "promoteFailed") {
      managed.promotion?.reject(new Error(`volume ${managed.config.name}: ${ask.reason}`));
      managed.promotion = null;
    } else if (ask.type === "demoted") {
      managed.demotion?.resolve({ clean: ask.clean });
      managed.demotion = null;
    }
    this.#events.ask(managed.config.name, ask);
  }

  #failed(managed: Managed, reason: string): void {
    if (managed.worker !== null) this.#sockets.serving(managed.config.name, managed.worker, null);
    managed.worker = null;
    this.#operations.lost(managed.config.name, reason);
    this.#share.reported(managed.config.name, null);
    if (this.#closing) return;
    const error = new Error(`volume ${managed.config.name}: ${reason}`);
    managed.promotion?.reject(error);
    managed.promotion = null;
    managed.demotion?.resolve({ clean: false });
    managed.demotion = null;
    if (managed.failure !== reason) {
      managed.failure = reason;
      this.#note(managed, "error", "volume-failed", reason);
      managed.report = diskless();
      this.#events.report(managed.config.name, managed.report);
    }
    managed.timer = setTimeout(() => this.#open(managed), REOPEN_INTERVAL);
  }

  #note(managed: Managed, level: Note["level"], rule: string, text: string): void {
    this.#events.note({
      level,
      rule,
      node: this.#init.node,
      text: `volume ${managed.config.name}: ${text}`,
      known: { volume: managed.config.name },
    });
  }
}

/** The report of a replica that nobody can read. */
function diskless(): VolumeReport {
  return {
    replicaId: "",
    disk: "Diskless",
    generation: "",
    epoch: 0,
    unclean: false,
    blank: "no",
    role: "Secondary",
    sole: null,
    pending: null,
    frozen: false,
    throughPeer: false,
    peers: [],
  };
}
