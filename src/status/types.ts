/**
 * The status document: what `GET /v1/status` and `bascule status --json` give. Scripts rely on it:
 * keys may be added, none renamed or taken away.
 *
 * @module
 */

import type { DiskState, GroupFailure, GroupState, NodeState } from "../cluster/types.ts";
import type { ResourceStatus } from "../resource/runner_types.ts";
import type { ConnectionState, Split, Verified, WalkProgress } from "../volume/types.ts";

/** The cluster as one node sees it. */
export interface StatusDocument {
  /** Name of the cluster. */
  readonly cluster: string;
  /** The node that answers. */
  readonly node: string;
  /** Of this run of the agent that answers. */
  readonly incarnation?: number;
  readonly quorum: QuorumStatus;
  readonly nodes: readonly NodeStatus[];
  readonly groups: readonly GroupStatus[];
  readonly volumes: readonly VolumeStatus[];
  /** How the kernel schedules the agent that answers. */
  readonly scheduling?: "real-time" | "ordinary";
  /**
   * Datagrams that came to the heartbeat links since the start and were no frames of this cluster, and
   * genuine frames that were dropped or came twice; by cause.
   */
  readonly frames?: Readonly<Record<string, number>>;
  /** Nothing is started, stopped or moved. */
  readonly maintenance?: boolean;
  /** Version of the cluster protocol in force, and those that the agent which answers speaks. */
  readonly protocol?: { readonly inForce: number; readonly least: number; readonly newest: number };
  readonly config?: ConfigStatus;
}

/** Which configuration the node that answers runs, has on its disk, and the cluster was given. */
export interface ConfigStatus {
  /** Hash of what runs. */
  readonly running: string;
  /** Hash of what was pushed last; null: nothing was yet. */
  readonly pushed: string | null;
  /** Hash of what the file holds, where that is another and good one. */
  readonly file: string | null;
  /** What is wrong with the file, if something is. */
  readonly problem: string | null;
  /** How file and running configuration differ, one line each, by what it takes to bring it into force. */
  readonly live: readonly string[];
  readonly restart: readonly string[];
  readonly refused: readonly string[];
  /** Voters that the running configuration does not name any more. */
  readonly leaving: readonly string[];
  /** What the change of voters still waits for; null: nothing. */
  readonly waitsFor?: string | null;
}

/** Whether this node and those it hears can decide. */
export interface QuorumStatus {
  readonly have: boolean;
  readonly mode: string;
  /** Voters heard, this node included. */
  readonly votes: number;
  /** Voters of the record. */
  readonly expected: number;
  /** The node that decides alone: its peer was switched off, or stopped and left it its vote. */
  readonly solo?: string;
  /** In a mode for pairs: whether this node may go on without its peer. */
  readonly joint?: boolean;
  /** A fence that is under way, or did not succeed and is tried again. */
  readonly fence?: {
    readonly node: string;
    readonly state: "pending" | "failed";
    readonly attempts: number;
    readonly detail: string;
  };
}

/** One node of the configuration. */
export interface NodeStatus {
  readonly name: string;
  readonly state: NodeState;
  /** `data`, or `witness`. */
  readonly role: string;
  readonly links: readonly LinkStatus[];
  /** Whether the cluster's record lists it as a voter. */
  readonly voter?: boolean;
  /** Milliseconds since its newest frame; null: never heard. */
  readonly heardAgo?: number | null;
  /**
   * How regularly it is heard: between its frames it was silent for `n` to `n + 1` steps of `stepMs`
   * milliseconds `counts[n]` times since this agent's start; null for the node that answers.
   */
  readonly silence?: {
    readonly stepMs: number;
    readonly counts: readonly number[];
    readonly longestMs: number;
  } | null;
  /** Whether it runs the same configuration; null: not said yet. */
  readonly sameConfig?: boolean | null;
  /** Hash of the configuration that it runs; null: not said yet. */
  readonly config?: string | null;
  /** By ping target: whether it answers that node. */
  readonly reach?: Readonly<Record<string, boolean>>;
  /** Versions of the cluster protocol that it speaks; null: not said yet. */
  readonly speaks?: { readonly least: number; readonly newest: number } | null;
}

/** One heartbeat link of a node. */
export interface LinkStatus {
  readonly address: string;
  readonly up: boolean;
}

