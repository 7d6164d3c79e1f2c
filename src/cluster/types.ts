/**
 * Words of the cluster protocol: records, messages, events and effects of the pure core.
 *
 * The agent feeds {@linkcode ClusterEvent}s to `step` and carries out the {@linkcode ClusterEffect}s
 * **in order**: whatever stands after a `persist` may only happen once that `persist` is durable.
 * Times are milliseconds of one monotonic clock; the wall clock decides nothing.
 *
 * @module
 */

import type { Config } from "../config/types.ts";

/** One run of an agent: incarnation is durable and raised at each start. */
export interface NodeRun {
  readonly node: string;
  readonly incarnation: number;
}

/** Never used twice. Ordered by n, then node, then incarnation. */
export interface Ballot extends NodeRun {
  readonly n: number;
}

/** Versions of the cluster protocol that an agent speaks, both included. */
export interface ProtocolRange {
  readonly least: number;
  readonly newest: number;
}

/** The name of a CASPaxos register: `cluster`, or `group:NAME`. */
export type RegisterName = "cluster" | `group:${string}`;

/** What the cluster agrees on about one volume. */
export interface VolumeRecord {
  /** Hex id of the data's present generation; only a replica that bears it may take. */
  readonly generation: string;
  /** Replica ids (from superblocks, not node names) that hold every acknowledged write. */
  readonly upToDate: readonly string[];
}

/** The record of a group. `owner: null` means released: anybody eligible may take at once. */
export interface GroupRecord {
  readonly version: number;
  readonly epoch: number;
  readonly owner: NodeRun | null;
  readonly volumes: Readonly<Record<string, VolumeRecord>>;
  /** Where an operator moved the group: goes before `prefer`, and nothing fails back from it. */
  readonly wanted?: string;
  /** Raised by every `cleanup`: a node that failed the group under a lower number may run it again. */
  readonly cleanups?: number;
  /** Of the group's data since its last forced promotion; before one, the cluster's. */
  readonly lineage?: string;
}

/** A voter is a node with the random id of its state; lost state means another id. */
export interface Voter {
  readonly node: string;
  readonly voterId: string;
}

/** The record of the cluster itself. */
export interface ClusterRecord {
  readonly version: number;
  readonly voters: readonly Voter[];
  readonly votersVersion: number;
  /** Minted at the first record. A forced promotion gives its group another, see {@linkcode GroupRecord}. */
  readonly lineage: string;
  readonly standby: readonly string[];
  readonly maintenance: boolean;
  /** Version of the protocol in force: 1 unless it says otherwise, raised only, never lowered. */
  readonly protocol?: number;
  /** Hash of the configuration that an operator pushed last. */
  readonly config?: string;
  /**
   * `fencing`: the node that decides alone, because the other was switched off, or stopped and left it
   * its vote. It ends when the other has copied every register and votes again.
   */
  readonly solo?: string;
  /**
   * Raised when a promotion was forced without a quorum: every register begins anew, and whoever is in
   * a lower era freezes until it is admitted. No two nodes ever make the same. Default 0.
   */
  readonly era?: number;
  /** Voters that such a promotion left behind: they are admitted again when they are heard. */
  readonly dropped?: readonly string[];
  /** Where one voter takes the place of another: the voters before, see `swap.ts`. */
  readonly former?: readonly Voter[];
}

/** The owner that a value removes; stored with the value, so every ACCEPT of it is subject to refusal. */
export interface Takes extends NodeRun {
  readonly epoch: number;
}

/** What an acceptor stores: the value and whom it takes the group from. */
export interface Proposal {
  readonly value: GroupRecord | ClusterRecord;
  readonly takes?: Takes;
}

/** A voter's statement that it will not let anybody take `group` from this run for deadtime. */
export interface Grant extends NodeRun {
  readonly epoch: number;
  /** Sequence number of the owner's heartbeat that is granted. */
  readonly seq: number;
}

/** Disk states in the field's words. */
export type DiskState = "UpToDate" | "Consistent" | "Outdated" | "Inconsistent" | "Diskless";

