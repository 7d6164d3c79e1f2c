/**
 * The replica's end of the replication link: it greets a Primary, writes what it sends, flushes when
 * asked, and says so.
 *
 * Before it answers HELLO it has demoted itself, ended every older session, waited for all I/O that
 * those submitted, and made the epoch durable: nothing old can reach the disk any more.
 */

import { PEER, type VolumeContext } from "./context.ts";
import { Comparer } from "./comparer.ts";
import { BLOCK_BYTES } from "./metadata/layout.ts";
import { viewOf } from "./meeting.ts";
import { ReadServer } from "./read_server.ts";
import { ReceivedFrames, withinVolume } from "./received_frames.ts";
import { decodeSums } from "../wire/block_frames.ts";
import { FLAG_COMPARE, FLAG_FUA, MAX_DIRTY_NUMBERS } from "../wire/replication.ts";
import {
  type BufferHandle,
  type ConnectionState,
  type ControlMessage,
  FrameKind,
  type WalkProgress,
} from "./types.ts";

/** A verify is shown until so long after its last question, milliseconds. */
const VERIFY_SHOWN = 1500;

type Hello = Extract<ControlMessage, { type: "HELLO" }>;

/** What the link needs of the replica's role. */
export interface TargetHost {
  /** Ends an own role as Primary by force, if there is one; calls back when it has ended. */
  yieldRole(why: string, done: () => void): void;
}

/** See the module comment. */
export class TargetLink {
  readonly #context: VolumeContext;
  readonly #host: TargetHost;
  readonly #frames: ReceivedFrames;
  /** Counts connections: what was begun for an earlier one ends in silence. */
  #link = 0;
  #connected = false;
  /** Session that the Primary minted; 0: not greeted yet. */
  #session = 0;
  /** WELCOME and DIRTY are sent: data frames may come after SYNC. */
  #open = false;
  #ready = false;
  #syncing = false;
  /** Blocks of the resync, in all and done. */
  #total = 0;
  #done = 0;
  #heardAt = 0;
  #comparedAt = -Infinity;
  /** Why a Primary was declined last: told once. */
  #declined = "";
  readonly #comparer: Comparer;
  /** The Primary's replica id. */
  #sourceId = "";
  readonly #reads: ReadServer;

  /** For the one peer of this volume. */
  constructor(context: VolumeContext, host: TargetHost) {
    this.#context = context;
    this.#host = host;
    this.#comparer = new Comparer(context, this);
    this.#frames = new ReceivedFrames(context, this);
    this.#reads = new ReadServer(context, () => this.#ready ? this.#session : 0);
  }

  /** Counts connections. */
  get link(): number {
    return this.#link;
  }

  /** Whether a Primary's session is open. */
  get connected(): boolean {
    return this.#ready;
  }

