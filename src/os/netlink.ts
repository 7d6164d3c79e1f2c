/**
 * Interfaces and their addresses over rtnetlink(7): what `ip link` and `ip address` do, without
 * starting a program. Each call opens a socket, asks, reads the answer and closes; the kernel
 * answers at once. Changes need CAP_NET_ADMIN.
 *
 * @module
 */
import { formatIp, parseIp } from "./address.ts";
import { ERRNO } from "./errno.ts";
import { check, closeQuietly, lastErrno, libc, OsError, throwErrno } from "./libc.ts";
import {
  type Attribute,
  decodeAcknowledgement,
  decodeAttributes,
  decodeMessages,
  decodeString,
  encodeMessage,
  type NetlinkMessage,
  NLM_F,
  NLMSG,
  u32,
} from "./netlink_message.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SOL_NETLINK = 270;
const NETLINK_EXT_ACK = 11;
const RTM = { NEWADDR: 20, DELADDR: 21, GETADDR: 22, GETLINK: 18 } as const;
const IFLA = { ADDRESS: 1, IFNAME: 3, MTU: 4 } as const;
const IFA = { ADDRESS: 1, LOCAL: 2, LABEL: 3, BROADCAST: 4, CACHEINFO: 6, FLAGS: 8 } as const;
const IFF = { UP: 0x1, LOOPBACK: 0x8, RUNNING: 0x40 } as const;
const IFA_F = { NODAD: 0x02, DADFAILED: 0x08, TENTATIVE: 0x40 } as const;
const RT_SCOPE_HOST = 254;
const LIFETIME_FOREVER = 0xffffffff;
const RECEIVE_TIMEOUT_S = 5;

/** A network interface. */
export interface NetworkInterface {
  readonly index: number;
  readonly name: string;
  /** Link-layer address; undefined where there is none. */
  readonly mac: Uint8Array<ArrayBuffer> | undefined;
  readonly mtu: number;
  /** IFF_* bits. */
  readonly flags: number;
  /** Switched on by the administrator. */
  readonly up: boolean;
  /** Switched on and has a carrier. */
  readonly running: boolean;
  readonly loopback: boolean;
}

/** An address on an interface. */
export interface InterfaceAddress {
  readonly interfaceIndex: number;
  readonly family: 4 | 6;
  readonly address: string;
  readonly prefix: number;
  /** Seconds that are left, Infinity for ever. */
  readonly preferredLifetime: number;
  readonly validLifetime: number;
  /** IPv4: the name that the address was given, by default the interface's. */
  readonly label: string | undefined;
  /** IPv6: duplicate address detection is not finished. */
  readonly tentative: boolean;
  /** IPv6: another machine has the address; this one must not use it. */
  readonly duplicate: boolean;
}

/** What {@link addAddress} may be told. */
export interface AddAddressOptions {
  /** Seconds after which the kernel removes the address; a whole number. Default: never. */
  readonly validLifetime?: number;
  /** Seconds after which it starts no new connections. Default: validLifetime. */
  readonly preferredLifetime?: number;
  /** IPv6: let the kernel check for a duplicate first, during which the address is unusable. */
  readonly detectDuplicate?: boolean;
  /** IPv4: at most 15 bytes, by custom `INTERFACE:NAME`. */
  readonly label?: string;
}

let lastSequence = 0;

function withSocket<T>(what: string, use: (fd: number) => T): T {
  const fd = check(libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0), "socket", "netlink");
  try {
    const timeout = new BigInt64Array([BigInt(RECEIVE_TIMEOUT_S), 0n]);
    check(libc.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeout, 16), "setsockopt", what);
    // Without it (before Linux 4.12) errors only lack their words.
    libc.setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, new Int32Array([1]), 4);
    return use(fd);
  } finally {
    closeQuietly(fd);
  }
}

function send(fd: number, request: Uint8Array<ArrayBuffer>, what: string): void {
  check(libc.sendto(fd, request, request.length, 0, null, 0), "netlink", what);
}

const datagram = new Uint8Array(65536);

/** Messages of the next datagram that answer request `sequence`. */
function receive(fd: number, sequence: number, what: string): NetlinkMessage[] {
  for (;;) {
    const got = libc.recvfrom(fd, datagram, datagram.length, 0, null, null);
    if (got >= 0) {
      const answers = decodeMessages(datagram.subarray(0, got));
      return answers.filter((message) => message.sequence === sequence);
    }
    if (lastErrno() !== ERRNO.EINTR) throwErrno("netlink", what);
  }
}

/** An errno of the kernel's answer, with its words if it has any. */
function failure(what: string, errno: number, text: string): OsError {
  return new OsError("netlink", errno, text === "" ? what : `${what}: ${text}`);
}

function dump(type: number, fixedLength: number, what: string): Uint8Array<ArrayBuffer>[] {
  // A change while the kernel lists shows as a flag; the list is then taken again.
  for (let attempt = 0; attempt < 10; attempt++) {
    const found = withSocket(what, (fd) => dumpOnce(fd, type, fixedLength, what));
    if (found !== undefined) return found;
  }
  throw new Error(`netlink ${what}: the list changed during ten readings`);
}

