/** Mutations of our own: rules that the protocol's list does not name, and holes that were found here. */

import type { Mutation } from "./mutation.ts";
import { POWER } from "./worlds.ts";

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
    seeds: 200,
    patches: [{
      file: "src/cluster/drafts.ts",
      before: "  const keeps = base !== null && base.owner === null && forced === null;",
      after:
        "  const keeps = base !== null && forced === null && (base.owner === null || base.owner.node === state.self.node);",
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
    seeds: 300,
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
    number: 110,
    name: "bits-cleared-before-flush",
    seeds: 200,
    world: POWER,
    patches: [{
      file: "src/volume/resync.ts",
      before: "    op.state = OpState.Running;\n    op.localDone = true;\n    this.#host.send(op);",
      after:
        "    op.state = OpState.Running;\n    op.localDone = true;\n    for (let i = 0; i < this.#checked.length; i += 2) this.context.bitmap.clear(this.#checked[i]!, this.#checked[i + 1]!);\n    this.#host.send(op);",
    }],
  },
  {
    number: 111,
    name: "bits-of-another-replica-count",
    seeds: 200,
    focus: ["diskLoss", "replicationCut", "shutdown"],
    patches: [{
      file: "src/volume/meeting.ts",
      before: `      boundTo === "" || boundTo === welcome.replicaId,\n`,
      after: `      boundTo !== "?",\n`,
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
      before: `    if (phase === undefined || phase === "stopping") {`,
      after: `    if (phase === "stopping") {`,
    }],
  },
  {
    number: 115,
    name: "release-before-the-stop",
    seeds: 200,
    patches: [{
      file: "src/cluster/register.ts",
      before:
        "    if (change.mayAccept?.() ?? true) beginDraft(state, register, attempt, change);\n",
      after: "    beginDraft(state, register, attempt, change);\n",
    }],
  },
];
