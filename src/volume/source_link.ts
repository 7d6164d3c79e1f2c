/**
 * The Primary's end of the replication link: it dials, says HELLO, decides what must be copied, sends
 * writes, and brings the replica back into the in-sync set.
 *
 * One session at a time: HELLO → WELCOME, DIRTY… → (bits of both sides durable here) → SYNC →
 * SYNCREADY, then data frames. Unanswered writes are sent again first. When no bit is left, JOIN:
 * from before it is sent the replica counts for every write and FLUSH; JOINED means that it is
 * durable and Consistent there; then the `sole` mark is cleared and GROW is asked.
 */

import type { ActivityLog } from "./activity_log.ts";
import { Detach, PEER, type VolumeContext } from "./context.ts";
import type { DetachLink } from "./detachment.ts";
import type { FlushPath } from "./flush_path.ts";
import { type Op, OpKind, OpState, type OpTable, PeerState } from "./in_flight.ts";
import { Meeting } from "./meeting.ts";
import { type MemberLink, Membership } from "./membership.ts";
import { sendBlocks, sendOperation } from "./operation_frames.ts";
import type { ReadPath } from "./read_path.ts";
import { type ConnectionState, type ControlMessage, FrameKind } from "./types.ts";
import { isWalk, type Walks } from "./walks.ts";
import type { Replication, WritePath } from "./write_path.ts";

/** Milliseconds between attempts to connect; doubled up to the second after failures. */
const REDIAL_FIRST = 100;
const REDIAL_LAST = 1000;
/** The same for a replica that was refused: somebody may have mended it. */
const REDIAL_REFUSED = 10_000;
/** Version of the link's protocol since which a Primary may do without a disk. */
const VERSION_DETACH = 2;
/** A PING is sent after this part of the timeout without a frame. */
const PING_PART = 4;
/** Unanswered frames are looked for so many times in a timeout: each look goes through the table. */
const WATCH_PART = 16;

const enum LinkState {
  Down,
  Dialing,
  /** HELLO sent. */
  Greeting,
  /** WELCOME came; the replica's dirty blocks are coming. */
  Learning,
  /** Our own bits are being made durable, or SYNCREADY is awaited. */
  Preparing,
  Up,
}

/** The parts that the link drives; set once all exist. */
export interface SourceParts {
  readonly log: ActivityLog;
  readonly writes: WritePath;
  readonly reads: ReadPath;
  readonly flushes: FlushPath;
  readonly walks: Walks;
  /** The peer takes all blocks as dirty about this replica. */
  detached(): void;
  /** The peer, a member, is met again: says DETACH if it holds all that was answered. */
  resumeDetached(storageKept: boolean): boolean;
}

/** See the module comment. */
export class SourceLink implements Replication, MemberLink, DetachLink {
  readonly #context: VolumeContext;
  readonly #table: OpTable;
  readonly #membership: Membership;
  #parts: SourceParts | null = null;
  #state: LinkState = LinkState.Down;
  #session = 0;
  #sessions = 0;
  readonly #meeting: Meeting;
  /** Version of the link's protocol in the present connection. */
  #linkVersion = 0;
  #redialAt = 0;
  #redialWait = REDIAL_FIRST;
  #downSince = 0;
  #heardAt = 0;
  #spokeAt = 0;
  #watchAt = 0;

  /** For the one peer of this volume. */
  constructor(context: VolumeContext, table: OpTable) {
    this.#context = context;
    this.#table = table;
    this.#sessions = context.init.sessionSeed;
    this.#membership = new Membership(context, table, this);
    this.#meeting = new Meeting(context, this);
  }

  /** Called once, before anything else. */
  bind(parts: SourceParts): void {
    this.#parts = parts;
  }

  get session(): number {
    return this.#session;
  }

  get downSince(): number {
    return this.#downSince;
  }

  get streaming(): boolean {
    return this.#state === LinkState.Up;
  }

  get peerId(): string {
    return this.#meeting.peerId;
  }

  get syncing(): boolean {
    return this.#get.walks.resync.active;
  }

  get holdsAll(): boolean {
    return this.#linkVersion >= VERSION_DETACH && this.#membership.peerHoldsAll;
  }

  /** A session stands, or was lost a moment ago. */
  get hopeful(): boolean {
    return this.streaming || this.#context.now - this.#downSince < 2 * this.#context.init.timeout;
  }