function dumpOnce(
  fd: number,
  type: number,
  fixedLength: number,
  what: string,
): Uint8Array<ArrayBuffer>[] | undefined {
  const sequence = ++lastSequence;
  const flags = NLM_F.REQUEST | NLM_F.DUMP;
  send(fd, encodeMessage(type, flags, sequence, new Uint8Array(fixedLength), []), what);
  const bodies: Uint8Array<ArrayBuffer>[] = [];
  let interrupted = false;
  for (let datagrams = 0; datagrams < 100_000; datagrams++) {
    for (const message of receive(fd, sequence, what)) {
      interrupted ||= (message.flags & NLM_F.DUMP_INTERRUPTED) !== 0;
      if (message.type === NLMSG.DONE) return interrupted ? undefined : bodies;
      if (message.type === NLMSG.ERROR) {
        const { errno, text } = decodeAcknowledgement(message);
        throw failure(what, errno, text);
      }
      bodies.push(message.body);
    }
  }
  throw new Error(`netlink ${what}: the list has no end`);
}

/** Send a request and return the errno of its acknowledgement, 0 when it was carried out. */
function request(
  type: number,
  flags: number,
  fixed: Uint8Array,
  attributes: readonly Attribute[],
  what: string,
): { readonly errno: number; readonly text: string } {
  return withSocket(what, (fd) => {
    const sequence = ++lastSequence;
    const asked = NLM_F.REQUEST | NLM_F.ACK | flags;
    send(fd, encodeMessage(type, asked, sequence, fixed, attributes), what);
    for (let datagrams = 0; datagrams < 1000; datagrams++) {
      for (const message of receive(fd, sequence, what)) {
        if (message.type === NLMSG.ERROR) return decodeAcknowledgement(message);
      }
    }
    throw new Error(`netlink ${what}: no acknowledgement`);
  });
}

/** All interfaces of this network namespace. Throws an OsError. */
export function listInterfaces(): NetworkInterface[] {
  return dump(RTM.GETLINK, 16, "list interfaces").map((body) => {
    // struct ifinfomsg: family, pad, type (16 bit), index, flags, change.
    const view = new DataView(body.buffer, body.byteOffset);
    const attributes = decodeAttributes(body, 16);
    const flags = view.getUint32(8, true);
    const mac = attributes.get(IFLA.ADDRESS);
    const mtu = attributes.get(IFLA.MTU);
    return {
      index: view.getInt32(4, true),
      name: decodeString(attributes.get(IFLA.IFNAME) ?? new Uint8Array()),
      mac: mac === undefined || mac.length === 0 ? undefined : mac,
      mtu: mtu === undefined ? 0 : new DataView(mtu.buffer).getUint32(0, true),
      flags,
      up: (flags & IFF.UP) !== 0,
      running: (flags & IFF.RUNNING) !== 0,
      loopback: (flags & IFF.LOOPBACK) !== 0,
    };
  });
}

/** The interface with this name; undefined if there is none. */
export function interfaceByName(name: string): NetworkInterface | undefined {
  return listInterfaces().find((candidate) => candidate.name === name);
}

/** All IPv4 and IPv6 addresses of this network namespace. Throws an OsError. */
export function listAddresses(): InterfaceAddress[] {
  const found: InterfaceAddress[] = [];
  for (const body of dump(RTM.GETADDR, 8, "list addresses")) {
    // struct ifaddrmsg: family, prefix length, flags, scope, index (32 bit).
    const family = body[0];
    if (family !== AF_INET && family !== AF_INET6) continue;
    const attributes = decodeAttributes(body, 8);
    // On a point-to-point link ADDRESS is the other end, LOCAL this one; IPv6 may lack LOCAL.
    const address = attributes.get(IFA.LOCAL) ?? attributes.get(IFA.ADDRESS);
    if (address === undefined) continue;
    const flags = attributes.get(IFA.FLAGS);
    const bits = flags === undefined ? body[2]! : new DataView(flags.buffer).getUint32(0, true);
    const cache = attributes.get(IFA.CACHEINFO);
    const lifetime = (offset: number) => {
      const seconds = cache === undefined
        ? LIFETIME_FOREVER
        : new DataView(cache.buffer).getUint32(offset, true);
      return seconds === LIFETIME_FOREVER ? Infinity : seconds;
    };
    const label = attributes.get(IFA.LABEL);
    found.push({
      interfaceIndex: new DataView(body.buffer, body.byteOffset).getUint32(4, true),
      family: family === AF_INET ? 4 : 6,
      address: formatIp(address),
      prefix: body[1]!,
      preferredLifetime: lifetime(0),
      validLifetime: lifetime(4),
      label: label === undefined ? undefined : decodeString(label),
      tentative: (bits & IFA_F.TENTATIVE) !== 0,
      duplicate: (bits & IFA_F.DADFAILED) !== 0,
    });
  }
  return found;
}

