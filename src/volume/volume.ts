/**
 * One node's replica of one volume: the pure machine that the data plane drives.
 *
 * Where to find what: `requests.ts` takes clients' requests and holds them while the volume is
 * frozen; `in_flight.ts` makes overlapping ones wait; `write_path.ts`, `read_path.ts` and
 * `flush_path.ts` carry them out; `activity_log.ts` and `metadata/` say what a crash leaves on the
 * disk; `source_link.ts` is the Primary's and `target_link.ts` the replica's end of the connection;
 * `sync_decision.ts` decides how much to copy and `resync.ts` copies it; `membership.ts` asks the
 * cluster for a smaller or larger in-sync set; `roles.ts` promotes and demotes; `detachment.ts` does
 * without a disk that has failed.
 *
 * The data plane calls the methods below as things happen, one at a time, and carries out what they
 * call on {@linkcode VolumeIo}; no method of `VolumeIo` may call back into the volume before it
 * returned. All time comes from {@linkcode Volume.tick}.
 *
 * Connections: at most one per peer counts. Before `connected` or `accepted` is called for a peer to
 * which an older connection stands, the data plane has closed the older one; no `disconnected` and
 * no frame of it follows. After `hangUp` the same holds.
 *
 * Buffers: the buffer of a `request` belongs to the client side until `answer`; what is still being
 * sent or written then keeps its own hold. The buffer of a received frame belongs to the volume,
 * which gives it back by `release`, as it does with what it got by `acquire`.
 *
 * @module
 */

import { LINK_VERSIONS } from "../wire/link_versions.ts";
import { NO_HEAD } from "../wire/replication.ts";
import { ActivityLog } from "./activity_log.ts";
import { PEER, VolumeContext } from "./context.ts";
import { dirtyExtents } from "./dirty_extents.ts";
import { Detachment } from "./detachment.ts";
import { FlushPath } from "./flush_path.ts";
import { type Op, OpKind, OpTable } from "./in_flight.ts";
import { type Metadata, readMetadata } from "./metadata/format.ts";
import { operate } from "./operate.ts";
import { ReadPath } from "./read_path.ts";
import { volumeReport } from "./report.ts";
import { Requests } from "./requests.ts";
import type { ResyncHost } from "./resync.ts";
import { Roles } from "./roles.ts";
import { SourceLink } from "./source_link.ts";
import { TAG_KIND_BITS, TagKind } from "./tags.ts";
import { TargetLink } from "./target_link.ts";
import {
  type BufferHandle,
  type ControlMessage,
  FrameKind,
  type RequestKind,
  type VolumeInit,
  type VolumeIo,
  type VolumeOperation,
  type VolumeOrder,
  type VolumeReport,
} from "./types.ts";
import type { VerifyHost } from "./verify.ts";
import { isWalk, Walks } from "./walks.ts";
import { WritePath } from "./write_path.ts";

