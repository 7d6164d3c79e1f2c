/**
 * Another configuration: the file proposes, the record decides.
 *
 * `config push` puts the hash of a configuration into the cluster's record. Every agent that has it on
 * its disk then runs it, wholly or, where something in it needs a restart, not at all before that.
 * Voters follow one at a time, each change accepted by a majority of those before and of those after
 * it (`swap.ts`), and none before enough of those that stay hold what the registers hold.
 */

import { acceptedCluster } from "./accepted.ts";
import { knownGroup } from "./facts.ts";
import { changeMembers, isAlive, type Peer } from "./membership.ts";
import { unfitFor } from "./protocol.ts";
import { majorityOf } from "./quorum.ts";
import { type ClusterState, emit, knownCluster, note } from "./state.ts";
import type { ClusterRecord, Voter } from "./types.ts";
import type { Config, NodeConfig } from "../config/types.ts";

/** Voters of the record that the running configuration does not name: they leave. */
export function leavingNodes(state: ClusterState): readonly string[] {
  return state.leaving.map(({ name }) => name);
}

/**
 * Runs the pushed configuration once it is on the disk, and forgets nodes that have left. A node outside,
 * which knows no record and cannot read one before it is a voter, follows its file as a restart would.
 */
export function followPush(state: ClusterState): void {
  const record = knownCluster(state);
  const { file } = state;
  if (record === null) {
    if (!file?.live || state.shutdown || state.acceptor.accepted.size > 0) return;
    const { config } = file;
    state.file = null;
    const text = `This node is not in the cluster yet: it runs the configuration of its file, ` +
      config.hash.slice(0, 12);
    note(state, "info", "config", text, { before: state.config.hash.slice(0, 12) });
    return run(state, config, []);
  }
  if (file?.live && file.config.hash === record.config && !state.shutdown) {
    const { config } = file;
    state.file = null;
    const left = state.config.nodes.filter(({ name }) => !config.nodes.some(sameName(name)));
    const text = `The pushed configuration runs here from now: ${config.hash.slice(0, 12)}`;
    note(state, "info", "config", text, { before: state.config.hash.slice(0, 12) });
    run(state, config, [
      ...left,
      ...state.leaving.filter(({ name }) =>
        !config.nodes.some(sameName(name)) && !left.some(sameName(name))
      ),
    ]);
  }
  if (state.leaving.length === 0) return;
  const stays = state.leaving.filter(({ name }) => record.voters.some(({ node }) => node === name));
  if (stays.length < state.leaving.length) run(state, state.pushed, stays);
}

function sameName(name: string): (node: NodeConfig) => boolean {
  return (node) => node.name === name;
}

/** Nodes that leave are heard and written to until no voter of the record is among them. */
function run(state: ClusterState, config: Config, leaving: readonly NodeConfig[]): void {
  state.pushed = config;
  state.leaving = leaving;
  state.config = { ...config, nodes: [...config.nodes, ...leaving] };
  changeMembers(state, state.config.nodes);
  for (const group of state.groups.values()) {
    group.config = config.groups.find(({ name }) => name === group.config.name) ?? group.config;
  }
  state.urgent = true;
  emit(state, { type: "config", config: state.config });
}

/** The voters after the next single change towards those of the pushed configuration; null: none now. */
export function nextVoters(
  state: ClusterState,
  record: ClusterRecord,
): { readonly voters: readonly Voter[]; readonly text: string } | null {
  if (record.config !== state.pushed.hash || !leads(state, record)) return null;
  // Two voters, or one that decides alone, stay as they are.
  if (state.pushed.cluster.quorum !== "majority" || record.solo !== undefined) return null;
  const wanted = state.pushed.nodes.map(({ name }) => name);
  const extra = record.voters.find(({ node }) => !wanted.includes(node));
  const absent = wanted.filter((name) => !record.voters.some(({ node }) => node === name));
  const ready = absent.map((name) => state.membership.peers.get(name)).find((peer) =>
    peer !== undefined && isReady(state, record, peer)
  );
  const added: Voter | null = ready
    ? { node: ready.node, voterId: ready.heartbeat!.voterId }
    : null;
  if (added === null && (extra === undefined || absent.length > 0)) return null;
  const stay = record.voters.filter((voter) => voter !== extra);
  const voters = added === null ? stay : [...stay, added];
  if (holders(state, stay) < majorityOf(voters.length)) return null;
  const change = added === null
    ? `${extra!.node} leaves the voters`
    : extra === undefined
    ? `${added.node} joins the voters`
    : `${added.node} takes the place of ${extra.node} among the voters`;
  return { voters, text: `${change}, as the pushed configuration says` };
}

