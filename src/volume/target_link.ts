/**
 * The replica's end of the replication link: it greets a Primary, writes what it sends, flushes when
 * asked, and says so.
 *
 * Before it answers HELLO it has demoted itself, ended every older session, waited for all I/O that
 * those submitted, and made the epoch durable: nothing old can reach the disk any more.
 */

import { EOPNOTSUPP, PEER, type VolumeContext } from "./context.ts";
import { MAX_DIRTY_NUMBERS } from "../wire/replication.ts";
import { makeTag, TagKind } from "./tags.ts";
import { type BufferHandle, type ControlMessage, FrameKind } from "./types.ts";

/** Frames of a session that may be under way at once; a Primary keeps far below it. */
const RECEIVED_MAX = 65_536;

type Hello = Extract<ControlMessage, { type: "HELLO" }>;

/** A frame that is being carried out. */
class Received {
  readonly index: number;
  link = 0;
  session = 0;
  seq = 0;
  kind = FrameKind.Write;
  offset = 0;
  length = 0;
  buffer: BufferHandle = -1;
  fua = false;
  flushing = false;
  ordinal = 0;

  constructor(index: number) {
    this.index = index;
  }
}

/** Runs once every frame with a lower ordinal has been carried out. */
interface Barrier {
  readonly ordinal: number;
  left: number;
  readonly then: () => void;
}

/** What the link needs of the replica's role. */
export interface TargetHost {
  /** Ends an own role as Primary by force, if there is one; calls back when it has ended. */
  yieldRole(why: string, done: () => void): void;
}

/** See the module comment. */
export class TargetLink {
  readonly #context: VolumeContext;
  readonly #host: TargetHost;
  readonly #received: Received[] = [];
  readonly #free: number[] = [];
  /** Counts connections: what was begun for an earlier one ends in silence. */
  #link = 0;
  #connected = false;
  /** Session that the Primary minted; 0: not greeted yet. */
  #session = 0;
  /** WELCOME and DIRTY are sent: data frames may come after SYNC. */
  #open = false;
  #ready = false;
  #ordinal = 0;
  #underWay = 0;
  #barriers: Barrier[] = [];
  #syncing = false;
  #heardAt = 0;

  /** For the one peer of this volume. */
  constructor(context: VolumeContext, host: TargetHost) {
    this.#context = context;
    this.#host = host;
  }

  /** Whether a Primary's session is open. */
  get connected(): boolean {
    return this.#ready;
  }

  /** Whether this replica is being resynced. */
  get syncing(): boolean {
    return this.#syncing;
  }

  /** A connection of the peer came in; HELLO follows. */
  accepted(): void {
    this.#reset();
    this.#connected = true;
    this.#heardAt = this.#context.now;
  }

  /** The connection ended. What was submitted is carried out, but not answered. */
  disconnected(): void {
    this.#reset();
  }

