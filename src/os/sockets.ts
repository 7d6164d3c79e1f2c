/**
 * Stream sockets as raw descriptors, for the I/O engine: Deno's own sockets cannot be handed to it.
 *
 * @module
 */
import { formatIp, parseIp } from "./address.ts";
import { ERRNO } from "./errno.ts";
import { check, closeQuietly, cString, lastErrno, libc, OsError, throwErrno } from "./libc.ts";

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_KEEPALIVE = 9;
const SO_SNDBUF = 7;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_USER_TIMEOUT = 18;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPPROTO_IP = 0;
const IP_FREEBIND = 15;
const IPV6_FREEBIND = 78;
const SHUT_WR = 1;
const F_DUPFD_CLOEXEC = 1030;
const SUN_PATH_MAX = 107;
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/** One end of an IP connection. */
export interface InetEndpoint {
  readonly host: string;
  readonly port: number;
}

/** `struct sockaddr_un` of a path of at most 107 bytes. */
export function encodeUnixSockaddr(path: string): Uint8Array<ArrayBuffer> {
  const bytes = cString(path);
  if (bytes.length - 1 > SUN_PATH_MAX) {
    throw new RangeError(
      `the socket path ${path} has ${bytes.length - 1} bytes, the kernel takes ${SUN_PATH_MAX}`,
    );
  }
  const sockaddr = new Uint8Array(2 + bytes.length);
  sockaddr[0] = AF_UNIX;
  sockaddr.set(bytes, 2);
  return sockaddr;
}

/**
 * `struct sockaddr_in` or `sockaddr_in6`. A link-local IPv6 address takes its interface as
 * `fe80::1%eth0`. Throws a RangeError for a bad address, an OsError for an unknown interface.
 */
export function encodeInetSockaddr(host: string, port: number): Uint8Array<ArrayBuffer> {
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new RangeError(`${port} is not a port number`);
  }
  const [text, zone] = host.split("%", 2) as [string, string | undefined];
  const ip = parseIp(text);
  const sockaddr = new Uint8Array(ip.length === 4 ? 16 : 28);
  const view = new DataView(sockaddr.buffer);
  view.setUint16(0, ip.length === 4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, port);
  sockaddr.set(ip, ip.length === 4 ? 4 : 8);
  if (zone !== undefined && ip.length === 16) view.setUint32(24, zoneIndex(zone), true);
  return sockaddr;
}

function zoneIndex(zone: string): number {
  if (/^[0-9]+$/.test(zone)) return Number(zone);
  const index = libc.if_nametoindex(cString(zone));
  if (index === 0) throwErrno("if_nametoindex", zone);
  return index;
}

/** Read a `sockaddr_in` or `sockaddr_in6`; undefined for another family. */
export function decodeInetSockaddr(sockaddr: Uint8Array<ArrayBuffer>): InetEndpoint | undefined {
  const view = new DataView(sockaddr.buffer, sockaddr.byteOffset, sockaddr.byteLength);
  const family = view.getUint16(0, true);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const ip = family === AF_INET ? sockaddr.subarray(4, 8) : sockaddr.subarray(8, 24);
  return { host: formatIp(ip), port: view.getUint16(2) };
}

/** Set an integer option; `what` names it in the error. */
function setOption(fd: number, level: number, option: number, value: number, what: string): void {
  check(libc.setsockopt(fd, level, option, new Int32Array([value]), 4), "setsockopt", what);
}

/** How a TCP connection notices that its other end is gone. All times in milliseconds. */
export interface TcpTuning {
  /** Give up when sent data is not acknowledged for so long (TCP_USER_TIMEOUT). */
  readonly userTimeout?: number;
  /** First keepalive after so much silence, rounded up to seconds; three unanswered end it. */
  readonly keepalive?: number;
}

/** Send at once (TCP_NODELAY), and notice a dead peer as told. */
export function tuneTcp(fd: number, tuning: TcpTuning = {}): void {
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
  if (tuning.userTimeout !== undefined) {
    setOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, tuning.userTimeout, "TCP_USER_TIMEOUT");
  }
  if (tuning.keepalive !== undefined) {
    const seconds = Math.max(1, Math.ceil(tuning.keepalive / 1000));
    setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE");
    setOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds, "TCP_KEEPIDLE");
    setOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds, "TCP_KEEPINTVL");
    setOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 3, "TCP_KEEPCNT");
  }
}

/** Let a stream socket take so many bytes before its other end has read them, as far as is allowed. */
export function widenSends(fd: number, bytes: number): void {
  // The kernel doubles it, and counts what it needs itself.
  setOption(fd, SOL_SOCKET, SO_SNDBUF, bytes, "SO_SNDBUF");
}