  /** For status. */
  get connection(): ConnectionState {
    if (this.#context.parting.shown !== null) return "StandAlone";
    if (!this.#ready) return "Connecting";
    if (this.#syncing) return "SyncTarget";
    return this.#verifying ? "VerifyTarget" : "Connected";
  }

  /** Whether something goes over its blocks. */
  get busy(): boolean {
    return this.#syncing || this.#verifying;
  }

  get #verifying(): boolean {
    return this.#ready && this.#context.now - this.#comparedAt < VERIFY_SHOWN;
  }

  /** Whether this replica is being resynced. */
  get syncing(): boolean {
    return this.#syncing;
  }

  /** How far the resync of this replica is. */
  get progress(): WalkProgress {
    return {
      doneBytes: Math.min(this.#done, this.#total) * BLOCK_BYTES,
      totalBytes: this.#total * BLOCK_BYTES,
      bytesPerSecond: Math.round(this.#context.pace.rate),
    };
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
      case "SPLIT": {
        const { why, source, tracked } = message;
        this.#context.parting.part(why, source, tracked, "split-brain", why);
        this.end();
        break;
      }
      case "SYNC":
        this.#context.parting.end();
        this.#declined = "";
        this.#sync(message.inconsistent, message.blocks);
        break;
      case "JOIN":
        this.#join(message);
        break;
      case "DETACH":
        this.#detach();
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
    flags: number,
    head: Uint8Array,
  ): void {
    const { io, failure, layout } = this.#context;
    if (session !== this.#session || !this.#ready || failure !== null) {
      if (buffer >= 0) io.release(buffer);
      return;
    }
    this.#heardAt = this.#context.now;
    if (kind === FrameKind.Flush) {
      this.#flush(seq);
      return;
    }
    if (kind === FrameKind.Read && buffer < 0 && length > 0 && offset + length <= layout.size) {
      this.#reads.read(session, seq, offset, length);
      return;
    }
    if (kind === FrameKind.Sums) {
      this.#compare(seq, offset, length, flags, head);
      return;
    }
    if (!this.#frames.take(kind, seq, offset, length, buffer, (flags & FLAG_FUA) !== 0, head)) {
      if (buffer >= 0) io.release(buffer);
      this.#refuse(`a frame of kind ${kind} for ${length} bytes at ${offset}`);
    }
  }

  /** I/O of a comparison ended. */
  compared(index: number, errno: number): void {
    this.#comparer.done(index, errno);
  }

  /** A buffer may be had. */
  bufferFree(): void {
    this.#comparer.bufferFree();
    this.#reads.bufferFree();
  }

  /** See ComparerHost. */
  unreadable(seq: number): void {
    this.#context.io.sendControl(PEER, { type: "UNREADABLE", session: this.#session, seq });
  }

  /** See ComparerHost. */
  differs(seq: number, offset: number, length: number, head: Uint8Array, equal: number): void {
    const { io } = this.#context;
    this.#progress(equal);
    io.sendData(PEER, FrameKind.Differs, this.#session, seq, offset, length, -1, 0, 0, head);
  }

  #compare(seq: number, offset: number, length: number, flags: number, head: Uint8Array): void {
    const decoded = decodeSums(head, offset, length);
    if (decoded === null || !withinVolume(decoded.runs, this.#context.layout)) {
      this.#refuse(`checksums for ${length} bytes at ${offset} that make no sense`);
      return;
    }
    if ((flags & FLAG_COMPARE) !== 0) this.#comparedAt = this.#context.now;
    this.#comparer.compare(seq, decoded.runs, decoded.sums, (flags & FLAG_COMPARE) !== 0);
  }

  #progress(blocks: number): void {
    this.#done += blocks;
    this.#context.pace.done(blocks * BLOCK_BYTES);
  }

  /** The I/O of a received frame ended. */
  done(index: number, errno: number): void {
    this.#frames.done(index, errno);
  }

  /** See ReceivedHost. */
  carriedOut(kind: FrameKind, seq: number, length: number): void {
    const resynced = kind === FrameKind.Resync;
    if (resynced) this.#progress(length / BLOCK_BYTES);
    const answer = resynced ? FrameKind.Resynced : FrameKind.Wrote;
    this.#context.io.sendData(PEER, answer, this.#session, seq, 0, 0, -1, 0, 0);
  }

  #reset(): void {
    this.#link++;
    this.#connected = false;
    this.#session = 0;
    this.#open = false;
    this.#ready = false;
    this.#syncing = false;
    this.#frames.forget();
    this.#context.changed = true;
  }

  #say(message: ControlMessage): void {
    this.#context.io.sendControl(PEER, message);
  }

  #refuse(what: string): void {
    this.#context.note("error", "protocol", `the Primary sent ${what}`, { session: this.#session });
    this.end();
  }

  #decline(hello: Hello, why: string): void {
    const { superblock, knownEpoch, parting } = this.#context;
    const epoch = Math.max(superblock.durable.epoch, knownEpoch);
    const parted = this.#parted(hello);
    if (parted) parting.part(why, viewOf(hello), false, "split-brain", why);
    else if (why !== this.#declined) {
      this.#context.note("warning", "decline", `a Primary is declined: ${why}`, { epoch });
    }
    this.#declined = why;
    this.#say({ type: "DECLINE", why, epoch, ...(parted && { parted: parting.own }) });
  }

