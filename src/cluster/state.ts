/** State of the core as one tree of plain objects, and the few ways every part may act on it. */

import type {
  AgentPhase,
  Ballot,
  ClusterEffect,
  ClusterRecord,
  Frame,
  GroupRecord,
  Heartbeat,
  Message,
  NodeRun,
  Note,
  Proposal,
  ProtocolRange,
  RegisterName,
  ReplicaReport,
  VoterLogRecord,
} from "./types.ts";
import type { Config, NodeConfig } from "../config/types.ts";
import type { Acceptor } from "./acceptor.ts";
import type { Pair } from "./alone.ts";
import type { Fencing } from "./fencing.ts";
import type { Group } from "./group_state.ts";
import type { Membership } from "./membership.ts";
import type { PendingCommand } from "./pending_command.ts";
import type { Random } from "./random.ts";
import type { Outcome, Register } from "./register_state.ts";
import { protocolOf } from "./protocol.ts";

/** What the core needs to know at the start of an agent. */
export interface ClusterInit {
  readonly config: Config;
  /** Name of this node in the configuration. */
  readonly node: string;
  /** Durable, raised at each start. */
  readonly incarnation: number;
  /** Random id for a voter whose log is empty; ignored when the log holds an identity. */
  readonly voterId: string;
  /** Monotonic milliseconds, the same clock as in every later step. */
  readonly now: number;
  /** Any number; makes back-off of different nodes differ. */
  readonly seed: number;
  /** The voter's log as it was read back; empty for a new voter, or one that lost its state. */
  readonly log: readonly VoterLogRecord[];
  /** Versions of the cluster protocol; default: what this program speaks. */
  readonly speaks?: ProtocolRange;
}

/** Durations in milliseconds. */
export interface Timing {
  readonly keepalive: number;
  readonly warntime: number;
  readonly deadtime: number;
  readonly initdead: number;
  readonly shrinkAfter: number;
  /** 0.8 × deadtime: covers clocks that drift by 10 % in opposite directions, 0.8/0.9 < 1/1.1. */
  readonly lease: number;
}

/** The whole core. Mutated by `step` only; others look at it through `view`. */
export interface ClusterState {
  /** What runs. Another one comes by a push, see `push.ts`. */
  config: Config;
  readonly self: NodeRun;
  readonly speaks: ProtocolRange;
  readonly timing: Timing;
  readonly startedAt: number;
  /** Time of the last step. */
  now: number;
  readonly random: Random;
  phase: AgentPhase;
  /** Of the newest frame sent. */
  seq: number;
  /** Sending times of own frames: `sentAt[i]` belongs to sequence number `sentFrom + i`. */
  sentFrom: number;
  sentAt: number[];
  lastHeartbeat: number;
  /** Something changed that others should hear of before the next keepalive. */
  urgent: boolean;
  readonly membership: Membership;
  readonly acceptor: Acceptor;
  readonly pair: Pair;
  readonly fencing: Fencing;
  readonly registers: Map<RegisterName, Register>;
  readonly outcomes: Outcome[];
  readonly groups: Map<string, Group>;
  readonly replicas: Map<string, ReplicaReport>;
  readonly commands: PendingCommand[];
  /** Since when a quorum is heard without a break; null: none is. */
  quorumSince: number | null;
  /** When every configured node had been heard for the first time; null before. */
  allHeardAt: number | null;
  shutdown: {
    readonly at: number;
    stoppedAt: number | null;
    /** Since when nothing is left to be released. */
    idleAt: number | null;
    done: boolean;
  } | null;
  /** Memory of the rules about voters, see `voters.ts`. */
  readonly voters: {
    /**
     * Refused for the list of voters: try the other one that may be right. The first record may be half
     * made (everybody, rather than its voters), and so may one that adds a voter.
     */
    alternate: boolean;
    laggardSince: number | null;
    repairedAt: number;
    replacing: string | null;
  };
  /** Messages to the own acceptor and proposer: they take the path of all others without the network. */
  /** As last told by a `maintenance` effect. */
  maintenance: boolean;
  /** The configuration that runs, as it was written; `config` also names the nodes that leave. */
  pushed: Config;
  /** Nodes that the running configuration does not name any more, while the record lists them. */
  leaving: readonly NodeConfig[];
  /** What the configuration file holds, where that is not what runs. */
  file: { readonly config: Config; readonly live: boolean } | null;
  /** Which ping targets answer this node. */
  reach: Readonly<Record<string, boolean>>;
  readonly inbox: Message[];
  effects: ClusterEffect[];
}

/** Puts an effect behind those of this step. */
export function emit(state: ClusterState, effect: ClusterEffect): void {
  state.effects.push(effect);
}

/** Says what was decided or seen. */
export function note(
  state: ClusterState,
  level: Note["level"],
  rule: string,
  text: string,
  known: Note["known"],
  about: { readonly group?: string; readonly node?: string } = {},
): void {
  emit(state, { type: "note", note: { level, rule, ...about, text, known } });
}

/** Sends a body to one node; to the own node through the inbox, without a frame. */
export function sendTo(state: ClusterState, node: string, body: Message): void {
  if (node === state.self.node) state.inbox.push(body);
  else emit(state, { type: "send", to: node, frame: nextFrame(state, body) });
}

/** Sends a body to all other nodes and gives its sequence number. */
export function broadcast(state: ClusterState, body: Heartbeat): number {
  const frame = nextFrame(state, body);
  emit(state, { type: "send", to: "*", frame });
  return frame.seq;
}

function nextFrame(state: ClusterState, body: Message): Frame {
  state.seq += 1;
  state.sentAt.push(state.now);
  return { ...state.self, seq: state.seq, protocol: protocolInForce(state), body };
}

/** When the own frame of this number was sent; null if that is too long ago to matter. */
export function sendingTime(state: ClusterState, seq: number): number | null {
  return state.sentAt[seq - state.sentFrom] ?? null;
}

/** Forgets sending times older than anything that still counts. */
export function forgetSendingTimes(state: ClusterState): void {
  const limit = state.now - 2 * state.timing.deadtime;
  let old = 0;
  while (old < state.sentAt.length && state.sentAt[old]! < limit) old++;
  // In blocks: cutting the head of an array costs its length.
  if (old < 64) return;
  state.sentAt.splice(0, old);
  state.sentFrom += old;
}

/** The register of a group. */
export function groupRegister(group: string): RegisterName {
  return `group:${group}`;
}

/** What is known chosen in a register: by a majority's answers to one ballot, or by a quorum read. */
export interface Known {
  /** null: nothing was ever chosen. */
  readonly record: GroupRecord | ClusterRecord | null;
  readonly ballot: Ballot | null;
  /** When this version was learned. */
  readonly at: number;
}

/** The known-chosen record of the cluster; null if there is none or it is not known yet. */
export function knownCluster(state: ClusterState): ClusterRecord | null {
  return (state.registers.get("cluster")?.known?.record ?? null) as ClusterRecord | null;
}

/** The version in which this node writes its messages. */
export function protocolInForce(state: ClusterState): number {
  return Math.max(protocolOf(knownCluster(state)), state.speaks.least);
}

/** Whether a value belongs to the `cluster` register. */
export function isClusterRecord(value: Proposal["value"]): value is ClusterRecord {
  return "voters" in value;
}
