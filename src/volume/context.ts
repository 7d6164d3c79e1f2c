/**
 * What the parts of a volume share: its identity on the disk, its role, what the cluster told it,
 * the time, and the count of I/O that must end before a role may change.
 */

import type { Note } from "../cluster/types.ts";
import { DirtyBitmap } from "./metadata/bitmap.ts";
import type { Metadata } from "./metadata/format.ts";
import type { Geometry } from "./metadata/layout.ts";
import { BitmapWriter, SuperblockWriter, type WriteMetadata } from "./metadata_writer.ts";
import { Pace } from "./pace.ts";
import { Parting } from "./parting.ts";
import { Callbacks } from "./tags.ts";
import { TaskQueue } from "./task_queue.ts";
import type { VolumeInit, VolumeIo } from "./types.ts";

/** errno of a request to a volume that is not, or no longer, Primary here. */
export const ESHUTDOWN = 108;
/** errno of a range outside the volume. */
export const EINVAL = 22;
/** errno of what no replica can read. */
export const EIO = 5;
/** errno of a disk that is full. */
export const ENOSPC = 28;
/** errno of a disk that cannot punch holes. */
export const EOPNOTSUPP = 95;

/** Index of the one peer. The formats leave room for more. */
export const PEER = 0;

/** How far a Primary is on its way to do without its own disk: see detachment.ts. */
export const enum Detach {
  No = 0,
  /** The peer is to take all blocks as dirty. */
  Asked = 1,
  /** It does; this replica is to leave the in-sync set. */
  Agreed = 2,
  /** It has left: clients are served from the peer's disk. */
  Done = 3,
}

/** See the module comment. */
export class VolumeContext {
  readonly io: VolumeIo;
  readonly init: VolumeInit;
  readonly layout: Geometry;
  readonly superblock: SuperblockWriter;
  /** Dirty bitmap about the peer. A volume without peers keeps an empty one. */
  readonly bitmap: DirtyBitmap;
  readonly bitmapWriter: BitmapWriter;
  /** Of resyncs and verifies, beside the clients. */
  readonly pace: Pace;
  /** Why the replicas do not come together. */
  readonly parting: Parting;
  /** When a write was answered last in this run; 0: never. */
  wroteAt = 0;
  readonly callbacks = new Callbacks();
  readonly tasks = new TaskQueue();
  readonly writeMetadata: WriteMetadata;
  /** Whether a peer is configured at all. */
  readonly hasPeer: boolean;

  /** Monotonic milliseconds, from the last tick. */
  now: number;
  role: "Primary" | "Secondary" = "Secondary";
  /** Requests are no longer taken: the volume is being made Secondary. */
  draining = false;
  /** Why the disk is not used any more; null while it is. */
  failure: string | null = null;
  detach: Detach = Detach.No;
  /** The peer cannot stand in: the group has to move. */
  detachFailed = false;
  /** Epoch that this run serves as Primary. */
  epoch = 0;
  /** Version of the newest record that was told. */
  version = -1;
  /** Highest epoch of any record that was told. */
  knownEpoch = 0;
  /** Known-chosen in-sync set of that record. */
  upToDate: readonly string[] = [];
  /** Replica that counts for every write and FLUSH from before JOIN is sent; null: none. */
  joining: string | null = null;
  /** Version on which a GROW was asked whose outcome is unknown; -1: none. */
  growAsked = -1;
  /** Replicas other than this one that must have a write before it is answered. */
  others: readonly string[] = [];
  leaseEpoch = -1;
  leaseUntil = 0;
  /** Something that is reported has changed. */
  changed = true;
  /** The superblock says that this run has begun, and whether the last one's writes may be missing. */
  opened = false;
  /** Called when local I/O has ended while somebody waits for that. */
  #idle: (() => void)[] = [];
  #dataIo = 0;
  /** Called once when the disk fails. */
  onFailure: () => void = () => {};

