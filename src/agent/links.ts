/**
 * Heartbeat links: one UDP socket per configured link of this node.
 *
 * A link whose address is not there yet (an interface that comes up late, or went away) is bound again
 * every second; meanwhile the other links carry the frames. Nothing that arrives here is trusted: the
 * wire codec authenticates it, the cluster core checks sequence and incarnation.
 *
 * @module
 */
import dgram from "node:dgram";
import type { Config, NodeConfig } from "../config/types.ts";

/** How often a link that could not be bound is tried again, in milliseconds. */
const REBIND_INTERVAL = 1000;

/** What the links call. */
export interface LinkEvents {
  /** A datagram came in over link number `link`. */
  received(link: number, datagram: Uint8Array): void;
  /** The link was bound, or could not be: `error` says why. Called on changes only. */
  state(link: number, error: string | null): void;
}

/** All heartbeat links of this node. */
export class Links {
  readonly #self: NodeConfig;
  #peers: readonly NodeConfig[];
  readonly #events: LinkEvents;
  readonly #sockets: (dgram.Socket | null)[];
  readonly #errors: (string | null | undefined)[];
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #closed = false;

  /** Binds every link of `node`. */
  constructor(config: Config, node: NodeConfig, events: LinkEvents) {
    this.#self = node;
    this.#peers = config.nodes.filter((peer) => peer.name !== node.name);
    this.#events = events;
    this.#sockets = node.links.map(() => null);
    this.#errors = node.links.map(() => undefined);
    for (let link = 0; link < node.links.length; link++) this.#bind(link);
  }

  /** Sends a datagram to one node, or to all (`*`), over every link that both have. */
  send(to: string, datagram: Uint8Array): void {
    for (const peer of this.#peers) {
      if (to !== "*" && to !== peer.name) continue;
      const shared = Math.min(peer.links.length, this.#sockets.length);
      for (let link = 0; link < shared; link++) {
        const target = peer.links[link];
        // A link that is down loses frames, as any network may: the protocol expects it.
        if (target) this.#sockets[link]?.send(datagram, target.port, target.host, () => {});
      }
    }
  }

  /** Sends to these nodes from now on. The own links stay as they are. */
  follow(nodes: readonly NodeConfig[]): void {
    this.#peers = nodes.filter((peer) => peer.name !== this.#self.name);
  }

  /** Whether the socket of a link is bound now. */
  bound(link: number): boolean {
    return (this.#sockets[link] ?? null) !== null;
  }

  /** Closes every socket; nothing is received afterwards. */
  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const socket of this.#sockets) socket?.close();
    this.#sockets.fill(null);
  }

  #bind(link: number): void {
    const address = this.#self.links[link];
    if (!address || this.#closed) return;
    const socket = dgram.createSocket(address.host.includes(":") ? "udp6" : "udp4");
    let bound = false;
    socket.on("message", (datagram) => {
      if (!this.#closed) this.#events.received(link, datagram);
    });
    socket.on("error", (error) => {
      if (this.#closed || (bound && this.#sockets[link] !== socket)) return;
      this.#report(link, error.message);
      this.#sockets[link] = null;
      socket.close();
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        this.#bind(link);
      }, REBIND_INTERVAL);
      this.#timers.add(timer);
    });
    socket.bind(address.port, address.host, () => {
      bound = true;
      if (this.#closed) {
        socket.close();
        return;
      }
      this.#sockets[link] = socket;
      this.#report(link, null);
    });
  }

  #report(link: number, error: string | null): void {
    if (this.#errors[link] === error) return;
    this.#errors[link] = error;
    this.#events.state(link, error);
  }
}
