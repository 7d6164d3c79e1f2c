/** Keeps what a node of a pair knows together with its peer, see `alone.ts`. */

import { acceptedCluster, isListed } from "./accepted.ts";
import { decidesAlone, isBehind, otherVoter } from "./alone.ts";
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
    for (const register of state.registers.values()) {
      abandonJoint(state, register);
      // What this voter accepted and the peer may not have is made certain, at a ballot of its own.
      register.forceWriteBack = true;
      register.wantRead = true;
    }
  }
  pair.alone = alone;
  noteBehind(state);
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
  const together = !alone && isAlive(peer) && peer.heartbeat !== null;
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

/** Said once: what this node lacks, and who can tell it. */
function noteBehind(state: ClusterState): void {
  const { pair, config: { cluster: { quorum } } } = state;
  const behind = quorum === "survivor" && pair.joint && isBehind(state);
  if (behind === pair.behind) return;
  pair.behind = behind;
  if (!behind) return;
  const text =
    "The other node has decided something alone that is not known here: without it this " +
    `node takes nothing; if it is lost for good, "bascule volume promote" goes on with what is here`;
  note(state, "warning", "behind", text, {});
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