/** One group. */
export interface GroupStatus {
  readonly name: string;
  /** Node that owns it; null when it is released or unknown. */
  readonly owner: string | null;
  readonly state: GroupState;
  /** As they are on the node that answers. */
  readonly resources: readonly ResourceStatus[];
  /** The newest decision about it, in one sentence. */
  readonly reason?: string;
  readonly epoch?: number;
  /** By node: why it will not run there for now. */
  readonly failed?: Readonly<Record<string, string>>;
  /** By node: the same with how often, and in how many milliseconds it may try again by itself. */
  readonly failures?: Readonly<Record<string, GroupFailure>>;
  /** The newest decision about it: what is done, which rule applied, what was known. */
  readonly why?: DecisionStatus;
  /** Most wanted first. */
  readonly candidates?: readonly CandidateStatus[];
}

/** A decision as data. */
export interface DecisionStatus {
  readonly action: "none" | "take" | "release" | "wait";
  /** Who is expected to own the group next. */
  readonly to?: string;
  readonly rule: string;
  readonly text: string;
  readonly known: Readonly<Record<string, string | number | boolean>>;
}

/** A node that may run the group. */
export interface CandidateStatus {
  readonly node: string;
  /** What speaks against it now, as the end of a sentence about it; null: nothing. */
  readonly against: string | null;
  /** How many of the group's ping targets it reaches, of how many; null: not known. */
  readonly reaches: number | null;
  readonly of: number;
}

/** One volume, as its replica on the node that answers sees it. */
export interface VolumeStatus {
  readonly name: string;
  readonly role: "Primary" | "Secondary" | "Unknown";
  readonly disk: DiskState;
  /** The worst of the connections to its peers. */
  readonly connection: ConnectionState;
  readonly peers: readonly PeerStatus[];
  /** Nodes that hold every acknowledged write. */
  readonly upToDate: readonly string[];
  readonly generation: string;
  /** I/O waits: for the lease, for a peer, or for the record. */
  readonly frozen?: boolean;
  /** Bytes. */
  readonly size?: number;
  /** Why the replica here is not served, where it is not. */
  readonly failure?: string;
  /** Why the replicas are not connected, and no connection is tried. */
  readonly standAlone?: string;
  /** Both replicas have data of their own; see `bascule volume discard`. */
  readonly split?: Split;
  /** An operator gave up the data here; the resync that replaces them is to come or runs. */
  readonly discard?: boolean;
  /** The last finished verify that was led from here. */
  readonly verified?: Verified;
  /** NBD clients connected here. */
  readonly clients?: number;
  /** What clients asked for here since the data plane started, by kind of request. */
  readonly io?: Readonly<Record<IoKind, IoStatus>>;
}

/** Kinds of requests. */
export type IoKind = "read" | "write" | "flush" | "trim" | "zero";

/** One kind of request. */
export interface IoStatus {
  readonly requests: number;
  /** Answered with an error. */
  readonly errors: number;
  /** Asked for by requests without an error. */
  readonly bytes: number;
  readonly latency: {
    /** From the whole request in memory to its answer. */
    readonly total: LatencyStatus;
    /** The part of it before the disk was asked: frozen I/O, overlapping requests, activity log. */
    readonly queue: LatencyStatus;
    /** Operations of the local disk, a resync's included. */
    readonly disk: LatencyStatus;
    /** From a frame sent to the replica to its acknowledgement. */
    readonly replica: LatencyStatus;
  };
}

/** Times in microseconds. */
export interface LatencyStatus {
  readonly count: number;
  /** Half took at most so long, to the next power of two; null without any. */
  readonly p50: number | null;
  /** The same of 99 in 100. */
  readonly p99: number | null;
  /**
   * Counts: the first of what took less than a microsecond, number b of what took from 2^(b-1) up to
   * 2^b. Empty ones at the end are left out.
   */
  readonly histogram: readonly number[];
}

/** A peer of a volume. */
export interface PeerStatus {
  readonly node: string;
  readonly disk: string;
  readonly outOfSyncBytes: number;
  readonly connection?: ConnectionState;
  /** While a resync runs. */
  readonly resync?: WalkProgress;
  /** While a verify runs. */
  readonly verify?: WalkProgress;
}
