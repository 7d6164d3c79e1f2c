/** The event loop of one volume: everything that happens to it comes through here. */
import type { Note } from "../../cluster/types.ts";
import { NBD_STATE, type NbdExport } from "../../nbd/mod.ts";
import { boottimeMs } from "../../os/clock.ts";
import { createEngine, type Engine } from "../../os/engine.ts";
import { closeQuietly } from "../../os/libc.ts";
import { listenTcp } from "../../os/sockets.ts";
import {
  type ControlMessage,
  FrameKind,
  RequestKind,
  type VolumeAsk,
  type VolumeInit,
  type VolumeIo,
  type VolumeReport,
} from "../../volume/types.ts";
import type { Volume } from "../../volume/volume.ts";
import { NO_HEAD } from "../../wire/replication.ts";
import { blockDigest, blockSums, gatherBlocks } from "./block_sums.ts";
import { BufferPool } from "./buffers.ts";
import { allocationOf } from "./disk.ts";
import { DiskIo } from "./disk_io.ts";
import { type ExportHost, ExportServer } from "./export_server.ts";
import { IoStats } from "./io_stats.ts";
import { LeaseCell } from "./lease_cell.ts";
import type { PassedClient, WorkerInit, WorkerMessage, WorkerOrder } from "./messages.ts";
import { Operations } from "./operations.ts";
import { OrderInlet } from "./order_inlet.ts";
import { openReplicaDisk, type ReplicaDisk } from "./replica_disk.ts";
import { Replication, type ReplicationEvents } from "./replication.ts";
import { opened, volumeInit } from "./volume_init.ts";

/** Opens a volume; tests put their own in. */
export type OpenVolume = (io: VolumeIo, init: VolumeInit, metadata: Uint8Array) => Volume;

/** Memory for payloads, bytes: an address range, of which what was used once is resident. */
const POOL_BYTES = 96 << 20;
const LARGEST_BUFFER = 32 << 20;
/** What clients may fill of it. The rest is for replication and resync. */
const CLIENT_BYTES = 64 << 20;
/** Longest wait, milliseconds: the volume wants the time at least every 50 ms. */
const LONGEST_WAIT = 40;
/** How often listeners and challenges are looked after, milliseconds. */
const HOUSEKEEPING = 1000;
/** What every block device takes, bytes. */
const SECTOR = 512;
/** The volume may take so long to end in order, milliseconds. */
const END_PATIENCE = 8000;

/** See the module comment. Made, run and gone within one message of the Worker. */
export class DataPlane implements VolumeIo, ExportHost, ReplicationEvents {
  readonly engine: Engine;
  readonly operations: Operations;
  readonly pool: BufferPool;
  readonly stats: IoStats;
  readonly #init: WorkerInit;
  readonly #post: (message: WorkerMessage) => void;
  readonly #lease: LeaseCell;
  readonly #replica: ReplicaDisk;
  readonly #disk: DiskIo;
  readonly #exports: ExportServer;
  readonly #links: Replication;
  readonly #orders: OrderInlet;
  #volume!: Volume;
  readonly #engineReason: string;
  #now = boottimeMs();
  /** The time was read since the last wait. */
  #fresh = true;
  #epoch = 0;
  #until = 0;
  #report: VolumeReport | null = null;
  #buffersFreed = false;
  #volumeStarved = false;
  #keptAt = 0;
  /** Set by an order to end: when patience is over. */
  #endBy: number | null = null;
  #over = false;

