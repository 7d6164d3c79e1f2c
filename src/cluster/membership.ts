/**
 * Membership: who is alive, as far as this node hears.
 *
 * A peer is alive while any link brings a fresh frame of its newest run; late after warntime, dead
 * after deadtime. Frames come over several links and may be lost, doubled, delayed and replayed, so
 * each run has a window of sequence numbers and each number is processed once. A run counts only
 * after one of its frames echoed the own incarnation: what was recorded before this agent's start
 * makes nobody alive.
 */

import { type ClusterState, note } from "./state.ts";
import type { Frame, Heartbeat } from "./types.ts";

/** Silences are counted in steps of a quarter of a keepalive; so many steps, the last without end. */
const SILENCE_STEPS = 40;

/** Sequence numbers older than the newest by this much are dropped. */
const WINDOW = 1024;

/** How a peer stands. `unknown`: not heard since the own start. */
export type Liveness = "unknown" | "alive" | "late" | "dead";

/** One link to one peer. */
export interface PeerLink {
  lastSeq: number;
  /** null: never in this run of the own agent. */
  lastHeard: number | null;
  up: boolean;
}

/** One configured node other than this. */
export interface Peer {
  readonly node: string;
  /** Newest run heard of; 0 before any. */
  incarnation: number;
  /** This run has echoed the own incarnation. */
  confirmed: boolean;
  /** Newest sequence number of the run, and which of the last {@linkcode WINDOW} were seen. */
  highest: number;
  readonly seen: Float64Array;
  /** Newest fresh frame of a confirmed run. */
  lastHeard: number | null;
  liveness: Liveness;
  /** How often it was silent for so many steps between two frames, since the own start. */
  readonly silences: number[];
  longestSilence: number;
  /** Since when it has been heard without a silence of deadtime; meaningful while alive. */
  aliveSince: number;
  /** Newest frame of the run before this one, if that was heard. */
  formerHeard: number | null;
  readonly links: PeerLink[];
  /** Newest heartbeat of the confirmed run. */
  heartbeat: Heartbeat | null;
  heartbeatSeq: number;
  /** The run has another deadtime: nothing that it says is taken. */
  otherDeadtime: boolean;
  /** The version of the protocol that was refused last; each is said once. */
  refusedProtocol?: number;
}

/** Frames that were not taken, and those that came twice. */
export interface FrameCounters {
  /** Copies over another link: ordinary. */
  duplicate: number;
  /** The same number again over the same link, or older than the window. */
  replayed: number;
  olderIncarnation: number;
  /** Genuine, but of a node that the configuration does not name, or of the own name. */
  unknownNode: number;
  /** Of a run that has not shown yet that it is not a recording. */
  unconfirmed: number;
  /** In a version of the protocol that this program does not speak. */
  otherProtocol: number;
  /** Of a run with another deadtime. */
  otherDeadtime: number;
}

/** All peers and the counters of dropped frames. */
export interface Membership {
  readonly peers: Map<string, Peer>;
  readonly counters: FrameCounters;
}

/** Peers as the configuration names them, none heard yet. */
export function createMembership(
  nodes: readonly { readonly name: string; readonly links: readonly unknown[] }[],
  self: string,
  now: number,
): Membership {
  const peers = new Map<string, Peer>();
  for (const { name, links } of nodes) {
    if (name === self) continue;
    peers.set(name, createPeer(name, links.length, now));
  }
  return {
    peers,
    counters: {
      duplicate: 0,
      replayed: 0,
      olderIncarnation: 0,
      unknownNode: 0,
      unconfirmed: 0,
      otherProtocol: 0,
      otherDeadtime: 0,
    },
  };
}

function createPeer(node: string, links: number, now: number): Peer {
  return {
    node,
    incarnation: 0,
    confirmed: false,
    highest: 0,
    seen: new Float64Array(WINDOW),
    lastHeard: null,
    liveness: "unknown",
    silences: [],
    longestSilence: 0,
    aliveSince: now,
    formerHeard: null,
    links: createLinks(links),
    heartbeat: null,
    heartbeatSeq: 0,
    otherDeadtime: false,
  };
}

function createLinks(count: number): PeerLink[] {
  return Array.from({ length: count }, () => ({ lastSeq: 0, lastHeard: null, up: false }));
}

/** Follows another list of nodes: those that stay keep their state, with as many links as they have now. */
export function changeMembers(
  state: ClusterState,
  nodes: readonly { readonly name: string; readonly links: readonly unknown[] }[],
): void {
  const { peers } = state.membership;
  for (const name of [...peers.keys()]) {
    if (!nodes.some((node) => node.name === name)) peers.delete(name);
  }
  for (const { name, links } of nodes) {
    const peer = peers.get(name);
    if (name === state.self.node) continue;
    if (peer === undefined) peers.set(name, createPeer(name, links.length, state.now));
    else if (peer.links.length !== links.length) {
      peer.links.splice(0, peer.links.length, ...createLinks(links.length));
    }
  }
}

