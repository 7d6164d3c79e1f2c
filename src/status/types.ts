/**
 * The status document: what `GET /v1/status` and `bascule status --json` give. Scripts rely on it:
 * keys may be added, none renamed or taken away.
 *
 * @module
 */

import type { DiskState, GroupState, NodeState } from "../cluster/types.ts";
import type { ResourceStatus } from "../resource/runner_types.ts";
import type { ConnectionState } from "../volume/types.ts";

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
  /** Whether it runs the same configuration; null: not said yet. */
  readonly sameConfig?: boolean | null;
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
  /** By node: why it will not run there before a cleanup. */
  readonly failed?: Readonly<Record<string, string>>;
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
  readonly resync?: { readonly doneBytes: number; readonly totalBytes: number };
}
