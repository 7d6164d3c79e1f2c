/** The replication links of a volume: who is connected, who is dialed, who knocks. */
import type { Engine } from "../../os/engine.ts";
import { errnoText } from "../../os/errno.ts";
import { Slab } from "../../os/memory.ts";
import { encodeInetSockaddr, localEndpoint, tcpSocket, tuneTcp } from "../../os/sockets.ts";
import type { ControlMessage, FrameKind } from "../../volume/types.ts";
import type { LinkKeys, LinkNames } from "../../wire/link_auth.ts";
import type { BufferPool } from "./buffers.ts";
import type { PeerAddress } from "./messages.ts";
import type { Completion, Operations } from "./operations.ts";
import { LINK_BYTES, ReplicaLink } from "./replica_link.ts";

/** Connections at a time, those that are ending and those that have not proved anything included. */
const MAX_LINKS = 16;
/** A connection and its challenge may take so long, milliseconds. */
const CHALLENGE_PATIENCE = 5000;

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
  /** Bound and listening; it belongs to the links from here on. */
  readonly listener: number;
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
  readonly address: PeerAddress;
  /** The connection that counts: dialing or open. */
  link: ReplicaLink | null;
  /** The volume asked for a connection that was not started yet. */
  wanted: boolean;
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
  #listener: number;
  #accepting = false;
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
    };
    this.#settings = settings;
    this.#events = plane;
    this.#now = now;
    this.#peers = settings.peers.map((address) => ({
      address,
      link: null,
      wanted: false,
      lost: null,
    }));
    this.#listener = settings.listener;
  }

  /** The port that is bound. */
  get port(): number {
    return localEndpoint(this.#listener)!.port;
  }

  /** Takes connections from now on. */
  listen(): void {
    this.#accept();
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
    entry.lost = null;
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
    for (let peer = 0; peer < this.#peers.length; peer++) {
      const entry = this.#peers[peer]!;
      if (entry.lost !== null) {
        const why = entry.lost;
        entry.lost = null;
        this.#events.disconnected(peer, why);
      }
      if (entry.wanted) this.#connect(peer, entry);
    }
  }

  /** Once a turn of the loop: frames leave. */
  flush(): void {
    for (const { link } of this.#peers) link?.flush();
  }

  /** Now and then: ends challenges that take too long, listens again after a failed accept. */
  tick(): void {
    for (const link of this.#links) {
      if (link === null || link.open || this.#now < link.deadline) continue;
      link.close();
      this.failed(link, "the peer does not answer the challenge", false);
    }
    if (this.#listener >= 0 && !this.#accepting) this.#accept();
  }

  /** Ends everything. */
  close(): void {
    if (this.#listener >= 0) this.engine.close(this.#listener);
    this.#listener = -1;
    for (const entry of this.#peers) entry.wanted = false;
    for (const link of this.#links) link?.close();
  }

  /** Gives the memory back; only when nothing is pending. */
  free(): void {
    this.#slab.free();
  }

  // The listener.

  completed(_what: number, result: number): void {
    this.#accepting = false;
    if (result >= 0) {
      this.#admit(result);
      if (this.#listener >= 0) this.#accept();
    } else if (this.#listener >= 0) {
      this.#note("warning", "link-accept", `a connection was not taken: ${errnoText(result)}`, "");
    }
  }

  // What links call.

  opened(link: ReplicaLink): void {
    const entry = this.#peers[link.peer]!;
    if (link.initiator) return this.#events.connected(link.peer, link.version);
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
    const { node, host, port } = entry.address;
    const level = wasOpen ? "warning" : "debug";
    this.#note(
      level,
      "link-lost",
      `the replication link to ${node} (${host}:${port}): ${why}`,
      node,
    );
    entry.lost = why;
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

  #accept(): void {
    this.#accepting = true;
    this.engine.accept(this.#listener, this.operations.begin(this, 0));
  }

  #admit(fd: number): void {
    const index = this.#links.indexOf(null);
    if (index < 0 || this.#listener < 0) return this.engine.close(fd);
    try {
      tuneTcp(fd, this.#tuning());
    } catch {
      // The other end has hung up already.
      return this.engine.close(fd);
    }
    this.#make(index, fd, -1).begin();
  }

  #connect(peer: number, entry: Peer): void {
    const index = this.#links.indexOf(null);
    // Those that are ending make room; they do so soon.
    if (index < 0) return;
    entry.wanted = false;
    const { host, port } = entry.address;
    try {
      const sockaddr = encodeInetSockaddr(host, port);
      const link = this.#make(index, tcpSocket(sockaddr, this.#tuning()), peer);
      entry.link = link;
      link.connect(sockaddr);
    } catch (error) {
      entry.lost = error instanceof Error ? error.message : String(error);
    }
  }

  #make(index: number, fd: number, peer: number): ReplicaLink {
    const deadline = this.#now + CHALLENGE_PATIENCE;
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
