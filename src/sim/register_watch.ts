/**
 * Watches the registers from outside: a ballot carries one value, what is chosen forms one chain, and
 * nobody takes for chosen what is not. Knows nothing of how the core decides.
 */

import type {
  Ballot,
  ClusterRecord,
  GroupRecord,
  Message,
  Proposal,
  VoterLogRecord,
} from "../cluster/types.ts";
import { Quorums } from "./quorums.ts";
import { Violation } from "./violation.ts";

type Value = Proposal["value"];

interface Accepted {
  readonly value: Value;
  readonly text: string;
  /** Voters, by the id of their state, that made it durable; which version of the voters they held. */
  readonly by: Map<string, number>;
}

/** See the module comment. */
export class RegisterWatch {
  readonly #quorums: Quorums;
  /** Survivors decide apart: nothing is promised but that a ballot carries one value. */
  readonly #apart: boolean;
  /** By register and ballot. */
  readonly #accepted = new Map<string, Accepted>();
  /** By voter and register: what it accepted last. */
  readonly #held = new Map<string, Accepted>();
  /** By register: version → value as text. */
  readonly #chosen = new Map<string, Map<number, string>>();
  readonly #newest = new Map<string, Value>();
  /** By register and ballot. */
  readonly #proposed = new Map<string, Proposal>();

  /**
   * @param voters how many voters there are
   * @param apart whether voters may decide without each other
   */
  constructor(voters: number, apart = false) {
    this.#quorums = new Quorums(voters);
    this.#apart = apart;
  }

  /** The newest chosen record of every register. */
  records(): Iterable<Value> {
    return this.#newest.values();
  }

  /** The newest chosen record of a register; undefined: none is. */
  newest(register: string): Value | undefined {
    return this.#newest.get(register);
  }

  /** A voter made this durable. */
  persisted(voterId: string, record: VoterLogRecord): void {
    if (record.kind !== "accept") return;
    const { value } = record.proposal;
    const key = place(record.register, record.ballot);
    let entry = this.#accepted.get(key);
    if (entry === undefined) {
      entry = { value, text: asText(value), by: new Map() };
      this.#accepted.set(key, entry);
    } else if (entry.value !== value && entry.text !== asText(value)) {
      throw new Violation("register", `two values were accepted at ballot ${key}`);
    }
    const cluster = this.#held.get(`${voterId} cluster`)?.value;
    entry.by.set(voterId, cluster && "voters" in cluster ? cluster.votersVersion : 0);
    const { by } = entry;
    const holding = `${voterId} ${record.register}`;
    const before = this.#held.get(holding);
    this.#held.set(holding, entry);
    if (this.#apart) return this.#follow(record.register, value);
    const chosen = this.#quorums.chooses(record.register, record.ballot, value, {
      count: by.size,
      holds: ({ voterId }) => by.has(voterId),
      under: ({ voterId }) => by.get(voterId),
      era: record.era ?? 0,
    });
    if (!chosen) return;
    if ("voters" in value) {
      // The lent vote stands for what the own voter holds, too: no quorum was without that one.
      const lent = value.solo === record.ballot.node && by.size === 1 &&
        before !== undefined && before.value.version === value.version - 1;
      if (lent) this.#choose(record.register, before.value, before.text);
      this.#quorums.chosen(value);
    }
    this.#choose(record.register, value, entry.text);
  }

  /** A message leaves: an ACCEPT's value stays the same whatever crashes in between. */
  sent(body: Message): void {
    if (body.type !== "ACCEPT") return;
    const key = place(body.register, body.ballot);
    const before = this.#proposed.get(key);
    if (before === undefined) this.#proposed.set(key, body.proposal);
    else if (before !== body.proposal && asText(before) !== asText(body.proposal)) {
      throw new Violation("register", `ballot ${key} is used for two values`);
    }
  }

  /** A node takes a record for chosen. */
  claimed(register: string, record: GroupRecord | ClusterRecord): void {
    if (this.#apart) return;
    const text = this.#chosen.get(register)?.get(record.version);
    if (text === asText(record)) return;
    throw new Violation(
      "register",
      `version ${record.version} of ${register} is called known chosen and ` +
        (text === undefined ? "is not chosen" : "another value is"),
    );
  }

  /** Where two decide apart, the newest version that any of them holds. */
  #follow(register: string, value: Value): void {
    const before = this.#newest.get(register);
    if (before === undefined || before.version < value.version) this.#newest.set(register, value);
  }

  #choose(register: string, value: Value, text: string): void {
    let chain = this.#chosen.get(register);
    if (chain === undefined) {
      chain = new Map();
      this.#chosen.set(register, chain);
    }
    const { version } = value;
    const before = chain.get(version);
    if (before === text) return;
    if (before !== undefined) {
      throw new Violation("register", `two values are chosen as version ${version} of ${register}`);
    }
    if (version % 2 ** 32 !== 1 && !chain.has(version - 1)) {
      throw new Violation(
        "register",
        `version ${version} of ${register} is chosen, the one before it is not`,
      );
    }
    chain.set(version, text);
    this.#newest.set(register, value);
  }
}

/** The same for equal values, whatever codecs did to the order of their keys. */
function asText(value: unknown): string {
  return JSON.stringify(
    value,
    (_, each) =>
      typeof each === "object" && each !== null && !Array.isArray(each)
        ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => a < b ? -1 : 1))
        : each,
  );
}

function place(register: string, { n, node, incarnation }: Ballot): string {
  return `${register} ${n}.${node}.${incarnation}`;
}
