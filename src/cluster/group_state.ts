/** What this node remembers of one group. */

import type { GroupConfig, VolumeConfig } from "../config/types.ts";
import type { OwnFailure } from "./failures.ts";
import type { Decision } from "./decision.ts";
import type { GroupRecord, NodeRun, RegisterName } from "./types.ts";

/**
 * The life of a group on this node.
 *
 * `idle` → (TAKE known chosen) `taken` → (lease) `starting` → `running` → `stopping` → `releasing` →
 * `idle`. A newer epoch leads from anywhere through a forced `stopping` to `idle`.
 */
export type GroupPhase = "idle" | "taken" | "starting" | "running" | "stopping" | "releasing";

/** A change of the in-sync set that waits for its turn. */
export interface MemberRequest {
  readonly kind: "shrink" | "grow";
  readonly volume: string;
  readonly replicaId: string;
  readonly reason: string;
  /** Settled by a record of a higher version. */
  readonly version: number;
  /** When it was asked. */
  readonly at: number;
}

/** A voter's newest grant to an owner, as this node saw it. */
export interface SeenGrant {
  readonly run: NodeRun;
  readonly epoch: number;
  readonly seq: number;
  readonly at: number;
}

/** State of one group. */
export interface Group {
  config: GroupConfig;
  readonly volumes: readonly VolumeConfig[];
  readonly register: RegisterName;
  phase: GroupPhase;
  /** Of the present life, or of the last one. No life ever continues an earlier one's. */
  epoch: number;
  /** Serving an epoch of an earlier run under the `sole` mark, because no quorum answers. */
  underMark: boolean;
  /**
   * The volumes that the present life is for; null: all. An owner of a part starts nothing else: it
   * synchronizes them to a node that has the rest, see `resync_first.ts`.
   */
  part: readonly string[] | null;
  /** The present stop was ordered by a newer epoch. */
  forced: boolean;
  /** Promises for the release were asked for during the present stop. */
  gathered: boolean;
  /** Where a stop in order leads: to the release, or (no epoch of this run) to `idle`. */
  afterStop: "releasing" | "idle";
  /** Since when the lease has been lost; null: it is held, or the group is not served here. */
  frozenSince: number | null;
  /** When a frozen owner last asked for a read by itself. */
  readAt: number;
  /** After an own pause: nothing is served before a quorum read. */
  awaitingRead: boolean;
  /** The era in which this life began is over: not even a `sole` mark is worth anything. */
  outdated: boolean;
  /** By voter: sending time of the newest own frame that it granted in this epoch. */
  readonly votes: Map<string, number>;
  /** As last said in a `lease` effect. */
  leaseUntil: number;
  /** Asks and votes for no lease until then, so that a half-made take can be completed. */
  yieldUntil: number;
  /** What keeps it off this node now. */
  failed: OwnFailure | null;
  /** Failures here that have not aged out, and since when they have been ageing. */
  failures: number;
  failuresSince: number;
  /** It failed in maintenance: acted upon when that ends. */
  heldFailure: string | null;
  /** By node: since when it has been without trouble, and since when it reaches more than the owner. */
  readonly calmSince: Map<string, number>;
  readonly betterSince: Map<string, number>;
  readonly requests: MemberRequest[];
  /** By voter. */
  readonly seenGrants: Map<string, SeenGrant>;
  /** The recorded owner's run, once a newer run of its node was heard, and when it was heard last. */
  endedRun: { readonly run: NodeRun; readonly at: number } | null;
  /** By `volume/replica id`: when a live node last showed that replica. */
  readonly memberSeen: Map<string, number>;
  /** When the present life began. */
  since: number;
  /** Newest version given in a `record` effect. */
  emittedVersion: number;
  decision: Decision;
  /** When a start was last prepared. */
  preparedAt: number;
  /** The candidate that goes before this node, and since when it has been let go first. */
  waiting: { readonly on: string; readonly since: number } | null;
  /** Of the last note about a decision, so that each is said once. */
  notedDecision: string;
  /** The same of the last split brain. */
  notedParted: string;
}

/** A group that nothing is known of. */
export function createGroup(
  config: GroupConfig,
  volumes: readonly VolumeConfig[],
  register: RegisterName,
): Group {
  return {
    config,
    volumes,
    register,
    phase: "idle",
    epoch: 0,
    underMark: false,
    part: null,
    forced: false,
    gathered: false,
    afterStop: "releasing",
    frozenSince: null,
    readAt: 0,
    awaitingRead: false,
    outdated: false,
    votes: new Map(),
    leaseUntil: 0,
    yieldUntil: 0,
    failed: null,
    failures: 0,
    failuresSince: 0,
    heldFailure: null,
    calmSince: new Map(),
    betterSince: new Map(),
    requests: [],
    seenGrants: new Map(),
    endedRun: null,
    memberSeen: new Map(),
    since: 0,
    emittedVersion: 0,
    decision: {
      action: "wait",
      why: { rule: "unread", text: "The group's record has not been read yet", known: {} },
    },
    preparedAt: -Infinity,
    waiting: null,
    notedDecision: "",
    notedParted: "",
  };
}

/** The volumes that the resources of a group name. */
export function volumesOf(
  group: GroupConfig,
  volumes: readonly VolumeConfig[],
): readonly VolumeConfig[] {
  const names = new Set<string>();
  for (const resource of group.resources) {
    if (resource.kind === "volume") names.add(resource.volume);
  }
  return volumes.filter((volume) => names.has(volume.name));
}

/** Phases in which the group's lease is asked for. */
export function isServing(group: Group): boolean {
  return group.phase === "taken" || group.phase === "starting" || group.phase === "running" ||
    group.phase === "stopping" && !group.forced;
}

/** The record that `start` gives when a sole replica serves without a quorum's word. */
export function markedRecord(
  self: NodeRun,
  epoch: number,
  replicas: Readonly<Record<string, { readonly replicaId: string; readonly generation: string }>>,
): GroupRecord {
  const volumes: Record<string, { generation: string; upToDate: string[] }> = {};
  for (const [volume, { replicaId, generation }] of Object.entries(replicas)) {
    volumes[volume] = { generation, upToDate: [replicaId] };
  }
  return { version: 0, epoch, owner: self, volumes };
}