  /** Opens the disk and binds the replication address. Throws if one of them cannot be had. */
  constructor(init: WorkerInit, post: (message: WorkerMessage) => void) {
    this.#init = init;
    this.#post = post;
    this.#lease = new LeaseCell(init.lease);
    this.stats = new IoStats(init.stats);
    this.stats.now = this.#now;
    this.#replica = openReplicaDisk(init, init.io);
    const listeners: number[] = [];
    try {
      // The first address must be there; a further one may come later with its card.
      for (const [index, { host, port }] of init.listen.entries()) {
        listeners.push(listenTcp(host, port, { foreign: index > 0 }));
      }
    } catch (error) {
      for (const fd of listeners) closeQuietly(fd);
      this.#replica.close();
      throw error;
    }
    const { engine, reason } = createEngine(init.engine && { prefer: init.engine });
    this.engine = engine;
    this.#engineReason = reason;
    this.operations = new Operations();
    this.pool = new BufferPool(POOL_BYTES, LARGEST_BUFFER);
    this.pool.onFree = () => {
      this.#buffersFreed = true;
    };
    const { disk, metaFd, metaStart } = this.#replica;
    this.#links = new Replication(this, {
      cluster: init.cluster,
      node: init.node,
      volume: init.volume,
      keys: { active: init.activeKey, keys: init.keys },
      peers: init.peers,
      listeners,
      encrypt: init.encrypt,
      timeout: init.timeout,
    }, this.#now);
    const { fastZero, fastZeroAllocated } = disk;
    const zeroUnit = disk.block ? Math.max(SECTOR, disk.alignment) : 1;
    const places = { dataFd: disk.fd, metaFd, metaStart, fastZero, fastZeroAllocated, zeroUnit };
    this.#disk = new DiskIo(
      engine,
      this.operations,
      this.pool,
      places,
      this.stats,
      (tag, errno) => this.#volume.done(tag, errno),
    );
    this.#exports = new ExportServer(this, {
      ...init.export,
      name: init.volume,
      size: init.size,
      replicated: init.peers.length > 0,
      minimumBlock: disk.alignment,
      fastZero,
      rotational: disk.rotational,
      budget: CLIENT_BYTES,
    });
    this.#orders = new OrderInlet(engine, this.operations, init.orders, {
      order: (order) => this.#ordered(order),
      closed: () => this.#ordered({ type: "end" }),
    });
  }

  /** Opens the volume and serves it until it is told to end; then everything is closed. */
  run(open: OpenVolume): void {
    try {
      const { disk, metadata } = this.#replica;
      const init = volumeInit(this.#init, disk.volatileCache, this.#now);
      this.#volume = opened(() => open(this, init, metadata));
      this.#links.listen();
      this.#orders.receive();
      this.#post({
        type: "ready",
        ready: { engine: this.engine.name, reason: this.#engineReason, port: this.#links.port },
      });
      while (!this.#over) this.#turn();
    } finally {
      this.#close();
    }
  }

  #turn(): void {
    this.#fresh = false;
    this.engine.wait(this.#buffersFreed ? 0 : LONGEST_WAIT, this.#completed);
    this.#refresh();
    this.#links.attend(this.#now);
    if (this.#buffersFreed) this.#shareBuffers();
    this.#exports.turn();
    // Last, so that what clients asked for in this turn leaves in this turn.
    this.#links.flush();
    if (this.#now >= this.#keptAt + HOUSEKEEPING) {
      this.#keptAt = this.#now;
      this.#links.tick();
      this.#exports.tick();
    }
    this.#mayEnd();
  }

  readonly #completed = (tag: number, result: number): void => {
    // Before anything else: the wait may have lasted longer than the lease.
    this.#refresh();
    this.operations.done(tag, result);
  };

  #refresh(): void {
    if (this.#fresh) return;
    this.#fresh = true;
    this.#now = boottimeMs();
    this.stats.now = this.#now;
    const { epoch, until } = this.#lease.read();
    if (epoch !== this.#epoch || until !== this.#until) {
      this.#epoch = epoch;
      this.#until = until;
      this.#volume.lease(epoch, until);
    }
    this.#volume.tick(this.#now);
  }

  #shareBuffers(): void {
    this.#buffersFreed = false;
    this.#links.bufferFree();
    if (this.#volumeStarved) {
      this.#volumeStarved = false;
      this.#volume.bufferFree();
    }
    this.#exports.bufferFree();
  }

  #ordered(message: WorkerOrder): void {
    switch (message.type) {
      case "wake":
        return;
      case "listen":
        return this.#exports.listen(message.fd);
      case "exports":
        return this.#exports.share(message.exports);
      case "client":
        return this.#exports.adopt(message.client);
      case "order":
        if (message.order.type === "demote") this.#exports.leave();
        return this.#volume.order(message.order);
      case "end":
        if (this.#endBy !== null) return;
        this.#endBy = this.#now + END_PATIENCE;
        this.#exports.leave();
        this.#volume.order({ type: "close" });
    }
  }

  #mayEnd(): void {
    if (this.#endBy !== null && this.#now >= this.#endBy) {
      this.note("warning", "end-unclean", "it ends without the clean mark: the disk is too slow");
      this.#over = true;
    }
  }

  #close(): void {
    this.#exports.close();
    this.#links.close();
    this.#orders.close();
    const ended = (tag: number, result: number) => {
      try {
        this.operations.done(tag, result);
      } catch {
        // The volume may be the reason why this ends; the memory is all that counts now.
      }
    };
    const stuck = this.engine.destroy(2000, ended);
    this.#replica.close();
    // Memory that the kernel may still write to is never given back.
    if (stuck > 0) return;
    this.#disk.free();
    this.#exports.free();
    this.#links.free();
    this.pool.free();
  }

  // VolumeIo: the disk.

  read(tag: number, offset: number, length: number, buffer: number, at: number): void {
    this.#disk.read(tag, offset, length, buffer, at);
  }

  write(
    tag: number,
    offset: number,
    length: number,
    buffer: number,
    at: number,
    durable: boolean,
  ): void {
    this.#disk.write(tag, offset, length, buffer, at, durable);
  }

  discard(tag: number, offset: number, length: number): void {
    this.#disk.discard(tag, offset, length);
  }

  zero(tag: number, offset: number, length: number, keepAllocated: boolean): void {
    this.#disk.zero(tag, offset, length, keepAllocated);
  }

  flush(tag: number): void {
    this.#disk.flush(tag);
  }

  writeMeta(tag: number, offset: number, bytes: Uint8Array): void {
    this.#disk.writeMeta(tag, offset, bytes);
  }

  // VolumeIo: the peers.

  dial(peer: number): void {
    this.#links.dial(peer);
  }

  hangUp(peer: number): void {
    this.#links.hangUp(peer);
  }

  sendData(
    peer: number,
    kind: FrameKind,
    session: number,
    seq: number,
    offset: number,
    length: number,
    buffer: number,
    at: number,
    flags: number,
    head: Uint8Array = NO_HEAD,
  ): void {
    const timed = requestOf(kind);
    if (timed !== null) this.stats.sent(timed, seq);
    this.#links.sendData(peer, kind, session, seq, offset, length, buffer, at, flags, head);
  }

  sendControl(peer: number, message: ControlMessage): void {
    this.#links.sendControl(peer, message);
  }

  acquire(length: number): number {
    const buffer = this.pool.acquire(length);
    if (buffer < 0) this.#volumeStarved = true;
    return buffer;
  }

  release(buffer: number): void {
    this.pool.release(buffer);
  }

  sums(buffer: number, blocks: number): ReturnType<typeof blockSums> {
    return blockSums(this.pool.slab.bytes, this.pool.offset(buffer), blocks);
  }

  digest(buffer: number, picks: Uint8Array): Uint8Array {
    return blockDigest(this.pool.slab.bytes, this.pool.offset(buffer), picks);
  }

  gather(buffer: number, picks: Uint8Array): void {
    gatherBlocks(this.pool.slab.bytes, this.pool.offset(buffer), picks);
  }

  copy(from: number, fromOffset: number, to: number, toOffset: number, length: number): void {
    const { pool } = this;
    const at = pool.offset(from) + fromOffset;
    pool.slab.bytes.copyWithin(pool.offset(to) + toOffset, at, at + length);
  }

  // VolumeIo: clients and cluster.

  began(request: number): void {
    this.#exports.began(request);
  }

  answer(request: number, errno: number): void {
    this.#exports.answer(request, errno);
  }

  report(report: VolumeReport): void {
    this.#report = report;
    if (report.role !== "Primary") this.#exports.leave();
    this.#exports.frozen(report.role === "Primary" && report.frozen);
    this.#post({ type: "report", report });
  }

  ask(ask: VolumeAsk): void {
    if (ask.type === "promoted" && this.#endBy === null) this.#exports.serve();
    if (ask.type === "demoted") this.#exports.leave();
    if (ask.type === "closed") this.#over = true;
    this.#post({ type: "ask", ask });
  }

  note(note: Note): void;
  note(level: Note["level"], rule: string, text: string, peer?: string): void;
  note(noteOrLevel: Note | Note["level"], rule = "", text = "", peer = ""): void {
    if (typeof noteOrLevel === "object") return this.#post({ type: "note", note: noteOrLevel });
    const { node, volume } = this.#init;
    const note: Note = {
      level: noteOrLevel,
      rule,
      node,
      text: `volume ${volume}: ${text}`,
      known: peer === "" ? { volume } : { volume, peer },
    };
    this.#post({ type: "note", note });
  }

  // What clients ask for.

  request(
    request: number,
    kind: RequestKind,
    offset: number,
    length: number,
    buffer: number,
    fua: boolean,
  ): void {
    this.#volume.request(request, kind, offset, length, fua, buffer, 0);
  }

  allocation(offset: number, length: number, extents: Uint32Array, most: number): number {
    const disk = this.#report?.disk;
    if (disk !== "UpToDate" && disk !== "Consistent") {
      // The data are elsewhere, and nobody asks what is a hole there.
      extents[0] = length;
      extents[1] = 0;
      return 1;
    }
    const { fd } = this.#replica.disk;
    const hole = NBD_STATE.HOLE | NBD_STATE.ZERO;
    return allocationOf(fd, offset, length, extents, most, hole);
  }

  dirty(offset: number, length: number, extents: Uint32Array, most: number): number {
    return this.#volume.dirty(offset, length, extents, most);
  }

  zeroesFast(offset: number, length: number, keepAllocated: boolean): boolean {
    return this.#disk.zeroesFast(offset, length, keepAllocated);
  }

  serving(entry: NbdExport | null): void {
    this.#post({ type: "serving", export: entry });
  }

  pass(client: PassedClient): void {
    this.#post({ type: "pass", client });
  }

  beginTls(fd: number, plain: number): void {
    this.#post({ type: "tls", fd, plain });
  }

  // What links tell.

  connected(peer: number, version: number): void {
    this.#volume.connected(peer, version);
  }

  accepted(peer: number): void {
    this.#volume.accepted(peer);
  }

  disconnected(peer: number, why: string): void {
    this.#volume.disconnected(peer, why);
  }

  frame(
    peer: number,
    kind: FrameKind,
    session: number,
    seq: number,
    offset: number,
    length: number,
    buffer: number,
    flags: number,
    head: Uint8Array,
  ): void {
    if (kind === FrameKind.Wrote || kind === FrameKind.Flushed) this.stats.acknowledged(seq);
    this.#volume.frame(peer, kind, session, seq, offset, length, buffer, flags, head);
  }

  control(peer: number, message: ControlMessage): void {
    this.#volume.control(peer, message);
  }
}

/** The request that a frame carries out on the replica; null for an answer and for a resync's. */
function requestOf(kind: FrameKind): RequestKind | null {
  switch (kind) {
    case FrameKind.Write:
      return RequestKind.Write;
    case FrameKind.Flush:
      return RequestKind.Flush;
    case FrameKind.Trim:
      return RequestKind.Trim;
    case FrameKind.Zero:
    case FrameKind.ZeroAllocated:
      return RequestKind.Zero;
    default:
      return null;
  }
}
