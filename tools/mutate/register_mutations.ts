/** Mutations of the registers: what a voter keeps, what a proposer may conclude, who the voters are. */

import type { Mutation } from "./mutation.ts";
import { CHURN, SWAPS } from "./worlds.ts";

const ACCEPTOR = "src/cluster/acceptor.ts";
const REGISTER = "src/cluster/register.ts";

/** See the module comment. */
export const REGISTER_MUTATIONS: readonly Mutation[] = [
  {
    number: 34,
    name: "promise-not-durable",
    seeds: 200,
    world: CHURN,
    patches: [{
      file: ACCEPTOR,
      before:
        `    emit(state, { type: "persist", record: { kind: "promise", register, ballot } });\n`,
      after: "",
    }],
  },
  {
    number: 35,
    name: "ballot-reused",
    seeds: 200,
    world: CHURN,
    patches: [{
      file: REGISTER,
      before: "    ballot: { n: register.maxN, ...state.self },",
      after: "    ballot: { n: register.maxN, node: state.self.node, incarnation: 1 },",
    }, {
      file: ACCEPTOR,
      before:
        `    emit(state, { type: "persist", record: { kind: "promise", register, ballot } });\n`,
      after:
        `    if (ballot.node !== state.self.node) emit(state, { type: "persist", record: { kind: "promise", register, ballot } });\n`,
    }],
  },
  {
    number: 36,
    name: "voter-without-memory-votes",
    seeds: 300,
    patches: [{
      file: "src/cluster/quorum.ts",
      before: "voter.node === node && voter.voterId === voterId);",
      after: "voter.node === node && voterId !== undefined);",
    }, {
      file: ACCEPTOR,
      before: `  if (register !== "cluster") return votersVersion === own && isListed(state);`,
      after: `  if (register !== "cluster") return true;`,
    }, {
      file: ACCEPTOR,
      before: `  if (!accepted && !news && message.votersVersion > 1) return refuse("noState");\n`,
      after: "",
    }],
  },
  {
    number: 37,
    name: "voter-readmitted-by-copy",
    seeds: 300,
    patches: [{
      file: "src/cluster/voters.ts",
      before: `    votersVersion: record.votersVersion + 1,
    voters: record.voters.map(`,
      after: `    votersVersion: record.votersVersion,
    voters: record.voters.map(`,
    }, {
      file: ACCEPTOR,
      before: `  if (!accepted && !news && message.votersVersion > 1) return refuse("noState");\n`,
      after: "",
    }],
  },
  {
    number: 38,
    name: "rotten-log-believed",
    seeds: 300,
    patches: [{
      file: "src/wire/voter_log.ts",
      before: "  if (validLength < answered) {\n",
      after: "  if (validLength < 0) {\n",
    }],
  },
  {
    number: 39,
    name: "read-without-write-back",
    seeds: 300,
    patches: [{
      file: REGISTER,
      before:
        "  const agreed = counted.every((found) => sameBallot(found?.ballot, highest?.ballot));",
      after: "  const agreed = counted.length > 0;",
    }],
  },
  {
    number: 40,
    name: "own-acceptor-as-cache",
    seeds: 300,
    patches: [{
      file: "src/cluster/facts.ts",
      before:
        "  return (state.registers.get(group.register)?.known?.record ?? null) as GroupRecord | null;",
      after:
        "  return (state.acceptor.accepted.get(group.register)?.proposal.value ?? null) as GroupRecord | null;",
    }],
  },
  {
    number: 41,
    name: "accept-ignores-promise",
    seeds: 300,
    patches: [{
      file: ACCEPTOR,
      before:
        `  if (promised && compareBallots(ballot, promised) < 0) return refuse("ballot", promised);
  const before`,
      after: "  const before",
    }],
  },
  {
    number: 42,
    name: "quorum-too-small",
    seeds: 50,
    patches: [{
      file: "src/cluster/quorum.ts",
      before: "  return Math.floor(voters / 2) + 1;",
      after: "  return Math.max(1, Math.floor(voters / 2));",
    }],
  },
  {
    number: 43,
    name: "voters-change-without-those-before",
    seeds: 200,
    // One comes and one goes: majorities before and after need not meet by themselves.
    world: SWAPS,
    patches: [{
      file: "src/cluster/swap.ts",
      before: "  return comes && goes ? voters : undefined;",
      after: "  return comes && goes ? undefined : undefined;",
    }],
  },
  {
    number: 44,
    name: "voters-from-the-file",
    seeds: 200,
    world: SWAPS,
    patches: [{
      file: "src/cluster/voters.ts",
      before: `  if (register !== "cluster") return known && votersOf(state, known);`,
      after: `  const fromFile = state.pushed.nodes.map(({ name }) => ({
    node: name,
    voterId: saidVoterId(state, name) ?? "",
  }));
  if (register !== "cluster") return known && votersOf(state, { ...known, voters: fromFile });`,
    }, {
      file: ACCEPTOR,
      before: `  if (register !== "cluster") return votersVersion === own && isListed(state);`,
      after: `  if (register !== "cluster") return true;`,
    }],
  },
  {
    number: 45,
    name: "voters-version-unchecked",
    seeds: 400,
    patches: [{
      file: ACCEPTOR,
      before: `  if (register !== "cluster") return votersVersion === own && isListed(state);`,
      after: `  if (register !== "cluster") return isListed(state);`,
    }, {
      file: ACCEPTOR,
      before: "  return votersVersion >= Math.max(chosen, own - 1);",
      after: "  return votersVersion >= Math.min(chosen, 0);",
    }],
  },
];
