/**
 * Ethernet frames that tell a network where an address lives, or ask whether it is taken: ARP
 * (RFC 826, RFC 5227) for IPv4, neighbour discovery (RFC 4861, RFC 4862) for IPv6. Bytes only; see
 * packet.ts for sending them.
 *
 * @module
 */

/** EtherType of ARP. */
export const ETHERTYPE_ARP = 0x0806;
/** EtherType of IPv6. */
export const ETHERTYPE_IPV6 = 0x86dd;

const ARP_REQUEST = 1;
const ARP_REPLY = 2;
const ICMPV6 = 58;
const NEIGHBOUR_SOLICITATION = 135;
const NEIGHBOUR_ADVERTISEMENT = 136;
const OVERRIDE_FLAG = 0x20;
const TARGET_LINK_ADDRESS_OPTION = 2;
const BROADCAST = new Uint8Array(6).fill(0xff);
const NO_MAC = new Uint8Array(6);
const NO_IPV4 = new Uint8Array(4);
/** ff02::1, all nodes of the link. */
const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);

/** A frame's bytes, as the packet socket takes them. */
export type Frame = Uint8Array<ArrayBuffer>;

function ethernet(target: Uint8Array, source: Uint8Array, type: number, payload: number): Frame {
  if (source.length !== 6) throw new RangeError("an Ethernet address has 6 bytes");
  const frame = new Uint8Array(14 + payload);
  frame.set(target, 0);
  frame.set(source, 6);
  frame[12] = type >> 8;
  frame[13] = type & 0xff;
  return frame;
}

function arp(
  operation: number,
  senderMac: Uint8Array,
  senderIp: Uint8Array,
  targetMac: Uint8Array,
  targetIp: Uint8Array,
): Frame {
  if (targetIp.length !== 4) throw new RangeError("ARP carries IPv4 addresses, of 4 bytes");
  const frame = ethernet(BROADCAST, senderMac, ETHERTYPE_ARP, 28);
  // Hardware type Ethernet, protocol IPv4, their address lengths, operation.
  frame.set([0, 1, 0x08, 0x00, 6, 4, 0, operation], 14);
  frame.set(senderMac, 22);
  frame.set(senderIp, 28);
  frame.set(targetMac, 32);
  frame.set(targetIp, 38);
  return frame;
}

/** ARP announcement (RFC 5227, 1.1): a broadcast request in which sender and target are `ip`. */
export function arpAnnouncement(mac: Uint8Array, ip: Uint8Array): Frame {
  return arp(ARP_REQUEST, mac, ip, NO_MAC, ip);
}

/** Gratuitous ARP in its reply form (RFC 5944, 4.6), for receivers that ignore requests. */
export function arpGratuitousReply(mac: Uint8Array, ip: Uint8Array): Frame {
  return arp(ARP_REPLY, mac, ip, mac, ip);
}

/** ARP probe (RFC 5227, 2.1.1): asks for `ip` without claiming it; no cache is changed. */
export function arpProbe(mac: Uint8Array, ip: Uint8Array): Frame {
  return arp(ARP_REQUEST, mac, NO_IPV4, NO_MAC, ip);
}

/**
 * Who claims `ip` with this ARP packet: the sender of any packet that gives it as its own, or of
 * another probe for it (RFC 5227, 2.1.1). Undefined if nobody, or `ownMac` itself.
 */
export function arpClaimant(
  frame: Uint8Array,
  ownMac: Uint8Array,
  ip: Uint8Array,
): Uint8Array | undefined {
  if (frame.length < 42 || frame[12] !== 0x08 || frame[13] !== 0x06) return undefined;
  if (!equal(frame.subarray(14, 21), [0, 1, 0x08, 0x00, 6, 4, 0])) return undefined;
  const senderMac = frame.slice(22, 28);
  const senderIp = frame.subarray(28, 32);
  if (equal(senderMac, ownMac)) return undefined;
  const claims = equal(senderIp, ip);
  const probes = frame[21] === ARP_REQUEST && equal(senderIp, NO_IPV4) &&
    equal(frame.subarray(38, 42), ip);
  return claims || probes ? senderMac : undefined;
}

