/** Mutations of the lease: who grants what, when a group may be taken, until when it may be served. */

import type { Mutation } from "./mutation.ts";
import { growInDoubt } from "./worlds.ts";

const ACCEPTOR = "src/cluster/acceptor.ts";
const LEASE = "src/cluster/lease.ts";

/** See the module comment. */
export const LEASE_MUTATIONS: readonly Mutation[] = [
  {
    number: 46,
    name: "grant-after-the-vote",
    seeds: 100,
    patches: [{
      file: ACCEPTOR,
      before:
        "  if (!sameRun(value.owner, owner) || value.epoch !== epoch) return false;\n  const { node",
      after: "  const { node",
    }, {
      file: ACCEPTOR,
      before:
        "    if (sameRun(value.owner, grant) && value.epoch === grant.epoch) grants[group] = grant;",
      after: "    grants[group] = grant;",
    }],
  },
  {
    number: 47,
    name: "refusal-at-prepare-only",
    seeds: 300,
    focus: ["isolate", "pairCut", "slowDisk", "heal"],
    patches: [{
      file: ACCEPTOR,
      before: `      const why = refusesTakes(state, register, takes, value.owner?.node ?? "");
      if (why) return refuse(why, undefined, takes);
`,
      after: "",
    }],
  },
  {
    number: 48,
    name: "own-vote-unchecked",
    seeds: 300,
    // The taker asks as early as its own vote would have kept it from asking.
    patches: [{
      file: ACCEPTOR,
      before: "  if (taker === takes.node) return null;\n",
      after: "  if (taker === takes.node || taker === state.self.node) return null;\n",
    }, {
      file: ACCEPTOR,
      before: "  if (takes.node === state.self.node) return 0;\n",
      after: "  if (takes.node !== undefined) return 0;\n",
    }, {
      file: LEASE,
      before: `  if (peer.liveness === "dead") return peer.lastHeard + deadtime;`,
      after: `  if (peer.liveness !== "alive") return peer.lastHeard;`,
    }],
  },
  {
    number: 49,
    name: "no-wait-after-voter-restart",
    seeds: 20,
    // The witness forgets whom it granted, just before the other node asks it.
    world: {
      options: {},
      faults: [
        { at: 40_000, fault: "cut", routes: ["n1-n2"], for: 30_000 },
        { at: 44_500, fault: "cut", routes: ["w1>n1"], for: 20_000 },
        { at: 44_500, fault: "kill", node: "w1", down: 200 },
      ],
    },
    patches: [{
      file: ACCEPTOR,
      before: `  if (now < acceptor.restartedUntil) return "restarted";\n`,
      after: "",
    }, {
      // A taker that asks a voter just restarted at once: that it waits a moment is no rule to rest on.
      file: "src/cluster/ownership.ts",
      before: "    input.quorumFor < input.delayPerRank\n",
      after: "    input.quorumFor < 0\n",
    }],
  },
  {
    number: 50,
    name: "lease-from-receipt",
    seeds: 300,
    patches: [{
      file: LEASE,
      before: "    if (sent !== null) addVote(group, peer.node, sent);",
      after: "    if (sent !== null) addVote(group, peer.node, state.now);",
    }],
  },
  {
    number: 51,
    name: "lease-too-long",
    seeds: 400,
    patches: [{
      file: "src/cluster/cluster.ts",
      before: "lease: 0.8 * deadtime }",
      after: "lease: 0.9 * deadtime }",
    }],
  },
  {
    number: 52,
    name: "release-while-running",
    seeds: 50,
    patches: [{
      file: "src/cluster/group.ts",
      before: `  group.phase = "stopping";
  group.forced = false;
  group.afterStop`,
      after: `  group.phase = "releasing";
  group.forced = false;
  group.afterStop`,
    }],
  },
  {
    number: 53,
    name: "grant-to-who-does-not-hear",
    seeds: 300,
    patches: [{
      file: ACCEPTOR,
      before: "  if (sent === null || state.now - sent > state.timing.warntime) return;\n",
      after: "  if (sent === undefined) return;\n",
    }],
  },
  {
    number: 54,
    name: "refusal-by-own-record",
    seeds: 300,
    patches: [{
      file: ACCEPTOR,
      before:
        `  return granted && sameRun(granted.grant, takes) && now - granted.at < timing.deadtime
    ? "granted"
    : null;`,
      after:
        `  const own = acceptor.accepted.get(register)?.proposal.value as GroupRecord | undefined;
  const heard = own?.owner ? state.membership.peers.get(own.owner.node) : undefined;
  if (heard?.liveness === "alive" && heard.node !== taker) return "granted";
  return granted && sameRun(granted.grant, takes) && now - granted.at < timing.deadtime
    ? "granted"
    : null;`,
    }],
  },
  {
    number: 55,
    name: "grant-ignores-run",
    seeds: 300,
    patches: [{
      file: ACCEPTOR,
      before: `  for (const [group, epoch] of Object.entries(heartbeat.asks)) {
    grant(state, group, owner, epoch, seq);
  }`,
      after: `  for (const group of state.groups.keys()) {
    const value = state.acceptor.accepted.get(groupRegister(group))?.proposal.value;
    if (value === undefined || isClusterRecord(value)) continue;
    if (value.owner?.node === owner.node) grant(state, group, value.owner, value.epoch, seq);
  }`,
    }],
  },
  {
    number: 56,
    name: "sole-while-grow-in-doubt",
    seeds: 100,
    // The mark stands until the GROW is known to be chosen.
    world: growInDoubt(),
    patches: [{
      file: "src/volume/membership.ts",
      before: "      context.superblock.update({ sole: null }, () => {",
      after: "      context.superblock.update({}, () => {",
    }, {
      file: LEASE,
      before: `    !group.requests.some(({ kind }) => kind === "grow") &&\n`,
      after: "",
    }, {
      file: "src/cluster/members.ts",
      before: `    if (state.replicas.get(volume)?.sole === group.epoch) return "wait";\n`,
      after: "",
    }],
  },
  {
    number: 57,
    name: "thaw-without-grants",
    seeds: 100,
    // A frozen owner takes it for a grant that a voter heard it, whatever that voter accepted since.
    patches: [{
      file: LEASE,
      before: "  for (const [name, given] of Object.entries(heartbeat.grants)) {\n",
      after: `  const heard = heartbeat.heard[state.self.node];
  for (const group of state.groups.values()) {
    const sent = heard?.incarnation === state.self.incarnation ? sendingTime(state, heard.seq) : null;
    if (group.frozenSince !== null && isServing(group) && sent !== null) addVote(group, peer.node, sent);
  }
  for (const [name, given] of Object.entries(heartbeat.grants)) {
`,
    }],
  },
  {
    number: 64,
    name: "no-shrink-on-announced-stop",
    seeds: 100,
    patches: [{
      file: "src/cluster/members.ts",
      before: `      const reason = holder?.heartbeat?.phase === "stopping"`,
      after: `      const reason = holder?.heartbeat?.phase === undefined && holder !== undefined`,
    }],
  },
  {
    number: 65,
    name: "write-back-unchecked",
    seeds: 20,
    // A take that only the taker's own voter accepted is found by a witness that reads after its start.
    world: {
      options: {},
      faults: [
        { at: 40_000, fault: "cut", routes: ["n1-n2"], for: 30_000 },
        { at: 47_000, fault: "cut", routes: ["w1>n1"], for: 20_000 },
        { at: 47_000, fault: "kill", node: "w1", down: 300 },
      ],
    },
    patches: [{
      file: ACCEPTOR,
      before: "    if (takes && !isClusterRecord(value)) {",
      after: "    if (takes && !isClusterRecord(value) && ballot.node === value.owner?.node) {",
    }, {
      // The courtesy of refusing it early makes such values rare, and nothing else.
      file: ACCEPTOR,
      before: "    const why = refusesTakes(state, register, message.takes, ballot.node);\n",
      after: "    const why = null as null | ReturnType<typeof refusesTakes>;\n",
    }],
  },
];
