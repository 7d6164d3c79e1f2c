/** Random but well-formed messages and voter records, for property tests of the codecs. */

import fc from "fast-check";
import { FRAME_VERSION } from "../../src/wire/frame.ts";
import type {
  Ballot,
  ClusterRecord,
  Frame,
  GroupRecord,
  Heartbeat,
  Message,
  Proposal,
  RegisterName,
  VoterLogRecord,
} from "../../src/cluster/types.ts";

const name = fc.oneof(
  fc.constantFrom("a", "serveur-b", "témoin", "constructor", "toString", "節點"),
  fc.string({ minLength: 1, maxLength: 12 }).filter((text) => text !== "__proto__"),
);
const count = fc.oneof(fc.nat(1000), fc.maxSafeNat());
const id = fc.stringMatching(/^[0-9a-f]{0,32}$/);
const names = fc.array(name, { maxLength: 4 });

/** A map as the codec builds it: without a prototype. */
function map<T>(value: fc.Arbitrary<T>): fc.Arbitrary<Record<string, T>> {
  return fc.dictionary(name, value, { maxKeys: 4, noNullPrototype: false })
    .map((found) => Object.assign(Object.create(null), found));
}

export const ballots: fc.Arbitrary<Ballot> = fc.record({
  n: count,
  node: name,
  incarnation: count,
});
const nodeRun = fc.record({ node: name, incarnation: count });
const takes = fc.record({ node: name, incarnation: count, epoch: count });

const groupRecord: fc.Arbitrary<GroupRecord> = fc.record({
  version: count,
  epoch: count,
  owner: fc.option(nodeRun, { nil: null }),
  volumes: map(
    fc.record({ generation: id, upToDate: fc.array(id.filter((x) => x !== ""), { maxLength: 3 }) }),
  ),
  wanted: name,
  cleanups: count,
}, { requiredKeys: ["version", "epoch", "owner", "volumes"] });

const clusterRecord: fc.Arbitrary<ClusterRecord> = fc.record({
  version: count,
  voters: fc.array(fc.record({ node: name, voterId: id.filter((x) => x !== "") }), {
    maxLength: 5,
  }),
  votersVersion: count,
  lineage: id,
  standby: names,
  maintenance: fc.boolean(),
  protocol: count,
  config: id.filter((x) => x !== ""),
}, {
  requiredKeys: ["version", "voters", "votersVersion", "lineage", "standby", "maintenance"],
});

interface Registered {
  readonly register: RegisterName;
  readonly proposal: Proposal;
}

const registered: fc.Arbitrary<Registered> = fc.oneof(
  clusterRecord.map((value) => ({ register: "cluster" as const, proposal: { value } })),
  fc.tuple(name, groupRecord, fc.option(takes, { nil: undefined })).map(([group, value, from]) => ({
    register: `group:${group}` as const,
    proposal: from === undefined ? { value } : { value, takes: from },
  })),
);

export const heartbeats: fc.Arbitrary<Heartbeat> = fc.record({
  type: fc.constant("HEARTBEAT" as const),
  heard: map(fc.record({ incarnation: count, seq: count })),
  asks: map(count),
  grants: map(fc.record({ node: name, incarnation: count, epoch: count, seq: count })),
  known: fc.array(
    fc.tuple(name, fc.record({ version: count, ballot: ballots })),
    { maxLength: 3 },
  ).map((entries) =>
    Object.assign(
      Object.create(null),
      Object.fromEntries(entries.map(([group, known]) => [`group:${group}`, known])),
    )
  ),
  configHash: id,
  deadtime: count,
  voterId: id,
  lacks: count,
  holds: count,
  speaks: fc.record({ least: count, newest: count }),
  phase: fc.constantFrom("starting", "running", "stopping"),
  replicas: map(fc.record({
    replicaId: id,
    disk: fc.constantFrom("UpToDate", "Consistent", "Outdated", "Inconsistent", "Diskless"),
    generation: id,
    epoch: count,
    unclean: fc.boolean(),
    blank: fc.constantFrom("no", "zero", "unknown"),
  })),
  failed: map(fc.record({
    reason: fc.string({ maxLength: 80 }),
    count,
    againIn: count,
  }, { requiredKeys: ["reason", "count"] })),
  reach: map(fc.boolean()),
});

export const messages: fc.Arbitrary<Message> = fc.oneof(
  heartbeats,
  fc.tuple(name, count, ballots, fc.option(takes, { nil: undefined })).map(
    ([group, votersVersion, ballot, from]): Message => ({
      type: "PREPARE",
      register: `group:${group}`,
      votersVersion,
      ballot,
      ...(from === undefined ? {} : { takes: from }),
    }),
  ),
  fc.tuple(registered, ballots, id, fc.option(ballots, { nil: undefined })).map(
    ([{ register, proposal }, ballot, voterId, held]): Message => ({
      type: "PROMISE",
      register,
      ballot,
      voterId,
      ...(held === undefined ? {} : { accepted: { ballot: held, proposal } }),
    }),
  ),
  fc.tuple(registered, count, ballots).map(
    ([{ register, proposal }, votersVersion, ballot]): Message => ({
      type: "ACCEPT",
      register,
      votersVersion,
      ballot,
      proposal,
    }),
  ),
  fc.tuple(registered, ballots, id).map(([{ register }, ballot, voterId]): Message => ({
    type: "ACCEPTED",
    register,
    ballot,
    voterId,
  })),
  fc.tuple(
    registered,
    ballots,
    fc.constantFrom("PREPARE" as const, "ACCEPT" as const),
    fc.constantFrom("ballot", "votersVersion", "granted", "restarted", "noState"),
    fc.option(ballots, { nil: undefined }),
    count,
  ).map(([{ register }, ballot, phase, why, promised, votersVersion]): Message => ({
    type: "REFUSED",
    register,
    ballot,
    phase,
    why: why as "ballot",
    ...(promised === undefined ? {} : { promised }),
    votersVersion,
  })),
);

export const frames: fc.Arbitrary<Frame> = fc.record({
  node: name,
  incarnation: count,
  seq: count,
  protocol: fc.constant(FRAME_VERSION),
  body: messages,
});

export const voterRecords: fc.Arbitrary<VoterLogRecord> = fc.oneof(
  id.filter((x) => x !== "").map((voterId): VoterLogRecord => ({ kind: "identity", voterId })),
  fc.tuple(registered, ballots).map(([{ register }, ballot]): VoterLogRecord => ({
    kind: "promise",
    register,
    ballot,
  })),
  fc.tuple(registered, ballots).map(([{ register, proposal }, ballot]): VoterLogRecord => ({
    kind: "accept",
    register,
    ballot,
    proposal,
  })),
);
