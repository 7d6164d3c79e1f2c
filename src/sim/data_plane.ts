/**
 * The data plane of a simulated agent: the production volume on a simulated disk and simulated
 * connections, as the volume's Worker runs it. Payloads are one number a block.
 */

import { newestSuperblock } from "../volume/metadata/superblock.ts";
import type { Note } from "../cluster/types.ts";
import {
  type ControlMessage,
  type FrameKind,
  RequestKind,
  type VolumeAsk,
  type VolumeIo,
  type VolumeOrder,
  type VolumeReport,
} from "../volume/types.ts";
import { carriesData } from "../wire/replication.ts";
import { openVolume, type Volume } from "../volume/volume.ts";
import type { Complete, Disk } from "./disk.ts";
import { checkPromoted } from "./health.ts";
import type { Machine } from "./machine.ts";
import { gatherValues, valueDigest, valueSums } from "./block_values.ts";
import type { BlockSums } from "../wire/block_frames.ts";
import { NO_HEAD } from "../wire/replication.ts";
import { End, type Packet } from "./stream.ts";
import type { VolumeShell } from "./volume_shell.ts";

const BLOCK = 4096;
/** What a read that failed leaves in its buffer: no write ever had this value. */
const NOTHING_READ = -2;

/** A client's request and who gets the answer; `values`: what was read. */
export interface ClientRequest {
  readonly kind: RequestKind;
  readonly first: number;
  readonly blocks: number;
  readonly value: number;
  readonly fua: boolean;
  /** Called once with the outcome; `values` are those of the blocks that were read. */
  answered(errno: number, values: Int32Array): void;
}

/** See the module comment. */
export class DataPlane implements VolumeIo {
  readonly machine: Machine;
  readonly #shell: VolumeShell;
  readonly #disk: Disk;
  #volume!: Volume;
  #over = false;
  #lease = { epoch: -1, until: 0 };
  /** Clients may ask. */
  serving = false;
  #end: End | null = null;
  #dialing = 0;
  readonly #buffers: (Int32Array | null)[] = [];
  readonly #freeBuffers: number[] = [];
  readonly #requests = new Map<number, { request: ClientRequest; buffer: number }>();
  #nextRequest = 0;

  constructor(shell: VolumeShell, machine: Machine, disk: Disk) {
    this.#shell = shell;
    this.machine = machine;
    this.#disk = disk;
  }

