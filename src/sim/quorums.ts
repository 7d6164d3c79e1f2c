/**
 * When a value is chosen, as somebody sees who watches all voters and knows nothing of how they decide:
 * by a majority of the voters that one record of the cluster lists, each of which held that list when
 * it accepted; by one voter alone where the newest record names it `solo`, or where it makes itself so;
 * by the one voter of a new era. A change of the voters is chosen by a majority of the new ones that
 * meets every majority of those before.
 *
 * That a voter accepted counts for ever, also once it lost its state: its new id is admitted by a
 * majority of the others that read the register after the loss. That majority meets everyone that the
 * lost vote completes, before or after the admission, in a voter that accepted before it was read.
 */

import type { Ballot, ClusterRecord, GroupRecord, RegisterName, Voter } from "../cluster/types.ts";
import { Violation } from "./violation.ts";

/** Who accepted a value at a ballot. */
export interface Holders {
  readonly count: number;
  readonly holds: (voter: Voter) => boolean;
  /** Version of the voters that a voter held when it accepted; undefined: it did not accept. */
  readonly under: (voter: Voter) => number | undefined;
  /** Of a group's record. */
  readonly era: number;
}

/** Knows the cluster's records that are chosen, by era. */
export class Quorums {
  readonly #first: number;
  /** The newest. */
  readonly #records = new Map<number, ClusterRecord>();
  /** One of each version of the voters. */
  readonly #lists = new Map<number, Map<number, ClusterRecord>>();

  /** @param first how many voters there are before there is a record */
  constructor(first: number) {
    this.#first = first;
  }

  /** Whether those who accepted a value at a ballot make it chosen. */
  chooses(
    register: RegisterName,
    ballot: Ballot,
    value: ClusterRecord | GroupRecord,
    { count, holds, under, era }: Holders,
  ): boolean {
    const cluster = register === "cluster" ? value as ClusterRecord : null;
    const record = this.#records.get(cluster === null ? era : cluster.era ?? 0);
    if (record === undefined) {
      return (cluster?.era ?? 0) > 0 || count >= Math.floor(this.#first / 2) + 1;
    }
    const alone = (node: string | undefined) =>
      record.voters.some((voter) => voter.node === node && holds(voter));
    if (cluster === null) {
      if (record.solo !== undefined) return alone(record.solo);
      return [...this.#lists.get(era)!.values()].some((list) =>
        majority(list, (voter) => under(voter) === list.votersVersion)
      );
    }
    if (cluster.solo === ballot.node && alone(ballot.node)) return true;
    // A lost id never answers again: of those that do, every majority before meets every one after.
    return (blocks(record, holds) || sameNodes(record, cluster)) && majority(cluster, holds);
  }

  /** This record of the cluster is chosen. Its voters have a version of their own. */
  chosen(record: ClusterRecord): void {
    const era = record.era ?? 0;
    if (record.version > (this.#records.get(era)?.version ?? 0)) this.#records.set(era, record);
    let lists = this.#lists.get(era);
    if (lists === undefined) {
      lists = new Map();
      this.#lists.set(era, lists);
    }
    const { voters, votersVersion } = record;
    const same = lists.get(votersVersion);
    // Else nothing keeps a quorum of the one list from the other.
    if (same !== undefined && !sameVoters(same.voters, voters)) {
      throw new Violation("register", `version ${votersVersion} of the voters names two lists`);
    }
    lists.set(votersVersion, record);
  }
}

function sameVoters(one: readonly Voter[], other: readonly Voter[]): boolean {
  return one.length === other.length &&
    one.every(({ node, voterId }) =>
      other.some((voter) => voter.node === node && voter.voterId === voterId)
    );
}

/** Whether voters only got other ids. */
function sameNodes({ voters }: ClusterRecord, other: ClusterRecord): boolean {
  return voters.length === other.voters.length &&
    voters.every(({ node }) => other.voters.some((voter) => voter.node === node));
}

/**
 * Whether no majority of these voters is without one that holds the value. With an even number of them
 * half are enough: where two become three, the third and one of the two decide it, since under the
 * two nothing happens without that one.
 */
function blocks({ voters }: ClusterRecord, holds: (voter: Voter) => boolean): boolean {
  return 2 * voters.filter(holds).length >= voters.length;
}

function majority({ voters }: ClusterRecord, holds: (voter: Voter) => boolean): boolean {
  return voters.filter(holds).length >= Math.floor(voters.length / 2) + 1;
}