  /** Ends the session from here: this replica becomes Primary, or its disk has failed. */
  end(): void {
    if (this.#connected) this.#context.io.hangUp(PEER);
    this.#reset();
  }

  /** Time passed: a Primary that is silent for two timeouts has gone. */
  tick(): void {
    const { now, init } = this.#context;
    if (this.#connected && now - this.#heardAt > 2 * init.timeout) this.end();
  }

  /** A control frame. */
  control(message: ControlMessage): void {
    if (!this.#connected) return;
    this.#heardAt = this.#context.now;
    if (message.type === "HELLO") {
      this.#greet(message);
      return;
    }
    if (!("session" in message)) return;
    if (message.type === "PING") {
      this.#say({ type: "PONG", session: message.session });
      return;
    }
    if (message.session !== this.#session || !this.#open) return;
    switch (message.type) {
      case "SYNC":
        this.#sync(message.inconsistent, message.blocks);
        break;
      case "JOIN":
        this.#join(message);
        break;
      case "RECORD":
        this.#record(message.upToDate);
        break;
      default:
    }
  }

  /** A data frame. */
  frame(
    kind: FrameKind,
    session: number,
    seq: number,
    offset: number,
    length: number,
    buffer: BufferHandle,
    fua: boolean,
  ): void {
    const { io, layout, failure } = this.#context;
    if (session !== this.#session || !this.#ready || failure !== null) {
      if (buffer >= 0) io.release(buffer);
      return;
    }
    this.#heardAt = this.#context.now;
    if (kind === FrameKind.Flush) {
      this.#flush(seq);
      return;
    }
    const data = kind === FrameKind.Write || kind === FrameKind.Resync;
    const ranged = data || kind === FrameKind.Trim || kind === FrameKind.Zero ||
      kind === FrameKind.ZeroAllocated;
    if (
      !ranged || length <= 0 || offset + length > layout.size || data !== (buffer >= 0) ||
      this.#underWay >= RECEIVED_MAX
    ) {
      if (buffer >= 0) io.release(buffer);
      this.#refuse(`a frame of kind ${kind} for ${length} bytes at ${offset}`);
      return;
    }
    const received = this.#take();
    received.link = this.#link;
    received.session = session;
    received.seq = seq;
    received.kind = kind;
    received.offset = offset;
    received.length = length;
    received.buffer = buffer;
    received.fua = fua;
    received.flushing = false;
    received.ordinal = ++this.#ordinal;
    this.#underWay++;
    const tag = makeTag(TagKind.Received, received.index);
    this.#context.dataIoBegan();
    if (data) io.write(tag, offset, length, buffer, 0, fua);
    else if (kind === FrameKind.Trim) io.discard(tag, offset, length);
    else io.zero(tag, offset, length, kind === FrameKind.ZeroAllocated);
  }

  /** The I/O of a received frame ended. */
  done(index: number, errno: number): void {
    const received = this.#received[index]!;
    const { io } = this.#context;
    const tag = makeTag(TagKind.Received, index);
    if (errno === EOPNOTSUPP && received.kind === FrameKind.Trim && !received.flushing) {
      this.#context.dataIoBegan();
      io.zero(tag, received.offset, received.length, false);
      return;
    }
    if (errno === 0 && received.fua && received.buffer < 0 && !received.flushing) {
      received.flushing = true;
      this.#context.dataIoBegan();
      io.flush(tag);
      return;
    }
    if (received.buffer >= 0) io.release(received.buffer);
    received.buffer = -1;
    const present = received.link === this.#link;
    this.#free.push(index);
    if (errno !== 0) {
      this.#context.fail(
        `writing ${received.length} bytes at ${received.offset} for the Primary failed`,
        errno,
      );
      return;
    }
    if (!present) return;
    this.#underWay--;
    const answer = received.kind === FrameKind.Resync ? FrameKind.Resynced : FrameKind.Wrote;
    io.sendData(PEER, answer, received.session, received.seq, 0, 0, -1, 0, 0);
    this.#pass(received.ordinal);
  }

  #reset(): void {
    this.#link++;
    this.#connected = false;
    this.#session = 0;
    this.#open = false;
    this.#ready = false;
    this.#syncing = false;
    this.#underWay = 0;
    this.#barriers = [];
    this.#context.changed = true;
  }

  #take(): Received {
    const index = this.#free.pop();
    if (index !== undefined) return this.#received[index]!;
    const received = new Received(this.#received.length);
    this.#received.push(received);
    return received;
  }

  #say(message: ControlMessage): void {
    this.#context.io.sendControl(PEER, message);
  }

  #refuse(what: string): void {
    this.#context.note("error", "protocol", `the Primary sent ${what}`, { session: this.#session });
    this.end();
  }

