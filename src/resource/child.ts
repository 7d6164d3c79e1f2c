/** Children of the agent, each the leader of its own process group, their output line by line. */

import { groupMembers, killGroup, type SIGNAL } from "../os/process.ts";
import { findAccount } from "./account.ts";
import { endGroup, LOOK_INTERVAL, pause } from "./process_group.ts";
import { Missing } from "./program.ts";
import { SETSID, startSession } from "./session.ts";

/** Longest line of output that is passed on, in UTF-16 units; the rest of it is dropped. */
const LINE_MAX = 2_000;
/** How long output is waited for after the child ended, in milliseconds. */
const OUTPUT_PATIENCE = 200;

/** What to run. */
export interface ChildOptions {
  /** Program and arguments. */
  readonly command: readonly string[];
  /** Set on top of the agent's own environment. */
  readonly environment: Readonly<Record<string, string>>;
  readonly directory?: string;
  /** Name or number; default: the agent's own. */
  readonly user?: string;
  readonly onLine: (line: string) => void;
}

/** A running or ended child. */
export class Child {
  /** Resolves when the child itself ended, to words such as `exited with code 3`. */
  readonly exited: Promise<{ readonly code: number; readonly text: string }>;
  /** The last line that it said. */
  lastLine = "";
  /** Pid, which is also the id of its process group. */
  readonly pid: number;
  readonly #output: Promise<unknown>;
  /** Nobody is left in the group: from then on the number may be another's. */
  #gone = false;

  /** Use {@linkcode Child.spawn}. */
  private constructor(process: Deno.ChildProcess, onLine: (line: string) => void) {
    this.pid = process.pid;
    const take = (line: string) => {
      this.lastLine = line;
      onLine(line);
    };
    this.#output = Promise.all([
      forEachLine(process.stdout, take),
      forEachLine(process.stderr, take),
    ]).catch((error) => onLine(`its output cannot be read any more: ${error}`));
    this.exited = process.status.then(({ code, signal }) => {
      this.members();
      return {
        code,
        text: signal === null ? `exited with code ${code}` : `was ended by ${signal}`,
      };
    });
  }

  /** Starts a child. Rejects when it cannot be run, with the mend. */
  static async spawn(options: ChildOptions): Promise<Child> {
    const [program = "", ...args] = options.command;
    const account = options.user === undefined ? undefined : await findAccount(options.user);
    const environment = account === undefined ? {} : { HOME: account.home };
    const common = {
      env: { ...environment, ...options.environment },
      ...(options.directory !== undefined && { cwd: options.directory }),
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    } as const;
    try {
      if (account === undefined && SETSID !== null) {
        return new Child(await startSession(SETSID, program, args, common), options.onLine);
      }
      const process = new Deno.Command(program, {
        args,
        ...common,
        ...(account !== undefined && { uid: account.uid, gid: account.gid }),
        detached: true,
      }).spawn();
      return new Child(process, options.onLine);
    } catch (error) {
      throw new Error(cannotRun(program, options.directory, error), { cause: error });
    }
  }

  /** Living members of its process group: itself and what it started. */
  members(): number[] {
    if (this.#gone) return [];
    const members = groupMembers(this.pid);
    this.#gone = members.length === 0;
    return members;
  }

  /** Sends a signal to the whole group. */
  signal(signal: keyof typeof SIGNAL): void {
    if (!this.#gone) killGroup(this.pid, signal);
  }

  /** Resolves to true once the group is gone, to false when the signal is aborted first. */
  async ended(signal: AbortSignal): Promise<boolean> {
    let told: Promise<unknown> | null = this.exited;
    while (!this.#gone) {
      if (signal.aborted) return false;
      // The end of the child itself is told; what it started has to be looked for. To look while
      // somebody is left takes milliseconds: not before there is hope.
      const look = new AbortController();
      const waits = [pause(LOOK_INTERVAL, AbortSignal.any([signal, look.signal]))];
      if (told !== null) waits.push(told.then(() => void (told = null)));
      await Promise.race(waits);
      look.abort();
      this.members();
    }
    return true;
  }

  /** KILLs the whole group and waits until it is gone. Rejects when something withstands. */
  async kill(): Promise<void> {
    if (!this.#gone) await endGroup(this.pid);
    this.#gone = true;
    await this.exited;
    await this.outputEnded();
  }

  /** Waits a little for the last lines; what it left running may hold the pipes for ever. */
  async outputEnded(): Promise<void> {
    const patience = new AbortController();
    await Promise.race([this.#output, pause(OUTPUT_PATIENCE, patience.signal)]);
    patience.abort();
  }
}

/** How a command ended. */
export interface CommandResult {
  readonly code: number;
  /** `exited with code 3`, with the last line that it said. */
  readonly text: string;
}

/**
 * Runs a command to its end; what it leaves running, such as a daemon, lives on. When the signal is
 * aborted it is KILLed with its whole process group, and the rejection says after how long.
 */
export async function runCommand(
  options: ChildOptions,
  signal: AbortSignal,
): Promise<CommandResult> {
  const name = options.command.join(" ");
  if (signal.aborted) throw new Error(`${name} was not run: ${signal.reason}`);
  const began = performance.now();
  const child = await Child.spawn(options);
  const aborted = Promise.withResolvers<"aborted">();
  const abort = () => aborted.resolve("aborted");
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    const ended = await Promise.race([child.exited, aborted.promise]);
    if (ended === "aborted") {
      await child.kill();
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      throw new Error(
        `${name} was killed after ${seconds} s with its whole process group` +
          (child.lastLine === "" ? "" : `; its last words: ${child.lastLine}`),
      );
    }
    await child.outputEnded();
    const said = child.lastLine === "" ? "" : `: ${child.lastLine}`;
    return { code: ended.code, text: `${name} ${ended.text}${said}` };
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

async function forEachLine(
  stream: ReadableStream<Uint8Array>,
  take: (line: string) => void,
): Promise<void> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const bytes of stream) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = (lines.pop() ?? "").slice(0, LINE_MAX);
    for (const line of lines) if (line.trim() !== "") take(line.trimEnd().slice(0, LINE_MAX));
  }
  if (rest.trim() !== "") take(rest.trimEnd());
}

function cannotRun(program: string, directory: string | undefined, error: unknown): string {
  const where = directory === undefined ? "" : ` in ${directory}`;
  if (error instanceof Deno.errors.NotFound || error instanceof Missing) {
    return `${program} cannot be run${where}: there is no such program or directory; ` +
      "install it or mend its path";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return `${program} cannot be run${where}: permission denied; make it executable for this user`;
  }
  return `${program} cannot be run${where}: ${
    error instanceof Error ? error.message : String(error)
  }`;
}
