/** Mutations of the volume: the write path, JOIN, promotion, release, what is durable when. */

import type { Mutation, Patch } from "./mutation.ts";
import {
  CRASHES,
  growInDoubt,
  LATE_IO,
  pastMeetsPresent,
  SLOW_JOIN,
  TAKEOVER_SHOWS,
} from "./worlds.ts";

const CONTEXT = "src/volume/context.ts";
const MEMBERSHIP = "src/volume/membership.ts";
const PROMOTION = "src/volume/promotion.ts";
const ROLES = "src/volume/roles.ts";
const TARGET = "src/volume/target_link.ts";
const WRITES = "src/volume/write_path.ts";
const GROUP = "src/cluster/group.ts";

/** The second line of defence: who was written apart from the source is not copied to unasked. */
const GENERATIONS: Patch = {
  file: "src/volume/sync_decision.ts",
  before: `    return { verdict: "split-brain", reason, tracked: bound };`,
  after: "    return byBitmap(source, target, reason);",
};

/** See the module comment. */
export const VOLUME_MUTATIONS: readonly Mutation[] = [
  {
    number: 1,
    name: "replica-ignores-epoch",
    seeds: 20,
    world: pastMeetsPresent(),
    patches: [{
      file: TARGET,
      before:
        "    if (hello.epoch < newest) return `its epoch ${hello.epoch} is past, epoch ${newest} is chosen`;\n",
      after: "",
    }, {
      file: TARGET,
      before: `    if (role === "Primary" && hello.epoch <= this.#context.epoch) {`,
      after: `    if (role === "Primary" && newest < 0) {`,
    }, GENERATIONS],
  },
  {
    number: 2,
    name: "answer-before-replica",
    seeds: 50,
    patches: [{
      file: WRITES,
      before:
        `    if (init.protocol !== "A" || op.answered || op.fua || detach !== Detach.No) return;`,
      after: "    if (op.answered || op.fua || detach !== Detach.No) return;",
    }],
  },
  {
    number: 3,
    name: "grow-with-dirty-bits",
    seeds: 100,
    patches: [{
      file: MEMBERSHIP,
      before:
        "    if (!link.streaming || link.syncing || bitmap.count > 0 || this.#joinSent !== null) return;",
      after: "    if (!link.streaming || this.#joinSent !== null) return;",
    }],
  },
  {
    number: 4,
    name: "joined-before-consistent",
    seeds: 20,
    world: SLOW_JOIN,
    patches: [{
      file: TARGET,
      before: `        context.superblock.update({
          generations: message.generations,
          inconsistent: false,`,
      after: `        this.#say({ type: "JOINED", session, epoch: message.epoch });
        context.superblock.update({
          generations: message.generations,
          inconsistent: false,`,
    }],
  },
  {
    number: 5,
    name: "join-without-flush",
    seeds: 300,
    patches: [{
      file: TARGET,
      before: `      context.flushDisk(() => {
        if (link !== this.#link) return;
        context.superblock.update({`,
      after: `      ((go: () => void) => go())(() => {
        if (link !== this.#link) return;
        context.superblock.update({`,
    }],
  },
  {
    number: 6,
    name: "joining-does-not-count",
    seeds: 20,
    world: growInDoubt({ at: 44_400, fault: "kill", node: "n2", down: 300 }),
    patches: [{
      file: CONTEXT,
      before:
        "    if (this.joining !== null && !others.includes(this.joining)) others.push(this.joining);\n",
      after: "",
    }],
  },
  {
    number: 7,
    name: "shrink-counts-when-asked",
    seeds: 200,
    patches: [{
      file: MEMBERSHIP,
      before: "    this.#shrinkAsked = version;\n",
      after: `    this.#shrinkAsked = version;
    context.others = context.others.filter((one) => one !== missing);
`,
    }],
  },
  {
    number: 8,
    name: "shrink-without-register",
    seeds: 100,
    patches: [{
      file: WRITES,
      before: "    if (others.length === 0) return true;\n",
      after: "    if (others.length === 0 || !this.#link.streaming) return true;\n",
    }],
  },
  {
    number: 9,
    name: "shrink-in-own-acceptor-counts",
    seeds: 300,
    patches: [{
      file: GROUP,
      before: `  const record = knownGroup(state, group);
  if (record === null) return;
  const mine = sameRun(record.owner, state.self);
  const fresh`,
      after: `  const known = knownGroup(state, group);
  const own = state.acceptor.accepted.get(group.register)?.proposal.value as typeof known;
  const record = own && known && own.version > known.version && own.epoch === known.epoch &&
      sameRun(own.owner, state.self)
    ? own
    : known;
  if (record === null) return;
  const mine = sameRun(record.owner, state.self);
  const fresh`,
    }],
  },
  {
    number: 10,
    name: "promote-a-non-member",
    seeds: 100,
    patches: [{
      file: "src/cluster/fitness.ts",
      before:
        "  if (!members.upToDate.includes(replica.replicaId)) return `has no up-to-date replica of ${name}`;\n",
      after: "",
    }, {
      file: "src/cluster/fitness.ts",
      before:
        "  if (replica.generation !== members.generation) return `holds another generation of ${name}`;\n",
      after: "",
    }],
  },
  {
    number: 11,
    name: "replica-epoch-not-durable",
    seeds: 20,
    // Killed as the new Primary: it restarts, and cannot ask anybody which epoch is chosen.
    world: pastMeetsPresent(
      { at: 69_000, fault: "kill", node: "n2", down: 1400 },
      { at: 69_000, fault: "cut", routes: ["n2-w1/0"], for: 25_000 },
    ),
    patches: [{
      file: ROLES,
      before: `    superblock.update({
      epoch,
      lineage: order.lineage ??`,
      after: `    superblock.update({
      lineage: order.lineage ??`,
    }, GENERATIONS],
  },
  {
    number: 12,
    name: "takeover-keeps-the-set",
    seeds: 100,
    world: TAKEOVER_SHOWS,
    patches: [{
      file: "src/cluster/drafts.ts",
      before: "  const keeps = base !== null && base.owner === null && forced === undefined;",
      after: "  const keeps = base !== null && forced === undefined;",
    }],
  },
  {
    number: 13,
    name: "log-ignored-at-start",
    seeds: 200,
    patches: [{
      file: ROLES,
      before: "      for (const extent of metadata.logExtents) {\n",
      after: "      for (const extent of metadata.logExtents.slice(0, 0)) {\n",
    }],
  },
  {
    number: 14,
    name: "log-entry-after-send",
    seeds: 100,
    world: CRASHES,
    patches: [{
      file: WRITES,
      before: "    if (detach !== Detach.No || this.#log.acquire(op)) this.logged(op);",
      after:
        "    if (detach !== Detach.No || this.#log.acquire(op) || !this.#log.starved) this.logged(op);",
    }],
  },
  {
    number: 15,
    name: "sole-mark-stays-at-grow",
    seeds: 50,
    patches: [{
      file: MEMBERSHIP,
      before: "      context.superblock.update({ sole: null }, () => {",
      after: "      context.superblock.update({}, () => {",
    }],
  },
  {
    number: 16,
    name: "primary-by-memory",
    seeds: 200,
    patches: [{
      file: "src/volume/report.ts",
      before: "    sole: soleValid ? own.sole!.epoch : null,",
      after:
        `    sole: soleValid ? own.sole!.epoch : context.role === "Secondary" ? own.epoch : null,`,
    }, {
      file: PROMOTION,
      before: "  const resumes = order.epoch === own.epoch && own.sole?.epoch === order.epoch &&",
      after:
        "  if (order.epoch === own.epoch) return null;\n  const resumes = order.epoch === own.epoch && own.sole?.epoch === order.epoch &&",
    }],
  },
  {
    number: 17,
    name: "release-resumes",
    seeds: 200,
    focus: ["move", "oneWay", "pairCut", "weather"],
    patches: [{
      file: GROUP,
      before: `  if (outcome.result === "failed") {
`,
      after: `  if (outcome.result === "failed") {
    const again = knownGroup(state, group);
    if (group.phase === "releasing" && again?.epoch === group.epoch && !state.shutdown) {
      group.phase = "starting";
      emit(state, { type: "start", group: group.config.name, record: again });
    }
`,
    }, {
      file: PROMOTION,
      before: "  const resumes = order.epoch === own.epoch && own.sole?.epoch === order.epoch &&",
      after:
        "  if (order.epoch === own.epoch) return null;\n  const resumes = order.epoch === own.epoch && own.sole?.epoch === order.epoch &&",
    }],
  },
  {
    number: 19,
    name: "own-io-not-drained",
    seeds: 40,
    world: LATE_IO,
    patches: [{
      file: ROLES,
      before: "    context.whenDrained(() => this.#leave(false, done));",
      after: "    this.#leave(false, done);",
    }, {
      file: TARGET,
      before: `        context.whenDrained(() => {
          context.superblock.update(`,
      after: `        ((go: () => void) => go())(() => {
          context.superblock.update(`,
    }],
  },
];
