/** Mutations of the quorum modes for pairs: fencing and survivor. */

import type { Mutation } from "./mutation.ts";

const ALONE = "src/cluster/alone.ts";
const FENCING = "src/cluster/fencing.ts";

/** See the module comment. */
export const MODE_MUTATIONS: readonly Mutation[] = [
  {
    number: 58,
    name: "fences-after-boot",
    seeds: 200,
    mode: "fencing",
    patches: [{
      file: ALONE,
      before: "  return { joint: false, togetherSince: null,",
      after: "  return { joint: true, togetherSince: null,",
    }],
  },
  {
    number: 59,
    name: "unconfirmed-fence-counts",
    seeds: 100,
    mode: "fencing",
    patches: [{
      file: FENCING,
      before: "  if (!confirmed) {\n",
      after: "  if (!confirmed && attempt < 0) {\n",
    }],
  },
  {
    number: 60,
    name: "initdead-ends-the-wait",
    seeds: 200,
    mode: "fencing",
    patches: [{
      file: ALONE,
      before: `  if (quorum === "fencing") return record.solo === state.self.node;`,
      after:
        `  if (quorum === "fencing") return record.solo === state.self.node || !isAlive(peer) && state.now - state.startedAt >= timing.initdead;`,
    }],
  },
  {
    number: 61,
    name: "solo-not-ended",
    seeds: 100,
    mode: "fencing",
    patches: [{
      file: FENCING,
      before: "    return endSolo(state, record, peer);\n",
      after: "    return peer === null ? endSolo(state, record, peer) : undefined;\n",
    }],
  },
  {
    number: 62,
    name: "survivors-share-epochs",
    seeds: 100,
    mode: "survivor",
    patches: [{
      file: "src/cluster/drafts.ts",
      before: `  if (cluster.quorum !== "survivor") return after + 1;`,
      after: `  if (cluster.quorum !== undefined) return after + 1;`,
    }],
  },
  {
    number: 63,
    name: "forced-promotion-keeps-lineage",
    seeds: 20,
    world: {
      options: { mode: "fencing", witnesses: 0, promotes: 1 },
      faults: [
        { at: 40_000, fault: "shutdown", node: "n2", down: 10_000, reboot: false },
        { at: 45_000, fault: "cut", routes: ["n2-*"], for: 60_000 },
        { at: 60_000, fault: "command", node: "n2", command: { type: "promote", group: "web" } },
      ],
    },
    patches: [{
      file: "src/cluster/drafts.ts",
      before: "  const lineage = forced?.lineage ?? base?.lineage;",
      after: "  const lineage = base?.lineage;",
    }, {
      file: "src/cluster/by_hand.ts",
      before: "  if (pending.forced !== null && record?.lineage === pending.forced.lineage) {",
      after: "  if (pending.forced !== null && record?.owner?.node === state.self.node) {",
    }],
  },
];