/** What a node tells the others about its replica of a volume: hints, never proof. */
export interface ReplicaHealth {
  /** Empty when there is no readable metadata. */
  readonly replicaId: string;
  readonly disk: DiskState;
  /** Generation in the superblock. */
  readonly generation: string;
  /** Durable epoch in the superblock. */
  readonly epoch: number;
  /** A boot without clean mark on a volatile cache: its last writes may be missing. */
  readonly unclean: boolean;
  /** `zero`: never written and known to read as zeroes; `unknown`: never written by us, content unknown. */
  readonly blank: "no" | "zero" | "unknown";
}

/** What keeps a group off a node that failed it, as that node tells the others. */
export interface GroupFailure {
  readonly reason: string;
  /** Failures since the last cleanup that have not aged out. */
  readonly count: number;
  /** Milliseconds until it may try again by itself; absent: only after a cleanup. */
  readonly againIn?: number;
}

/** Life of an agent as the others see it; `stopping` announces a planned stop. */
export type AgentPhase = "starting" | "running" | "stopping";

/** HEARTBEAT. Sent every keepalive on every link, and at once when something changed. */
export interface Heartbeat {
  readonly type: "HEARTBEAT";
  /** Newest frame heard of each peer. */
  readonly heard: Readonly<Record<string, { readonly incarnation: number; readonly seq: number }>>;
  /** Own groups, by epoch, for which the lease is asked. */
  readonly asks: Readonly<Record<string, number>>;
  /** By group. */
  readonly grants: Readonly<Record<string, Grant>>;
  /** Newest known-chosen version of every register; whoever sees a higher one reads. */
  readonly known: Readonly<
    Record<string, { readonly version: number; readonly ballot: Ballot }>
  >;
  /** Of the configuration that runs. */
  readonly configHash: string;
  /** Of the configuration that the file holds, where that is another and good one. */
  readonly fileHash?: string;
  /** Milliseconds: leases of two lengths in one cluster would allow two owners. */
  readonly deadtime: number;
  readonly voterId: string;
  /** Registers with a record of which this voter holds nothing: it makes no quorum there yet. */
  readonly lacks: number;
  /** Groups' registers of which it holds something: a voter that joins must not bring any of an old time. */
  readonly holds: number;
  readonly speaks: ProtocolRange;
  /** Of the cluster's record that this voter accepted last, if it is not 0. */
  readonly era?: number;
  readonly phase: AgentPhase;
  readonly replicas: Readonly<Record<string, ReplicaHealth>>;
  /** Groups that may not run here for now. */
  readonly failed: Readonly<Record<string, GroupFailure>>;
  /** By ping target: whether it answers this node; those that were not measured yet are left out. */
  readonly reach: Readonly<Record<string, boolean>>;
}

/** PREPARE. `takes` announces a takeover so that it can be refused early. */
export interface Prepare {
  readonly type: "PREPARE";
  readonly register: RegisterName;
  readonly votersVersion: number;
  /** Of the voters, if it is not 0. */
  readonly era?: number;
  readonly ballot: Ballot;
  readonly takes?: Takes;
}

/** PROMISE, with what the acceptor holds. */
export interface PromiseMessage {
  readonly type: "PROMISE";
  readonly register: RegisterName;
  readonly ballot: Ballot;
  readonly voterId: string;
  readonly accepted?: { readonly ballot: Ballot; readonly proposal: Proposal };
}

/** ACCEPT. */
export interface Accept {
  readonly type: "ACCEPT";
  readonly register: RegisterName;
  readonly votersVersion: number;
  /** Of the voters, if it is not 0. */
  readonly era?: number;
  readonly ballot: Ballot;
  readonly proposal: Proposal;
}

/** ACCEPTED. An ACCEPTED TAKE is a grant, dated at the ACCEPT's sending. */
export interface Accepted {
  readonly type: "ACCEPTED";
  readonly register: RegisterName;
  readonly ballot: Ballot;
  readonly voterId: string;
}

/**
 * REFUSED: another ballot, another votersVersion (or a voter that is not listed in it), an owner still
 * granted, a voter still in its wait after a restart.
 *
 * `noState` answers a PREPARE only: the promise is kept, but this voter holds nothing in the register
 * and, since a voter has been replaced in this cluster, cannot tell whether it should. Such answers
 * make no quorum before every voter has answered.
 */
