/**
 * Keeps the voter's state on disk: what this voter promised and accepted, in `voter.log`, and the
 * length up to which it was answered for, in `voter.mark` (formats: `wire/voter_log.ts`).
 *
 * The order that never takes an answered promise back: the record is appended and made durable, then
 * the mark, then {@linkcode VoterStore.append} returns and the answer may leave. A crash in between
 * leaves a good record beyond the mark (it counts, nobody heard of it) or a torn one (it is cut).
 * Opening rewrites the whole log into a new file: it drops what is no longer needed, and it makes
 * sure that what was read is on the disk and not only in a cache that an earlier failed fsync left.
 */

import type { VoterLogRecord } from "../cluster/types.ts";
import {
  appendRecord,
  compactRecords,
  decodeMark,
  encodeMark,
  type LogState,
  MARK_BYTES,
  readLog,
  recordSlot,
  writeLog,
} from "../wire/voter_log.ts";
import { AgentError } from "./agent_error.ts";
import { replaceFile, syncDirectory, writeAt } from "./durable_file.ts";

const LOG = "voter.log";
const MARK = "voter.mark";
const LOCK = "voter.lock";
/** Bytes of a log beyond which it is rewritten while running. */
const REWRITE_ABOVE = 4 * 1024 * 1024;

/** What was found at the opening. */
export interface VoterStoreOpening {
  readonly store: VoterStore;
  /** In order, already compacted. Empty for a new or a lost state. */
  readonly records: readonly VoterLogRecord[];
  /** The id in the identity record; null: this voter has no state and needs a new id. */
  readonly voterId: string | null;
  /** Why an earlier state could not be read. The files were moved aside under the given names. */
  readonly lost?: { readonly reason: string; readonly kept: readonly string[] };
  /** A record that was never answered for was cut. For the log. */
  readonly torn?: string;
}

/** The voter's log of one node run. One process at a time holds it. */
export class VoterStore {
  readonly #dir: string;
  readonly #lock: Deno.FsFile;
  readonly #live = new Map<string, VoterLogRecord>();
  readonly #rewriteAbove: number;
  #log: Deno.FsFile;
  readonly #mark: Deno.FsFile;
  #state: LogState;
  #failure: string | null = null;

  /** Use {@linkcode VoterStore.open}. */
  private constructor(
    dir: string,
    lock: Deno.FsFile,
    generation: number,
    records: readonly VoterLogRecord[],
    rewriteAbove: number,
  ) {
    this.#dir = dir;
    this.#lock = lock;
    this.#rewriteAbove = rewriteAbove;
    for (const record of records) this.#live.set(recordSlot(record), record);
    const written = rewrite(dir, generation, records);
    this.#log = written.log;
    this.#state = written.state;
    try {
      this.#mark = openMark(dir);
    } catch (error) {
      this.#log.close();
      throw error;
    }
    try {
      this.#writeMark();
    } catch (error) {
      this.#log.close();
      this.#mark.close();
      throw error;
    }
  }

  /**
   * Opens the state in `dir`, which is created if it is missing. Throws when another process holds
   * it, when the log is another version's, or when the disk refuses; the message names the way out.
   */
  static open(
    dir: string,
    options: { readonly rewriteAbove?: number } = {},
  ): VoterStoreOpening {
    Deno.mkdirSync(dir, { recursive: true, mode: 0o700 });
    const lock = Deno.openSync(`${dir}/${LOCK}`, { create: true, write: true, mode: 0o600 });
    try {
      if (!lock.tryLockSync(true)) {
        throw new AgentError(
          `${dir}/${LOCK} is held by another process: one agent per state directory, stop the ` +
            "other one or give this one its own with --state-dir",
        );
      }
      return openLocked(dir, (generation, records) =>
        new VoterStore(
          dir,
          lock,
          generation,
          records,
          options.rewriteAbove ?? REWRITE_ABOVE,
        ));
    } catch (error) {
      lock.close();
      throw error;
    }
  }