/**
 * Takes a genuine frame. Gives the peer if the frame is fresh and of a confirmed run, so that its
 * body may be acted upon; otherwise the frame was dropped and counted.
 */
export function receiveFrame(state: ClusterState, link: number, frame: Frame): Peer | null {
  const { peers, counters } = state.membership;
  const peer = peers.get(frame.node);
  if (peer === undefined) {
    counters.unknownNode++;
    return null;
  }
  const { speaks } = state;
  if (frame.protocol < speaks.least || frame.protocol > speaks.newest) {
    counters.otherProtocol++;
    sayOtherProtocol(state, peer, frame.protocol);
    return null;
  }
  if (frame.incarnation < peer.incarnation) {
    counters.olderIncarnation++;
    return null;
  }
  if (frame.incarnation > peer.incarnation) beginRun(state, peer, frame.incarnation);
  if (hasOtherDeadtime(state, peer, frame)) {
    counters.otherDeadtime++;
    return null;
  }
  if (!isFresh(state, peer, link, frame.seq)) return null;
  const newest = frame.seq > peer.highest;
  if (newest) peer.highest = frame.seq;
  if (frame.body.type === "HEARTBEAT") {
    const echo = frame.body.heard[state.self.node];
    const echoed = echo?.incarnation === state.self.incarnation && echo.seq <= state.seq;
    if (!peer.confirmed && echoed) {
      peer.confirmed = true;
      for (const each of peer.links) if (each.lastSeq > 0) each.lastHeard = state.now;
    }
  }
  if (!peer.confirmed) {
    counters.unconfirmed++;
    return null;
  }
  if (newest) {
    countSilence(state, peer);
    peer.lastHeard = state.now;
  }
  if (frame.body.type === "HEARTBEAT" && frame.seq > peer.heartbeatSeq) {
    peer.heartbeat = frame.body;
    peer.heartbeatSeq = frame.seq;
  }
  return peer;
}

/** A run never changes its deadtime, so the first heartbeat tells about all its frames. */
function hasOtherDeadtime(state: ClusterState, peer: Peer, { body }: Frame): boolean {
  const { deadtime } = state.timing;
  if (body.type !== "HEARTBEAT" || body.deadtime === deadtime || peer.otherDeadtime) {
    return peer.otherDeadtime;
  }
  peer.otherDeadtime = true;
  const text =
    `${peer.node} runs with a deadtime of ${body.deadtime} ms, this node of ${deadtime} ms: ` +
    `leases of two lengths would allow two owners, its frames are refused; give both the same file`;
  note(state, "error", "other-deadtime", text, { deadtime: body.deadtime, own: deadtime }, {
    node: peer.node,
  });
  return true;
}

function sayOtherProtocol(state: ClusterState, peer: Peer, protocol: number): void {
  if (peer.refusedProtocol === protocol) return;
  peer.refusedProtocol = protocol;
  const { least, newest } = state.speaks;
  const mend = protocol > newest ? `upgrade ${state.self.node}` : `upgrade ${peer.node}`;
  const text = `${peer.node} writes version ${protocol} of the cluster protocol, ` +
    `this program reads ${least} to ${newest}: its frames are refused; ${mend}`;
  note(state, "error", "other-protocol", text, { protocol, least, newest }, { node: peer.node });
}

/** Length of a step of a peer's `silences`, milliseconds. */
export function silenceStep(keepalive: number): number {
  return keepalive / 4;
}

/** How near it came to be taken for dead while it lived. */
function countSilence(state: ClusterState, peer: Peer): void {
  if (peer.lastHeard === null || !isAlive(peer)) return;
  const silence = state.now - peer.lastHeard;
  const step = Math.floor(silence / silenceStep(state.timing.keepalive));
  const { silences } = peer;
  while (silences.length <= Math.min(step, SILENCE_STEPS - 1)) silences.push(0);
  silences[Math.min(step, SILENCE_STEPS - 1)]! += 1;
  peer.longestSilence = Math.max(peer.longestSilence, silence);
}

function beginRun(
  state: ClusterState,
  peer: Peer,
  incarnation: number,
  ended = false,
): void {
  if (peer.incarnation > 0 && !ended) {
    note(
      state,
      "info",
      "peer-restarted",
      `The agent on ${peer.node} was started again`,
      { incarnation, before: peer.incarnation },
      { node: peer.node },
    );
  }
  peer.formerHeard = peer.confirmed ? peer.lastHeard : peer.formerHeard;
  peer.incarnation = incarnation;
  peer.otherDeadtime = false;
  peer.confirmed = false;
  peer.highest = 0;
  peer.seen.fill(0);
  peer.heartbeat = null;
  peer.heartbeatSeq = 0;
  for (const link of peer.links) link.lastSeq = 0;
  // It must hear its own number from us before it counts.
  state.urgent = true;
}

