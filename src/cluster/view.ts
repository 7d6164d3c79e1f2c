/** The core as plain data, for `status`, the web page and tests. */

import { rankCandidates, type Ranked } from "./candidates.ts";
import { gatherFacts, knownGroup, ownReplicas } from "./facts.ts";
import type { Group } from "./group_state.ts";
import { ownerLostSince } from "./lease.ts";
import { type FrameCounters, isAlive, silenceStep } from "./membership.ts";
import type { Decision } from "./decision.ts";
import { leavingNodes, pushUnderWay } from "./push.ts";
import { countVotes, type Votes } from "./quorum.ts";
import { type ClusterState, knownCluster, protocolInForce } from "./state.ts";
import type {
  AgentPhase,
  ClusterRecord,
  GroupFailure,
  GroupRecord,
  GroupState,
  NodeState,
  ProtocolRange,
  ReplicaHealth,
} from "./types.ts";

/** How regularly a node is heard: how often its silences lasted so many steps. Milliseconds. */
export interface SilenceView {
  readonly stepMs: number;
  readonly counts: readonly number[];
  readonly longestMs: number;
}

/** One node as this node sees it. */
export interface NodeView {
  readonly name: string;
  readonly state: NodeState;
  readonly role: "node" | "witness";
  /** Whether the record lists it as a voter under its present id. */
  readonly voter: boolean;
  /** Own links are always up here: what is bound the agent knows. */
  readonly links: readonly { readonly index: number; readonly up: boolean }[];
  readonly incarnation: number;
  readonly phase: AgentPhase | null;
  /** Milliseconds since its newest frame; null: none since the own start; 0 for this node. */
  readonly heardAgo: number | null;
  /** Silences between its frames while it lived; null for this node. */
  readonly silence: SilenceView | null;
  /** Whether it runs the same configuration; null: not said yet. */
  readonly sameConfig: boolean | null;
  /** Hash of what it runs; null: not said yet. */
  readonly configHash: string | null;
  /** By volume. */
  readonly replicas: Readonly<Record<string, ReplicaHealth>>;
  /** By ping target. */
  readonly reach: Readonly<Record<string, boolean>>;
  /** null: not heard. */
  readonly speaks: ProtocolRange | null;
}

/** One group as this node sees it. */
export interface GroupView {
  readonly name: string;
  /** By the known-chosen record; null: released, never started, or not known. */
  readonly owner: string | null;
  readonly state: GroupState;
  readonly epoch: number;
  /** On the owner, until when by its clock; Infinity: sole; 0: no lease, or another node owns it. */
  readonly leaseUntil: number;
  /** The newest decision of this node about it. */
  readonly why: Decision;
  /** By node: why it will not run there before a cleanup. */
  readonly failed: Readonly<Record<string, string>>;
  /** By node: the same with how often, and when it may try again. */
  readonly failures: Readonly<Record<string, GroupFailure>>;
  /** Most wanted first, each with what speaks against it now. */
  readonly candidates: readonly Ranked[];
}

/** A fence as `status` shows it. */
export interface FenceView {
  readonly node: string;
  /** `pending`: it is being tried; `failed`: it will be tried again. */
  readonly state: "pending" | "failed";
  readonly attempts: number;
  /** What the last attempt that did not succeed said. */
  readonly detail: string;
}

/** All that `status` shows of the cluster. */
export interface ClusterView {
  readonly node: string;
  readonly incarnation: number;
  readonly phase: AgentPhase;
  readonly voterId: string;
  readonly quorum: {
    readonly have: boolean;
    readonly mode: string;
    readonly votes: number;
    readonly expected: number;
    readonly needed: number;
    readonly missing: Votes["missing"];
    /** The node that decides alone by the record. */
    readonly solo?: string;
    /** In a mode for pairs: whether this node may go on without its peer, as the mode says. */
    readonly joint?: boolean;
    /** A fence that is under way or did not succeed. */
    readonly fence?: FenceView;
  };
  readonly nodes: readonly NodeView[];
  readonly groups: readonly GroupView[];
  readonly records: {
    readonly cluster: ClusterRecord | null;
    readonly groups: Readonly<Record<string, GroupRecord | null>>;
  };
  /** Dropped and doubled frames since the start. */
  readonly frames: Readonly<FrameCounters>;
  readonly maintenance: boolean;
  readonly protocol: { readonly inForce: number; readonly speaks: ProtocolRange };
  readonly config: ConfigView;
}