  #decline(why: string): void {
    const { superblock, knownEpoch } = this.#context;
    const epoch = Math.max(superblock.durable.epoch, knownEpoch);
    this.#context.note("warning", "decline", `a Primary is declined: ${why}`, { epoch });
    this.#say({ type: "DECLINE", why, epoch });
  }

  /** Why this Primary is not served; null if it is. */
  #objection(hello: Hello): string | null {
    const { init, layout, superblock, failure, role } = this.#context;
    const own = superblock.value;
    if (failure !== null) return `the disk has failed: ${failure}`;
    if (hello.volume !== init.name || hello.size !== layout.size) {
      return `its volume is ${hello.volume} of ${hello.size} bytes, ours ${init.name} of ` +
        `${layout.size}; correct the configuration`;
    }
    if (hello.replicaId === own.replicaId) {
      return "it has our replica id: one of the disks is a copy; make that replica anew";
    }
    if (own.lineage !== "" && hello.lineage !== own.lineage) {
      return `its lineage is ${hello.lineage}, ours ${own.lineage}: the data have parted`;
    }
    const newest = Math.max(own.epoch, this.#context.knownEpoch);
    if (hello.epoch < newest) return `its epoch ${hello.epoch} is past, epoch ${newest} is chosen`;
    if (role === "Primary" && hello.epoch <= this.#context.epoch) {
      return `we are Primary of epoch ${this.#context.epoch}`;
    }
    return null;
  }

  #greet(hello: Hello): void {
    const context = this.#context;
    const link = this.#link;
    const refused = this.#objection(hello);
    if (refused !== null) {
      this.#decline(refused);
      return;
    }
    const current = () => link === this.#link && this.#connected;
    context.tasks.add((done) => {
      // Roles may have changed while this waited for its turn.
      const objection = current() ? this.#objection(hello) : null;
      if (!current() || objection !== null) {
        if (objection !== null) this.#decline(objection);
        done();
        return;
      }
      this.#session = 0;
      this.#open = false;
      this.#ready = false;
      this.#barriers = [];
      this.#underWay = 0;
      const connection = ++this.#link;
      this.#host.yieldRole(`a Primary of epoch ${hello.epoch} said HELLO`, () => {
        context.whenDrained(() => {
          context.superblock.update(
            { epoch: hello.epoch, lineage: hello.lineage, sole: null },
            () => {
              if (connection === this.#link && this.#connected) this.#welcome(hello.session);
              done();
            },
          );
        });
      });
    });
  }

  #welcome(session: number): void {
    const context = this.#context;
    const own = context.superblock.value;
    this.#session = session;
    this.#open = true;
    context.changed = true;
    this.#say({
      type: "WELCOME",
      epoch: own.epoch,
      lineage: own.lineage,
      replicaId: own.replicaId,
      generations: own.generations,
      dirtyBlocks: context.bitmap.count,
      storage: own.storage,
      inconsistent: own.inconsistent,
      unclean: own.unclean,
      blank: own.blank !== "no",
      session,
    });
    this.#tellDirty(session);
  }

  #tellDirty(session: number): void {
    const { bitmap, layout } = this.#context;
    let runs: number[] = [];
    let block = bitmap.next(0);
    while (block >= 0) {
      const blocks = bitmap.runLength(block, layout.blocks);
      runs.push(block, blocks);
      if (runs.length === MAX_DIRTY_NUMBERS) {
        this.#say({ type: "DIRTY", session, runs, last: false });
        runs = [];
      }
      block = bitmap.next(block + blocks);
    }
    this.#say({ type: "DIRTY", session, runs, last: true });
  }

  /** The source holds the union of both bitmaps durably: ours has done its duty. */
  #sync(inconsistent: boolean, blocks: number): void {
    const context = this.#context;
    const link = this.#link;
    const session = this.#session;
    const { superblock, bitmap, layout } = context;
    bitmap.clear(0, layout.blocks);
    const change = inconsistent && !superblock.value.inconsistent;
    const blank = superblock.value.blank !== "no";
    const go = () => {
      if (link !== this.#link) return;
      this.#ready = true;
      this.#syncing = blocks > 0;
      context.changed = true;
      this.#say({ type: "SYNCREADY", session });
    };
    if (!change && !blank) {
      context.bitmapWriter.flush(go);
      return;
    }
    superblock.update(
      { inconsistent: superblock.value.inconsistent || inconsistent, blank: "no" },
      () => context.bitmapWriter.flush(go),
    );
  }

  /** Everything received before this is stable, then: Consistent, with the source's generations. */
  #join(message: Extract<ControlMessage, { type: "JOIN" }>): void {
    const context = this.#context;
    if (message.epoch !== context.superblock.value.epoch) return;
    const session = this.#session;
    const link = this.#link;
    this.#barrier(() =>
      context.flushDisk(() => {
        if (link !== this.#link) return;
        context.superblock.update({
          generations: message.generations,
          inconsistent: false,
          unclean: false,
        }, () => {
          if (link !== this.#link) return;
          this.#syncing = false;
          context.changed = true;
          this.#say({ type: "JOINED", session, epoch: message.epoch });
        });
      })
    );
  }

  #record(upToDate: readonly string[]): void {
    const { superblock, replicaId } = this.#context;
    const own = superblock.value.upToDate;
    if (upToDate.length !== own.length || upToDate.some((one, i) => one !== own[i])) {
      superblock.update({ upToDate });
    }
    if (upToDate.includes(replicaId) && !superblock.value.unclean) this.#syncing = false;
    this.#context.changed = true;
  }

  #flush(seq: number): void {
    const session = this.#session;
    const link = this.#link;
    this.#barrier(() => {
      this.#context.flushDisk(() => {
        if (link !== this.#link) return;
        this.#context.io.sendData(PEER, FrameKind.Flushed, session, seq, 0, 0, -1, 0, 0);
      });
    });
  }

  /** Calls back when all that was received so far in this session has reached the disk. */
  #barrier(then: () => void): void {
    if (this.#underWay === 0) then();
    else this.#barriers.push({ ordinal: this.#ordinal, left: this.#underWay, then });
  }

  #pass(ordinal: number): void {
    if (this.#barriers.length === 0) return;
    const passed: Barrier[] = [];
    for (const barrier of this.#barriers) {
      if (ordinal > barrier.ordinal) continue;
      barrier.left--;
      if (barrier.left === 0) passed.push(barrier);
    }
    if (passed.length === 0) return;
    this.#barriers = this.#barriers.filter((one) => one.left > 0);
    for (const barrier of passed) barrier.then();
  }
}
