/**
 * Two replicas in memory: disks with volatile caches, a link with sessions, a register, clients; all
 * of it driven by one scheduler, so that a run is a function of its seed.
 */

import { Connection, FakeNode, type Message } from "./fake_node.ts";
import { BLOCK, FakeDisk, Random } from "./fake_disk.ts";
import type { Pending, Request, WorldOptions } from "./world_types.ts";
import { type Geometry, geometry } from "../../src/volume/metadata/layout.ts";
import { formatMetadata } from "../../src/volume/metadata/format.ts";
import { openVolume, type Volume } from "../../src/volume/volume.ts";
import {
  type BufferHandle,
  type ControlMessage,
  FrameKind,
  RequestKind,
  type VolumeAsk,
  type VolumeInit,
  type VolumeIo,
} from "../../src/volume/types.ts";

import { DEFAULT_RESYNC, DEFAULT_VERIFY } from "../../src/config/resync.ts";
import { gatherValues, valueDigest, valueSums } from "../../src/sim/block_values.ts";
import {
  carriesData,
  decodeControl,
  decodeHeader,
  encodeControl,
  encodeHeader,
  FrameHeader,
  NO_HEAD,
  REPLICATION_HEADER_BYTES,
} from "../../src/wire/replication.ts";

export type { Request, WorldOptions };

/** See the module comment. */
export class World {
  readonly random: Random;
  readonly nodes: readonly [FakeNode, FakeNode];
  readonly layout: Geometry;
  readonly options: WorldOptions;
  now = 1000;
  linkUp = true;
  readonly pending: Pending[] = [];
  readonly requests: Request[] = [];
  #values = 0;
  #buffers = 0;
  #header = new FrameHeader();
  /** Told of every ask of a volume, and of every answer to a client. */
  onAsk: (node: FakeNode, ask: VolumeAsk) => void = () => {};
  onAnswer: (request: Request, errno: number) => void = () => {};
  /** Lets a test drop or delay a message: false keeps it from being delivered now. */
  filter: (to: number, message: ControlMessage | FrameHeader) => boolean = () => true;
  /** Every frame delivered, for tests that count. */
  onDeliver: (to: number, message: ControlMessage | FrameHeader) => void = () => {};
  /** Whether a disk operation may end now. */
  diskMay: (node: number, what: string) => boolean = () => true;

  constructor(options: WorldOptions = {}) {
    this.options = options;
    this.random = new Random(options.seed ?? 1);
    const size = (options.extents ?? 16) * 4 * 1024 * 1024;
    this.layout = geometry(size, options.logSlots ?? 12);
    const make = (index: number) =>
      new FakeNode(index, new FakeDisk(this.format(index), options.volatileCache ?? false));
    this.nodes = [make(0), make(1)];
  }

  /** A fresh metadata region. */
  format(
    index: number,
    replicaId = index === 0 ? "aaaaaaaa" : "bbbbbbbb",
    blank = this.options.blank ?? "zero",
  ): Uint8Array {
    const region = new Uint8Array(this.layout.bytes);
    for (
      const chunk of formatMetadata({
        volume: "data",
        size: this.layout.size,
        alExtents: this.layout.logSlots,
        replicaId,
        storage: `storage-${index}-0`,
        generation: `random-${index}`,
        blank,
        bootId: "",
      })
    ) region.set(chunk.bytes, chunk.offset);
    return region;
  }