  constructor(io: VolumeIo, init: VolumeInit, metadata: Metadata) {
    this.io = io;
    this.init = init;
    this.layout = metadata.layout;
    this.now = init.now;
    this.pace = new Pace(init.resync, init.now);
    this.parting = new Parting(this);
    this.hasPeer = init.peers.length > 0;
    this.writeMetadata = (offset, bytes, done) => {
      const tag = this.callbacks.tag((errno) => {
        if (errno !== 0) this.fail(`writing metadata at ${offset} failed`, errno);
        else if (this.failure === null) done();
      });
      this.io.writeMeta(tag, offset, bytes);
    };
    this.superblock = new SuperblockWriter(
      this.writeMetadata,
      metadata,
      // Reports tell what is durable: one made when the change was only asked for is out of date.
      () => this.changed = true,
    );
    this.bitmap = metadata.bitmaps[PEER] ?? new DirtyBitmap(metadata.layout, PEER);
    this.bitmapWriter = new BitmapWriter(this.writeMetadata, this.bitmap);
  }

  /** Whether this replica is the only member of the in-sync set, as far as is known chosen. */
  get isOnlyMember(): boolean {
    return this.upToDate.length === 1 && this.upToDate[0] === this.replicaId;
  }

  /** Wall clock of the newest write served here as Primary; 0: none. */
  get lastWrite(): number {
    const { wroteAt } = this;
    return wroteAt === 0
      ? this.superblock.value.lastWrite ?? 0
      : Math.round(this.init.wallClock + wroteAt - this.init.now);
  }

  /** Milliseconds since 1970, of a clock that may be wrong: for people. */
  get wall(): number {
    return Math.round(this.init.wallClock + this.now - this.init.now);
  }

  /** Whether anything is reported yet: before that a replica that lost its cache looks like a whole one. */
  get isTold(): boolean {
    return this.opened || this.failure !== null;
  }

  /** This replica's id. */
  get replicaId(): string {
    return this.superblock.value.replicaId;
  }

  /** Whether the `sole` mark stands, durably, for the epoch served. */
  get sole(): boolean {
    const { sole } = this.superblock.value;
    return sole !== null && sole === this.superblock.durable.sole && sole.epoch === this.epoch;
  }

  /** Whether nothing may be acknowledged: the disk has failed, and nothing stands in for it. */
  get stalled(): boolean {
    return this.failure !== null && this.detach !== Detach.Done;
  }

  /** Whether clients may be served now: Primary, and leased or sole. */
  get serving(): boolean {
    return this.role === "Primary" && !this.stalled &&
      (this.leaseEpoch === this.epoch && this.now < this.leaseUntil || this.sole);
  }

  /** Recomputes who must have a write: the record's set and whoever joins. */
  countMembers(): void {
    const others = this.upToDate.filter((one) => one !== this.replicaId);
    if (this.joining !== null && !others.includes(this.joining)) others.push(this.joining);
    this.others = others;
    this.changed = true;
  }

  /** Local I/O on the data area began. */
  dataIoBegan(): void {
    this.#dataIo++;
  }

  /** Local I/O on the data area ended. */
  dataIoEnded(): void {
    this.#dataIo--;
    if (this.#dataIo < 0) throw new Error("more local I/O ended than began");
    if (this.#dataIo === 0 && this.#idle.length > 0) {
      const idle = this.#idle;
      this.#idle = [];
      for (const callback of idle) callback();
    }
  }

  /** Calls back once no local I/O on the data area is under way: what was submitted is drained. */
  whenDrained(callback: () => void): void {
    if (this.#dataIo === 0) callback();
    else this.#idle.push(callback);
  }

  /** Flushes the local disk; `done` is called if that succeeded. */
  flushDisk(done: () => void): void {
    const tag = this.callbacks.tag((errno) => {
      if (errno !== 0) this.fail("flushing the disk failed", errno);
      else if (this.failure === null) done();
    });
    this.io.flush(tag);
  }

  /**
   * The local disk cannot be trusted any more. Nothing is acknowledged from now on, unless the peer
   * stands in; the report says Diskless, so that the group moves to a good replica otherwise.
   */
  fail(what: string, errno: number): void {
    if (this.failure !== null) return;
    this.failure = `${what} (errno ${errno})`;
    this.changed = true;
    this.tasks.end();
    this.note("error", "disk-failed", `the local disk failed: ${this.failure}`, { errno });
    this.onFailure();
  }

  /** One decision or observation for log and journal. */
  note(
    level: Note["level"],
    rule: string,
    text: string,
    known: Readonly<Record<string, string | number | boolean>> = {},
  ): void {
    const { name, node } = this.init;
    this.io.note({
      level,
      rule,
      node,
      text: `volume ${name}: ${text}`,
      known: { volume: name, ...known },
    });
  }
}
