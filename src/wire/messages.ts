/**
 * Complete shapes of what agents say to each other and of what a voter stores. What passes here may
 * be trusted by the cluster core: every field is present, of its type and within its bounds, and a
 * register's value is of the kind that its name promises.
 *
 * HEARTBEATs are hints, so unknown fields of a newer agent are dropped. Register messages and log
 * records with unknown fields are refused: a voter must store exactly what it accepts.
 */

import type {
  Accept,
  Accepted,
  ClusterRecord,
  Grant,
  GroupFailure,
  GroupRecord,
  Heartbeat,
  Message,
  Prepare,
  PromiseMessage,
  Proposal,
  Refused,
  RegisterName,
  ReplicaHealth,
  VoterLogRecord,
} from "../cluster/types.ts";
import {
  count,
  flag,
  list,
  map,
  name,
  NAME_MAX,
  object,
  oneOf,
  optional,
  orNull,
  type Shape,
  ShapeError,
  text,
  TEXT_MAX,
} from "./shape.ts";

/**
 * The shape of a T. It does not compile when T has a field, optional ones too, that the shape lacks:
 * such a field would be dropped or refused on the way.
 */
function shapeOf<T>() {
  return <U extends T>(shape: [keyof T] extends [keyof U] ? Shape<U> : never): Shape<T> => shape;
}

const registerName: Shape<RegisterName> = (value, path) => {
  const checked = text(1, NAME_MAX + "group:".length)(value, path);
  if (checked === "cluster") return checked;
  if (checked.startsWith("group:")) {
    name(checked.slice("group:".length), path);
    return checked as RegisterName;
  }
  throw new ShapeError(`${path} must be "cluster" or "group:NAME"`);
};

/** Ids and hashes: may be empty where a node has none yet. */
const id = text(0, NAME_MAX);

const nodeRun = object({ node: name, incarnation: count }, "refuse");
const ballot = object({ n: count, node: name, incarnation: count }, "refuse");
const takes = object({ node: name, incarnation: count, epoch: count }, "refuse");

const volumeRecord = object({ generation: id, upToDate: list(name) }, "refuse");

const groupRecord = shapeOf<GroupRecord>()(object({
  version: count,
  epoch: count,
  owner: orNull(nodeRun),
  volumes: map(name, volumeRecord),
  wanted: optional(name),
  cleanups: optional(count),
  lineage: optional(id),
}, "refuse"));

const voters = list(object({ node: name, voterId: name }, "refuse"));

const clusterRecord = shapeOf<ClusterRecord>()(object({
  version: count,
  voters,
  votersVersion: count,
  lineage: id,
  standby: list(name),
  maintenance: flag,
  protocol: optional(count),
  config: optional(name),
  solo: optional(name),
  era: optional(count),
  dropped: optional(list(name)),
  former: optional(voters),
}, "refuse"));

/** The value of a register, by the register's name. The `cluster` register has no owner to take from. */
function proposalOf(register: RegisterName): Shape<Proposal> {
  return register === "cluster"
    ? object({ value: clusterRecord }, "refuse")
    : shapeOf<Proposal>()(object({ value: groupRecord, takes: optional(takes) }, "refuse"));
}

const heard = object({ incarnation: count, seq: count }, "drop");
const grant = shapeOf<Grant>()(
  object({ node: name, incarnation: count, epoch: count, seq: count }, "drop"),
);
const replicaHealth = shapeOf<ReplicaHealth>()(object({
  replicaId: id,
  disk: oneOf("UpToDate", "Consistent", "Outdated", "Inconsistent", "Diskless"),
  generation: id,
  epoch: count,
  unclean: flag,
  blank: oneOf("no", "zero", "unknown"),
}, "drop"));

const groupFailure = shapeOf<GroupFailure>()(object({
  reason: text(0, TEXT_MAX),
  count,
  againIn: optional(count),
}, "drop"));

const heartbeat = shapeOf<Heartbeat>()(object({
  type: oneOf("HEARTBEAT"),
  heard: map(name, heard),
  asks: map(name, count),
  grants: map(name, grant),
  known: map(registerName, object({ version: count, ballot }, "drop")),
  configHash: id,
  fileHash: optional(id),
  deadtime: count,
  voterId: id,
  lacks: count,
  holds: count,
  speaks: object({ least: count, newest: count }, "drop"),
  era: optional(count),
  phase: oneOf("starting", "running", "stopping"),
  replicas: map(name, replicaHealth),
  failed: map(name, groupFailure),
  reach: map(name, flag),
}, "drop"));

const refused = shapeOf<Refused>()(object({
  type: oneOf("REFUSED"),
  register: registerName,
  ballot,
  phase: oneOf("PREPARE", "ACCEPT"),
  why: oneOf("ballot", "votersVersion", "granted", "restarted", "noState"),
  promised: optional(ballot),
  waitMs: optional(count),
  votersVersion: count,
}, "refuse"));

const accepted = shapeOf<Accepted>()(object({
  type: oneOf("ACCEPTED"),
  register: registerName,
  ballot,
  voterId: id,
}, "refuse"));

/** The register that a value names, before the rest of it is looked at. */
function registerIn(value: unknown, path: string): RegisterName {
  return object({ register: registerName }, "drop")(value, path).register;
}

const prepare = shapeOf<Prepare>()(object({
  type: oneOf("PREPARE"),
  register: registerName,
  votersVersion: count,
  era: optional(count),
  ballot,
  takes: optional(takes),
}, "refuse"));

function promise(value: unknown, path: string): Message {
  const proposal = proposalOf(registerIn(value, path));
  return shapeOf<PromiseMessage>()(object({
    type: oneOf("PROMISE"),
    register: registerName,
    ballot,
    voterId: id,
    accepted: optional(object({ ballot, proposal }, "refuse")),
  }, "refuse"))(value, path);
}

function accept(value: unknown, path: string): Message {
  const proposal = proposalOf(registerIn(value, path));
  return shapeOf<Accept>()(object({
    type: oneOf("ACCEPT"),
    register: registerName,
    votersVersion: count,
    era: optional(count),
    ballot,
    proposal,
  }, "refuse"))(value, path);
}

const MESSAGES: ReadonlyMap<string, Shape<Message>> = new Map<string, Shape<Message>>([
  ["HEARTBEAT", heartbeat],
  ["PREPARE", prepare],
  ["PROMISE", promise],
  ["ACCEPT", accept],
  ["ACCEPTED", accepted],
  ["REFUSED", refused],
]);

/** Checks and rebuilds the body of a frame. Throws {@linkcode ShapeError}. */
export function checkMessage(value: unknown): Message {
  const { type } = object({ type: text(1, NAME_MAX) }, "drop")(value, "message");
  const shape = MESSAGES.get(type);
  if (shape === undefined) throw new ShapeError(`message.type ${JSON.stringify(type)} is unknown`);
  return shape(value, type);
}

/** Checks and rebuilds a record of the voter's log. Throws {@linkcode ShapeError}. */
export function checkVoterLogRecord(value: unknown): VoterLogRecord {
  const { kind } = object({ kind: oneOf("identity", "promise", "accept") }, "drop")(
    value,
    "record",
  );
  switch (kind) {
    case "identity":
      return object({ kind: oneOf("identity"), voterId: name }, "refuse")(value, kind);
    case "promise":
      return object({ kind: oneOf("promise"), register: registerName, ballot }, "refuse")(
        value,
        kind,
      );
    case "accept":
      return object({
        kind: oneOf("accept"),
        register: registerName,
        ballot,
        proposal: proposalOf(registerIn(value, kind)),
        era: optional(count),
      }, "refuse")(value, kind);
  }
}
