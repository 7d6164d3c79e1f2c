/**
 * Packet sockets (packet(7)): announce an address to the network, and ask whether somebody has it.
 * Needs CAP_NET_RAW.
 *
 * To close a packet socket, or to bind one that listens already, the kernel waits until every processor
 * has passed a quiet moment: tens of milliseconds in which a takeover stands still. So those for
 * announcements and probes are opened once and kept.
 *
 * @module
 */
import { formatMac, parseIp } from "./address.ts";
import { monotonicMs } from "./clock.ts";
import { ERRNO } from "./errno.ts";
import {
  arpAnnouncement,
  arpClaimant,
  arpGratuitousReply,
  arpProbe,
  duplicateAddressSolicitation,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV6,
  type Frame,
  neighbourAdvertisement,
  neighbourClaimant,
} from "./frames.ts";
import { check, closeQuietly, lastErrno, libc, throwErrno } from "./libc.ts";
import type { NetworkInterface } from "./netlink.ts";

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_MR_ALLMULTI = 2;
const PACKET_OUTGOING = 4;

function openSocket(what: string): number {
  return check(libc.socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket", what);
}

/** struct sockaddr_ll: family, protocol (network order), interface index, 12 bytes unused. */
function linkAddress(interfaceIndex: number, etherType: number): Uint8Array<ArrayBuffer> {
  const sockaddr = new Uint8Array(20);
  const view = new DataView(sockaddr.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, etherType);
  view.setInt32(4, interfaceIndex, true);
  return sockaddr;
}

/** Sends on any interface and never listens. */
let sender: number | undefined;

/** Send a whole frame, Ethernet header included. Throws an OsError (ENETDOWN, ENOBUFS, …). */
function sendFrame({ index, name }: NetworkInterface, etherType: number, frame: Frame): void {
  sender ??= openSocket("packet");
  const to = linkAddress(index, etherType);
  check(
    libc.sendto(sender, frame, frame.length, 0, to, to.length),
    "sendto",
    `packet on ${name}`,
  );
}

/** By interface and address: probes for several addresses at a time must not take each other's answers. */
const listeners = new Map<string, PacketSocket>();

/** The kept socket to probe for an address, without what it heard before. */
function listenFor(networkInterface: NetworkInterface, address: string, etherType: number) {
  const key = `${networkInterface.index} ${address}`;
  let socket = listeners.get(key);
  if (socket === undefined) {
    socket = new PacketSocket(networkInterface, etherType);
    listeners.set(key, socket);
  }
  socket.drain();
  return socket;
}

/** A packet socket on one interface, for one EtherType. */
export class PacketSocket {
  readonly #fd: number;
  readonly #interface: NetworkInterface;
  readonly #buffer = new Uint8Array(2048);
  readonly #from = new Uint8Array(20);
  readonly #fromLength = new Uint32Array(1);
  #closed = false;

  /** Open it; throws an OsError (EPERM without CAP_NET_RAW). */
  constructor(networkInterface: NetworkInterface, etherType: number) {
    this.#interface = networkInterface;
    const { index, name } = networkInterface;
    // It begins to listen when it is bound: before, it would hear every interface.
    this.#fd = openSocket(`packet on ${name}`);
    const sockaddr = linkAddress(index, etherType);
    // struct packet_mreq: index, type, and an address that "all multicast" does not need.
    const membership = new Int32Array([index, PACKET_MR_ALLMULTI, 0, 0]);
    try {
      check(libc.bind(this.#fd, sockaddr, sockaddr.length), "bind", `packet on ${name}`);
      const { length } = new Uint8Array(membership.buffer);
      check(
        libc.setsockopt(this.#fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership, length),
        "setsockopt",
        `PACKET_ADD_MEMBERSHIP on ${name}`,
      );
    } catch (error) {
      closeQuietly(this.#fd);
      throw error;
    }
  }

  /** Send a whole frame, Ethernet header included. Throws an OsError (ENETDOWN, ENOBUFS, …). */
  send(frame: Frame): void {
    check(
      libc.sendto(this.#fd, frame, frame.length, 0, null, 0),
      "sendto",
      `packet on ${this.#interface.name}`,
    );
  }

  /**
   * The next frame that came in, without those this machine sent; undefined when there is none.
   * The bytes are good until the next call.
   */
  receive(): Uint8Array | undefined {
    // Bounded: a flood of own frames must not hold the caller.
    for (let i = 0; i < 1000; i++) {
      this.#fromLength[0] = this.#from.length;
      const { length } = this.#buffer;
      const got = libc.recvfrom(this.#fd, this.#buffer, length, 0, this.#from, this.#fromLength);
      if (got < 0) {
        const errno = lastErrno();
        // ENETDOWN tells once that the interface went down; there is nothing to read then.
        if (errno === ERRNO.EAGAIN || errno === ERRNO.ENETDOWN) return undefined;
        if (errno === ERRNO.EINTR) continue;
        throwErrno("recvfrom", `packet on ${this.#interface.name}`);
      }
      if (this.#from[10] !== PACKET_OUTGOING) return this.#buffer.subarray(0, got);
    }
    return undefined;
  }

  /** Forget what came in so far. */
  drain(): void {
    // Its buffer holds some hundreds; a flood goes on after any number.
    for (let i = 0; i < 10_000 && this.receive() !== undefined; i++);
  }

  /** Close the socket; twice does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeQuietly(this.#fd);
  }

  /** Close at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }
}

function announceable(networkInterface: NetworkInterface): networkInterface is
  & NetworkInterface
  & { readonly mac: Uint8Array<ArrayBuffer> } {
  return !networkInterface.loopback && networkInterface.mac?.length === 6;
}

/**
 * Tell all neighbours, once, that `address` is at this interface: for IPv4 by gratuitous ARP in
 * request and in reply form, for IPv6 by an unsolicited neighbour advertisement. Returns false,
 * and sends nothing, on the loopback and on interfaces without Ethernet addresses. Frames get
 * lost: repeat it some times over the first seconds. Throws an OsError.
 */
export function announceAddress(networkInterface: NetworkInterface, address: string): boolean {
  if (!announceable(networkInterface)) return false;
  const ip = parseIp(address);
  const { mac } = networkInterface;
  if (ip.length === 4) {
    sendFrame(networkInterface, ETHERTYPE_ARP, arpAnnouncement(mac, ip));
    sendFrame(networkInterface, ETHERTYPE_ARP, arpGratuitousReply(mac, ip));
  } else {
    sendFrame(networkInterface, ETHERTYPE_IPV6, neighbourAdvertisement(mac, ip));
  }
  return true;
}

/** How long and how often {@link findDuplicate} asks. */
export interface ProbeOptions {
  /** Number of probes, spread evenly over the time. Default 3. */
  readonly count?: number;
  /** How long to listen in all, milliseconds. Default 600. */
  readonly timeoutMs?: number;
  /** Stop early; the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Nothing wakes the event loop for a packet socket, so it is looked at so often. */
const POLL_MS = 3;

/**
 * Ask the network whether another machine has `address`: ARP probes (RFC 5227) or neighbour
 * solicitations of duplicate address detection (RFC 4862). Resolves with the Ethernet address
 * (`02:00:…`) of whoever claims it, as soon as it does, or with undefined when nobody did in time.
 * Silence is no proof: the other end may be cut off. The address should not be on this machine.
 */
export async function findDuplicate(
  networkInterface: NetworkInterface,
  address: string,
  options: ProbeOptions = {},
): Promise<string | undefined> {
  if (!announceable(networkInterface)) return undefined;
  const { count = 3, timeoutMs = 600, signal } = options;
  const ip = parseIp(address);
  const { mac } = networkInterface;
  const isIpv4 = ip.length === 4;
  const probe = isIpv4 ? arpProbe(mac, ip) : duplicateAddressSolicitation(mac, ip);
  const claimant = isIpv4 ? arpClaimant : neighbourClaimant;
  const socket = listenFor(networkInterface, address, isIpv4 ? ETHERTYPE_ARP : ETHERTYPE_IPV6);
  const start = monotonicMs();
  for (let sent = 0;;) {
    signal?.throwIfAborted();
    const elapsed = monotonicMs() - start;
    if (sent < count && elapsed >= (sent * timeoutMs) / count) {
      socket.send(probe);
      sent++;
    }
    // Bounded, so that a broadcast storm cannot keep the event loop here.
    for (let i = 0; i < 1000; i++) {
      const frame = socket.receive();
      if (frame === undefined) break;
      const owner = claimant(frame, mac, ip);
      if (owner !== undefined) return formatMac(owner);
    }
    if (elapsed >= timeoutMs) return undefined;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