/** The first voter in file order that runs the pushed configuration makes the changes. */
function leads(state: ClusterState, record: ClusterRecord): boolean {
  for (const { name } of state.pushed.nodes) {
    if (!record.voters.some(({ node }) => node === name)) continue;
    if (name === state.self.node) return isHolder(state, record.voters, name);
    const peer = state.membership.peers.get(name);
    if (peer && isAlive(peer) && peer.heartbeat?.configHash === record.config) return false;
  }
  return false;
}

/**
 * Whether a node may join the voters. What it holds of an earlier time as a voter would count as if it
 * were new, and could outvote what was chosen since; one whose program is too old for the protocol in
 * force would hear nobody.
 */
function isReady(state: ClusterState, record: ClusterRecord, peer: Peer): boolean {
  const { heartbeat } = peer;
  return isAlive(peer) && heartbeat !== null && heartbeat.configHash === record.config &&
    heartbeat.phase !== "stopping" && heartbeat.holds === 0 &&
    unfitFor(record, heartbeat.speaks) === null &&
    state.now - peer.aliveSince >= state.timing.deadtime;
}

/** How many of these voters are heard and hold all that the registers hold. */
function holders(state: ClusterState, voters: readonly Voter[]): number {
  return voters.filter(({ node }) => isHolder(state, voters, node)).length;
}

function isHolder(state: ClusterState, voters: readonly Voter[], node: string): boolean {
  const { voterId } = voters.find((voter) => voter.node === node)!;
  if (node === state.self.node) {
    const { accepted } = state.acceptor;
    if (voterId !== state.acceptor.voterId || acceptedCluster(state.acceptor) === null) {
      return false;
    }
    return [...state.groups.values()].every((group) =>
      accepted.has(group.register) ||
      state.registers.get(group.register)?.known?.record === null
    );
  }
  const peer = state.membership.peers.get(node);
  return peer !== undefined && isAlive(peer) && peer.heartbeat?.voterId === voterId &&
    peer.heartbeat.lacks === 0;
}

/** Who, heard and to stay, has not got the configuration yet, with the mend; null: nobody. */
export function lacksFile(state: ClusterState, config: Config): string | null {
  for (const peer of state.membership.peers.values()) {
    const stays = config.nodes.some(({ name }) => name === peer.node);
    if (stays && isAlive(peer) && peer.heartbeat !== null) {
      const { configHash, fileHash } = peer.heartbeat;
      if (configHash !== config.hash && fileHash !== config.hash) {
        return `${peer.node} has not got this configuration: copy the file there, its agent looks at ` +
          `it every second`;
      }
    }
  }
  return null;
}

/** Why a configuration cannot be pushed, with the mend; null: it can. */
export function objectionToPush(state: ClusterState, config: Config): string | null {
  for (const peer of state.membership.peers.values()) {
    if (!config.nodes.some(({ name }) => name === peer.node)) {
      const used = whatUses(state, peer);
      if (used !== null) return used;
    }
  }
  return config.nodes.some(({ name }) => name === state.self.node)
    ? null
    : `${state.self.node} is not in it: push it from a node that stays`;
}

/** What still needs a node that is to be removed. */
function whatUses(state: ClusterState, peer: Peer): string | null {
  for (const group of state.groups.values()) {
    const record = knownGroup(state, group);
    if (record?.owner?.node === peer.node) {
      return `${peer.node} runs ${group.config.name}: empty it first with "bascule standby ${peer.node}"`;
    }
    for (const [volume, { upToDate }] of Object.entries(record?.volumes ?? {})) {
      const id = peer.heartbeat?.replicas[volume]?.replicaId;
      if (id !== undefined && upToDate.includes(id)) {
        return `${peer.node} holds an up-to-date replica of ${volume}: stop its agent first, ` +
          `then it leaves the in-sync set by itself`;
      }
    }
  }
  return null;
}

/** The same, for the configuration that runs here, where it is the pushed one. */
export function pushUnderWay(state: ClusterState): string | null {
  const record = knownCluster(state);
  return record === null || record.config !== state.pushed.hash
    ? null
    : pushWaitsFor(state, record);
}

/** What a push still waits for; null: nothing, the voters are those of the configuration. */
export function pushWaitsFor(state: ClusterState, record: ClusterRecord): string | null {
  const wanted = state.pushed.nodes.map(({ name }) => name);
  const absent = wanted.filter((name) => !record.voters.some(({ node }) => node === name));
  const stale = absent.find((name) =>
    (state.membership.peers.get(name)?.heartbeat?.holds ?? 0) > 0
  );
  if (stale !== undefined) {
    return `${stale}, which was a voter before, to forget that: stop its agent, move voter.log ` +
      `and voter.mark in its state directory away, start it again`;
  }
  if (absent.length > 0) return `${absent.join(", ")} to come up and join the voters`;
  const extra = record.voters.filter(({ node }) => !wanted.includes(node)).map(({ node }) => node);
  return extra.length > 0 ? `${extra.join(", ")} to leave the voters` : null;
}
