/**
 * Watches the configuration file of a running agent. What it holds changes nothing by itself: it is
 * what a push may bring into force, see `cluster/push.ts`.
 *
 * @module
 */
import { diffConfigs, type Differences } from "../config/diff.ts";
import { loadConfig } from "../config/load.ts";
import { formatProblem } from "../config/problem.ts";
import type { Config } from "../config/types.ts";

/** How often the file is looked at, in milliseconds. */
const INTERVAL = 1000;

/** What the file holds. */
export interface FileState {
  /** Another configuration than the running one, and how it differs. */
  readonly found: Config | null;
  readonly differences: Differences;
  /** The first thing that is wrong with it; null: it is good. */
  readonly problem: string | null;
}

const NONE: Differences = { live: [], restart: [], refused: [] };

/** A file that holds what runs. */
export const UNCHANGED: FileState = { found: null, differences: NONE, problem: null };

/** See the module comment. */
export class ConfigFile {
  readonly #node: string;
  readonly #changed: (state: FileState) => void;
  readonly #timer: ReturnType<typeof setInterval>;
  #running: Config;
  #stamp: string;
  #state = UNCHANGED;

  /** @param changed told when what the file holds has changed */
  constructor(running: Config, node: string, changed: (state: FileState) => void) {
    this.#running = running;
    this.#node = node;
    this.#changed = changed;
    this.#stamp = stampOf(running.file);
    this.#timer = setInterval(() => this.#look(), INTERVAL);
  }

  /** What it holds, as last read. */
  get state(): FileState {
    return this.#state;
  }

  /** Another configuration runs now. */
  runs(config: Config): void {
    this.#running = config;
    this.read();
  }

  /** Reads the file now, changed or not. */
  read(): FileState {
    const { file, paths, hash } = this.#running;
    this.#stamp = stampOf(file);
    const { config, problems } = loadConfig(file, paths);
    const worst = problems.find(({ severity }) => severity === "error");
    const found = config === undefined || config.hash === hash ? null : config;
    const before = this.#state;
    this.#state = {
      found,
      differences: found === null ? NONE : diffConfigs(this.#running, found, this.#node),
      problem: worst === undefined ? null : formatProblem(file, worst),
    };
    if (before.found?.hash !== found?.hash || before.problem !== this.#state.problem) {
      this.#changed(this.#state);
    }
    return this.#state;
  }

  /** Stops watching. */
  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    if (stampOf(this.#running.file) !== this.#stamp) this.read();
  }
}

/** Differs after every change of the file. */
function stampOf(path: string): string {
  try {
    const { mtime, size, ino } = Deno.statSync(path);
    return `${mtime?.getTime()} ${size} ${ino}`;
  } catch (error) {
    return error instanceof Error ? error.name : "unreadable";
  }
}
