/**
 * Quorum mode `survivor`: two nodes that decided alone hear each other again. Their records may have
 * parted; one of them goes on, whole, and the other is over. Nothing of the two is mixed, and the data
 * are none of this file's business: a replica that was written apart stays as it is until a person
 * discards it.
 *
 * @module
 */

import { compareBallots, sameBallot } from "./ballot.ts";
import type { Found } from "./register_state.ts";
import { isServing } from "./group_state.ts";
import type { Peer } from "./membership.ts";
import { type ClusterState, isClusterRecord, note } from "./state.ts";
import type { Heartbeat, Proposal, RegisterName } from "./types.ts";

type Side = NonNullable<Found>;

/**
 * What both shall hold, when their voters hold different things; null: they do not, or the mode is
 * another. It is newer than both, so that each side takes it for news.
 */
export function reunite(
  state: ClusterState,
  register: RegisterName,
  counted: readonly Found[],
): Proposal | null {
  if (state.config.cluster.quorum !== "survivor" || counted.length < 2) return null;
  const sides = counted.filter((found) => found !== null);
  if (sides.length === 0) return null;
  const best = sides.reduce((one, other) => compareSides(state, one, other) >= 0 ? one : other);
  if (counted.every((found) => sameBallot(found?.ballot, best.ballot))) return null;
  const { value } = best.proposal;
  const others = sides.filter((side) => side !== best).map(({ proposal }) => proposal.value);
  const newest = others.reduce((most, { version }) => Math.max(most, version), 0);
  // A record that merely lags is behind in its version, and needs no new one; nor does the same one.
  if (newest < value.version || others.every((other) => isSame(other, value))) {
    return withoutTakes(best.proposal);
  }
  note(state, "info", "reunion", `Both nodes hold ${register} differently: one record goes on`, {
    version: value.version,
    other: newest,
    by: best.ballot.node,
  }, register === "cluster" ? {} : { group: register.slice("group:".length) });
  return { value: { ...value, version: newest + 1 } };
}

/** Whether two values are the same, in whatever order their keys are. */
function isSame(one: unknown, other: unknown): boolean {
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) {
    return one === other;
  }
  const keys = Object.keys(one);
  return keys.length === Object.keys(other).length &&
    keys.every((key) =>
      Object.hasOwn(other, key) &&
      isSame((one as Record<string, unknown>)[key], (other as Record<string, unknown>)[key])
    );
}

/** The one whose owner lost its lease in the silence has nothing to say any more: both hear both. */
function withoutTakes({ value }: Proposal): Proposal {
  return { value };
}

/**
 * The higher epoch goes on; in one epoch what its owner wrote, its release too, as it alone knows who
 * lacks writes; then the newer version, then the higher ballot. Epochs of two owners are never the same,
 * see `drafts.ts`.
 */
function compareSides(state: ClusterState, one: Side, other: Side): number {
  const a = one.proposal.value;
  const b = other.proposal.value;
  if (!isClusterRecord(a) && !isClusterRecord(b)) {
    if (a.epoch !== b.epoch) return a.epoch - b.epoch;
    const { nodes } = state.config;
    const owner = a.owner?.node ?? b.owner?.node ?? nodes[a.epoch % nodes.length]?.name;
    const byOwner = Number(one.ballot.node === owner) - Number(other.ballot.node === owner);
    if (byOwner !== 0) return byOwner;
  }
  return a.version - b.version || compareBallots(one.ballot, other.ballot);
}

/** A peer that serves a group which is served here, too: both went on alone, and the data may have parted. */
export function noteParted(state: ClusterState, peer: Peer, { asks }: Heartbeat): void {
  if (state.config.cluster.quorum !== "survivor") return;
  for (const group of state.groups.values()) {
    const { name } = group.config;
    const epoch = asks[name];
    if (epoch === undefined || !isServing(group) || group.phase === "taken") continue;
    const key = `${peer.node} ${peer.incarnation} ${epoch} ${group.epoch}`;
    if (group.notedParted === key) continue;
    group.notedParted = key;
    const ways = group.volumes.length === 0
      ? "one of them stops now"
      : `one of them stops now and keeps its data. Look at both, decide whose are kept, and give up ` +
        `the others: "bascule volume discard ${group.volumes[0]!.name}" on their node`;
    const text =
      `Split brain: ${name} runs here and on ${peer.node}, as neither heard the other; ${ways}`;
    note(state, "error", "split-brain", text, { epoch: group.epoch, other: epoch }, {
      group: name,
    });
  }
}