/** Make a socket, hand it to `prepare`, and close it again if that throws. */
function withSocket(family: number, what: string, prepare: (fd: number) => void): number {
  const fd = check(libc.socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket", what);
  try {
    prepare(fd);
  } catch (error) {
    closeQuietly(fd);
    throw error;
  }
  return fd;
}

/** An unconnected TCP socket for {@link Engine.connect} to this encoded address, tuned. */
export function tcpSocket(sockaddr: Uint8Array, tuning: TcpTuning = {}): number {
  return withSocket(sockaddr[0]!, "tcp", (fd) => tuneTcp(fd, tuning));
}

/** An unconnected unix stream socket. */
export function unixSocket(): number {
  return withSocket(AF_UNIX, "unix", () => {});
}

/** How {@link listenTcp} listens. */
export interface TcpListening {
  readonly backlog?: number;
  /** Also on an address that this machine does not have yet (IP_FREEBIND): a group's comes later. */
  readonly foreign?: boolean;
}

/** Listen on an IP address; port 0 takes any free one (see {@link localEndpoint}). */
export function listenTcp(
  host: string,
  port: number,
  { backlog = 128, foreign = false }: TcpListening = {},
): number {
  const sockaddr = encodeInetSockaddr(host, port);
  const where = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  return withSocket(sockaddr[0]!, where, (fd) => {
    // A restarted agent takes its port back while old connections are in TIME_WAIT.
    setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
    if (sockaddr[0] === AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY");
    if (foreign) {
      const [level, option] = sockaddr[0] === AF_INET6
        ? [IPPROTO_IPV6, IPV6_FREEBIND]
        : [IPPROTO_IP, IP_FREEBIND];
      setOption(fd, level, option, 1, "IP_FREEBIND");
    }
    check(libc.bind(fd, sockaddr, sockaddr.length), "bind", where);
    check(libc.listen(fd, backlog), "listen", where);
  });
}

/**
 * Listen on a unix socket that only this user may connect to (mode 0600).
 *
 * A socket left behind by a dead process is removed; a live listener, or a file that is no socket,
 * is left alone and the call throws an OsError (EADDRINUSE). Two processes that do this at once
 * are kept apart by the lock on the state directory, not here.
 */
export function listenUnix(path: string, backlog = 128): number {
  const sockaddr = encodeUnixSockaddr(path);
  removeStaleSocket(path, sockaddr);
  return withSocket(AF_UNIX, path, (fd) => {
    check(libc.bind(fd, sockaddr, sockaddr.length), "bind", path);
    try {
      // Nobody can connect before listen(), so the mode has no gap.
      check(libc.chmod(cString(path), 0o600), "chmod", path);
      check(libc.listen(fd, backlog), "listen", path);
    } catch (error) {
      libc.unlink(cString(path));
      throw error;
    }
  });
}

function removeStaleSocket(path: string, sockaddr: Uint8Array<ArrayBuffer>): void {
  let isSocket: boolean;
  try {
    isSocket = Deno.lstatSync(path).isSocket === true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  if (!isSocket) {
    throw new OsError("bind", ERRNO.EADDRINUSE, `${path} (a file that is no socket is there)`);
  }
  const fd = unixSocket();
  try {
    // A listener with a full backlog must not hold this up.
    setNonblocking(fd, true);
    const refused = libc.connect(fd, sockaddr, sockaddr.length) < 0 &&
      lastErrno() === ERRNO.ECONNREFUSED;
    if (!refused) throw new OsError("bind", ERRNO.EADDRINUSE, `${path} (somebody listens there)`);
  } finally {
    closeQuietly(fd);
  }
  if (libc.unlink(cString(path)) < 0 && lastErrno() !== ERRNO.ENOENT) throwErrno("unlink", path);
}

/** Two connected unix stream sockets. */
export function socketPair(): [number, number] {
  const pair = new Int32Array(2);
  check(libc.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
  return [pair[0]!, pair[1]!];
}

/** Send no more: the other end reads what was sent, then the end of the stream. */
export function endSending(fd: number): void {
  // A connection that is gone needs no end.
  libc.shutdown(fd, SHUT_WR);
}

/** A second descriptor of the same open file or socket. */
export function duplicate(fd: number): number {
  return check(libc.fcntl(fd, F_DUPFD_CLOEXEC, 0), "fcntl", `descriptor ${fd}`);
}

/** Switch O_NONBLOCK of a descriptor. Not for descriptors of an engine, which does it itself. */
export function setNonblocking(fd: number, on: boolean): void {
  const flags = check(libc.fcntl(fd, F_GETFL, 0), "fcntl", `descriptor ${fd}`);
  const wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  check(libc.fcntl(fd, F_SETFL, wanted), "fcntl", `descriptor ${fd}`);
}

function endpoint(fd: number, which: "getsockname" | "getpeername"): InetEndpoint | undefined {
  const sockaddr = new Uint8Array(128);
  const length = new Uint32Array([sockaddr.length]);
  check(libc[which](fd, sockaddr, length), which, `descriptor ${fd}`);
  return decodeInetSockaddr(sockaddr.subarray(0, length[0]!));
}

/** Address and port that an IP socket is bound to; undefined for a unix socket. */
export function localEndpoint(fd: number): InetEndpoint | undefined {
  return endpoint(fd, "getsockname");
}

/** The other end of an IP connection; undefined for a unix socket. */
export function peerEndpoint(fd: number): InetEndpoint | undefined {
  return endpoint(fd, "getpeername");
}