/** The peer's present run is over for certain: no frame of it counts any more. */
export function endRun(state: ClusterState, peer: Peer): void {
  const { incarnation, lastHeard } = peer;
  beginRun(state, peer, incarnation + 1, true);
  if (lastHeard !== null) {
    peer.lastHeard = Math.min(lastHeard, state.now - state.timing.deadtime);
  }
}

/** Whether this number was not processed before; keeps the window and the state of the link. */
function isFresh(state: ClusterState, peer: Peer, link: number, seq: number): boolean {
  const { counters } = state.membership;
  const via = peer.links[link];
  const again = via !== undefined && seq <= via.lastSeq;
  if (via !== undefined && seq > via.lastSeq) {
    via.lastSeq = seq;
    if (peer.confirmed) via.lastHeard = state.now;
  }
  if (seq <= peer.highest - WINDOW || seq < 1) {
    counters.replayed++;
    return false;
  }
  const slot = seq % WINDOW;
  if (peer.seen[slot] === seq) {
    if (again) counters.replayed++;
    else counters.duplicate++;
    return false;
  }
  peer.seen[slot] = seq;
  return true;
}

/** Whether the peer was heard less than deadtime ago. */
export function isAlive(peer: Peer): boolean {
  return peer.liveness === "alive" || peer.liveness === "late";
}

/** Lets time pass: late, dead, links down; each change is noted once. */
export function tickMembership(state: ClusterState): void {
  const { now, timing } = state;
  for (const peer of state.membership.peers.values()) {
    const silence = peer.lastHeard === null ? null : now - peer.lastHeard;
    const liveness: Liveness = silence === null
      ? "unknown"
      : silence >= timing.deadtime
      ? "dead"
      : silence >= timing.warntime
      ? "late"
      : "alive";
    if (liveness !== peer.liveness) changeLiveness(state, peer, liveness);
    tickLinks(state, peer);
  }
  if (state.allHeardAt !== null) return;
  for (const peer of state.membership.peers.values()) {
    if (peer.lastHeard === null || peer.heartbeat === null) return;
  }
  state.allHeardAt = now;
}

function changeLiveness(state: ClusterState, peer: Peer, liveness: Liveness): void {
  const known = {
    silentForMs: peer.lastHeard === null ? -1 : state.now - peer.lastHeard,
    incarnation: peer.incarnation,
    before: peer.liveness,
  };
  const about = { node: peer.node };
  if (liveness === "dead" && peer.heartbeat?.phase === "stopping") {
    const text = `${peer.node} has stopped, as it announced`;
    note(state, "info", "peer-stopped", text, known, about);
  } else if (liveness === "late" && peer.heartbeat?.phase === "stopping") {
    note(state, "debug", "peer-stopping", `${peer.node} stops`, known, about);
  } else if (liveness === "dead") {
    const text = `No frame from ${peer.node} for deadtime on any link: it counts as dead`;
    note(state, "warning", "peer-dead", text, known, about);
  } else if (liveness === "late") {
    const text = `No frame from ${peer.node} for warntime on any link`;
    note(state, "warning", "peer-late", text, known, about);
  } else if (peer.liveness === "late") {
    note(state, "info", "peer-back", `${peer.node} is heard again in time`, known, about);
  } else {
    note(state, "info", "peer-alive", `${peer.node} is alive`, known, about);
  }
  if (!isAlive(peer)) peer.aliveSince = state.now;
  peer.liveness = liveness;
  state.urgent = true;
}

function tickLinks(state: ClusterState, peer: Peer): void {
  peer.links.forEach((link, index) => {
    const up = peer.confirmed && link.lastHeard !== null &&
      state.now - link.lastHeard < state.timing.deadtime;
    if (up === link.up) return;
    link.up = up;
    const text = `Link ${index} to ${peer.node} is ${up ? "up" : "down"}`;
    note(state, up ? "info" : "warning", up ? "link-up" : "link-down", text, { link: index }, {
      node: peer.node,
    });
  });
}

/**
 * After an own pause everybody looks dead though nobody is: frames wait in the sockets. Silence is
 * counted anew from now for all who were alive when the pause began.
 */
export function forgivePause(state: ClusterState): void {
  for (const peer of state.membership.peers.values()) {
    if (!isAlive(peer)) continue;
    peer.lastHeard = state.now;
    for (const link of peer.links) if (link.up) link.lastHeard = state.now;
  }
}
