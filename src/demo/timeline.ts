/**
 * The demonstration's output: a timeline, a progress bar, and what the agents say of themselves.
 *
 * @module
 */
import { request } from "../status/client.ts";

const encoder = new TextEncoder();

/** Prints lines with the time since the start, and one progress bar at a time. */
export class Timeline {
  readonly #start = Date.now();
  readonly #terminal = Deno.stdout.isTerminal();
  #bar = "";
  #tenths = -1;

  /** Milliseconds since the start. */
  now(): number {
    return Date.now() - this.#start;
  }

  /** When an agent's entry was made, in milliseconds since the start: all clocks here are one. */
  at(entry: JournalEntry): number {
    return Date.parse(entry.time) - this.#start;
  }

  /** A heading. */
  chapter(text: string): void {
    this.#print(`\n${this.#terminal ? `\x1b[1m${text}\x1b[0m` : text}`);
  }

  /** One event, at `at` milliseconds since the start. */
  event(text: string, at: number = this.now()): void {
    this.#print(`${(at / 1000).toFixed(3).padStart(8)} s  ${text}`);
  }

  /** A plain line. */
  line(text: string): void {
    this.#print(text);
  }

  /** Draws the bar again in place; where there is no terminal, every tenth part is a line. */
  progress(label: string, done: number, total: number): void {
    const share = total === 0 ? 1 : done / total;
    const width = 32;
    const filled = Math.round(share * width);
    const bar = `${"█".repeat(filled)}${"░".repeat(width - filled)}`;
    const text = `           ${label} ${bar} ${(share * 100).toFixed(0).padStart(3)} %`;
    if (this.#terminal) {
      write(`\r${text}`);
      this.#bar = text;
    } else if (Math.floor(share * 10) !== this.#tenths) {
      this.#tenths = Math.floor(share * 10);
      write(`${text}\n`);
    }
  }

  #print(text: string): void {
    if (this.#terminal && this.#bar !== "") write("\n");
    this.#bar = "";
    write(`${text}\n`);
  }
}

function write(text: string): void {
  const bytes = encoder.encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

/** One entry of an agent's journal, as far as the demonstration reads it. */
export interface JournalEntry {
  readonly id: number;
  /** Wall clock, ISO 8601. */
  readonly time: string;
  readonly rule: string;
  readonly text: string;
}

/** Follows an agent's journal through its API. */
export class JournalFollower {
  readonly #runtime: string;
  readonly #seen: (entry: JournalEntry) => void;
  #after = 0;
  #stopped = false;
  readonly #done: Promise<void>;

  /** @param seen called for every entry from the first on, in order */
  constructor(runtime: string, seen: (entry: JournalEntry) => void) {
    this.#runtime = runtime;
    this.#seen = seen;
    this.#done = this.#follow();
  }

  /** Stops following. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }

  async #follow(): Promise<void> {
    while (!this.#stopped) {
      try {
        const answer = await request(this.#runtime, "GET", `/v1/events?after=${this.#after}`);
        for (const entry of (answer as { events: JournalEntry[] }).events) {
          this.#after = Math.max(this.#after, entry.id);
          this.#seen(entry);
        }
      } catch {
        // Not up yet, or dead: both are part of the story.
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}