function icmpv6(
  targetMac: Uint8Array,
  sourceMac: Uint8Array,
  source: Uint8Array,
  target: Uint8Array,
  message: Uint8Array,
): Frame {
  const frame = ethernet(targetMac, sourceMac, ETHERTYPE_IPV6, 40 + message.length);
  // Version 6; payload length; next header; hop limit 255, which no router lets through.
  frame.set([0x60, 0, 0, 0, message.length >> 8, message.length & 0xff, ICMPV6, 255], 14);
  frame.set(source, 22);
  frame.set(target, 38);
  frame.set(message, 54);
  const checksum = icmpv6Checksum(source, target, message);
  frame[56] = checksum >> 8;
  frame[57] = checksum & 0xff;
  return frame;
}

/** Checksum over the pseudo-header and a message whose own checksum field is zero (RFC 4443). */
function icmpv6Checksum(source: Uint8Array, target: Uint8Array, message: Uint8Array): number {
  let sum = message.length + ICMPV6;
  for (const bytes of [source, target, message]) {
    for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function multicastMac(ip: Uint8Array): Uint8Array {
  return Uint8Array.of(0x33, 0x33, ...ip.subarray(12)); // RFC 2464, 7
}

function requireIpv6(ip: Uint8Array): void {
  if (ip.length !== 16) throw new RangeError("an IPv6 address has 16 bytes");
}

/**
 * Unsolicited neighbour advertisement (RFC 4861, 7.2.6) to all nodes: `ip` is at `mac`, override
 * what you knew. Solicited and router flags are clear.
 */
export function neighbourAdvertisement(mac: Uint8Array, ip: Uint8Array): Frame {
  requireIpv6(ip);
  const message = new Uint8Array(32);
  message[0] = NEIGHBOUR_ADVERTISEMENT;
  message[4] = OVERRIDE_FLAG;
  message.set(ip, 8);
  message[24] = TARGET_LINK_ADDRESS_OPTION;
  message[25] = 1; // in units of 8 bytes
  message.set(mac, 26);
  return icmpv6(multicastMac(ALL_NODES), mac, ip, ALL_NODES, message);
}

/**
 * Neighbour solicitation of duplicate address detection (RFC 4862, 5.4.2): from the unspecified
 * address to the solicited-node group of `ip`, without link-layer option.
 */
export function duplicateAddressSolicitation(mac: Uint8Array, ip: Uint8Array): Frame {
  requireIpv6(ip);
  const group = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ...ip.subarray(13));
  const message = new Uint8Array(24);
  message[0] = NEIGHBOUR_SOLICITATION;
  message.set(ip, 8);
  return icmpv6(multicastMac(group), mac, new Uint8Array(16), group, message);
}

/**
 * Who claims `ip` with this frame: the sender of an advertisement for it, or of another duplicate
 * check for it. Undefined if nobody, or `ownMac` itself.
 */
export function neighbourClaimant(
  frame: Uint8Array,
  ownMac: Uint8Array,
  ip: Uint8Array,
): Uint8Array | undefined {
  // Ethernet 14, IPv6 40, message 24; hop limit 255 proves that it comes from this link.
  if (frame.length < 78 || frame[12] !== 0x86 || frame[13] !== 0xdd) return undefined;
  if (frame[20] !== ICMPV6 || frame[21] !== 255 || frame[55] !== 0) return undefined;
  if (!equal(frame.subarray(62, 78), ip)) return undefined;
  const senderMac = frame.slice(6, 12);
  if (equal(senderMac, ownMac)) return undefined;
  const fromNobody = frame.subarray(22, 38).every((byte) => byte === 0);
  const claims = frame[54] === NEIGHBOUR_ADVERTISEMENT ||
    (frame[54] === NEIGHBOUR_SOLICITATION && fromNobody);
  return claims ? senderMac : undefined;
}

function equal(a: Uint8Array, b: ArrayLike<number>): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
