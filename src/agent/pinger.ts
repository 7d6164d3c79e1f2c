/**
 * Asks ping targets for an echo, one request each an interval, and says which of them answer.
 *
 * A target answers as long as one of its last three requests was answered; it is without answer when
 * three in a row were not; before either it is left out.
 *
 * @module
 */
import type { Config } from "../config/types.ts";
import { EchoSocket, familyOf } from "../os/ping.ts";

/** Requests in a row without an answer after which a target does not answer. */
const MISSES = 3;
const NUMBERS = 2 ** 32;

interface Target {
  readonly host: string;
  readonly family: 4 | 6;
  /** Requests since the last answer, the newest included. */
  unanswered: number;
  answers: boolean | null;
}

/** What a pinger tells. */
export interface PingerEvents {
  /** By target; those that were not measured yet are left out. Called on changes only. */
  reach(targets: Readonly<Record<string, boolean>>): void;
  /** Targets of a family cannot be asked on this machine. Called once for each. */
  unable(family: 4 | 6, reason: string): void;
}

/** See the module comment. */
export class Pinger {
  readonly #events: PingerEvents;
  readonly #token = crypto.getRandomValues(new Uint8Array(8));
  readonly #sockets = new Map<4 | 6, EchoSocket | null>();
  /** By number of the request, the last few of every target. */
  readonly #asked = new Map<number, Target>();
  #targets: Target[] = [];
  #timer: ReturnType<typeof setInterval> | undefined;
  #interval = 0;
  #next = 1;
  #told = "{}";

  /** Asks nobody before `follow`. */
  constructor(events: PingerEvents) {
    this.#events = events;
  }

  /** Asks the targets of this configuration from now on. What is known of those that stay is kept. */
  follow(config: Config): void {
    const hosts = [...new Set(config.groups.flatMap(({ ping }) => ping))];
    this.#targets = hosts.map((host) =>
      this.#targets.find((target) => target.host === host) ??
        { host, family: familyOf(host), unanswered: 0, answers: null }
    );
    const { pingInterval } = config.cluster;
    if (this.#timer === undefined || pingInterval !== this.#interval) {
      clearInterval(this.#timer);
      this.#interval = pingInterval;
      this.#timer = setInterval(() => this.#round(), pingInterval);
    }
    if (this.#targets.length === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
    this.#tell();
  }

  /** Stops asking. */
  close(): void {
    clearInterval(this.#timer);
    for (const socket of this.#sockets.values()) socket?.close();
    this.#sockets.clear();
  }

  #round(): void {
    for (const socket of this.#sockets.values()) if (socket !== null) this.#hear(socket);
    for (const target of this.#targets) {
      const socket = this.#socket(target.family);
      // A machine that may not ask measures nothing, and must not be taken for one without a network.
      if (socket === null) continue;
      if (target.unanswered >= MISSES) target.answers = false;
      target.unanswered++;
      const number = this.#next;
      this.#next = (this.#next + 1) % NUMBERS;
      this.#asked.set(number, target);
      socket.send(target.host, number);
    }
    const kept = MISSES * Math.max(1, this.#targets.length);
    for (const number of this.#asked.keys()) {
      if (this.#asked.size <= kept) break;
      this.#asked.delete(number);
    }
    this.#tell();
  }

  #hear(socket: EchoSocket): void {
    for (let number = socket.receive(); number !== undefined; number = socket.receive()) {
      const target = this.#asked.get(number);
      if (target === undefined) continue;
      target.unanswered = 0;
      target.answers = true;
    }
  }

  #tell(): void {
    const reach: Record<string, boolean> = {};
    for (const { host, answers } of this.#targets) if (answers !== null) reach[host] = answers;
    const text = JSON.stringify(reach);
    if (text === this.#told) return;
    this.#told = text;
    this.#events.reach(reach);
  }

  #socket(family: 4 | 6): EchoSocket | null {
    const open = this.#sockets.get(family);
    if (open !== undefined) return open;
    let socket: EchoSocket | null = null;
    try {
      socket = new EchoSocket(family, this.#token);
    } catch (error) {
      this.#events.unable(family, error instanceof Error ? error.message : String(error));
    }
    this.#sockets.set(family, socket);
    return socket;
  }
}
