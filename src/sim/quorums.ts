/**
 * When a value is chosen, as somebody sees who watches all voters and knows nothing of how they decide:
 * by a majority of the voters that the cluster's record lists; by one voter alone where that record
 * names it `solo`, or where it makes itself so; by the one voter of a new era.
 */

import type { Ballot, ClusterRecord, GroupRecord, RegisterName } from "../cluster/types.ts";

/** Knows the cluster's record that is chosen, by era. */
export class Quorums {
  readonly #first: number;
  readonly #records = new Map<number, ClusterRecord>();

  /** @param first how many voters there are before there is a record */
  constructor(first: number) {
    this.#first = first;
  }

  /** Whether those who accepted a value at a ballot make it chosen. `by`: names of nodes. */
  chooses(
    register: RegisterName,
    ballot: Ballot,
    value: ClusterRecord | GroupRecord,
    by: ReadonlySet<string>,
    era: number,
  ): boolean {
    const cluster = register === "cluster" ? value as ClusterRecord : null;
    const record = this.#records.get(cluster === null ? era : cluster.era ?? 0);
    if (record === undefined) {
      return (cluster?.era ?? 0) > 0 || by.size >= Math.floor(this.#first / 2) + 1;
    }
    if (cluster === null) {
      return record.solo === undefined ? majority(record, by) : by.has(record.solo);
    }
    if (cluster.solo === ballot.node && by.has(ballot.node)) return true;
    return majority(record, by) && majority(cluster, by);
  }

  /** This record of the cluster is chosen. */
  chosen(record: ClusterRecord): void {
    const era = record.era ?? 0;
    if (record.version > (this.#records.get(era)?.version ?? 0)) this.#records.set(era, record);
  }
}

function majority({ voters }: ClusterRecord, by: ReadonlySet<string>): boolean {
  const votes = voters.filter(({ node }) => by.has(node)).length;
  return votes >= Math.floor(voters.length / 2) + 1;
}