  sayDetach(): void {
    this.say({ type: "DETACH", session: this.#session, epoch: this.#context.epoch });
  }

  /** For status. */
  get connection(): ConnectionState {
    if (this.#context.parting.shown !== null) return "StandAlone";
    if (this.#state !== LinkState.Up) return "Connecting";
    if (this.syncing) return "SyncSource";
    return this.#get.walks.verify.active ? "VerifySource" : "Connected";
  }

  /** Disk state of the replica, as far as it is known. */
  get peerDisk(): string {
    if (this.#state !== LinkState.Up) return "DUnknown";
    if (this.#context.upToDate.includes(this.peerId)) {
      return this.#membership.peerUnclean ? "Consistent" : "UpToDate";
    }
    return this.#meeting.peerInconsistent ? "Inconsistent" : "Outdated";
  }

  get #get(): SourceParts {
    if (this.#parts === null) throw new Error("the link was used before its parts were bound");
    return this.#parts;
  }

  /** This replica is Primary of a new epoch: dial. */
  begin(): void {
    this.#meeting.begin();
    this.#context.parting.end();
    this.#downSince = this.#context.now;
    this.#redialAt = 0;
    this.#redialWait = REDIAL_FIRST;
    this.#membership.begin();
    this.#dial();
  }

  /** This replica is no longer Primary. Operations are dealt with by whoever ends the role. */
  end(): void {
    if (this.#state !== LinkState.Down) this.#context.io.hangUp(PEER);
    this.#state = LinkState.Down;
    this.#get.walks.stop();
  }

  /** The connection stands, with this version of the link's protocol: HELLO. */
  connected(version: number): void {
    this.#linkVersion = version;
    const { io, superblock, init, bitmap, epoch } = this.#context;
    if (this.#state !== LinkState.Dialing) {
      io.hangUp(PEER);
      return;
    }
    this.#state = LinkState.Greeting;
    this.#session = this.#nextSession();
    this.#heardAt = this.#context.now;
    const own = superblock.value;
    this.say({
      type: "HELLO",
      volume: init.name,
      size: init.size,
      epoch,
      lineage: own.lineage,
      replicaId: own.replicaId,
      lastWrite: this.#context.lastWrite,
      primarySince: own.primarySince ?? 0,
      generations: own.generations,
      dirtyBlocks: bitmap.count,
      storage: own.storage,
      protocol: init.protocol,
      session: this.#session,
    });
  }

  /** The connection ended or could not be made. */
  disconnected(why: string): void {
    if (this.#state !== LinkState.Down) this.#lost(why);
  }

  /** Another connection has taken the place of ours. */
  replaced(): void {
    if (this.#state !== LinkState.Down) this.#lost("the peer connected by itself");
  }

  /** A control frame. */
  control(message: ControlMessage): void {
    this.#heardAt = this.#context.now;
    if (message.type === "DECLINE") {
      if (this.#state !== LinkState.Greeting) return;
      this.#context.parting.declined(message);
      this.drop(message.why);
      return;
    }
    if (!("session" in message) || message.session !== this.#session) return;
    switch (message.type) {
      case "WELCOME":
        if (this.#state === LinkState.Greeting && this.#meeting.welcomed(message)) {
          if (this.#context.detach !== Detach.No) return this.#greetDetached();
          this.#state = LinkState.Learning;
          this.#membership.welcomed(message.generations.current, message.unclean);
        }
        break;
      case "DIRTY":
        if (this.#state === LinkState.Learning) this.#meeting.learn(message.runs, message.last);
        break;
      case "SYNCREADY":
        if (this.#state === LinkState.Preparing) this.#ready();
        break;
      case "DETACHED":
        this.#detached();
        break;
      case "UNREADABLE":
        if (this.#state !== LinkState.Up) break;
        this.#get.reads.unreadable(message.seq);
        this.#get.walks.verify.unreadableThere(message.seq);
        break;
      case "JOINED":
        if (this.#state === LinkState.Up && this.#membership.joined(message.epoch)) {
          this.#meeting.joined();
          this.progressAll();
        }
        break;
      default:
    }
  }

  /** An answer to a data frame. */
  frame(kind: FrameKind, session: number, seq: number, head: Uint8Array): void {
    if (session !== this.#session || this.#state !== LinkState.Up) return;
    this.#heardAt = this.#context.now;
    const op = this.#table.bySeq(seq);
    if (op === null || op.peer !== PeerState.Sent || !this.#answered(op, kind, head)) {
      this.drop(`an answer (kind ${kind}) to nothing that was asked`);
    }
  }

  /** False if this is no answer to what was asked. */
  #answered(op: Op, kind: FrameKind, head: Uint8Array): boolean {
    const { writes, flushes, walks } = this.#get;
    if (op.kind !== OpKind.Checkpoint && isWalk(op)) return walks.answered(op, kind, head);
    if (kind !== (op.writes ? FrameKind.Wrote : FrameKind.Flushed)) return false;
    if (op.kind === OpKind.Checkpoint) walks.resync.checkpointed(op);
    else if (op.writes) writes.answered(op);
    else flushes.answered(op);
    return true;
  }

  /** DATA came. The buffer is given back. */
  data(session: number, seq: number, offset: number, length: number, buffer: number): void {
    if (session !== this.#session || this.#state !== LinkState.Up) {
      this.#context.io.release(buffer);
      return;
    }
    this.#heardAt = this.#context.now;
    if (!this.#get.reads.data(seq, offset, length, buffer)) {
      this.drop("data that nobody asked for");
    }
  }

  /** See Replication. */
  send(op: Op): void {
    sendOperation(this.#context, this.#table, op, this.#session);
    this.#spokeAt = this.#context.now;
  }

  /** See WalkHost. */
  sendFrame(op: Op, kind: FrameKind, flags: number, head: Uint8Array): void {
    sendBlocks(this.#context, this.#table, op, this.#session, kind, flags, head);
    this.#spokeAt = this.#context.now;
  }

  /** The resync has copied everything. */
  resynced(): void {
    this.#context.note("info", "resync-done", "the resync is finished", this.known());
    this.#membership.recordChanged();
    this.progressAll();
  }

  /** See MemberLink. */
  get stuck(): boolean {
    return this.#get.walks.resync.stuck;
  }

  /** See VerifyHost. */
  get verifiable(): boolean {
    return this.streaming && !this.syncing && this.#context.upToDate.includes(this.peerId);
  }

  /** See VerifyHost. */
  repair(): void {
    this.#meeting.sync();
    this.#get.walks.resync.begin();
  }

  /** The record has changed: tells the replica, and lets it join if it may. */
  recordChanged(): void {
    this.#membership.recordChanged();
    this.progressAll();
  }

  /** Time passed: dials, pings, gives up what does not answer, asks for a SHRINK. */
  tick(): void {
    const { now, init, io } = this.#context;
    if (this.#state === LinkState.Down) {
      if (this.#context.parting.hopeful && now >= this.#redialAt) this.#dial();
    } else if (now - this.#heardAt > init.timeout) {
      this.drop(`nothing was heard for ${init.timeout} ms`);
    } else if (this.#state !== LinkState.Dialing) {
      if (now - this.#spokeAt > init.timeout / PING_PART) {
        this.#spokeAt = now;
        io.sendControl(PEER, { type: "PING", session: this.#session });
      }
      if (this.#state === LinkState.Up) this.#watch();
    }
    this.#get.walks.tick();
    this.#membership.tick();
  }

  #dial(): void {
    this.#state = LinkState.Dialing;
    this.#heardAt = this.#context.now;
    this.#context.io.dial(PEER);
  }

  #nextSession(): number {
    this.#sessions = (this.#sessions + 1) >>> 0;
    if (this.#sessions === 0) this.#sessions = 1;
    return this.#sessions;
  }

  /** See MeetingHost. */
  agreed(): void {
    this.#state = LinkState.Preparing;
  }

  /** See MeetingHost. */
  spill(): void {
    this.#get.log.spillAll();
  }

  /** See MeetingHost. */
  isPreparing(session: number): boolean {
    return this.#session === session && this.#state === LinkState.Preparing;
  }

  /** Sends a control frame. */
  say(message: ControlMessage): void {
    this.#spokeAt = this.#context.now;
    this.#context.io.sendControl(PEER, message);
  }

  /** Whose session it is, for the journal. */
  known(): Record<string, string | number | boolean> {
    return { peer: this.#context.init.peers[PEER]!, session: this.#session };
  }

  /** Ends the connection from here. */
  drop(why: string): void {
    this.#context.io.hangUp(PEER);
    this.#lost(why);
  }

  #lost(why: string): void {
    const context = this.#context;
    const wasUp = this.#state === LinkState.Up;
    this.#state = LinkState.Down;
    this.#session = 0;
    this.#redialAt = context.now +
      (context.parting.split !== null ? REDIAL_REFUSED : this.#stagger());
    this.#redialWait = Math.min(2 * this.#redialWait, REDIAL_LAST);
    if (!wasUp) return;
    this.#downSince = context.now;
    context.changed = true;
    context.note("warning", "session-lost", `the replication link is lost: ${why}`, this.known());
    this.#membership.lost();
    const { writes, flushes, walks } = this.#get;
    walks.stop();
    for (const op of this.#table.ops) {
      if (op.state !== OpState.Running || op.peer !== PeerState.Sent) continue;
      if (isWalk(op)) walks.lost(op);
      else if (op.writes) writes.lost(op);
      else flushes.lost(op);
    }
    this.progressAll();
  }

  /** An operator wants a connection now, or none. */
  reconsider(): void {
    const { parting } = this.#context;
    this.#redialAt = 0;
    if (parting.disconnected && this.#state !== LinkState.Down) this.drop(parting.shown!);
  }

  /** Two Primaries that dial each other must not keep cutting each other off in step. */
  #stagger(): number {
    const { node, peers } = this.#context.init;
    return this.#redialWait * (node < peers[PEER]! ? 1 : 1.37);
  }

  /** There is nothing to compare: the peer has the only data. */
  #greetDetached(): void {
    const member = this.#context.upToDate.includes(this.peerId);
    const able = member && this.#linkVersion >= VERSION_DETACH;
    this.#state = LinkState.Preparing;
    if (!able || !this.#get.resumeDetached(this.#meeting.storageKept)) {
      this.drop("it cannot stand in for the local disk");
    }
  }

  #detached(): void {
    if (this.#context.detach === Detach.No) return;
    if (this.#state === LinkState.Preparing) this.#up();
    if (this.#state === LinkState.Up) this.#get.detached();
  }

  #ready(): void {
    // Bits were set meanwhile: the target must know that it is a mixture before it becomes one.
    if (this.#meeting.mustSyncAgain) return this.#meeting.sync();
    this.#up();
    if (this.#context.bitmap.count > 0) this.#get.walks.resync.begin();
    this.recordChanged();
  }

  #up(): void {
    const context = this.#context;
    this.#state = LinkState.Up;
    this.#redialWait = REDIAL_FIRST;
    context.changed = true;
    context.note("info", "connected", "the replication link is up", {
      ...this.known(),
      dirtyBlocks: context.bitmap.count,
    });
    this.#resend();
  }

  /** What is still in memory goes again, in order, before anything else. */
  #resend(): void {
    const waiting = this.#table.ops.filter((op) =>
      op.state === OpState.Running && op.writes && op.peer === PeerState.None
    ).sort((a, b) => a.order - b.order);
    for (const op of waiting) this.send(op);
  }

  /** The in-sync set or the session has changed: whatever waited for it goes on. */
  progressAll(): void {
    const { writes, reads, flushes } = this.#get;
    for (const op of this.#table.ops) {
      if (op.state !== OpState.Running) continue;
      if (op.writes) {
        writes.progress(op);
      } else if (op.kind === OpKind.Read) {
        reads.progress(op);
      } else if (op.kind === OpKind.Flush || op.kind === OpKind.LogFlush) {
        flushes.resume(op);
        flushes.progress(op);
      }
    }
  }

  /** A frame that is not answered in time means that the replica's disk or the link hangs. */
  #watch(): void {
    const { stalledFor } = this.#get.walks;
    if (stalledFor > this.#context.init.resync.stall) {
      const known = { ...this.known(), dirtyBlocks: this.#context.bitmap.count };
      const seconds = Math.round(stalledFor / 1000);
      const text = `the resync made no progress for ${seconds} s: it begins anew from the bitmap`;
      this.#context.note("warning", "resync-stalled", text, known);
      this.drop("the resync made no progress");
      return;
    }
    const { now, init: { timeout } } = this.#context;
    if (now < this.#watchAt) return;
    this.#watchAt = now + timeout / WATCH_PART;
    if (!this.#table.unansweredBefore(now - timeout)) return;
    this.drop(`a frame was not answered for ${timeout} ms`);
  }
}