export interface Refused {
  readonly type: "REFUSED";
  readonly register: RegisterName;
  /** The ballot that is refused. */
  readonly ballot: Ballot;
  readonly phase: "PREPARE" | "ACCEPT";
  readonly why: "ballot" | "votersVersion" | "granted" | "restarted" | "noState";
  /** The higher promise, for `ballot`. */
  readonly promised?: Ballot;
  /** For `granted` and `restarted`: milliseconds until this voter refuses no longer, as it stands now. */
  readonly waitMs?: number;
  readonly votersVersion: number;
}

/** The body of an authenticated frame between agents. */
export type Message = Heartbeat | Prepare | PromiseMessage | Accept | Accepted | Refused;

/** An authenticated frame. The codec is in `wire`, replay and incarnation checks are in the core. */
export interface Frame extends NodeRun {
  /** Grows by one with every frame of this run, whatever its type and addressee. */
  readonly seq: number;
  /** Version of the protocol that the body is written in: the one in force at its sender. */
  readonly protocol: number;
  readonly body: Message;
}

/** What the local replica's worker says; sent when anything in it changed. */
export interface ReplicaReport extends ReplicaHealth {
  readonly role: "Primary" | "Secondary";
  /** Epoch of the `sole` mark in the superblock, if it stands and was made in this boot (or sole_boot). */
  readonly sole: number | null;
  /** Pending generation in the superblock, kept beside the present one until it is known chosen. */
  readonly pending: string | null;
}

/** What an operator asks for. Answered by a `commandDone` effect. */
export type OperatorCommand =
  | { readonly type: "standby"; readonly node: string; readonly on: boolean }
  | { readonly type: "move"; readonly group: string; readonly to?: string }
  | { readonly type: "cleanup"; readonly group: string }
  | { readonly type: "maintenance"; readonly on: boolean }
  /** Put the configuration with this hash, which every heard node must have, into the record. */
  | { readonly type: "push"; readonly hash: string }
  /** A person states that this node is off. */
  | { readonly type: "confirmOff"; readonly node: string }
  /** The group's data become those of the replica on the node that is asked, whatever is lost by it. */
  | { readonly type: "promote"; readonly group: string };

/** Everything that can happen to the core. */
export type ClusterEvent =
  /** Time passed. Several times a keepalive; what is due is done at the next one. */
  | { readonly type: "tick" }
  | { readonly type: "frame"; readonly link: number; readonly frame: Frame }
  | { readonly type: "replica"; readonly volume: string; readonly report: ReplicaReport }
  /** The pending generation is durable in the superblock: the answer to a `mint` effect. */
  | { readonly type: "minted"; readonly volume: string; readonly generation: string }
  /**
   * The Primary's volume asks: a member missed a write or FLUSH, or a joined target may be added.
   *
   * `version`: of the newest record the volume knows (default: the core's own at receipt). Both are
   * settled by a `record` effect of a **higher** version and by nothing else; until then a target that
   * may be grown counts for acknowledgement. A `grow` is proposed on exactly that version or dropped.
   */
  | {
    readonly type: "shrink" | "grow";
    readonly volume: string;
    readonly epoch: number;
    readonly replicaId: string;
    readonly reason: string;
    readonly version?: number;
  }
  /** The runner's answers to `start` and `stop`. */
  | { readonly type: "started"; readonly group: string; readonly epoch: number }
  | {
    readonly type: "startFailed";
    readonly group: string;
    readonly epoch: number;
    readonly reason: string;
  }
  /** `clean`: stopped in order, drained, flushed on all members, Secondary. Only then is it released. */
  | {
    readonly type: "stopped";
    readonly group: string;
    readonly epoch: number;
    readonly clean: boolean;
  }
  /** A running resource failed beyond its restarts. */
  | { readonly type: "failed"; readonly group: string; readonly reason: string }
  /**
   * How a `fence` ended. `confirmed`: the node was certainly off, or reset by power, at some moment
   * since it was asked for.
   */
  | {
    readonly type: "fenced";
    readonly node: string;
    readonly attempt: number;
    readonly confirmed: boolean;
    /** What the methods said. */
    readonly detail: string;
  }
  | { readonly type: "command"; readonly id: number; readonly command: OperatorCommand }
  /** Which ping targets answer this node; those that were not measured yet are left out. */
  | { readonly type: "reach"; readonly targets: Readonly<Record<string, boolean>> }
  /**
   * The configuration file holds another, good configuration; null: the one that runs, or none that
   * is good. `live`: it can be run without a restart of the agent.
   */
  | {
    readonly type: "file";
    readonly found: { readonly config: Config; readonly live: boolean } | null;
  }
  /** SIGTERM: stop and release everything, announce the stop, then `shutdownDone`. */
  | { readonly type: "shutdown" };