  /** Whether it is a Primary of another history, and nobody said that ours may go. */
  #parted({ lineage, volume, replicaId }: Hello): boolean {
    const own = this.#context.superblock.value;
    return volume === own.volume && replicaId !== own.replicaId && own.lineage !== "" &&
      lineage !== own.lineage && own.discard !== true;
  }

  /** Why this Primary is not served; null if it is. */
  #objection(hello: Hello): string | null {
    const { init, layout, superblock, failure, role } = this.#context;
    const own = superblock.value;
    if (failure !== null) return `the disk has failed: ${failure}`;
    // One that has grown waits for its Primary to grow too: what is new is zero on both.
    if (hello.volume !== init.name || hello.size > layout.size) {
      return `its volume is ${hello.volume} of ${hello.size} bytes, ours ${init.name} of ` +
        `${layout.size}; correct the configuration, or grow this one by \`bascule volume resize\``;
    }
    if (hello.replicaId === own.replicaId) {
      return "it has our replica id: one of the disks is a copy; make that replica anew";
    }
    if (this.#context.parting.disconnected) return "an operator disconnected the replica";
    if (own.lineage !== "" && hello.lineage !== own.lineage) {
      return own.discard === true && role === "Secondary"
        ? null
        : `its lineage is ${hello.lineage}, ours ${own.lineage}: the data have parted`;
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
      this.#decline(hello, refused);
      return;
    }
    const current = () => link === this.#link && this.#connected;
    context.tasks.add((done) => {
      // Roles may have changed while this waited for its turn.
      const objection = current() ? this.#objection(hello) : null;
      if (!current() || objection !== null) {
        if (objection !== null) this.#decline(hello, objection);
        done();
        return;
      }
      this.#session = 0;
      this.#open = false;
      this.#ready = false;
      this.#frames.forget();
      const connection = ++this.#link;
      this.#host.yieldRole(`a Primary of epoch ${hello.epoch} said HELLO`, () => {
        context.whenDrained(() => {
          context.superblock.update(
            { epoch: hello.epoch, lineage: hello.lineage, sole: null },
            () => {
              if (connection === this.#link && this.#connected) {
                this.#sourceId = hello.replicaId;
                this.#welcome(hello.session);
              }
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
      lastWrite: context.lastWrite,
      primarySince: own.primarySince ?? 0,
      discard: own.discard === true,
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
      this.#total = blocks;
      this.#done = 0;
      context.pace.begin(context.now);
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

  /** The Primary has lost its disk: whatever it may miss from now on, our bits name it. */
  #detach(): void {
    const { superblock, bitmap, bitmapWriter } = this.#context;
    const link = this.#link;
    const session = this.#session;
    bitmap.fill();
    bitmapWriter.flush(() => {
      const peers = [this.#sourceId, ...superblock.value.peers.slice(1)];
      superblock.update({ peers }, () => {
        if (link !== this.#link) return;
        this.#ready = true;
        this.#syncing = false;
        this.#context.changed = true;
        this.#say({ type: "DETACHED", session });
      });
    });
  }

  /** Everything received before this is stable, then: Consistent, with the source's generations. */
  #join(message: Extract<ControlMessage, { type: "JOIN" }>): void {
    const context = this.#context;
    if (message.epoch !== context.superblock.value.epoch) return;
    const session = this.#session;
    const link = this.#link;
    this.#frames.barrier(() =>
      context.flushDisk(() => {
        if (link !== this.#link) return;
        context.superblock.update({
          generations: message.generations,
          inconsistent: false,
          unclean: false,
          discard: false,
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
    this.#frames.barrier(() => {
      this.#context.flushDisk(() => {
        if (link !== this.#link) return;
        this.#context.io.sendData(PEER, FrameKind.Flushed, session, seq, 0, 0, -1, 0, 0);
      });
    });
  }
}