/** See the module comment. Times are milliseconds of one monotonic clock. */
export interface Volume {
  /**
   * A client's request, answered exactly once by `io.answer(id, errno)`, perhaps before this
   * returns. `offset` and `length` in bytes, within the volume; FLUSH has neither. `fua`: stable on
   * every member of the in-sync set before it is answered. A volume that is not Primary answers
   * ESHUTDOWN; a frozen one answers later.
   */
  request(
    id: number,
    kind: RequestKind,
    offset: number,
    length: number,
    fua: boolean,
    buffer: BufferHandle,
    bufferOffset: number,
  ): void;
  /** The I/O with this tag ended; errno 0: done. Every tag exactly once. Tags are below 2^24. */
  done(tag: number, errno: number): void;
  /** `acquire` may succeed again. */
  bufferFree(): void;
  /**
   * The connection that `dial` asked for stands and both ends have proved that they know the key.
   * `version`: of the link's protocol, the newest that both speak.
   */
  connected(peer: number, version?: number): void;
  /** A connection came in from this peer, authenticated. */
  accepted(peer: number): void;
  /** The connection ended, or `dial` failed. */
  disconnected(peer: number, why: string): void;
  /** A data frame of this peer; `buffer` is -1 without payload. Checksums have been checked. */
  frame(
    peer: number,
    kind: FrameKind,
    session: number,
    seq: number,
    offset: number,
    length: number,
    buffer: BufferHandle,
    flags: number,
    head?: Uint8Array,
  ): void;
  /** A control frame of this peer, checked by `decodeControl`. */
  control(peer: number, message: ControlMessage): void;
  /** An order from the cluster. */
  order(order: VolumeOrder): void;
  /** The lease of `epoch` lasts until this time: 0 none, Infinity sole. */
  lease(epoch: number, until: number): void;
  /** The time. To be called at least every 50 ms, and before events are handled after a wait. */
  tick(now: number): void;
  /**
   * Which blocks of a range the peer may lack: pairs (bytes, 1 or 0), at most `most`, from `offset` on
   * without gaps. Returns how many, at least one.
   */
  dirty(offset: number, length: number, extents: Uint32Array, most: number): number;
  /** What it reports now. Also sent by `io.report` when anything in it changed. */
  report(): VolumeReport;
}

/**
 * Opens a replica from the bytes of its whole metadata region. Throws an Error that names the way
 * out if they cannot be used. What an unclean stop left is worked in at once, through `io`.
 */
export function openVolume(io: VolumeIo, init: VolumeInit, metadata: Uint8Array): Volume {
  if (init.peers.length > 1) {
    throw new Error(
      `volume ${init.name}: ${
        init.peers.length + 1
      } replicas; a volume has one or two, remove some`,
    );
  }
  return new VolumeMachine(
    io,
    init,
    readMetadata(metadata, { volume: init.name, size: init.size }),
  );
}

/** At most so often, in milliseconds, a report is sent for mere progress. */
const PROGRESS_INTERVAL = 250;
/** At most so often, in milliseconds, the time of the last write goes to the superblock. */
const LAST_WRITE_EVERY = 30_000;

/** Puts the parts together and hands each event to the part that it concerns. */
class VolumeMachine implements Volume {
  readonly #context: VolumeContext;
  readonly #table = new OpTable();
  readonly #requests: Requests;
  readonly #reads: ReadPath;
  readonly #writes: WritePath;
  readonly #flushes: FlushPath;
  readonly #walks: Walks;
  readonly #source: SourceLink;
  readonly #target: TargetLink;
  readonly #roles: Roles;
  readonly #detachment: Detachment;
  #reportedAt = -Infinity;
  /** Of the newest write that the superblock knows of. */
  #savedWrite = 0;
  #savedAt = -Infinity;
  #targetBusy = false;
  #reportedDirty = 0;