/** Everything the core can ask for. Carried out in order. */
export type ClusterEffect =
  /** Append to the voter's log and fsync before anything that follows. */
  | { readonly type: "persist"; readonly record: VoterLogRecord }
  /** To one node, or to all, over every link. */
  | { readonly type: "send"; readonly to: string | "*"; readonly frame: Frame }
  /** Write the pending generation into the superblock, then answer `minted`. */
  | { readonly type: "mint"; readonly volume: string; readonly generation: string }
  /** The group's known-chosen record, for its volumes (upToDate, epoch, generation). */
  | { readonly type: "record"; readonly group: string; readonly record: GroupRecord }
  /** A take was proposed and may end in a start: what changes nothing may begin ahead of it. */
  | { readonly type: "prepare"; readonly group: string }
  /** TAKE is known chosen: start the group's resources in order; `part`: these volumes alone. */
  | {
    readonly type: "start";
    readonly group: string;
    readonly record: GroupRecord;
    readonly part?: readonly string[];
  }
  /** Stop in reverse order. `forced`: deposed by a newer epoch, no time to ask; else drain and flush. */
  | {
    readonly type: "stop";
    readonly group: string;
    readonly epoch: number;
    readonly forced: boolean;
  }
  /** The lease of the group lasts until this time (0: none, Infinity: sole). */
  | {
    readonly type: "lease";
    readonly group: string;
    readonly epoch: number;
    readonly until: number;
  }
  /** Lease lost: addresses go at once, processes stay, I/O freezes by itself. */
  | { readonly type: "suspend"; readonly group: string }
  /** Lease of the own epoch is back and nobody took over. */
  | { readonly type: "resume"; readonly group: string }
  /** Switch a node off or reset it by power; answered by `fenced` with the same attempt. */
  | { readonly type: "fence"; readonly node: string; readonly attempt: number }
  | { readonly type: "commandDone"; readonly id: number; readonly error?: string }
  /** Maintenance begins or ends: while it lasts no resource is started or stopped for what it does. */
  | { readonly type: "maintenance"; readonly on: boolean }
  /** Another configuration runs from now on; it differs in nothing that needs a restart. */
  | { readonly type: "config"; readonly config: Config }
  | { readonly type: "shutdownDone" }
  /** One decision or observation, with what was known. One line in the log, one entry in the journal. */
  | { readonly type: "note"; readonly note: Note };

/** A decision that explains itself. */
export interface Note {
  readonly level: "debug" | "info" | "warning" | "error";
  /** Stable word for the kind of event: `peer-dead`, `take`, `lease-lost`, `deposed`, … */
  readonly rule: string;
  readonly group?: string;
  readonly node?: string;
  /** One sentence for a person at 3 a.m. */
  readonly text: string;
  /** What was known. */
  readonly known: Readonly<Record<string, string | number | boolean>>;
}

/** One entry of the voter's append-only log. */
export type VoterLogRecord =
  | { readonly kind: "identity"; readonly voterId: string }
  | { readonly kind: "promise"; readonly register: RegisterName; readonly ballot: Ballot }
  | {
    readonly kind: "accept";
    readonly register: RegisterName;
    readonly ballot: Ballot;
    readonly proposal: Proposal;
    /** In a group's register: of the cluster's record, if it is not 0. */
    readonly era?: number;
  };

/** State of a node as `status` shows it. */
export type NodeState = "online" | "late" | "offline" | "standby";

/** State of a group on this node, or as far as it is known from the record. */
export type GroupState =
  | "stopped"
  | "taking"
  | "starting"
  | "running"
  | "stopping"
  | "frozen"
  | "failed";
