/**
 * The seams of the pure volume: what it is told, and the narrow interface through which it acts.
 *
 * One `Volume` is one node's replica of one volume. The data plane (a Worker in production, the
 * simulator in tests) feeds it client requests, disk completions, replication frames and orders from
 * the cluster, and carries out its calls on {@linkcode VolumeIo}. Every call that takes a `tag` is
 * answered exactly once by `done(tag, errno)`. Payload bytes are never looked at here: they travel as
 * handles of buffers that the data plane owns. Nothing is allocated per request on the hot path.
 *
 * @module
 */

import type { Note, ReplicaReport, VolumeRecord } from "../cluster/types.ts";
import type {
  ReplicationProtocol,
  ResyncSettings,
  SplitBrainPolicy,
  VerifySettings,
} from "../config/types.ts";
import type { BlockSums } from "../wire/block_frames.ts";

/** Index of a buffer of the data plane; -1 for none. */
export type BufferHandle = number;

/** What a client asks for. READ and WRITE carry a buffer. */
export const enum RequestKind {
  Read = 0,
  Write = 1,
  Flush = 2,
  Trim = 3,
  /** WRITE_ZEROES; the range may be deallocated. */
  Zero = 4,
  /** WRITE_ZEROES with NO_HOLE: the range stays allocated. */
  ZeroAllocated = 5,
}

/** Data frames of the replication link. The codec is `wire/replication.ts`. */
export const enum FrameKind {
  Write = 1,
  Wrote = 2,
  Flush = 3,
  Flushed = 4,
  Resync = 5,
  Resynced = 6,
  Trim = 7,
  Zero = 8,
  ZeroAllocated = 9,
  /** Checksums of the source's blocks. */
  Sums = 10,
  /** Answer to SUMS: which of the blocks differ. */
  Differs = 11,
  /** Asks for data of the replica's disk. */
  Read = 12,
  /** Answer to READ. */
  Data = 13,
}

/** Connection states, in DRBD's words. */
export type ConnectionState =
  | "StandAlone"
  | "Connecting"
  | "Connected"
  | "SyncSource"
  | "SyncTarget"
  | "VerifySource"
  | "VerifyTarget";

/** Control frames: rare, JSON on the wire, in FIFO order with the data frames of the session. */
export type ControlMessage =
  /** Primary → replica, first frame after authentication. */
  | {
    readonly type: "HELLO";
    readonly volume: string;
    readonly size: number;
    readonly epoch: number;
    readonly lineage: string;
    readonly replicaId: string;
    readonly generations: Generations;
    readonly dirtyBlocks: number;
    readonly storage: string;
    readonly lastWrite?: number;
    readonly primarySince?: number;
    readonly protocol: ReplicationProtocol;
    /** Minted by the Primary for this session. */
    readonly session: number;
  }
  /** Replica → Primary: it has demoted itself, drained its disk and persisted the epoch. */
  | {
    readonly type: "WELCOME";
    readonly epoch: number;
    readonly lineage: string;
    readonly replicaId: string;
    readonly generations: Generations;
    readonly dirtyBlocks: number;
    readonly storage: string;
    readonly inconsistent: boolean;
    readonly unclean: boolean;
    /** Never written by us: nothing would be lost by a full resync. */
    readonly blank: boolean;
    readonly lastWrite?: number;
    readonly primarySince?: number;
    /** A person said there that its data may be given up. */
    readonly discard?: boolean;
    readonly session: number;
  }
  /** Replica → Primary: lower epoch, other lineage, other size…; the Primary reads the register. */
  | {
    readonly type: "DECLINE";
    readonly why: string;
    readonly epoch: number;
    /** It has data of another history: what it holds. */
    readonly parted?: SplitView;
  }
  /** Source → target: both have data of their own. The target hangs up. */
  | {
    readonly type: "SPLIT";
    readonly session: number;
    readonly why: string;
    /** The dirty blocks of both name every difference. */
    readonly tracked: boolean;
    readonly source: SplitView;
  }
  /** Dirty blocks of the sender as runs [first block, count, first, count, …]; `last` ends the list. */
  | {
    readonly type: "DIRTY";
    readonly session: number;
    readonly runs: readonly number[];
    readonly last: boolean;
  }
  /** Source → target: which resync follows; the target is Inconsistent (durably) before it answers. */
  | {
    readonly type: "SYNC";
    readonly session: number;
    readonly inconsistent: boolean;
    readonly blocks: number;
  }
  | { readonly type: "SYNCREADY"; readonly session: number }
  | {
    readonly type: "JOIN";
    readonly session: number;
    readonly epoch: number;
    readonly generations: Generations;
  }
  | { readonly type: "JOINED"; readonly session: number; readonly epoch: number }
  /** Primary → replicas: the known-chosen set, so that both sides show the same. */
  | {
    readonly type: "RECORD";
    readonly session: number;
    readonly epoch: number;
    readonly generation: string;
    readonly upToDate: readonly string[];
  }
  /**
   * Primary → replica: its own disk has failed. The replica takes all blocks as dirty about it, durably,
   * before it answers. Also in place of SYNC in a later session.
   */
  | { readonly type: "DETACH"; readonly session: number; readonly epoch: number }
  | { readonly type: "DETACHED"; readonly session: number }
  /** Replica → Primary: what this READ asked for cannot be read here. */
  | { readonly type: "UNREADABLE"; readonly session: number; readonly seq: number }
  | { readonly type: "PING" | "PONG"; readonly session: number };