/** Which configuration runs, is on the disk, and was pushed. */
export interface ConfigView {
  /** Hash of what runs here. */
  readonly running: string;
  /** Hash of what the file holds, where that is another and good one. */
  readonly file: string | null;
  /** Hash of what was pushed last; null: nothing was yet. */
  readonly pushed: string | null;
  /** Voters that the running configuration does not name any more. */
  readonly leaving: readonly string[];
  /** What the change of voters still waits for; null: nothing. */
  readonly waitsFor: string | null;
}

/** Looks at the core. `now`: of the same clock as the steps. */
export function view(state: ClusterState, now: number): ClusterView {
  const { config, self, groups } = state;
  const { have, votes, expected, needed, missing } = countVotes(state);
  const records: Record<string, GroupRecord | null> = {};
  for (const [name, group] of groups) records[name] = knownGroup(state, group);
  return {
    node: self.node,
    incarnation: self.incarnation,
    phase: state.phase,
    voterId: state.acceptor.voterId,
    quorum: {
      have,
      mode: config.cluster.quorum,
      votes,
      expected,
      needed,
      missing,
      ...pairView(state),
    },
    nodes: config.nodes.map(({ name, witness }) => nodeView(state, now, name, witness)),
    groups: [...groups.values()].map((group) => groupView(state, group)),
    records: { cluster: knownCluster(state), groups: records },
    frames: { ...state.membership.counters },
    maintenance: state.maintenance,
    protocol: { inForce: protocolInForce(state), speaks: state.speaks },
    config: {
      running: state.pushed.hash,
      file: state.file?.config.hash ?? null,
      pushed: knownCluster(state)?.config ?? null,
      leaving: leavingNodes(state),
      waitsFor: pushUnderWay(state),
    },
  };
}

function pairView(state: ClusterState): Pick<ClusterView["quorum"], "solo" | "joint" | "fence"> {
  if (state.config.cluster.quorum === "majority") return {};
  const solo = knownCluster(state)?.solo;
  const fence = fenceView(state);
  return {
    joint: state.pair.joint,
    ...(solo !== undefined && { solo }),
    ...(fence !== null && { fence }),
  };
}

function fenceView({ fencing, membership }: ClusterState): FenceView | null {
  const { pending, attempt, failures, detail } = fencing;
  const [other] = membership.peers.keys();
  if (pending !== null) {
    return { node: pending.node, state: "pending", attempts: attempt, detail };
  }
  if (failures === 0 || other === undefined) return null;
  return { node: other, state: "failed", attempts: attempt, detail };
}

