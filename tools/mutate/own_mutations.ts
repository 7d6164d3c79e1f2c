/** Mutations of our own: rules that the protocol's list does not name, and holes that were found here. */

import type { Mutation } from "./mutation.ts";
import { CHURN, MOVES, RETAKES } from "./worlds.ts";

const ACCEPTOR = "src/cluster/acceptor.ts";

/** See the module comment. */
export const OWN_MUTATIONS: readonly Mutation[] = [
  {
    number: 101,
    name: "ballots-of-two-nodes-tie",
    seeds: 200,
    patches: [{
      file: "src/cluster/ballot.ts",
      before:
        "  if (a.node !== b.node) return a.node < b.node ? -1 : 1;\n  return a.incarnation - b.incarnation;",
      after: "  return 0 * a.incarnation;",
    }],
  },
  {
    number: 102,
    name: "accept-not-durable",
    seeds: 200,
    patches: [{
      file: ACCEPTOR,
      before: `    emit(state, { type: "persist", record: tagged });\n`,
      after: "",
    }],
  },
  {
    number: 103,
    name: "take-keeps-the-epoch",
    seeds: 50,
    patches: [{
      file: "src/cluster/drafts.ts",
      before: "      epoch: nextEpoch(state, Math.max(before, forced?.above ?? 0)),",
      after: "      epoch: Math.max(base?.epoch ?? 0, forced?.above ?? 0, 1),",
    }],
  },
  {
    number: 105,
    name: "address-stays-without-lease",
    seeds: 50,
    patches: [{
      file: "src/cluster/lease.ts",
      before: `    emit(state, { type: "suspend", group: name });\n`,
      after: "",
    }],
  },
  {
    number: 106,
    name: "retake-keeps-the-set",
    seeds: 100,
    world: RETAKES,
    patches: [{
      file: "src/cluster/drafts.ts",
      before: "  const keeps = base !== null && base.owner === null && forced === undefined;",
      after:
        "  const keeps = base !== null && forced === undefined && (base.owner === null || base.owner.node === state.self.node);",
    }],
  },
  {
    number: 107,
    name: "change-without-base",
    seeds: 400,
    patches: [{
      file: "src/cluster/register.ts",
      before: "  if (change && version === change.baseVersion) {\n",
      after: "  if (change) {\n",
    }],
  },
  {
    number: 108,
    name: "doubt-is-forgotten",
    seeds: 200,
    world: CHURN,
    patches: [{
      file: "src/cluster/register.ts",
      before: "  if (accepting && !isImpossible(attempt)) register.doubt = true;\n",
      after: "",
    }],
  },
  {
    number: 109,
    name: "lagging-leader",
    seeds: 300,
    patches: [{
      file: "src/cluster/voters.ts",
      before: "    if (known < record.version) continue;\n",
      after: "",
    }],
  },
  {
    number: 112,
    name: "release-not-drained",
    seeds: 200,
    patches: [{
      file: "src/volume/roles.ts",
      before: "    if (this.#parts.requests.drained) this.drained();\n    done();\n",
      after: "    this.drained();\n    done();\n",
    }],
  },
  {
    number: 113,
    name: "learned-from-one-voter",
    seeds: 100,
    patches: [{
      file: "src/cluster/learner.ts",
      before: "  if (votes < majorityOf(cluster.voters.length)) return;\n",
      after: "  if (votes < 1) return;\n",
    }],
  },
  {
    number: 114,
    name: "grow-stays-in-doubt",
    seeds: 200,
    focus: ["replicationCut", "sessionReset", "shutdown", "stopAll"],
    patches: [{
      file: "src/cluster/members.ts",
      before: `      return waited ? plainChange("confirm", record, {}) : "wait";`,
      after: `      return waited && version < 0 ? plainChange("confirm", record, {}) : "wait";`,
    }],
  },
  {
    number: 115,
    name: "release-before-the-stop",
    seeds: 100,
    world: MOVES,
    patches: [{
      file: "src/cluster/register.ts",
      before:
        "    if (change.mayAccept?.() ?? true) beginDraft(state, register, attempt, change);\n",
      after: "    beginDraft(state, register, attempt, change);\n",
    }],
  },
  {
    number: 116,
    name: "nobody-resyncs-first",
    seeds: 20,
    // The disk of one volume fails on the owner, the other volume's replica is left behind.
    world: {
      options: { volumes: 2, together: true, clients: 3, think: 100 },
      faults: [
        { at: 40_000, fault: "diskError", node: "n1", volume: "logs", errno: 5, for: 3500 },
        { at: 41_000, fault: "kill", node: "n2", down: 4000 },
        { at: 43_400, fault: "kill", node: "n1", down: 1000 },
      ],
    },
    patches: [{
      file: "src/cluster/ownership.ts",
      before: "able.length > 0 ? [] : resyncsFirst(",
      after: "able.length >= 0 ? [] : resyncsFirst(",
    }],
  },
];