/** Generation identifiers of a replica, hex, as in DRBD: present data, since when a peer is missing, past. */
export interface Generations {
  readonly current: string;
  /** The generation that the absent peer last shared; empty when none is absent. */
  readonly bitmap: string;
  /** Newest first, a few. */
  readonly history: readonly string[];
}

/** The narrow interface through which a volume acts. Offsets and lengths in bytes. */
export interface VolumeIo {
  /** Local disk, data area. */
  read(
    tag: number,
    offset: number,
    length: number,
    buffer: BufferHandle,
    bufferOffset: number,
  ): void;
  /** `durable`: stable on the medium when done (FUA). */
  write(
    tag: number,
    offset: number,
    length: number,
    buffer: BufferHandle,
    bufferOffset: number,
    durable: boolean,
  ): void;
  /** Deallocates a range of the data area; it may read as anything afterwards, here as zeroes. */
  discard(tag: number, offset: number, length: number): void;
  /** Makes a range of the data area read as zeroes. */
  zero(tag: number, offset: number, length: number, keepAllocated: boolean): void;
  /** Everything completed before is stable when done. */
  flush(tag: number): void;
  /** Metadata, offset from its start; durable when done. The bytes are copied before this returns. */
  writeMeta(tag: number, offset: number, bytes: Uint8Array): void;

  /** Open a connection to this peer (by index in `VolumeInit.peers`); `connected` or `disconnected` follows. */
  dial(peer: number): void;
  /** Close the connection; no frame of it is delivered afterwards. No `disconnected` follows. */
  hangUp(peer: number): void;
  /** FIFO with `sendControl`. `head` precedes the data of frames about scattered blocks. */
  sendData(
    peer: number,
    kind: FrameKind,
    session: number,
    seq: number,
    offset: number,
    length: number,
    buffer: BufferHandle,
    bufferOffset: number,
    flags: number,
    head?: Uint8Array,
  ): void;
  /** A control frame; FIFO with `sendData`. */
  sendControl(peer: number, message: ControlMessage): void;

  /** Sums of the first `blocks` blocks of a buffer. */
  sums(buffer: BufferHandle, blocks: number): BlockSums;
  /** SHA-256 of the blocks of a buffer for which `picks` is 1, one after the other. */
  digest(buffer: BufferHandle, picks: Uint8Array): Uint8Array;
  /** Moves the blocks for which `picks` is 1 to the front of the buffer, in order. */
  gather(buffer: BufferHandle, picks: Uint8Array): void;

  /** A buffer for resync; -1 when none is free now: `bufferFree()` follows. */
  acquire(length: number): BufferHandle;
  /** Gives back an acquired buffer, or the buffer of a received frame. Pending I/O keeps its own hold. */
  release(buffer: BufferHandle): void;

  /** Begins with a client's request: the disk is asked. May be left out; time is taken by it. */
  began?(request: number): void;
  /** Copies bytes from one buffer to another. */
  copy(
    from: BufferHandle,
    fromOffset: number,
    to: BufferHandle,
    toOffset: number,
    length: number,
  ): void;

  /** Answers a client. For READ the data are in the request's buffer. errno 0: done. */
  answer(request: number, errno: number): void;

  /** To the cluster core, through the agent. */
  report(report: VolumeReport): void;
  /** Asks the cluster, or answers one of its orders. */
  ask(ask: VolumeAsk): void;
  /** One line for the log and the journal. */
  note(note: Note): void;
}

/** A replica's report, with what status shows of its peers. */
export interface VolumeReport extends ReplicaReport {
  readonly frozen: boolean;
  /** Why there is no connection, and none is tried. */
  readonly standAlone?: string;
  /** Both replicas have data of their own. */
  readonly split?: Split;
  /** The data here are to be given up for the other replica's. */
  readonly discard?: boolean;
  /** The last finished verify that this replica led as Primary. */
  readonly verified?: Verified;
  /** The own disk has failed and clients are, or will soon be, served from the peer's. */
  readonly throughPeer: boolean;
  readonly peers: readonly PeerReport[];
}

/** One peer as this replica sees it. */
export interface PeerReport {
  readonly node: string;
  readonly connection: ConnectionState;
  readonly disk: string;
  readonly outOfSyncBytes: number;
  /** During a resync. */
  readonly resync?: WalkProgress;
  /** During a verify. */
  readonly verify?: WalkProgress;
}

