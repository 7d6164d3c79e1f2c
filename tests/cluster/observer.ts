/** Watches everything from outside: what is chosen forms one chain, ballots are used once. */

import assert from "node:assert/strict";
import { formatBallot } from "../../src/cluster/ballot.ts";
import type { ClusterEffect, VoterLogRecord } from "../../src/cluster/types.ts";
import type { Config } from "../../src/config/types.ts";
import { Quorums } from "../../src/sim/quorums.ts";

/** Invariants of the registers, over all voters that ever were. */
export class Observer {
  /** By register and ballot: the value, who accepted it, and under which version of the voters. */
  readonly #accepted = new Map<
    string,
    { value: string; version: number; by: Map<string, number> }
  >();
  /** By voter: the version of the voters that it holds. */
  readonly #held = new Map<string, number>();
  /** By register: version → value. */
  readonly #chosen = new Map<string, Map<number, string>>();
  readonly #proposed = new Map<string, string>();
  readonly #quorums: Quorums;
  /** Survivors decide apart: no chain is promised. */
  readonly #apart: boolean;

  constructor(config: Config) {
    this.#quorums = new Quorums(config.nodes.length);
    this.#apart = config.cluster.quorum === "survivor";
  }

  /** A voter made this durable. */
  persisted(voter: string, record: VoterLogRecord): void {
    if (record.kind !== "accept") return;
    const key = `${record.register} ${formatBallot(record.ballot)}`;
    const value = JSON.stringify(record.proposal.value);
    const { version } = record.proposal.value;
    const entry = this.#accepted.get(key) ?? { value, version, by: new Map<string, number>() };
    this.#accepted.set(key, entry);
    assert.equal(entry.value, value, `two values at ballot ${key}`);
    if (this.#apart) return;
    entry.by.set(voter, this.#held.get(voter) ?? 0);
    const { register, ballot, proposal } = record;
    if ("voters" in proposal.value) this.#held.set(voter, proposal.value.votersVersion);
    const { by } = entry;
    const nameOf = (voterId: string) => voterId.slice("voter-".length);
    const chosen = this.#quorums.chooses(register, ballot, proposal.value, {
      count: by.size,
      holds: ({ voterId }) => by.has(nameOf(voterId)),
      under: ({ voterId }) => by.get(nameOf(voterId)),
      era: record.era ?? 0,
    });
    if (!chosen) return;
    if ("voters" in proposal.value) this.#quorums.chosen(proposal.value);
    this.#choose(record.register, version, value);
  }

  #choose(register: string, version: number, value: string): void {
    const chain = this.#chosen.get(register) ?? new Map<number, string>();
    this.#chosen.set(register, chain);
    const before = chain.get(version);
    if (before === undefined) {
      assert.ok(
        version % 2 ** 32 === 1 || chain.has(version - 1),
        `${register}: version ${version} is chosen, its predecessor is not`,
      );
      chain.set(version, value);
    } else assert.equal(value, before, `${register}: two values chosen as version ${version}`);
  }

  /** A node claims that this version is chosen. */
  claimed(register: string, version: number, value: string): void {
    if (this.#apart) return;
    assert.equal(
      this.#chosen.get(register)?.get(version),
      value,
      `${register}: version ${version} is called known chosen and is not`,
    );
  }

  newest(register: string): number {
    return Math.max(0, ...(this.#chosen.get(register)?.keys() ?? []));
  }

  /** An ACCEPT leaves: one value per ballot, whatever crashes in between. */
  sent(effect: ClusterEffect): void {
    if (effect.type !== "send" || effect.frame.body.type !== "ACCEPT") return;
    const { register, ballot, proposal } = effect.frame.body;
    const key = `${register} ${formatBallot(ballot)}`;
    const value = JSON.stringify(proposal);
    assert.equal(this.#proposed.get(key) ?? value, value, `ballot ${key} is used twice`);
    this.#proposed.set(key, value);
  }
}
