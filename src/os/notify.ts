/**
 * Tell systemd how the service is doing (sd_notify(3)): one datagram to `$NOTIFY_SOCKET`.
 *
 * @module
 */
import { check, closeQuietly, libc } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const MSG_DONTWAIT = 0x40;

/**
 * Send variable assignments, one per line: `READY=1`, `STATUS=…`, `STOPPING=1`, `WATCHDOG=1`.
 * Returns false when no service manager listens ($NOTIFY_SOCKET is not set). Throws an OsError when
 * it should but the datagram cannot be delivered.
 */
export function sdNotify(state: string, socketPath = Deno.env.get("NOTIFY_SOCKET")): boolean {
  if (socketPath === undefined || socketPath === "") return false;
  const path = new TextEncoder().encode(socketPath);
  const sockaddr = new Uint8Array(2 + path.length);
  sockaddr[0] = AF_UNIX;
  sockaddr.set(path, 2);
  // "@name" lives in the abstract namespace, whose names start with a zero byte.
  if (socketPath.startsWith("@")) sockaddr[2] = 0;
  const fd = check(libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket", "notify");
  try {
    const text = new TextEncoder().encode(state);
    const flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    check(
      libc.sendto(fd, text, text.length, flags, sockaddr, sockaddr.length),
      "sendto",
      socketPath,
    );
  } finally {
    closeQuietly(fd);
  }
  return true;
}

/**
 * How often systemd wants `WATCHDOG=1` from this process, milliseconds (sd_watchdog_enabled(3)); send
 * it twice as often. Undefined when it does not.
 */
export function watchdogInterval(): number | undefined {
  const microseconds = Number(Deno.env.get("WATCHDOG_USEC"));
  if (!(microseconds > 0)) return undefined;
  const pid = Deno.env.get("WATCHDOG_PID");
  return pid === undefined || Number(pid) === Deno.pid ? microseconds / 1000 : undefined;
}
