/** The replication links of a volume: who is connected, who is dialed, who knocks. */
import type { Engine } from "../../os/engine.ts";
import { errnoText } from "../../os/errno.ts";
import { Slab } from "../../os/memory.ts";
import { encodeInetSockaddr, localEndpoint, tcpSocket, tuneTcp } from "../../os/sockets.ts";
import type { ControlMessage, FrameKind } from "../../volume/types.ts";
import type { LinkKeys, LinkNames } from "../../wire/link_auth.ts";
import type { BufferPool } from "./buffers.ts";
import type { PeerAddress } from "./messages.ts";
import { PeerPaths } from "./peer_paths.ts";
import type { Completion, Operations } from "./operations.ts";
import { LINK_BYTES, ReplicaLink } from "./replica_link.ts";

/** Connections at a time, those that are ending and those that have not proved anything included. */
const MAX_LINKS = 16;
/** A connection and its challenge may take so long, milliseconds. */
const CHALLENGE_PATIENCE = 5000;
/** While another address is in use, the most wanted one is tried so often, milliseconds. */
const PROBE_INTERVAL = 5000;

/** What a volume is told about its links. Never called from within a call of the volume. */
export interface ReplicationEvents {
  /** What `dial` asked for is there; both ends speak this version of the link's protocol. */
  connected(peer: number, version: number): void;
  /** The peer connected by itself. */
  accepted(peer: number): void;
  /** The connection that counted is lost, or could not be made. */
  disconnected(peer: number, why: string): void;
  /** A data frame; the buffer (-1: none) goes over to the receiver. */
  frame(
    peer: number,
    kind: FrameKind,
    session: number,
    seq: number,
    offset: number,
    length: number,
    buffer: number,
    flags: number,
    head: Uint8Array,
  ): void;
  /** A control frame. */
  control(peer: number, message: ControlMessage): void;
  /** One line for the log. */
  note(level: "debug" | "info" | "warning", rule: string, text: string, peer: string): void;
}

/** Facts that stay. */
export interface ReplicationSettings {
  readonly cluster: string;
  readonly node: string;
  readonly volume: string;
  readonly keys: LinkKeys;
  readonly peers: readonly PeerAddress[];
  /** Bound and listening; they belong to the links from here on. */
  readonly listeners: readonly number[];
  readonly encrypt: boolean;
  /** Milliseconds without an acknowledgement from the peer's kernel. */
  readonly timeout: number;
}

/** What links see of this. */
export interface ReplicationHost {
  readonly engine: Engine;
  readonly operations: Operations;
  readonly pool: BufferPool;
  readonly keys: LinkKeys;
  readonly names: LinkNames;
  /** Both ends have proved who they are. */
  opened(link: ReplicaLink): void;
  /** The link ended by itself; `wasOpen`: frames could have come. */
  failed(link: ReplicaLink, why: string, wasOpen: boolean): void;
  /** Nothing of the link is left. */
  removed(link: ReplicaLink): void;
  /** The link waits for a buffer. */
  starved(link: ReplicaLink): void;
  frame: ReplicationEvents["frame"];
  control: ReplicationEvents["control"];
  /** The words for a negative result. */
  errorText(result: number): string;
}

/** A peer as seen from here. */
interface Peer {
  readonly node: string;
  readonly paths: PeerPaths;
  /** The connection that counts: dialing or open. */
  link: ReplicaLink | null;
  /** The volume asked for a connection that was not started yet. */
  wanted: boolean;
  /** The next address is to be tried for a connection that is wanted. */
  another: boolean;
  /** A more wanted address than the one in use is being tried. */
  probing: boolean;
  probedAt: number;
  /** What is to be told to the volume, outside of its calls. */
  lost: string | null;
}

/** All links of one volume. */
export class Replication implements Completion, ReplicationHost {
  readonly engine: Engine;
  readonly operations: Operations;
  readonly pool: BufferPool;
  readonly keys: LinkKeys;
  readonly names: LinkNames;
  readonly #events: ReplicationEvents;
  readonly #settings: ReplicationSettings;
  readonly #slab = Slab.allocate(MAX_LINKS * LINK_BYTES);
  readonly #links: (ReplicaLink | null)[] = new Array(MAX_LINKS).fill(null);
  readonly #peers: Peer[];
  readonly #starved = new Set<ReplicaLink>();
  readonly #listeners: number[];
  /** By listener. */
  readonly #accepting: boolean[];
  #now: number;

