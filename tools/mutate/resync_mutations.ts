/** Mutations of the volume: bits, FLUSH, storage, resync, a disk that is gone. */

import type { Mutation } from "./mutation.ts";
import { AWAY_WITHOUT_POWER, growInDoubt } from "./worlds.ts";

const FLUSHES = "src/volume/flush_path.ts";
const IN_FLIGHT = "src/volume/in_flight.ts";
const MEMBERSHIP = "src/volume/membership.ts";
const MEETING = "src/volume/meeting.ts";
const PROMOTION = "src/volume/promotion.ts";
const ROLES = "src/volume/roles.ts";

/** Where an operation counts those that it waits for, and where one that ends is counted no more. */
const WAITS = `        other.offset < end && op.offset < other.offset + other.length &&
        (writes || other.writes) && meet(op, other)
      ) {
        blockers++;`;
const WAITED_FOR =
  `op.offset < other.offset + other.length && (writes || other.writes) && meet(op, other)
      ) {
        other.blockers--;`;

/** See the module comment. */
export const RESYNC_MUTATIONS: readonly Mutation[] = [
  {
    number: 20,
    name: "bits-cleared-by-a-rule",
    seeds: 300,
    patches: [{
      file: MEETING,
      before: `    const boundTo = own.peers[PEER] ?? "";\n`,
      after: `    const boundTo = own.peers[PEER] ?? "";
    if (own.generations.current === welcome.generations.current) bitmap.clear(0, layout.blocks);
`,
    }],
  },
  {
    number: 21,
    name: "resync-overtakes-writes",
    seeds: 300,
    patches: [{
      file: "src/volume/block_walk.ts",
      before: "    if (this.table.enter(op)) this.start(op);\n",
      after: "    this.table.enter(op);\n    this.start(op);\n",
    }, {
      file: "src/volume/block_walk.ts",
      before: "  start(op: Op): void {\n",
      after: "  start(op: Op): void {\n    if (op.state === OpState.Running) return;\n",
    }],
  },
  {
    number: 22,
    name: "storage-change-ignored",
    seeds: 300,
    patches: [{
      file: MEETING,
      before: "    if (this.#peerStorage !== null && this.#peerStorage !== welcome.storage) {",
      after: `    if (this.#peerStorage !== null && welcome.storage === "") {`,
    }],
  },
  {
    number: 23,
    name: "flush-here-only",
    seeds: 300,
    patches: [{
      file: FLUSHES,
      before:
        "    if (link.streaming && !link.syncing && others.includes(link.peerId)) link.send(op);",
      after: "    if (others.length < 0) link.send(op);",
    }, {
      file: FLUSHES,
      before: "    const everywhere = others.length === 0 ||\n",
      after: "    const everywhere = others.length >= 0 ||\n",
    }],
  },
  {
    number: 24,
    name: "promotion-without-flush",
    seeds: 400,
    patches: [{
      file: ROLES,
      before:
        "    context.whenDrained(() => context.flushDisk(() => this.#enthrone(order, done)));",
      after: "    context.whenDrained(() => this.#enthrone(order, done));",
    }],
  },
  {
    number: 25,
    name: "reconnect-ends-the-doubt",
    seeds: 200,
    // The session is lost, which settles nothing.
    world: growInDoubt({ at: 44_400, fault: "kill", node: "n2", down: 300 }),
    patches: [{
      file: MEMBERSHIP,
      before: "    if (context.joining !== null && context.growAsked < 0) {",
      after: "    if (context.joining !== null) {",
    }],
  },
  {
    number: 26,
    name: "unclean-replica-eligible",
    seeds: 20,
    // What it had in its cache is gone, and the other, which has it, is not up yet.
    world: {
      options: { power: "many", clients: 3, think: 50 },
      faults: [
        { at: 40_000, fault: "power", node: "n2", down: 500 },
        { at: 40_050, fault: "kill", node: "n1", down: 70_000 },
      ],
    },
    patches: [{
      file: "src/cluster/fitness.ts",
      before: "  if (!replica.unclean || members.upToDate.length === 1) return null;",
      after: "  if (members.upToDate.length > 0) return null;",
    }],
  },
  {
    number: 27,
    name: "reads-do-not-wait",
    seeds: 200,
    patches: [{
      file: IN_FLIGHT,
      before: WAITS,
      after: `        other.offset < end && op.offset < other.offset + other.length &&
        writes && other.writes && meet(op, other)
      ) {
        blockers++;`,
    }, {
      file: IN_FLIGHT,
      before: WAITED_FOR,
      after: `op.offset < other.offset + other.length && writes && other.writes && meet(op, other)
      ) {
        other.blockers--;`,
    }],
  },
  {
    number: 28,
    name: "writes-do-not-wait",
    seeds: 200,
    // Overlapping writes that run together have no order that both replicas would keep.
    patches: [{
      file: IN_FLIGHT,
      before: WAITS,
      after: `        other.offset < end && op.offset < other.offset + other.length &&
        writes !== other.writes && meet(op, other)
      ) {
        blockers++;`,
    }, {
      file: IN_FLIGHT,
      before: WAITED_FOR,
      after: `op.offset < other.offset + other.length && writes !== other.writes && meet(op, other)
      ) {
        other.blockers--;`,
    }],
  },
  {
    number: 29,
    name: "flush-during-resync",
    seeds: 40,
    // A member that lost its cache cannot be given it back, for the owner's disk reads nothing; then the
    // owner loses its own, and may not come first.
    world: {
      options: {
        power: "many",
        clients: 12,
        think: 50,
        writes: 0.9,
        blocks: 1100,
        hotBlocks: 1000,
      },
      faults: [
        { at: 40_000, fault: "power", node: "n2", down: 300 },
        {
          at: 49_900,
          fault: "diskError",
          node: "n1",
          volume: "data",
          errno: 5,
          reads: true,
          for: 60_000,
        },
        { at: 51_000, fault: "power", node: "n1", down: 6000 },
        {
          at: 51_500,
          fault: "command",
          node: "n2",
          command: { type: "standby", node: "n1", on: true },
        },
      ],
    },
    patches: [{
      file: FLUSHES,
      before:
        "    if (link.streaming && !link.syncing && others.includes(link.peerId)) link.send(op);",
      after: "    if (link.streaming && others.includes(link.peerId)) link.send(op);",
    }],
  },
  {
    number: 30,
    name: "log-forgets-unflushed",
    seeds: 40,
    world: AWAY_WITHOUT_POWER,
    patches: [{
      file: FLUSHES,
      before: "      if (logged) this.#log.logFlushed(asOf, peerHas || !hasPeer);",
      after: "      if (logged) this.#log.logFlushed(asOf, peerHas || hasPeer);",
    }],
  },
  {
    number: 31,
    name: "set-by-node-name",
    seeds: 300,
    patches: [{
      file: "src/cluster/fitness.ts",
      before:
        "  if (!members.upToDate.includes(replica.replicaId)) return `has no up-to-date replica of ${name}`;\n",
      after:
        '  if (!members.upToDate.some((id) => id.split("-")[1] === facts.node)) return `has no up-to-date replica of ${name}`;\n',
    }, {
      file: "src/cluster/fitness.ts",
      before:
        "  if (replica.generation !== members.generation) return `holds another generation of ${name}`;\n",
      after: "",
    }, {
      file: PROMOTION,
      before:
        `  if (!record.upToDate.includes(replicaId)) return "it is not in the in-sync set";\n`,
      after: "",
    }, {
      file: PROMOTION,
      before:
        "  if (record.generation !== own.generations.current && record.generation !== own.pending) {\n",
      after: '  if (record.generation === "") {\n',
    }],
  },
  {
    number: 32,
    name: "diskless-without-leaving",
    seeds: 300,
    patches: [{
      file: "src/volume/detachment.ts",
      before: "    return !this.#context.upToDate.includes(this.#context.replicaId);",
      after: "    return true;",
    }],
  },
  {
    number: 33,
    name: "blank-disk-not-copied",
    seeds: 300,
    patches: [{
      file: "src/volume/sync_decision.ts",
      before: `    return { verdict: "full", reason: "the target was never written" };`,
      after: `    return byBitmap(source, target, "the target was never written");`,
    }],
  },
];
