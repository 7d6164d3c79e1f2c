/**
 * The client's process: asks the moving address every {@linkcode PERIOD} milliseconds and notes who
 * answers. Orders come as lines on standard input: `start`, and `stop`, which is answered by one line of
 * JSON. One loop that waits in poll(2): a turn of an event loop would blur what is measured.
 *
 * @module
 */
import { monotonicMs } from "../../../src/os/clock.ts";
import { check, libc } from "../../../src/os/libc.ts";
import { encodeInetSockaddr } from "../../../src/os/sockets.ts";
import type { ProbeReport } from "./probe.ts";

/** Milliseconds between two probes. */
const PERIOD = 2;
/** A silence longer than this is a gap, milliseconds. */
const GAP_LEAST = 10;
const AF_INET = 2;
const SOCK_DGRAM = 2;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;

/** What was heard since `start`. */
class Log {
  #last: { at: number; who: string } | null = null;
  readonly #gaps: ProbeReport["gaps"][number][] = [];
  readonly #runs: ProbeReport["runs"][number][] = [];
  sent = 0;
  answers = 0;
  latest = 0;

  heard(at: number, who: string): void {
    this.answers++;
    const before = this.#last;
    if (before !== null && at - before.at >= GAP_LEAST) {
      this.#gaps.push({ from: before.at, ms: at - before.at, before: before.who, after: who });
    }
    if (before?.who !== who) this.#runs.push({ who, from: at });
    this.#last = { at, who };
  }

  report(now: number): ProbeReport {
    const { sent, answers, latest } = this;
    const silent = this.#last === null ? now : now - this.#last.at;
    return {
      gaps: this.#gaps,
      runs: this.#runs,
      sent,
      answers,
      silentAtEnd: silent,
      latestProbe: latest,
    };
  }
}

function main(): void {
  const [address = "", port = ""] = Deno.args;
  const target = encodeInetSockaddr(address, Number(port));
  const socket = check(libc.socket(AF_INET, SOCK_DGRAM, 0), "socket");
  const polled = new Int32Array(4);
  const events = new Int16Array(polled.buffer);
  [polled[0], events[2], polled[2], events[6]] = [socket, POLLIN, 0, POLLIN];
  const probe = new Uint8Array([63]);
  const answer = new Uint8Array(64);
  const from = new Uint8Array(16);
  const fromLength = new Uint32Array(1);
  const order = new Uint8Array(64);
  const text = new TextDecoder();
  let log: Log | null = null;
  let next = 0;
  for (;;) {
    const now = monotonicMs();
    if (log !== null && now >= next) {
      log.latest = Math.max(log.latest, now - next);
      // A node that is down, or has no such service, is an answer that does not come.
      libc.sendto(socket, probe, 1, MSG_DONTWAIT, target, target.length);
      log.sent++;
      next = next + PERIOD < now ? now + PERIOD : next + PERIOD;
    }
    const wait = log === null ? 1000 : Math.max(0, Math.ceil(next - monotonicMs()));
    libc.poll(polled as unknown as Uint8Array<ArrayBuffer>, 2, wait);
    for (;;) {
      fromLength[0] = from.length;
      const length = libc.recvfrom(socket, answer, answer.length, MSG_DONTWAIT, from, fromLength);
      if (length < 0) break;
      log?.heard(monotonicMs(), text.decode(answer.subarray(0, length)));
    }
    if (events[7] !== 0) {
      const length = Deno.stdin.readSync(order);
      if (length === null) return;
      for (const line of text.decode(order.subarray(0, length)).split("\n")) {
        if (line === "start") {
          log = new Log();
          next = monotonicMs();
        } else if (line === "stop" && log !== null) {
          const report = `${JSON.stringify(log.report(monotonicMs()))}\n`;
          log = null;
          const bytes = new TextEncoder().encode(report);
          for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
        }
      }
    }
  }
}

if (import.meta.main) main();