function addressHeader(ip: Uint8Array, prefix: number, interfaceIndex: number): Uint8Array {
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > ip.length * 8) {
    throw new RangeError(`/${prefix} is no prefix length of ${formatIp(ip)}`);
  }
  const header = new Uint8Array(8);
  header[0] = ip.length === 4 ? AF_INET : AF_INET6;
  header[1] = prefix;
  // Newer kernels take addresses of 127.0.0.0/8 in this scope only.
  if (ip.length === 4 && ip[0] === 127) header[3] = RT_SCOPE_HOST;
  header.set(u32(interfaceIndex), 4);
  return header;
}

function broadcastOf(ip: Uint8Array, prefix: number): Uint8Array {
  return ip.map((byte, index) => byte | (0xff >> Math.min(8, Math.max(0, prefix - index * 8))));
}

/**
 * Put an address on an interface, or give the one that is there new lifetimes. An address with a
 * lifetime dies with the agent that no longer renews it. Throws an OsError.
 */
export function addAddress(
  interfaceIndex: number,
  address: string,
  prefix: number,
  options: AddAddressOptions = {},
): void {
  const ip = parseIp(address);
  const header = addressHeader(ip, prefix, interfaceIndex);
  const valid = options.validLifetime ?? LIFETIME_FOREVER;
  const preferred = options.preferredLifetime ?? valid;
  const lifetimes = new Uint8Array(16);
  lifetimes.set(u32(preferred), 0);
  lifetimes.set(u32(valid), 4);
  const attributes: Attribute[] = [
    [IFA.LOCAL, ip],
    [IFA.ADDRESS, ip],
    [IFA.CACHEINFO, lifetimes],
  ];
  if (ip.length === 4 && prefix < 31) {
    attributes.push([IFA.BROADCAST, broadcastOf(ip, prefix)]);
  }
  if (ip.length === 4 && options.label !== undefined) {
    attributes.push([IFA.LABEL, new TextEncoder().encode(`${options.label}\0`)]);
  }
  if (ip.length === 16 && options.detectDuplicate !== true) {
    attributes.push([IFA.FLAGS, u32(IFA_F.NODAD)]);
  }
  const what = `add address ${address}/${prefix} to interface ${interfaceIndex}`;
  const flags = NLM_F.CREATE | NLM_F.REPLACE;
  const { errno, text } = request(RTM.NEWADDR, flags, header, attributes, what);
  // EEXIST in spite of REPLACE: it is there already, which is what was asked for.
  if (errno !== 0 && errno !== ERRNO.EEXIST) throw failure(what, errno, text);
}

/**
 * Take an address from an interface. False when it, or the interface, was not there. Mind that
 * Linux removes the other IPv4 addresses of the same network with the first one of it, unless
 * `net.ipv4.conf.*.promote_secondaries` is 1. Throws an OsError.
 */
export function deleteAddress(interfaceIndex: number, address: string, prefix: number): boolean {
  const ip = parseIp(address);
  const header = addressHeader(ip, prefix, interfaceIndex);
  const what = `delete address ${address}/${prefix} from interface ${interfaceIndex}`;
  const attributes: Attribute[] = [[IFA.LOCAL, ip], [IFA.ADDRESS, ip]];
  const { errno, text } = request(RTM.DELADDR, 0, header, attributes, what);
  if (errno === 0) return true;
  if (errno === ERRNO.EADDRNOTAVAIL || errno === ERRNO.ENODEV) return false;
  throw failure(what, errno, text);
}

/** Do two addresses agree in their first `prefix` bits? */
function sameNetwork(a: Uint8Array, b: Uint8Array, prefix: number): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) {
    const bits = Math.min(8, Math.max(0, prefix - index * 8));
    const mask = 0xff & ~(0xff >> bits);
    if ((a[index]! & mask) !== (b[index]! & mask)) return false;
  }
  return true;
}

/**
 * The interface that belongs to the network of `address`/`prefix`: one with another address in it.
 * If only `address` itself is there, its interface. Interfaces that are up come first, then those
 * with the same prefix length, then the lowest index. Undefined if there is none.
 */
export function findInterfaceFor(address: string, prefix: number): NetworkInterface | undefined {
  const ip = parseIp(address);
  const wanted = formatIp(ip);
  const interfaces = new Map(listInterfaces().map((entry) => [entry.index, entry]));
  let best: { readonly rank: number; readonly entry: NetworkInterface } | undefined;
  for (const other of listAddresses()) {
    const entry = interfaces.get(other.interfaceIndex);
    if (entry === undefined || !sameNetwork(parseIp(other.address), ip, prefix)) continue;
    const rank = (other.address === wanted ? 4 : 0) + (entry.up ? 0 : 2) +
      (other.prefix === prefix ? 0 : 1);
    if (
      best === undefined || rank < best.rank ||
      (rank === best.rank && entry.index < best.entry.index)
    ) {
      best = { rank, entry };
    }
  }
  return best?.entry;
}
