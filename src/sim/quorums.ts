/**
 * When a value is chosen, as somebody sees who watches all voters and knows nothing of how they decide:
 * by a majority of the voters that the cluster's record lists; by one voter alone where that record
 * names it `solo`, or where it makes itself so; by the one voter of a new era. A change of the voters
 * is chosen by a majority of the new ones that meets every majority of those before.
 */

import type { Ballot, ClusterRecord, GroupRecord, RegisterName, Voter } from "../cluster/types.ts";

/** Knows the cluster's record that is chosen, by era. */
export class Quorums {
  readonly #first: number;
  readonly #records = new Map<number, ClusterRecord>();

  /** @param first how many voters there are before there is a record */
  constructor(first: number) {
    this.#first = first;
  }

  /**
   * Whether those who accepted a value at a ballot make it chosen.
   *
   * @param count how many have accepted it
   * @param holds whether a voter has
   * @param era of a group's record
   */
  chooses(
    register: RegisterName,
    ballot: Ballot,
    value: ClusterRecord | GroupRecord,
    { count, holds, era }: {
      readonly count: number;
      readonly holds: (voter: Voter) => boolean;
      readonly era: number;
    },
  ): boolean {
    const cluster = register === "cluster" ? value as ClusterRecord : null;
    const record = this.#records.get(cluster === null ? era : cluster.era ?? 0);
    if (record === undefined) {
      return (cluster?.era ?? 0) > 0 || count >= Math.floor(this.#first / 2) + 1;
    }
    const alone = (node: string | undefined) =>
      record.voters.some((voter) => voter.node === node && holds(voter));
    if (cluster === null) {
      return record.solo === undefined ? majority(record, holds) : alone(record.solo);
    }
    if (cluster.solo === ballot.node && alone(ballot.node)) return true;
    // A lost id never answers again: of those that do, every majority before meets every one after.
    return (blocks(record, holds) || sameNodes(record, cluster)) && majority(cluster, holds);
  }

  /** This record of the cluster is chosen. */
  chosen(record: ClusterRecord): void {
    const era = record.era ?? 0;
    if (record.version > (this.#records.get(era)?.version ?? 0)) this.#records.set(era, record);
  }
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
