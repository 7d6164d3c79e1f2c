/**
 * How a TCP connection keeps out of the way of others.
 *
 * BBR, which some distributions have as default, spaces packets by a timer: right for a long line, dear
 * between neighbours. A frame of 128 KiB leaves in several pieces, each with a wakeup on both ends, and
 * takes a third more processor time in all.
 *
 * @module
 */
import { libc } from "./libc.ts";

const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const TCP_CONGESTION = 13;
/** `tcpi_rtt` in `struct tcp_info`, microseconds. */
const INFO_RTT = 68;
const INFO_BYTES = 104;
const NAME_BYTES = 16;
/** Round trips below this are those of neighbours, microseconds. */
const NEAR = 2000;

/** Name of the connection's congestion control, as `cubic`; "" if it cannot be told. */
export function congestionControl(fd: number): string {
  const name = new Uint8Array(NAME_BYTES);
  const length = new Uint32Array([name.length]);
  if (libc.getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, length) < 0) return "";
  return new TextDecoder().decode(name).split("\0")[0]!;
}

/** Chooses another one; false if the kernel has or allows none of that name. */
export function setCongestionControl(fd: number, name: string): boolean {
  const bytes = new TextEncoder().encode(name);
  return libc.setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, bytes, bytes.length) >= 0;
}

/** Round trip of a TCP connection that stands, microseconds; NaN if it cannot be told. */
export function roundTrip(fd: number): number {
  const info = new Uint8Array(INFO_BYTES);
  const length = new Uint32Array([info.length]);
  if (libc.getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, length) < 0) return NaN;
  return length[0]! < INFO_RTT + 4 ? NaN : new DataView(info.buffer).getUint32(INFO_RTT, true);
}

/** Does without BBR's timer on a connection to a neighbour. Whoever chose another one keeps it. */
export function doNotPace(fd: number): void {
  if (!congestionControl(fd).startsWith("bbr") || !(roundTrip(fd) < NEAR)) return;
  if (!setCongestionControl(fd, "cubic")) setCongestionControl(fd, "reno");
}