  /** Opens the volume, on its thread. */
  open(): void {
    const { machine } = this;
    const { world } = machine;
    const { config } = this.#shell;
    this.#volume = openVolume(this, {
      name: config.name,
      node: machine.name,
      size: config.size,
      protocol: config.protocol,
      soleBoot: config.soleBoot,
      timeout: config.timeout,
      resync: config.resync,
      verify: config.verify,
      afterSplitBrain: config.afterSplitBrain,
      wallClock: machine.world.now,
      onIoError: config.onIoError,
      peers: config.replicas.map(({ node }) => node).filter((node) => node !== machine.name),
      bootId: machine.bootId,
      volatileCache: this.#disk.volatileCache,
      freshStorage: `${machine.name}-${world.chance.below(2 ** 32)}`,
      sessionSeed: world.chance.below(2 ** 31),
      now: machine.now,
    }, this.#disk.metadata);
    this.#tickLater();
  }

  /** Name of the volume. */
  get volume(): string {
    return this.#shell.config.name;
  }

  /** What is on its disk. */
  get disk(): Disk {
    return this.#disk;
  }

  /** What it would report now. */
  get state(): VolumeReport {
    return this.#volume.report();
  }

  /** Requests that are not answered yet. */
  get waiting(): number {
    return this.#requests.size;
  }

  /** Buffers in use. */
  get buffersInUse(): number {
    return this.#buffers.length - this.#freeBuffers.length;
  }

  /** Something happens on the volume's thread. */
  turn(action: () => void): void {
    this.machine.onWorker(() => {
      if (this.#over) return;
      this.#refresh();
      action();
    });
  }

  /** An order from the main thread. */
  order(order: VolumeOrder): void {
    if (order.type === "demote" || order.type === "close") this.serving = false;
    if (order.type === "promote" && newestSuperblock(this.disk.metadata).superblock?.unclean) {
      // What a loss of power took shows when its replica is served. It may be killed on the way there.
      this.machine.world.history(this.volume).storageLost(this.machine.world.now);
    }
    this.#volume.order(order);
  }

  /** A client's request, on the volume's thread. */
  submit(request: ClientRequest): void {
    const id = this.#nextRequest++;
    const { kind, first, blocks, value, fua } = request;
    const flush = kind === RequestKind.Flush;
    const buffer = this.#take(new Int32Array(flush ? 0 : blocks).fill(value));
    this.#requests.set(id, { request, buffer });
    this.#volume.request(
      id,
      kind,
      flush ? 0 : first * BLOCK,
      flush ? 0 : blocks * BLOCK,
      fua,
      buffer,
      0,
    );
  }

  /** The agent ended; `silently`: and the machine, so that nobody is told. */
  end(silently: boolean): void {
    this.#over = true;
    this.serving = false;
    this.#end?.close("the agent ended", silently);
    this.#end = null;
    this.#dialing++;
  }

  /** Breaks the connection, if there is one. */
  resetConnection(patience: number): void {
    this.#end?.reset(patience);
  }

  #refresh(): void {
    const { epoch, until } = this.#shell.leaseCell;
    if (epoch !== this.#lease.epoch || until !== this.#lease.until) {
      this.#lease = { epoch, until };
      this.#volume.lease(epoch, until);
    }
    this.#volume.tick(this.machine.now);
  }

  #tickLater(): void {
    const { machine } = this;
    const { world } = machine;
    const period = Math.max(40, world.options.deadtime / 40) / machine.rate;
    const wait = Math.max(period, machine.worker.heldUntil - world.now);
    world.schedule.after(wait, () => {
      if (this.#over || machine.agent !== this.#shell.agent) return;
      if (world.now >= machine.worker.heldUntil) this.turn(() => {});
      this.#tickLater();
    });
  }

  // The disk.

  read(tag: number, offset: number, length: number, buffer: number, at: number): void {
    this.machine.effect();
    const values = this.#held(buffer);
    const first = offset / BLOCK;
    this.#operate(tag, (failed) => {
      const { cache } = this.#disk;
      for (let i = 0; i < length / BLOCK; i++) {
        values[at / BLOCK + i] = failed ? NOTHING_READ : cache[first + i]!;
      }
    }, "read");
  }

  write(
    tag: number,
    offset: number,
    length: number,
    buffer: number,
    at: number,
    durable: boolean,
  ): void {
    this.machine.effect();
    const values = this.#held(buffer).slice(at / BLOCK, (at + length) / BLOCK);
    this.#operate(tag, this.#disk.beginWrite(offset / BLOCK, values, durable), "write");
  }

  discard(tag: number, offset: number, length: number): void {
    this.zero(tag, offset, length);
  }

  zero(tag: number, offset: number, length: number): void {
    this.machine.effect();
    const zeroes = new Int32Array(length / BLOCK);
    this.#operate(tag, this.#disk.beginWrite(offset / BLOCK, zeroes, false), "write");
  }

  flush(tag: number): void {
    this.machine.effect();
    this.#operate(tag, this.#disk.beginFlush(), "flush");
  }

  writeMeta(tag: number, offset: number, bytes: Uint8Array): void {
    this.machine.effect();
    this.#operate(tag, this.#disk.beginMetadata(offset, bytes), "write");
  }

  #operate(tag: number, complete: Complete, what: "read" | "write" | "flush"): void {
    this.machine.world.schedule.after(this.#disk.delay(), () =>
      this.turn(() => {
        const errno = this.#disk.errnoOf(what);
        if (errno !== 0) this.machine.world.diskFailed = true;
        complete(errno !== 0);
        this.#volume.done(tag, errno);
      }));
  }

  // The peer.

  dial(): void {
    this.machine.effect();
    this.hangUp();
    const attempt = ++this.#dialing;
    const { world } = this.machine;
    const { network, schedule } = world;
    const { config } = this.#shell;
    const name = config.replicas.find(({ node }) => node !== this.machine.name)!.node;
    const target = world.machine(name);
    const failed = (delay: number, why: string) =>
      schedule.after(delay, () =>
        this.turn(() => {
          if (attempt !== this.#dialing) return;
          this.#volume.disconnected(0, why);
        }));
    const path = network.replicationPath(config.name);
    const delay = (back = false) =>
      back ? network.delay(target, this.machine, path) : network.delay(this.machine, target, path);
    schedule.after(delay() + delay(true), () => {
      if (this.#over || attempt !== this.#dialing) return;
      const open = network.isOpen(this.machine, target, path) &&
        network.isOpen(target, this.machine, path);
      if (!open) return failed(config.timeout, "no route to host");
      const other = target.agent?.volumes.get(config.name)?.plane;
      if (!other) return failed(delay(true), "connection refused");
      this.#establish(attempt, other);
    });
  }

  #establish(attempt: number, other: DataPlane): void {
    const { schedule, network } = this.machine.world;
    const [mine, theirs] = End.pair(this, other);
    const connected = () =>
      this.turn(() => {
        if (attempt !== this.#dialing || !mine.open) return mine.close("given up");
        this.#end = mine;
        this.#volume.connected(0);
      });
    const accepted = () => other.turn(() => other.#accept(theirs));
    const path = network.replicationPath(this.volume);
    const first = network.delay(other.machine, this.machine, path);
    const second = network.delay(this.machine, other.machine, path);
    mine.holdUntil(this.machine.world.now + first);
    theirs.holdUntil(this.machine.world.now + second);
    schedule.after(first, connected);
    schedule.after(second, accepted);
  }

  #accept(end: End): void {
    if (!end.open) return;
    this.#dialing++;
    this.#end?.close("another connection came in");
    this.#end = end;
    this.#volume.accepted(0);
  }

  hangUp(): void {
    this.#dialing++;
    this.#end?.close("the peer hung up");
    this.#end = null;
  }

  sendData(
    _peer: number,
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
    this.machine.effect();
    const data = carriesData(kind);
    const values = data ? this.#held(buffer).slice(at / BLOCK, (at + length) / BLOCK) : null;
    this.#end?.send({ kind, session, seq, offset, length, values, flags, head });
  }

  sendControl(_peer: number, control: ControlMessage): void {
    this.machine.effect();
    this.#end?.send({ control });
  }

  /** A packet arrived at an end of this plane. */
  received(end: End, packet: Packet): void {
    if (end !== this.#end) return;
    if (packet.control !== undefined) return this.#volume.control(0, packet.control);
    if (packet.kind === undefined) {
      end.close("closed by the peer", true);
      this.#end = null;
      return this.#volume.disconnected(0, packet.closed);
    }
    const { kind, session, seq, offset, length, values, flags, head } = packet;
    const buffer = values === null ? -1 : this.#take(values);
    this.#volume.frame(0, kind, session, seq, offset, length, buffer, flags, head);
  }

  // Content of blocks. A CRC agrees by chance now and then.

  sums(buffer: number, blocks: number): BlockSums {
    return valueSums(this.#held(buffer), blocks);
  }

  digest(buffer: number, picks: Uint8Array): Uint8Array {
    return valueDigest(this.#held(buffer), picks);
  }

  gather(buffer: number, picks: Uint8Array): void {
    gatherValues(this.#held(buffer), picks);
  }

  // Buffers.

  acquire(length: number): number {
    if (this.machine.world.chance.is(0.02)) {
      this.machine.world.schedule.after(1, () => this.turn(() => this.#volume.bufferFree()));
      return -1;
    }
    return this.#take(new Int32Array(length / BLOCK));
  }

  release(buffer: number): void {
    this.#held(buffer);
    this.#buffers[buffer] = null;
    this.#freeBuffers.push(buffer);
  }

  copy(from: number, fromOffset: number, to: number, toOffset: number, length: number): void {
    const values = this.#held(from).subarray(fromOffset / BLOCK, (fromOffset + length) / BLOCK);
    this.#held(to).set(values, toOffset / BLOCK);
  }

  #take(values: Int32Array): number {
    const buffer = this.#freeBuffers.pop() ?? this.#buffers.length;
    this.#buffers[buffer] = values;
    return buffer;
  }

  #held(buffer: number): Int32Array {
    const values = this.#buffers[buffer];
    if (!values) throw new Error(`buffer ${buffer} is not held`);
    return values;
  }

  // Clients and cluster.

  answer(id: number, errno: number): void {
    this.machine.effect();
    const entry = this.#requests.get(id);
    if (entry === undefined) throw new Error(`request ${id} was answered twice, or never asked`);
    this.#requests.delete(id);
    const values = this.#held(entry.buffer);
    this.release(entry.buffer);
    entry.request.answered(errno, values);
  }

  ask(ask: VolumeAsk): void {
    this.machine.effect();
    if (ask.type === "promoted") {
      this.serving = true;
      const { survivors, bearers } = this.machine.world;
      if (survivors === null) {
        checkPromoted(this, ask.epoch);
        bearers.promoted(this, ask.epoch);
      } else survivors.promoted(this, ask.epoch);
    }
    if (ask.type === "demoted" || ask.type === "closed") this.serving = false;
    this.#shell.post(() => this.#shell.asked(ask));
    if (ask.type === "closed") this.end(false);
  }

  report(report: VolumeReport): void {
    if (report.role !== "Primary") this.serving = false;
    this.#shell.reported(report);
  }

  note(note: Note): void {
    this.machine.world.note(this.machine.name, note);
  }
}