function nodeView(state: ClusterState, now: number, name: string, witness: boolean): NodeView {
  const cluster = knownCluster(state);
  const role = witness ? "witness" : "node";
  const standby = cluster?.standby.includes(name) ?? false;
  const isVoter = (voterId: string | undefined) =>
    cluster?.voters.some((voter) => voter.node === name && voter.voterId === voterId) ?? false;
  const peer = state.membership.peers.get(name);
  if (peer === undefined) {
    const own = state.config.nodes.find((node) => node.name === name)!;
    return {
      name,
      state: standby ? "standby" : "online",
      role,
      voter: isVoter(state.acceptor.voterId),
      links: own.links.map((_, index) => ({ index, up: true })),
      incarnation: state.self.incarnation,
      phase: state.phase,
      heardAgo: 0,
      silence: null,
      sameConfig: true,
      configHash: state.config.hash,
      replicas: ownReplicas(state),
      reach: state.reach,
      speaks: state.speaks,
    };
  }
  const { heartbeat, liveness } = peer;
  return {
    name,
    state: !isAlive(peer)
      ? "offline"
      : liveness === "late"
      ? "late"
      : standby
      ? "standby"
      : "online",
    role,
    voter: isVoter(heartbeat?.voterId),
    links: peer.links.map(({ up }, index) => ({ index, up })),
    incarnation: peer.incarnation,
    phase: isAlive(peer) ? heartbeat?.phase ?? null : null,
    heardAgo: peer.lastHeard === null ? null : Math.max(0, now - peer.lastHeard),
    silence: {
      stepMs: silenceStep(state.timing.keepalive),
      counts: [...peer.silences],
      longestMs: peer.longestSilence,
    },
    configHash: heartbeat?.configHash ?? null,
    sameConfig: heartbeat === null ? null : heartbeat.configHash === state.config.hash,
    replicas: heartbeat?.replicas ?? {},
    reach: heartbeat?.reach ?? {},
    speaks: heartbeat?.speaks ?? null,
  };
}

function groupView(state: ClusterState, group: Group): GroupView {
  const { name } = group.config;
  const record = knownGroup(state, group);
  const facts = gatherFacts(state, group);
  const failures: Record<string, GroupFailure> = {};
  for (const { node, alive, failed } of facts.nodes) {
    if (alive && failed !== null) failures[node] = failed;
  }
  return {
    name,
    owner: group.underMark ? state.self.node : record?.owner?.node ?? null,
    state: groupStateOf(state, group, record),
    epoch: record?.epoch ?? group.epoch,
    leaseUntil: group.leaseUntil,
    why: decisionNow(state, group),
    failed: Object.fromEntries(
      Object.entries(failures).map(([node, { reason }]) => [node, reason]),
    ),
    failures,
    candidates: rankCandidates(facts),
  };
}

/** The newest decision, unless what is known since says more about why the group does not run. */
function decisionNow(state: ClusterState, group: Group): Decision {
  const { decision } = group;
  if (group.frozenSince !== null && decision.why.rule === "serving") {
    const text = `${state.self.node} owns the group and has no lease: it serves nothing`;
    return { ...decision, why: { rule: "frozen", text, known: decision.why.known } };
  }
  const register = state.registers.get(group.register);
  if (group.phase === "idle" && register?.known === null && !countVotes(state).have) {
    const text = "Too few voters are heard to read what was decided about the group";
    return { action: "wait", why: { rule: "no-quorum", text, known: {} } };
  }
  return decision;
}

function groupStateOf(state: ClusterState, group: Group, record: GroupRecord | null): GroupState {
  switch (group.phase) {
    case "taken":
      return "taking";
    case "starting":
    case "running":
      if (group.frozenSince !== null) return "frozen";
      return group.part === null ? group.phase : "starting";
    case "stopping":
    case "releasing":
      return "stopping";
    case "idle": {
      const taking = state.registers.get(group.register)?.attempt?.change?.purpose === "take";
      if (taking) return "taking";
      const owned = record !== null && record.owner !== null &&
        record.owner.node !== state.self.node && ownerLostSince(state, group, record) === null;
      if (owned) return "running";
      return group.failed || hasFailedEverywhere(state, group) ? "failed" : "stopped";
    }
  }
}

/** Whether candidates that are heard have all failed the group: it waits for one of them, or for a human. */
function hasFailedEverywhere(state: ClusterState, group: Group): boolean {
  const heard = gatherFacts(state, group).nodes.filter(({ node, alive }) =>
    alive && group.config.candidates.includes(node)
  );
  return heard.length > 0 && heard.every(({ failed }) => failed !== null);
}
