/** Keeps what a node of a pair knows together with its peer, see `alone.ts`. */

import { acceptedCluster, isListed } from "./accepted.ts";
import { decidesAlone, otherVoter } from "./alone.ts";
import { isAlive, type Peer } from "./membership.ts";
import { abandonJoint } from "./register.ts";
import { type ClusterState, knownCluster, note } from "./state.ts";

/** Whether an operation of a pair that began then is as good as one that begins now. */
function isTogether(state: ClusterState, began: number): boolean {
  const { togetherSince } = state.pair;
  return togetherSince !== null && began >= togetherSince;
}

/** Keeps {@linkcode Pair}, and asks for the reads that make a node joint, or bring two parted ones together. */
export function drivePair(state: ClusterState): void {
  const { config: { cluster: { quorum } }, pair, acceptor, self } = state;
  const record = knownCluster(state);
  if (quorum === "majority" || record === null) return;
  const alone = decidesAlone(state);
  if (alone && !pair.alone) {
    for (const register of state.registers.values()) abandonJoint(state, register);
  }
  pair.alone = alone;
  const accepted = acceptedCluster(acceptor);
  const peer = otherVoter(state, record);
  if (accepted === null || peer === null) return;
  if (accepted.solo === self.node && isListed(state)) {
    // Nobody can have decided without this voter since it was made so.
    if (!pair.joint) becomeJoint(state, peer);
    return;
  }
  if (accepted.solo !== undefined || record.solo !== undefined) {
    pair.joint = false;
    pair.togetherSince = null;
    return;
  }
  const together = isAlive(peer) && peer.heartbeat !== null;
  if (quorum === "survivor" && together) readSince(state, peer.aliveSince);
  if (pair.joint) return;
  const cluster = state.registers.get("cluster")!;
  if (pair.togetherSince === null) {
    if (cluster.jointAt > -Infinity) pair.togetherSince = state.now;
    else if (together) cluster.wantRead = true;
    return;
  }
  let missing = false;
  for (const register of state.registers.values()) {
    if (register.name === "cluster" || isTogether(state, register.jointAt)) continue;
    missing = true;
    if (together) register.wantRead = true;
  }
  if (!missing) becomeJoint(state, peer);
}

/** After a silence nothing is decided before both have shown each other what they decided alone. */
function readSince(state: ClusterState, time: number): void {
  for (const register of state.registers.values()) {
    if (register.jointAt < time) register.wantRead = true;
  }
}

function becomeJoint(state: ClusterState, peer: Peer): void {
  state.pair.joint = true;
  const text =
    `Every register has been read together with ${peer.node}: from now on this node may ` +
    `go on without it, as the quorum mode says`;
  note(state, "info", "joint", text, { quorum: state.config.cluster.quorum }, { node: peer.node });
}