/** What a side of a parting holds. */
export interface SplitView {
  /** Blocks written since both were the same, as far as they are known. */
  readonly dirtyBlocks: number;
  /** Wall clock of its newest write as Primary, to half a minute; 0: none, or not known. */
  readonly lastWrite: number;
  /** Wall clock of its last promotion; 0: never, or not known. */
  readonly primarySince: number;
}

/** Two replicas that both have data of their own. */
export interface Split {
  readonly reason: string;
  /** At most so many blocks differ; null: perhaps all. */
  readonly blocks: number | null;
  readonly own: SplitView;
  readonly peer: SplitView;
}

/** Result of a verify. */
export interface Verified {
  /** Wall clock, milliseconds since 1970. */
  readonly at: number;
  /** Blocks that differed. */
  readonly differing: number;
  /** Whether they were then copied to the replica. */
  readonly repaired: boolean;
}

/** How far a resync or a verify is. */
export interface WalkProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Over the last second or so. */
  readonly bytesPerSecond: number;
  /** Of the rest, what the source cannot read, if anything. */
  readonly unreadableBytes?: number;
}

/** What a Primary's volume asks of the cluster. */
export type VolumeAsk =
  | {
    readonly type: "shrink" | "grow";
    readonly epoch: number;
    readonly replicaId: string;
    readonly reason: string;
    /** Of the newest record that the volume knows; a record of a higher version settles the ask. */
    readonly version: number;
  }
  | { readonly type: "minted"; readonly generation: string }
  | { readonly type: "promoted"; readonly epoch: number }
  /** This replica may not be Primary of that epoch: the record or the superblock forbids it. */
  | { readonly type: "promoteFailed"; readonly epoch: number; readonly reason: string }
  /** `clean`: drained, flushed on all members, Secondary. */
  | { readonly type: "demoted"; readonly epoch: number; readonly clean: boolean }
  /** An operation of an operator was carried out or begun, or why not. */
  | { readonly type: "operated"; readonly id: number; readonly error: string | null }
  /** Clean mark written; the Worker may end. */
  | { readonly type: "closed" };

/** What an operator may want of a volume on one node. */
export const VOLUME_OPERATIONS = [
  "connect",
  "disconnect",
  "discard",
  "verify",
  "verify-repair",
  "verify-cancel",
] as const;
/** One of {@linkcode VOLUME_OPERATIONS}. */
export type VolumeOperation = typeof VOLUME_OPERATIONS[number];

/** Orders from the cluster. */
export type VolumeOrder =
  | {
    readonly type: "promote";
    readonly epoch: number;
    /** Version of the group's record. */
    readonly version: number;
    /** null: no quorum told it; then only the replica's own `sole` mark makes it Primary again. */
    readonly lineage: string | null;
    readonly record: VolumeRecord;
  }
  | { readonly type: "demote"; readonly forced: boolean }
  /** Newest known-chosen record of the group. `mine`: this run owns that epoch. */
  | {
    readonly type: "record";
    readonly epoch: number;
    /** Version of the group's record; older than one that was told before: ignored. */
    readonly version: number;
    readonly mine: boolean;
    readonly record: VolumeRecord;
  }
  | { readonly type: "mint"; readonly generation: string }
  /** What an operator wants; answered by `operated`. */
  | { readonly type: "operate"; readonly id: number; readonly what: VolumeOperation }
  /** Most bytes per second that resync and verify may take of what the node allows; null: no limit. */
  | { readonly type: "pace"; readonly ceiling: number | null }
  /** Clean stop of the agent: mark the superblock clean. Only after `demote`. */
  | { readonly type: "close" };

/** What a volume needs to know at the start. */
export interface VolumeInit {
  readonly name: string;
  readonly node: string;
  readonly size: number;
  readonly protocol: ReplicationProtocol;
  readonly soleBoot: boolean;
  readonly timeout: number;
  readonly resync: ResyncSettings;
  readonly verify: VerifySettings;
  readonly afterSplitBrain: SplitBrainPolicy;
  /** Milliseconds since 1970 at `now`: for people, never for decisions between replicas' data. */
  readonly wallClock: number;
  /** What a Primary does whose own disk fails. */
  readonly onIoError: "detach" | "hand-over";
  /** Other replicas' nodes; `peer` arguments are indexes into this list. */
  readonly peers: readonly string[];
  /** Linux boot id, to tell an agent's restart from a boot. */
  readonly bootId: string;
  /** The disk may lose completed writes at a power loss. */
  readonly volatileCache: boolean;
  /** 64 random bits, hex, fresh at every start: becomes `storage` if that must be renewed. */
  readonly freshStorage: string;
  /** Random start of session numbers. */
  readonly sessionSeed: number;
  /** Monotonic milliseconds. */
  readonly now: number;
}
