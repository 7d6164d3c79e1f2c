/**
 * The decision journal: every note of an agent as one line of JSON, kept across restarts and bounded
 * in size. A line torn by a crash is dropped; a disk that refuses does not stop the agent.
 */

import type { Note } from "../cluster/types.ts";

/** One entry. Ids grow by one and are never used twice in one state directory. */
export interface JournalEntry {
  readonly id: number;
  /** Wall clock, UTC, ISO 8601 with milliseconds. */
  readonly time: string;
  readonly level: Note["level"];
  readonly rule: string;
  readonly group?: string;
  /** The node that the note is about; this one unless it says otherwise. */
  readonly node: string;
  readonly text: string;
  readonly known: Note["known"];
}

/** How a journal is kept. */
export interface JournalOptions {
  /** Name of this node. */
  readonly node: string;
  /** Size of a file, in bytes, at which it is rotated; two are kept. Default 4 MiB. */
  readonly maxBytes?: number;
  /** Told once when writing begins to fail. */
  readonly onFailure?: (text: string) => void;
}

const FILE = "journal.jsonl";
const OLD_FILE = "journal.1.jsonl";
const MAX_BYTES = 4 * 1024 * 1024;
/** Entries kept in memory, for those who follow. */
const RECENT = 1_000;
/** Most entries in one answer. */
export const PAGE = 1_000;

/** An open journal. */
export class Journal {
  readonly #dir: string;
  readonly #node: string;
  readonly #maxBytes: number;
  readonly #onFailure: (text: string) => void;
  #file: Deno.FsFile;
  #size: number;
  #recent: JournalEntry[] = [];
  #nextId: number;
  #failed = false;
  /** The sync under way; entries that came since are covered by the next one. */
  #syncing: Promise<void> | null = null;
  #dirty = false;

  private constructor(
    dir: string,
    options: JournalOptions,
    file: Deno.FsFile,
    size: number,
    entries: readonly JournalEntry[],
  ) {
    this.#dir = dir;
    this.#node = options.node;
    this.#maxBytes = options.maxBytes ?? MAX_BYTES;
    this.#onFailure = options.onFailure ?? (() => {});
    this.#file = file;
    this.#size = size;
    this.#recent = entries.slice(-RECENT);
    this.#nextId = (entries.at(-1)?.id ?? 0) + 1;
  }

  /** Opens the journal in a state directory, which is created if it is missing. */
  static open(dir: string, options: JournalOptions): Journal {
    Deno.mkdirSync(dir, { recursive: true, mode: 0o700 });
    const path = `${dir}/${FILE}`;
    const file = Deno.openSync(path, { create: true, read: true, append: true, mode: 0o600 });
    const bytes = Deno.readFileSync(path);
    // What follows the last line feed was torn by a crash.
    const size = bytes.lastIndexOf(0x0a) + 1;
    if (size < bytes.length) file.truncateSync(size);
    const entries = [...readEntries(`${dir}/${OLD_FILE}`), ...parse(bytes.subarray(0, size))];
    return new Journal(dir, options, file, size, entries);
  }

  /** Adds a note. Debug notes are for the log alone: they are not kept, and give undefined. */
  append(note: Note): JournalEntry | undefined {
    if (note.level === "debug") return undefined;
    const entry: JournalEntry = {
      id: this.#nextId++,
      time: new Date().toISOString(),
      level: note.level,
      rule: note.rule,
      ...(note.group !== undefined && { group: note.group }),
      node: note.node ?? this.#node,
      text: note.text,
      known: note.known,
    };
    this.#recent.push(entry);
    if (this.#recent.length > 2 * RECENT) this.#recent = this.#recent.slice(-RECENT);
    this.#write(entry);
    return entry;
  }

  /** Entries with an id above `after`, oldest first, at most `limit` and {@linkcode PAGE}. */
  after(after: number, limit: number = PAGE): JournalEntry[] {
    const first = this.#recent[0]?.id ?? this.#nextId;
    const entries = after + 1 >= first
      ? this.#recent
      : [...readEntries(`${this.#dir}/${OLD_FILE}`), ...readEntries(`${this.#dir}/${FILE}`)];
    return entries.filter(({ id }) => id > after).slice(0, Math.min(limit, PAGE));
  }

  /** Id of the newest entry; 0 when there is none. */
  get last(): number {
    return this.#nextId - 1;
  }

  /** Makes all of it durable and closes the file. */
  async close(): Promise<void> {
    while (this.#syncing !== null) await this.#syncing;
    this.#file.close();
  }

  #write(entry: JournalEntry): void {
    try {
      // After a failed write a torn line may be left: this one starts on a line of its own.
      const line = (this.#failed ? "\n" : "") + JSON.stringify(entry) + "\n";
      const bytes = new TextEncoder().encode(line);
      if (this.#size > 0 && this.#size + bytes.length > this.#maxBytes) this.#rotate();
      for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
      this.#size += bytes.length;
      this.#failed = false;
      this.#dirty = true;
      this.#syncing ??= this.#sync();
    } catch (error) {
      this.#fail(error);
    }
  }

  #rotate(): void {
    const path = `${this.#dir}/${FILE}`;
    Deno.renameSync(path, `${this.#dir}/${OLD_FILE}`);
    const file = Deno.openSync(path, { create: true, read: true, append: true, mode: 0o600 });
    this.#file.close();
    this.#file = file;
    this.#size = 0;
  }

  async #sync(): Promise<void> {
    try {
      while (this.#dirty) {
        this.#dirty = false;
        await this.#file.syncData();
      }
    } catch (error) {
      // A rotation closes the file under a sync; what was in it is in the page cache.
      if (!(error instanceof Deno.errors.BadResource)) this.#fail(error);
    } finally {
      this.#syncing = null;
    }
  }

  #fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    const why = error instanceof Error ? error.message : String(error);
    this.#onFailure(`the journal in ${this.#dir} cannot be written: ${why}; free space there`);
  }
}

function readEntries(path: string): JournalEntry[] {
  try {
    return parse(Deno.readFileSync(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** The entries in these lines; lines that are none, and ids that do not grow, are passed over. */
function parse(bytes: Uint8Array): JournalEntry[] {
  const entries: JournalEntry[] = [];
  for (const line of new TextDecoder().decode(bytes).split("\n")) {
    if (line === "") continue;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      continue;
    }
    if (isEntry(value) && value.id > (entries.at(-1)?.id ?? 0)) entries.push(value);
  }
  return entries;
}

function isEntry(value: unknown): value is JournalEntry {
  if (typeof value !== "object" || value === null) return false;
  const { id, time, rule, text } = value as Partial<Record<keyof JournalEntry, unknown>>;
  return Number.isSafeInteger(id) && typeof time === "string" && typeof rule === "string" &&
    typeof text === "string";
}
