/**
 * How long things have been as they are: since when a node has been without trouble, and since when it
 * reaches more than the owner. Groups move for what lasts, not for what was seen once.
 */

import type { Group } from "./group_state.ts";
import { isAlive, type Peer } from "./membership.ts";
import { type ClusterState, knownCluster } from "./state.ts";

/** How many of the group's ping targets a node reaches; null: it has not measured all of them yet. */
export function reachOf(
  targets: readonly string[],
  reach: Readonly<Record<string, boolean>>,
): number | null {
  let reached = 0;
  for (const target of targets) {
    if (!Object.hasOwn(reach, target)) return null;
    if (reach[target]) reached++;
  }
  return reached;
}

/** Keeps the group's memory of all peers up to date. */
export function watchNodes(state: ClusterState, group: Group): void {
  const { ping } = group.config;
  const own = reachOf(ping, state.reach);
  for (const peer of state.membership.peers.values()) {
    const { node, heartbeat } = peer;
    const reached = isAlive(peer) && heartbeat ? reachOf(ping, heartbeat.reach) : null;
    const behind = own !== null && (reached ?? 0) < own;
    keep(group.calmSince, node, state.now, isCalm(state, group, peer) && !behind);
    keep(group.betterSince, node, state.now, own !== null && reached !== null && reached > own);
  }
}

function isCalm(state: ClusterState, group: Group, peer: Peer): boolean {
  const { node, heartbeat, liveness, links } = peer;
  return liveness === "alive" && heartbeat?.phase === "running" && links.every(({ up }) => up) &&
    heartbeat.failed[group.config.name] === undefined &&
    !(knownCluster(state)?.standby.includes(node) ?? false);
}

function keep(since: Map<string, number>, node: string, now: number, holds: boolean): void {
  if (!holds) since.delete(node);
  else if (!since.has(node)) since.set(node, now);
}

/** Milliseconds for which it has held; 0: it does not. */
export function heldFor(since: ReadonlyMap<string, number>, node: string, now: number): number {
  const at = since.get(node);
  return at === undefined ? 0 : now - at;
}