  /** Starts a node's agent; `boot`: after its machine was off. */
  start(index: number, boot = false): Volume {
    const node = this.nodes[index]!;
    if (boot) node.boots++;
    node.life++;
    node.connection = null;
    node.dialing = 0;
    node.buffers.clear();
    const init: VolumeInit = {
      name: "data",
      node: node.name,
      size: this.layout.size,
      protocol: this.options.protocol ?? "C",
      soleBoot: this.options.soleBoot ?? false,
      timeout: this.options.timeout ?? 2000,
      resync: { ...DEFAULT_RESYNC, ...this.options.resync },
      verify: this.options.verify ?? DEFAULT_VERIFY,
      afterSplitBrain: this.options.afterSplitBrain ?? "disconnect",
      wallClock: this.now,
      onIoError: this.options.onIoError ?? "hand-over",
      peers: [this.nodes[node.peer]!.name],
      bootId: `boot-${index}-${node.boots}`,
      volatileCache: node.disk.volatileCache,
      freshStorage: `storage-${index}-${node.life}`,
      sessionSeed: this.random.below(2 ** 32),
      now: this.now,
    };
    node.volume = openVolume(this.#io(node, node.life), init, node.disk.metadata);
    node.report = node.volume.report();
    return node.volume;
  }

  /** Kills a node's agent (or its power). True if acknowledged data may have been lost. */
  crash(index: number, power: boolean): boolean {
    const node = this.nodes[index]!;
    node.life++;
    node.volume = null;
    node.report = null;
    node.dialing = 0;
    if (node.connection) this.#end(node.connection, index, true);
    node.connection = null;
    for (let i = 0; i < this.pending.length;) {
      const action = this.pending[i]!;
      if (action.node !== index) {
        i++;
        continue;
      }
      this.pending.splice(i, 1);
      action.crash?.(power);
    }
    return power && node.disk.losePower(this.random);
  }

  /** A client's request to a node. */
  request(
    index: number,
    kind: RequestKind,
    first = 0,
    blocks = 1,
    fua = false,
  ): Request {
    const node = this.nodes[index]!;
    const value = ++this.#values;
    const buffer = this.#buffer(node, new Array<number>(blocks).fill(value));
    const list = kind === RequestKind.Flush
      ? []
      : Array.from({ length: blocks }, (_, i) => first + i);
    const request: Request = {
      id: this.requests.length,
      node: index,
      life: node.life,
      kind,
      blocks: list,
      value: kind === RequestKind.Write ? value : 0,
      fua,
      buffer,
      answered: null,
    };
    this.requests.push(request);
    node.volume!.request(
      request.id,
      kind,
      kind === RequestKind.Flush ? 0 : first * BLOCK,
      kind === RequestKind.Flush ? 0 : blocks * BLOCK,
      fua,
      buffer,
      0,
    );
    return request;
  }

  /** What a READ found. */
  dataOf(request: Request): readonly number[] {
    return this.nodes[request.node]!.buffers.get(request.buffer) ?? [];
  }

  /** Cuts or mends the link between the nodes. */
  setLink(up: boolean): void {
    this.linkUp = up;
    if (up) return;
    for (const node of this.nodes) {
      const { connection } = node;
      if (connection) this.#end(connection, node.index, true);
    }
  }

  /** Does one pending thing by its place: false if it may not happen now. */
  perform(place: number): boolean {
    const action = this.pending[place]!;
    if (action.what.startsWith("disk") && !this.diskMay(action.node, action.what)) return false;
    this.pending.splice(place, 1);
    action.run();
    return true;
  }

  /** Delivers the next message to a node: false if there is none. */
  deliver(index: number): boolean {
    const node = this.nodes[index]!;
    const { connection } = node;
    if (!connection || !node.volume) return false;
    const queue = connection.queues[index]!;
    const message = queue[0];
    if (!message) {
      if (!connection.ended[1 - index]) return false;
      node.connection = null;
      node.volume.disconnected(0, "the peer closed the connection");
      return true;
    }
    if (message.control) {
      const view = new DataView(message.control.buffer);
      const wrong = decodeHeader(view, 0, this.#header);
      if (wrong) throw new Error(`control frame: ${wrong}`);
      const decoded = decodeControl(
        message.control.subarray(REPLICATION_HEADER_BYTES),
        this.#header.payloadCrc,
      );
      if (!decoded.message) throw new Error(`control frame: ${decoded.error}`);
      if (!this.filter(index, decoded.message)) return false;
      queue.shift();
      this.onDeliver(index, decoded.message);
      node.volume.control(0, decoded.message);
      return true;
    }
    const header = this.#header;
    const wrong = decodeHeader(new DataView(message.header!.buffer), 0, header);
    if (wrong) throw new Error(`data frame: ${wrong}`);
    if (!this.filter(index, header)) return false;
    queue.shift();
    this.onDeliver(index, header);
    const buffer = message.values ? this.#buffer(node, [...message.values]) : -1;
    node.volume.frame(
      0,
      header.kind,
      header.session,
      header.seq,
      header.offset,
      header.length,
      buffer,
      header.flags,
      message.head ?? NO_HEAD,
    );
    return true;
  }

  /** Lets everything happen in order for so many milliseconds. */
  run(milliseconds: number): void {
    const end = this.now + milliseconds;
    while (this.now < end) {
      for (let round = 0; round < 1000; round++) {
        let some = false;
        for (let place = 0; place < this.pending.length;) {
          if (this.perform(place)) some = true;
          else place++;
        }
        for (const index of [0, 1]) while (this.deliver(index)) some = true;
        if (!some) break;
      }
      this.now += 5;
      for (const node of this.nodes) node.volume?.tick(this.now);
    }
  }

  #buffer(node: FakeNode, values: number[]): number {
    const handle = ++this.#buffers;
    node.buffers.set(handle, values);
    return handle;
  }

  #end(connection: Connection, by: number, lose: boolean): void {
    connection.ended[by] = true;
    const other = 1 - by;
    if (lose) {
      const queue = connection.queues[other]!;
      queue.length = this.random.below(queue.length + 1);
    }
    connection.queues[by]!.length = 0;
  }