  constructor(io: VolumeIo, init: VolumeInit, metadata: Metadata) {
    const context = new VolumeContext(io, init, metadata);
    this.#context = context;
    const table = this.#table;
    this.#requests = new Requests(
      context,
      table,
      (op) => this.#start(op),
      () => this.#roles.drained(),
    );
    const log = new ActivityLog(
      context.layout,
      context.writeMetadata,
      {
        startLogFlush: (asOf) => this.#flushes.startLogFlush(asOf),
        logged: (op) => this.#writes.logged(op),
      },
      metadata.logSequence,
      context.hasPeer ? context.bitmap : null,
      context.hasPeer ? context.bitmapWriter : null,
    );
    this.#source = new SourceLink(context, table);
    this.#reads = new ReadPath(context, table, this.#requests, this.#source);
    this.#writes = new WritePath(context, log, this.#requests, this.#source);
    this.#flushes = new FlushPath(context, table, log, this.#requests, this.#source);
    this.#walks = new Walks(context, table, this.#walkHost());
    this.#detachment = new Detachment(context, this.#source, {
      table,
      log,
      requests: this.#requests,
      reads: this.#reads,
      writes: this.#writes,
      flushes: this.#flushes,
    });
    this.#source.bind({
      log,
      detached: () => this.#detachment.agreed(),
      resumeDetached: (storageKept) => this.#detachment.resume(storageKept),
      writes: this.#writes,
      reads: this.#reads,
      flushes: this.#flushes,
      walks: this.#walks,
    });
    this.#target = new TargetLink(context, {
      yieldRole: (why, done) => this.#roles.yieldRole(why, done),
    });
    this.#roles = new Roles(context, {
      table,
      log,
      requests: this.#requests,
      writes: this.#writes,
      flushes: this.#flushes,
      walks: this.#walks,
      source: this.#source,
      target: this.#target,
      detachment: this.#detachment,
    });
    context.onFailure = () => {
      if (context.role === "Secondary") this.#target.end();
      else if (!this.#roles.ending) this.#detachment.begin();
    };
    this.#roles.open(metadata);
  }

  request(
    id: number,
    kind: RequestKind,
    offset: number,
    length: number,
    fua: boolean,
    buffer: BufferHandle,
    bufferOffset: number,
  ): void {
    this.#requests.request(id, kind, offset, length, fua, buffer, bufferOffset);
  }

  done(tag: number, errno: number): void {
    const index = tag >>> TAG_KIND_BITS;
    switch ((tag & ((1 << TAG_KIND_BITS) - 1)) as TagKind) {
      case TagKind.Operation:
        this.#operationDone(index, errno);
        break;
      case TagKind.Received:
        this.#target.done(index, errno);
        this.#context.dataIoEnded();
        break;
      case TagKind.Compared:
        this.#target.compared(index, errno);
        this.#context.dataIoEnded();
        break;
      case TagKind.Callback:
        this.#context.callbacks.done(index, errno);
    }
    this.#tell();
  }

  bufferFree(): void {
    this.#walks.bufferFree();
    this.#target.bufferFree();
  }

  connected(peer: number, version: number = LINK_VERSIONS.newest): void {
    this.#check(peer);
    if (this.#context.role === "Primary") this.#source.connected(version);
    else this.#context.io.hangUp(peer);
    this.#tell();
  }

  accepted(peer: number): void {
    this.#check(peer);
    this.#source.replaced();
    this.#target.accepted();
    this.#tell();
  }

  disconnected(peer: number, why: string): void {
    this.#check(peer);
    this.#source.disconnected(why);
    this.#target.disconnected();
    this.#tell();
  }

  frame(
    peer: number,
    kind: FrameKind,
    session: number,
    seq: number,
    offset: number,
    length: number,
    buffer: BufferHandle,
    flags: number,
    head: Uint8Array = NO_HEAD,
  ): void {
    this.#check(peer);
    if (kind === FrameKind.Data) {
      this.#source.data(session, seq, offset, length, buffer);
      this.#tell();
      return;
    }
    const answer = kind === FrameKind.Wrote || kind === FrameKind.Flushed ||
      kind === FrameKind.Resynced || kind === FrameKind.Differs;
    if (answer) this.#source.frame(kind, session, seq, head);
    else {
      this.#target.frame(
        kind,
        session,
        seq,
        offset,
        length,
        buffer,
        flags,
        head,
      );
    }
    this.#tell();
  }

  control(peer: number, message: ControlMessage): void {
    this.#check(peer);
    switch (message.type) {
      case "WELCOME":
      case "DECLINE":
      case "DIRTY":
      case "SYNCREADY":
      case "DETACHED":
      case "UNREADABLE":
      case "JOINED":
      case "PONG":
        this.#source.control(message);
        break;
      default:
        this.#target.control(message);
    }
    this.#tell();
  }

  order(order: VolumeOrder): void {
    if (order.type === "operate") this.#operate(order.id, order.what);
    else if (order.type === "pace") this.#context.pace.ceiling = order.ceiling ?? Infinity;
    else this.#roles.order(order);
    this.#tell();
  }

  lease(epoch: number, until: number): void {
    this.#context.leaseEpoch = epoch;
    this.#context.leaseUntil = until;
    this.#requests.review();
    this.#tell();
  }

  tick(now: number): void {
    const context = this.#context;
    if (now > context.now) context.now = now;
    this.#requests.review();
    context.pace.tick(context.now, this.#walks.underWay);
    if (context.role === "Primary" && context.hasPeer) this.#source.tick();
    this.#target.tick();
    this.#saveLastWrite();
    const { busy } = this.#target;
    if (busy !== this.#targetBusy) context.changed = true;
    this.#targetBusy = busy;
    this.#writes.tick();
    this.#detachment.tick();
    const dirty = context.bitmap.count;
    const { resync, verify } = this.#walks;
    const progressed = resync.active || verify.active || this.#target.busy ||
      dirty !== this.#reportedDirty;
    if (progressed && now - this.#reportedAt >= PROGRESS_INTERVAL) context.changed = true;
    this.#tell();
  }

  dirty(offset: number, length: number, extents: Uint32Array, most: number): number {
    return dirtyExtents(this.#context.bitmap, offset, length, extents, most);
  }

  report(): VolumeReport {
    return volumeReport(this.#context, this.#source, this.#target, this.#walks);
  }

  /** After the changes of role that were ordered before. */
  #operate(id: number, what: VolumeOperation): void {
    const context = this.#context;
    const parts = { source: this.#source, target: this.#target, walks: this.#walks };
    context.tasks.add((done) => {
      operate(context, parts, what, (error) => {
        context.io.ask({ type: "operated", id, error });
        done();
      });
    });
  }

  /** When it was written to last is made durable now and then, for people. */
  #saveLastWrite(): void {
    const { now, wroteAt, superblock, lastWrite, failure } = this.#context;
    if (wroteAt <= this.#savedWrite || now - this.#savedAt < LAST_WRITE_EVERY || failure !== null) {
      return;
    }
    this.#savedWrite = wroteAt;
    this.#savedAt = now;
    superblock.update({ lastWrite });
  }

  #walkHost(): ResyncHost & VerifyHost {
    const source = this.#source;
    return {
      sendFrame: (op, kind, flags, head) => source.sendFrame(op, kind, flags, head),
      send: (op) => source.send(op),
      resynced: () => source.resynced(),
      unblocked: (op) => this.#requests.unblocked(op),
      get verifiable() {
        return source.verifiable;
      },
      repair: () => source.repair(),
    };
  }

  #check(peer: number): void {
    if (peer !== PEER || !this.#context.hasPeer) {
      throw new Error(`volume ${this.#context.init.name} has no peer ${peer}`);
    }
  }

  /** The turn of an operation has come. */
  #start(op: Op): void {
    if (op.writes) this.#writes.start(op);
    else if (op.kind === OpKind.Read) this.#reads.start(op);
    else if (isWalk(op)) this.#walks.start(op);
    else this.#flushes.start(op);
  }

  #operationDone(index: number, errno: number): void {
    const op = this.#table.ops[index]!;
    if (!this.#roles.ending) {
      if (op.writes) this.#writes.localDone(op, errno);
      else if (op.kind === OpKind.Read) this.#reads.localDone(op, errno);
      else if (isWalk(op)) this.#walks.localDone(op, errno);
      else this.#flushes.localDone(op, errno);
    } else if (errno !== 0) {
      this.#context.fail("I/O of an ending role failed", errno);
    }
    this.#context.dataIoEnded();
  }

  #tell(): void {
    const context = this.#context;
    if (!context.changed || !context.isTold) return;
    context.changed = false;
    this.#reportedAt = context.now;
    this.#reportedDirty = context.bitmap.count;
    context.io.report(this.report());
  }
}
