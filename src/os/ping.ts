/**
 * Echo requests (ICMP, RFC 792; ICMPv6, RFC 4443): whether an address answers. Through a raw socket
 * (CAP_NET_RAW), or a ping socket where net.ipv4.ping_group_range admits this group.
 *
 * @module
 */
import { parseIp } from "./address.ts";
import { ERRNO } from "./errno.ts";
import { check, closeQuietly, lastErrno, libc, throwErrno } from "./libc.ts";
import { encodeInetSockaddr } from "./sockets.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const SOL_RAW = 255;
const ICMP_FILTER = 1;
const ICMP6_FILTER = 1;
const TOKEN_BYTES = 8;
const MESSAGE_BYTES = 8 + TOKEN_BYTES + 4;

/** Types of the two protocols. */
const TYPES = {
  4: { request: 8, reply: 0 },
  6: { request: 128, reply: 129 },
} as const;

/** Sends echo requests to addresses of one family and hears the answers to them alone. */
export class EchoSocket {
  readonly #family: 4 | 6;
  readonly #fd: number;
  /** Raw IPv4 sockets give the IP header as well. */
  readonly #hasHeader: boolean;
  readonly #token: Uint8Array;
  readonly #buffer = new Uint8Array(2048);
  #closed = false;

  /**
   * @param token eight bytes that tell the answers to this socket from all others
   * @throws {OsError} EPERM or EACCES without the right to either kind of socket
   */
  constructor(family: 4 | 6, token: Uint8Array) {
    if (token.length !== TOKEN_BYTES) throw new RangeError(`a token has ${TOKEN_BYTES} bytes`);
    this.#family = family;
    this.#token = token;
    const domain = family === 4 ? AF_INET : AF_INET6;
    const protocol = family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
    const flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
    let fd = libc.socket(domain, SOCK_RAW | flags, protocol);
    this.#hasHeader = fd >= 0 && family === 4;
    if (fd >= 0) passRepliesOnly(fd, family);
    else fd = check(libc.socket(domain, SOCK_DGRAM | flags, protocol), "socket", "ICMP");
    this.#fd = fd;
  }

  /**
   * Sends one request. Gives false when it could not leave (no route, no room): as good as lost.
   *
   * @param number comes back with the answer; 0 to 2^32 - 1
   */
  send(host: string, number: number): boolean {
    const message = encodeEchoRequest(this.#family, number, this.#token);
    const sockaddr = encodeInetSockaddr(host, 0);
    return libc.sendto(this.#fd, message, message.length, 0, sockaddr, sockaddr.length) >= 0;
  }

  /** The number of the next request that was answered; undefined: no more have come. */
  receive(): number | undefined {
    for (;;) {
      const size = libc.recvfrom(this.#fd, this.#buffer, this.#buffer.length, 0, null, null);
      if (size < 0) {
        const errno = lastErrno();
        if (errno === ERRNO.EAGAIN) return undefined;
        if (errno === ERRNO.EINTR) continue;
        // An ICMP error that a ping socket reports is an answer that will not come.
        if (errno === ERRNO.EHOSTUNREACH || errno === ERRNO.ECONNREFUSED) continue;
        throwErrno("recvfrom", "ICMP");
      }
      const packet = this.#buffer.subarray(0, size);
      const start = this.#hasHeader ? (packet[0]! & 0x0f) * 4 : 0;
      const number = decodeEchoReply(this.#family, packet.subarray(start), this.#token);
      if (number !== undefined) return number;
    }
  }

  /** Closes it; later calls of `close` do nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeQuietly(this.#fd);
  }
}

/** 4 or 6, for an address that the configuration has checked. */
export function familyOf(host: string): 4 | 6 {
  return parseIp(host).length === 4 ? 4 : 6;
}

/** A whole message. The kernel puts in the checksum of ICMPv6, and the identifier of a ping socket. */
export function encodeEchoRequest(
  family: 4 | 6,
  number: number,
  token: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(MESSAGE_BYTES);
  const view = new DataView(message.buffer);
  message[0] = TYPES[family].request;
  view.setUint16(6, number & 0xffff);
  message.set(token, 8);
  view.setUint32(8 + TOKEN_BYTES, number);
  if (family === 4) view.setUint16(2, internetChecksum(message));
  return message;
}

/** The number in an answer to a request with this token; undefined for anything else. */
export function decodeEchoReply(
  family: 4 | 6,
  message: Uint8Array,
  token: Uint8Array,
): number | undefined {
  if (message.length < MESSAGE_BYTES || message[0] !== TYPES[family].reply) return undefined;
  for (let i = 0; i < TOKEN_BYTES; i++) if (message[8 + i] !== token[i]) return undefined;
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  return view.getUint32(8 + TOKEN_BYTES);
}

/** RFC 1071, over an even number of bytes. */
export function internetChecksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

/** A raw socket would get every ICMP message of the machine otherwise. */
function passRepliesOnly(fd: number, family: 4 | 6): void {
  const { reply } = TYPES[family];
  if (family === 4) {
    const blocked = new Uint32Array([~(1 << reply)]);
    check(libc.setsockopt(fd, SOL_RAW, ICMP_FILTER, blocked, 4), "setsockopt", "ICMP_FILTER");
    return;
  }
  const blocked = new Uint32Array(8).fill(0xffff_ffff);
  blocked[reply >> 5]! &= ~(1 << (reply & 31));
  check(
    libc.setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, blocked, 32),
    "setsockopt",
    "ICMP6_FILTER",
  );
}
