/** State of the proposer of one register, and what an operation on it is made of. */

import type { Tally } from "./learner.ts";
import type { Known } from "./state.ts";
import type { Ballot, Proposal, Refused, RegisterName, Takes, Voter } from "./types.ts";

/** A value with the generations that must be durable here before its ACCEPT may leave. */
export interface Draft {
  readonly proposal: Proposal;
  readonly mints: readonly { readonly volume: string; readonly generation: string }[];
}

/** A compare-and-set on the known-chosen version. */
export interface Change {
  /** For notes and outcomes: `take`, `release`, `shrink`, … */
  readonly purpose: string;
  /** 0: the register is empty. */
  readonly baseVersion: number;
  /** Announced in PREPARE. */
  readonly takes?: Takes;
  /** Its ACCEPT may leave; until then promises are only gathered. Default: always. */
  readonly mayAccept?: () => boolean;
  /** Called once per attempt, when the majority of promises showed the base. */
  readonly draft: () => Draft;
}

/** The voters an operation is made under. */
export interface Electorate {
  readonly voters: readonly Voter[];
  readonly votersVersion: number;
  /** Votes that make a quorum: a majority; everybody for the first record. */
  readonly needed: number;
  /** Of the record that lists the voters, if it is not 0. */
  readonly era?: number;
  /** The own vote is a quorum, for as long as this node decides alone. */
  readonly alone?: true;
}

/** Where an attempt is. */
export type Phase = "prepare" | "mint" | "accept";
/** What a promise showed; null: nothing was accepted there. */
export type Found = { readonly ballot: Ballot; readonly proposal: Proposal } | null;

/** One ballot of one operation. */
export interface Attempt {
  /** null: a read. */
  readonly change: Change | null;
  readonly ballot: Ballot;
  readonly electorate: Electorate;
  readonly startedAt: number;
  phase: Phase;
  /** Newest sending of the present phase's message, for retransmission. */
  sentAt: number;
  /** First sending of the ACCEPT: a lease that rests on it is dated here. */
  acceptSentAt: number;
  readonly promises: Map<string, Found>;
  /** Promised, but hold nothing and cannot tell whether they should. */
  readonly blank: Set<string>;
  readonly refused: Map<string, Refused["why"]>;
  /** Longest wait that a refusing voter named, milliseconds; null: none did. */
  refusedFor: number | null;
  readonly accepted: Set<string>;
  /** Ids that accepted but are voters only in the proposed value. */
  readonly acceptedNew: Set<string>;
  /** Ids that accepted among the voters before a swap. */
  readonly acceptedFormer: Set<string>;
  proposal: Proposal | null;
  /** The proposal is the change itself, not the completion of another's value. */
  own: boolean;
  readonly minting: Set<string>;
}

/** How an operation ended. */
export interface Outcome {
  readonly register: RegisterName;
  /** null: a read. */
  readonly purpose: string | null;
  /**
   * `chosen`: the change is known chosen. `read`: the register is known; a change on an older version
   * ends so as well. `failed`: nothing is known; `why` says what stood in the way.
   */
  readonly result: "chosen" | "read" | "failed";
  readonly why?: "ballot" | "votersVersion" | "granted" | "restarted" | "noState" | "timeout";
  /** For `chosen`: who accepted, and when the ACCEPT was first sent. */
  readonly acceptedBy?: readonly string[];
  readonly acceptSentAt?: number;
  /** For `failed` completions of a value that takes a group: from whom. */
  readonly refusedTakes?: Takes;
}

/** What this node knows and does about one register. */
export interface Register {
  readonly name: RegisterName;
  known: Known | null;
  /** When the newest operation began that showed what is chosen; -Infinity: none has. */
  confirmedAt: number;
  /** The same, of operations under two votes or more. */
  jointAt: number;
  /** Newest version that a peer says is chosen. */
  heardVersion: number;
  /** The same, since both votes last showed what is chosen. */
  told: number;
  doubt: boolean;
  wantRead: boolean;
  /** The next read writes back in any case, so that every voter holds the record. */
  forceWriteBack: boolean;
  attempt: Attempt | null;
  /** No operation starts before. */
  notBefore: number;
  failures: number;
  /** Highest n seen in any ballot. */
  maxN: number;
  /** Who accepted at the newest ballots, for `learner.ts`. */
  readonly tallies: Tally[];
  /** Voters whose promise led to a value that was refused: left out where others suffice. */
  readonly leaveOut: Set<string>;
}

/** A register of which nothing is known yet: it wants a read. */
export function createRegister(name: RegisterName): Register {
  return {
    name,
    known: null,
    confirmedAt: -Infinity,
    jointAt: -Infinity,
    heardVersion: 0,
    told: 0,
    doubt: false,
    wantRead: true,
    forceWriteBack: false,
    attempt: null,
    notBefore: 0,
    failures: 0,
    maxN: 0,
    tallies: [],
    leaveOut: new Set(),
  };
}