  constructor(
    plane: ReplicationEvents & Pick<ReplicationHost, "engine" | "operations" | "pool">,
    settings: ReplicationSettings,
    now: number,
  ) {
    this.engine = plane.engine;
    this.operations = plane.operations;
    this.pool = plane.pool;
    this.keys = settings.keys;
    this.names = {
      cluster: settings.cluster,
      node: settings.node,
      peers: settings.peers.map((peer) => peer.node),
      volumes: [settings.volume],
      encrypt: settings.encrypt,
    };
    this.#settings = settings;
    this.#events = plane;
    this.#now = now;
    this.#peers = settings.peers.map(({ node, addresses }) => ({
      node,
      paths: new PeerPaths(addresses),
      link: null,
      wanted: false,
      another: false,
      probing: false,
      probedAt: now,
      lost: null,
    }));
    this.#listeners = [...settings.listeners];
    this.#accepting = this.#listeners.map(() => false);
  }

  /** The port that is bound. */
  get port(): number {
    return localEndpoint(this.#listeners[0]!)!.port;
  }

  /** Takes connections from now on. */
  listen(): void {
    this.#listeners.forEach((_, index) => this.#accept(index));
  }

  /** See `VolumeIo.dial`: once, without delay; when to try again is for the volume. */
  dial(peer: number): void {
    const entry = this.#peers[peer]!;
    this.hangUp(peer);
    entry.wanted = true;
  }

  /** See `VolumeIo.hangUp`. */
  hangUp(peer: number): void {
    const entry = this.#peers[peer]!;
    entry.wanted = false;
    entry.another = false;
    entry.lost = null;
    // Whoever hangs up and dials again has found the link wanting: another address may do better.
    if (entry.link?.open && entry.link.initiator) entry.paths.troubled(this.#now);
    entry.link?.close();
    entry.link = null;
  }

  /** See `VolumeIo.sendData`. Without a connection the frame is dropped: `disconnected` is on its way. */
  sendData(
    peer: number,
    kind: FrameKind,
    session: number,
    seq: number,
    offset: number,
    length: number,
    buffer: number,
    bufferOffset: number,
    flags: number,
    head: Uint8Array,
  ): void {
    const link = this.#peers[peer]!.link;
    link?.sendData(kind, session, seq, offset, length, buffer, bufferOffset, flags, head);
  }

  /** See `VolumeIo.sendControl`. */
  sendControl(peer: number, message: ControlMessage): void {
    this.#peers[peer]!.link?.sendControl(message);
  }

  /** A buffer became free. */
  bufferFree(): void {
    for (const link of this.#starved) {
      this.#starved.delete(link);
      link.retry();
    }
  }

  /** Once a turn of the loop: connections are started, losses are told. */
  attend(now: number): void {
    this.#now = now;
    for (const link of this.#links) {
      if (link === null || link.open || now < link.deadline) continue;
      link.close();
      this.failed(link, "the peer does not answer the challenge", false);
    }
    for (let peer = 0; peer < this.#peers.length; peer++) {
      const entry = this.#peers[peer]!;
      if (entry.lost !== null) {
        const why = entry.lost;
        entry.lost = null;
        this.#events.disconnected(peer, why);
      }
      if (entry.wanted) entry.paths.begin(now);
      if (entry.wanted || entry.another) this.#connect(peer, entry);
    }
  }

  /** Once a turn of the loop: frames leave. */
  flush(): void {
    for (const { link } of this.#peers) link?.flush();
  }

  /** Now and then: looks for better addresses, listens again after a failed accept. */
  tick(): void {
    for (const entry of this.#peers) {
      const { link, probing, probedAt } = entry;
      if (link === null || !link.open || !link.initiator || probing) continue;
      if (entry.paths.better !== null && this.#now - probedAt >= PROBE_INTERVAL) this.#probe(entry);
    }
    this.#listeners.forEach((fd, index) => {
      if (fd >= 0 && !this.#accepting[index]) this.#accept(index);
    });
  }

  /** Ends everything. */
  close(): void {
    this.#listeners.forEach((fd, index) => {
      if (fd >= 0) this.engine.close(fd);
      this.#listeners[index] = -1;
    });
    for (const entry of this.#peers) entry.wanted = false;
    for (const link of this.#links) link?.close();
  }

  /** Gives the memory back; only when nothing is pending. */
  free(): void {
    this.#slab.free();
  }

  // The listener.

  completed(index: number, result: number): void {
    this.#accepting[index] = false;
    const open = this.#listeners[index]! >= 0;
    if (result >= 0) {
      this.#admit(result, open);
      if (open) this.#accept(index);
    } else if (open) {
      this.#note("warning", "link-accept", `a connection was not taken: ${errnoText(result)}`, "");
    }
  }

  // What links call.

  opened(link: ReplicaLink): void {
    const entry = this.#peers[link.peer]!;
    if (link.initiator) {
      entry.probedAt = this.#now;
      if (entry.paths.count > 1) {
        const text = `the replication link to ${entry.node} is made to ${entry.paths.text}`;
        this.#note("info", "link-path", text, entry.node);
      }
      return this.#events.connected(link.peer, link.version);
    }
    entry.another = false;
    entry.wanted = false;
    entry.lost = null;
    entry.link?.close();
    entry.link = link;
    this.#events.accepted(link.peer);
  }

  failed(link: ReplicaLink, why: string, wasOpen: boolean): void {
    const entry = link.peer < 0 ? undefined : this.#peers[link.peer];
    if (entry === undefined || entry.link !== link) {
      return this.#note("debug", "link-refused", `a connection was refused: ${why}`, "");
    }
    entry.link = null;
    const { node, paths } = entry;
    const level = wasOpen ? "warning" : "debug";
    const text = link.initiator
      ? `the replication link to ${node} (${paths.text}): ${why}`
      : `the replication link from ${node}: ${why}`;
    this.#note(level, "link-lost", text, node);
    // A peer that ends a connection is there: what it was made over is good.
    if (link.initiator && (!wasOpen || why.includes("ETIMEDOUT"))) paths.troubled(this.#now);
    if (link.initiator && !wasOpen && paths.hasNext) entry.another = true;
    else entry.lost = why;
  }

  removed(link: ReplicaLink): void {
    this.#links[link.index] = null;
    this.#starved.delete(link);
  }

  starved(link: ReplicaLink): void {
    this.#starved.add(link);
  }

  frame(
    peer: number,
    kind: FrameKind,
    session: number,
    seq: number,
    offset: number,
    length: number,
    buffer: number,
    flags: number,
    head: Uint8Array,
  ): void {
    this.#events.frame(peer, kind, session, seq, offset, length, buffer, flags, head);
  }

  control(peer: number, message: ControlMessage): void {
    this.#events.control(peer, message);
  }

  errorText(result: number): string {
    return errnoText(result);
  }

  #accept(index: number): void {
    this.#accepting[index] = true;
    this.engine.accept(this.#listeners[index]!, this.operations.begin(this, index));
  }

  #admit(fd: number, listening: boolean): void {
    const index = this.#links.indexOf(null);
    if (index < 0 || !listening) return this.engine.close(fd);
    try {
      tuneTcp(fd, this.#tuning());
    } catch {
      // The other end has hung up already.
      return this.engine.close(fd);
    }
    this.#make(index, fd, -1, CHALLENGE_PATIENCE).begin();
  }

  #connect(peer: number, entry: Peer): void {
    const index = this.#links.indexOf(null);
    // Those that are ending make room; they do so soon.
    if (index < 0) return;
    entry.wanted = false;
    entry.another = false;
    const { host, port } = entry.paths.next()!;
    // All addresses have their turn before the volume loses patience.
    const patience = Math.min(
      CHALLENGE_PATIENCE,
      entry.paths.count > 1 ? this.#settings.timeout / (entry.paths.count + 1) : Infinity,
    );
    try {
      const sockaddr = encodeInetSockaddr(host, port);
      const socket = tcpSocket(sockaddr, this.#tuning());
      const link = this.#make(index, socket, peer, patience);
      entry.link = link;
      link.connect(sockaddr);
    } catch (error) {
      entry.paths.troubled(this.#now);
      if (entry.paths.hasNext) entry.another = true;
      else entry.lost = error instanceof Error ? error.message : String(error);
    }
  }

  /** A more wanted address is tried; if it can be had, the link begins anew there. */
  #probe(entry: Peer): void {
    const { host, port } = entry.paths.better!;
    entry.probedAt = this.#now;
    let fd: number;
    let sockaddr: Uint8Array;
    try {
      sockaddr = encodeInetSockaddr(host, port);
      fd = tcpSocket(sockaddr, this.#tuning());
    } catch {
      // As good as unanswered.
      return;
    }
    entry.probing = true;
    const { link } = entry;
    const done = (result: number) => {
      entry.probing = false;
      this.engine.close(fd);
      if (result < 0 || entry.link !== link || link === null || !link.open) return;
      const why = `${host}:${port}, which is preferred, answers again`;
      entry.paths.mended();
      entry.link = null;
      link.close();
      this.#note("info", "link-path", `the link to ${entry.node} moves: ${why}`, entry.node);
      entry.lost = why;
    };
    this.engine.connect(fd, sockaddr, this.operations.begin({ completed: (_, r) => done(r) }, 0));
  }

  #make(index: number, fd: number, peer: number, patience: number): ReplicaLink {
    const deadline = this.#now + patience;
    const link = new ReplicaLink(this, index, fd, this.#slab, index * LINK_BYTES, peer, deadline);
    this.#links[index] = link;
    return link;
  }

  #tuning(): { userTimeout: number; keepalive: number } {
    return { userTimeout: this.#settings.timeout, keepalive: this.#settings.timeout };
  }

  #note(level: "debug" | "info" | "warning", rule: string, text: string, peer: string): void {
    this.#events.note(level, rule, text, peer);
  }
}