  /**
   * Appends a record; durable when this returns. Throws when the disk refuses: from then on every
   * call throws, because nobody knows what a failed fsync left; the agent has to start again.
   */
  append(record: VoterLogRecord): void {
    if (this.#failure !== null) throw new AgentError(this.#failure);
    try {
      if (this.#state.length > this.#rewriteAbove) this.#compact();
      const { bytes, state } = appendRecord(this.#state, record);
      writeAt(this.#log, this.#state.length, bytes);
      this.#log.syncDataSync();
      this.#state = state;
      this.#writeMark();
      const slot = recordSlot(record);
      // Delete first: the map keeps the order of the log.
      this.#live.delete(slot);
      this.#live.set(slot, record);
    } catch (error) {
      this.#failure = `the voter's log in ${this.#dir} cannot be written (${
        error instanceof Error ? error.message : String(error)
      }): mend the disk or free space on it, then start the agent again`;
      throw new AgentError(this.#failure, { cause: error });
    }
  }

  /** Closes the files and lets another process open them. */
  close(): void {
    this.#log.close();
    this.#mark.close();
    this.#lock.close();
  }

  #compact(): void {
    const written = rewrite(this.#dir, this.#state.generation + 1, [...this.#live.values()]);
    this.#log.close();
    this.#log = written.log;
    this.#state = written.state;
    this.#writeMark();
  }

  #writeMark(): void {
    const { generation, length } = this.#state;
    writeAt(this.#mark, 0, encodeMark({ generation, length }));
    this.#mark.syncDataSync();
  }
}

type Create = (generation: number, records: readonly VoterLogRecord[]) => VoterStore;

function openLocked(dir: string, create: Create): VoterStoreOpening {
  const bytes = readIfThere(`${dir}/${LOG}`);
  if (bytes === null && readIfThere(`${dir}/${MARK}`) === null) {
    return { store: create(1, []), records: [], voterId: null };
  }
  const markBytes = readIfThere(`${dir}/${MARK}`);
  const reading = bytes === null
    ? { verdict: "lost" as const, detail: `${LOG} is missing`, records: [] }
    : readLog(bytes, markBytes === null ? null : decodeMark(markBytes));
  if (reading.verdict === "foreign") {
    throw new AgentError(`${dir}/${LOG}: ${reading.detail}; run the version that wrote it`);
  }
  if (reading.verdict === "lost") {
    const kept = moveAside(dir);
    return {
      store: create(1, []),
      records: [],
      voterId: null,
      lost: { reason: reading.detail, kept },
    };
  }
  const records = compactRecords(reading.records);
  const identity = records.find((record) => record.kind === "identity");
  return {
    store: create(reading.state!.generation + 1, records),
    records,
    voterId: identity?.voterId ?? null,
    ...(reading.verdict === "torn" ? { torn: reading.detail } : {}),
  };
}

/** Puts a new log into place: a crash leaves the old one whole or the new one whole. */
function rewrite(
  dir: string,
  generation: number,
  records: readonly VoterLogRecord[],
): { log: Deno.FsFile; state: LogState } {
  const { bytes, state } = writeLog(generation, records);
  const log = replaceFile(dir, LOG, bytes);
  return { log, state };
}

/** The mark's file; its name is made durable at once, since only its content is synced later. */
function openMark(dir: string): Deno.FsFile {
  const mark = Deno.openSync(`${dir}/${MARK}`, { create: true, write: true, mode: 0o600 });
  try {
    if (mark.statSync().size !== MARK_BYTES) mark.truncateSync(0);
    syncDirectory(dir);
  } catch (error) {
    mark.close();
    throw error;
  }
  return mark;
}

/** Keeps unreadable files for a look at what happened, under the first free number. */
function moveAside(dir: string): string[] {
  for (let number = 1; number < 10_000; number++) {
    if (readIfThere(`${dir}/${LOG}.lost-${number}`) !== null) continue;
    if (readIfThere(`${dir}/${MARK}.lost-${number}`) !== null) continue;
    const kept: string[] = [];
    for (const file of [LOG, MARK]) {
      const from = `${dir}/${file}`;
      if (readIfThere(from) === null) continue;
      Deno.renameSync(from, `${from}.lost-${number}`);
      kept.push(`${from}.lost-${number}`);
    }
    syncDirectory(dir);
    return kept;
  }
  throw new AgentError(`${dir} is full of ${LOG}.lost-N files: look at them and remove them`);
}

function readIfThere(path: string): Uint8Array | null {
  try {
    return Deno.readFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