  #add(node: FakeNode, what: string, run: () => void, crash?: (power: boolean) => void): void {
    this.pending.push({ what, node: node.index, run, ...(crash ? { crash } : {}) });
  }

  #io(node: FakeNode, life: number): VolumeIo {
    const alive = () => node.life === life && node.volume !== null;
    const done = (tag: number, errno: number) => {
      if (alive()) node.volume!.done(tag, errno);
    };
    const { disk } = node;
    const each = (offset: number, length: number, act: (block: number, i: number) => void) => {
      for (let i = 0; i < length / BLOCK; i++) act(offset / BLOCK + i, i);
    };
    const change = (
      tag: number,
      what: string,
      offset: number,
      length: number,
      values: readonly number[] | null,
      durable: boolean,
    ) => {
      const apply = (partly: boolean) =>
        each(offset, length, (block, i) => {
          if (partly && this.random.chance(0.5)) return;
          disk.write(block, values ? values[i]! : 0, durable);
        });
      this.#add(node, `disk ${what}`, () => {
        if (what === "discard" && disk.discardError !== 0) {
          done(tag, disk.discardError);
          return;
        }
        if (disk.writeError !== 0) {
          if (this.random.chance(0.5)) apply(true);
          done(tag, disk.writeError);
          return;
        }
        apply(false);
        done(tag, 0);
      }, () => {
        if (this.random.chance(0.5)) apply(true);
      });
    };
    return {
      read: (tag, offset, length, buffer, bufferOffset) =>
        this.#add(node, "disk read", () => {
          const values = node.buffers.get(buffer);
          if (!values) throw new Error(`read into buffer ${buffer}, which is not held`);
          const errno = disk.readErrno(offset / BLOCK, length / BLOCK);
          if (errno === 0) {
            each(offset, length, (block, i) => values[bufferOffset / BLOCK + i] = disk.get(block));
          }
          done(tag, errno);
        }),
      write: (tag, offset, length, buffer, bufferOffset, durable) => {
        const values = this.#held(node, buffer).slice(bufferOffset / BLOCK);
        change(tag, "write", offset, length, values, durable);
      },
      discard: (tag, offset, length) => change(tag, "discard", offset, length, null, false),
      zero: (tag, offset, length) => change(tag, "zero", offset, length, null, false),
      flush: (tag) => {
        const covered = [...disk.cache].map(([block, value]) =>
          [block, value, disk.stable.get(block)] as const
        );
        this.#add(node, "disk flush", () => {
          if (disk.writeError !== 0) {
            done(tag, disk.writeError);
            return;
          }
          for (const [block, value, before] of covered) {
            // What was complete when the flush began is stable; later writes need not be.
            if (disk.stable.get(block) === before) disk.stable.set(block, value);
          }
          done(tag, 0);
        });
      },
      writeMeta: (tag, offset, bytes) => {
        const copy = bytes.slice();
        this.#add(node, "disk meta", () => {
          if (disk.metaError !== 0) {
            done(tag, disk.metaError);
            return;
          }
          disk.metadata.set(copy, offset);
          done(tag, 0);
        }, (power) => {
          // A killed process leaves a write done or not; lost power may tear it between sectors.
          const all = this.random.chance(0.5);
          for (let at = 0; at < copy.length; at += 512) {
            if (power ? this.random.chance(0.5) : all) {
              disk.metadata.set(copy.subarray(at, at + 512), offset + at);
            }
          }
        });
      },
      dial: () => {
        const attempt = ++node.dialing;
        this.#add(node, "dial", () => {
          if (!alive() || attempt !== node.dialing) return;
          const other = this.nodes[node.peer]!;
          if (!this.linkUp || !other.volume) {
            node.volume!.disconnected(0, "no route to host");
            return;
          }
          const connection = new Connection(node.index);
          if (other.connection) this.#end(other.connection, other.index, true);
          other.connection = connection;
          other.dialing++;
          other.volume.accepted(0);
          if (!alive() || attempt !== node.dialing) {
            this.#end(connection, node.index, true);
            return;
          }
          if (node.connection) this.#end(node.connection, node.index, true);
          node.connection = connection;
          node.volume!.connected(0);
        });
      },
      hangUp: () => {
        node.dialing++;
        if (node.connection) this.#end(node.connection, node.index, false);
        node.connection = null;
      },
      sendData: (
        _peer,
        kind,
        session,
        seq,
        offset,
        length,
        buffer,
        bufferOffset,
        flags,
        head = NO_HEAD,
      ) => {
        const header = new Uint8Array(REPLICATION_HEADER_BYTES);
        const data = carriesData(kind);
        const payload = (data ? length : 0) + head.length;
        const fields = [kind, flags, session, seq, offset, length, payload, 0] as const;
        encodeHeader(new DataView(header.buffer), 0, ...fields);
        const values = data
          ? this.#held(node, buffer).slice(
            bufferOffset / BLOCK,
            bufferOffset / BLOCK + length / BLOCK,
          )
          : null;
        this.#send(node, values ? { header, head, values } : { header, head });
      },
      sendControl: (_peer, message) => this.#send(node, { control: encodeControl(message) }),
      sums: (buffer, blocks) => valueSums(this.#held(node, buffer), blocks, 100_003),
      digest: (buffer, picks) => valueDigest(this.#held(node, buffer), picks),
      gather: (buffer, picks) => gatherValues(this.#held(node, buffer), picks),
      acquire: (length) => {
        if (this.random.chance(0.1)) {
          this.#add(node, "buffer", () => node.volume?.bufferFree());
          return -1;
        }
        return this.#buffer(node, new Array<number>(length / BLOCK).fill(-1));
      },
      copy: (from, fromOffset, to, toOffset, length) => {
        const values = this.#held(node, from);
        const into = this.#held(node, to);
        for (let i = 0; i < length / BLOCK; i++) {
          into[toOffset / BLOCK + i] = values[fromOffset / BLOCK + i]!;
        }
      },
      release: (buffer) => {
        if (!node.buffers.delete(buffer)) throw new Error(`buffer ${buffer} was released twice`);
      },
      answer: (id, errno) => {
        const request = this.requests[id]!;
        if (request.answered !== null) throw new Error(`request ${id} was answered twice`);
        request.answered = errno;
        this.onAnswer(request, errno);
        if (request.kind !== RequestKind.Read) node.buffers.delete(request.buffer);
      },
      report: (report) => node.report = report,
      ask: (ask) => {
        node.asks.push(ask);
        this.onAsk(node, ask);
      },
      note: (note) => node.notes.push(note),
    };
  }

  #held(node: FakeNode, buffer: BufferHandle): number[] {
    const values = node.buffers.get(buffer);
    if (!values) throw new Error(`buffer ${buffer} of ${node.name} is not held`);
    return values;
  }

  #send(node: FakeNode, message: Message): void {
    const { connection } = node;
    if (!connection || connection.ended[0] || connection.ended[1]) return;
    connection.queues[node.peer]!.push(message);
  }
}

/** Whether a frame is of this kind. */
export function isFrame(message: ControlMessage | FrameHeader, kind: FrameKind): boolean {
  return message instanceof FrameHeader && message.kind === kind;
}
