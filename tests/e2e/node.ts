/**
 * One node of a test's cluster: its agent as a real process of the compiled file, its files, and what
 * it says of itself.
 *
 * @module
 */
import { NbdConnection } from "../../src/cli/nbd_connection.ts";
import { request } from "../../src/status/client.ts";
import type { JournalEntry } from "../../src/status/journal.ts";
import type { GroupStatus, StatusDocument, VolumeStatus } from "../../src/status/types.ts";
import { type Network, type Outcome, run } from "./network.ts";

/** How long an agent may take to hand over and end, milliseconds. */
const STOP_PATIENCE = 60_000;

/** A node. Its agent can be started again after it ended. */
export class Node {
  readonly name: string;
  readonly directory: string;
  readonly #network: Network;
  readonly #executable: string;
  #agent: Deno.ChildProcess | null = null;
  #paused = false;

  constructor(name: string, network: Network, executable: string) {
    this.name = name;
    this.#network = network;
    this.#executable = executable;
    this.directory = `${network.directory}/${name}`;
    Deno.mkdirSync(this.directory);
  }

  /** Backing file of its replica. */
  get disk(): string {
    return `${this.directory}/disk.img`;
  }

  /** The agent's state directory. */
  get state(): string {
    return `${this.directory}/state`;
  }

  /** Unix socket of its export of volume data. */
  get socket(): string {
    return `${this.directory}/run/data.sock`;
  }

  /** What all its agents have logged. */
  get log(): string {
    try {
      return Deno.readTextFileSync(`${this.directory}/agent.log`);
    } catch {
      return "";
    }
  }

  /** Process id of its running agent. */
  get pid(): number {
    if (this.#agent === null) throw new Error(`${this.name} runs no agent`);
    return this.#agent.pid;
  }

  /** Command line of `bascule` with these arguments, on this node. */
  command(...args: string[]): string[] {
    return this.#network.on(this.name, [
      this.#executable,
      ...args,
      "--config",
      `${this.#network.directory}/bascule.toml`,
      "--node",
      this.name,
      "--state-dir",
      this.state,
      "--runtime-dir",
      `${this.directory}/run`,
    ]);
  }

  /** Runs `bascule` with these arguments on this node to its end. */
  bascule(...args: string[]): Promise<Outcome> {
    return run(this.command(...args), 120_000);
  }

  /** Starts the agent. */
  start(): void {
    if (this.#agent !== null) throw new Error(`the agent of ${this.name} runs already`);
    const append = 'log=$1; shift; exec "$@" 2>>"$log"';
    this.#agent = new Deno.Command("sh", {
      args: ["-c", append, "sh", `${this.directory}/agent.log`, ...this.command("run")],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#paused = false;
  }

  /** SIGTERM: the agent hands over and ends. Gives its exit code; fails when it does not end. */
  stop(): Promise<number> {
    return this.#end("SIGTERM");
  }

  /** SIGKILL for the agent alone; what it started lives on. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** SIGSTOP: as a machine that is not scheduled. Every thread stands when this returns. */
  pause(): void {
    Deno.kill(this.pid, "SIGSTOP");
    this.#paused = true;
    // A thread that runs on another processor goes on until it is told: it could still answer.
    for (const deadline = Date.now() + 5000; !allStopped(this.pid);) {
      if (Date.now() > deadline) throw new Error(`the agent of ${this.name} does not stop`);
    }
  }

  /** SIGCONT. */
  resume(): void {
    Deno.kill(this.pid, "SIGCONT");
    this.#paused = false;
  }

  /** Kills everything on the machine and pulls its cables. */
  async powerCut(): Promise<void> {
    await this.#network.plug(this.name, false);
    await this.#network.killAll(this.name);
    if (this.#agent !== null) await this.#end("SIGKILL");
  }

  /** Plugs the cables in and starts the agent. */
  async powerOn(): Promise<void> {
    await this.#network.plug(this.name, true);
    this.start();
  }

  /** Whether the agent that was started still runs. */
  async alive(): Promise<boolean> {
    if (this.#agent === null) return false;
    return (await this.#network.pids(this.name)).includes(this.#agent.pid);
  }

  /** What its agent says; null when none answers. */
  async status(): Promise<StatusDocument | null> {
    if (this.#agent === null || this.#paused) return null;
    try {
      return await request(`${this.directory}/run`, "GET", "/v1/status") as StatusDocument;
    } catch {
      return null;
    }
  }

  /** Its view of group web; null when it does not answer. */
  async group(): Promise<GroupStatus | null> {
    return (await this.status())?.groups.find(({ name }) => name === "web") ?? null;
  }

  /** Its view of volume data; null when it does not answer. */
  async volume(): Promise<VolumeStatus | null> {
    return (await this.status())?.volumes.find(({ name }) => name === "data") ?? null;
  }

  /** Everything in its journal, all runs of its agent. */
  journal(): JournalEntry[] {
    try {
      const text = Deno.readTextFileSync(`${this.state}/journal.jsonl`);
      // The last line may still be on its way.
      const whole = text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter((line) => line);
      return whole.map((line) => JSON.parse(line));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }

  /** Connects to its export of volume data. */
  nbd(): Promise<NbdConnection> {
    return NbdConnection.open(this.socket, "data");
  }

  /** Ends the agent if it runs, whatever state it is in. */
  async discard(): Promise<void> {
    if (this.#agent !== null) await this.#end("SIGKILL");
  }

  async #end(signal: "SIGTERM" | "SIGKILL"): Promise<number> {
    const agent = this.#agent;
    if (agent === null) throw new Error(`${this.name} runs no agent`);
    const send = (which: Deno.Signal) => {
      try {
        agent.kill(which);
      } catch {
        // It ended by itself.
      }
    };
    send(signal);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      send("SIGKILL");
    }, STOP_PATIENCE);
    const { code } = await agent.status;
    clearTimeout(timer);
    this.#agent = null;
    this.#paused = false;
    if (late) throw new Error(`the agent of ${this.name} did not end on ${signal}`);
    return code;
  }
}

/** Whether every thread of a process is stopped by a signal, proc_pid_stat(5). */
function allStopped(pid: number): boolean {
  return [...Deno.readDirSync(`/proc/${pid}/task`)].every(({ name }) => {
    const stat = Deno.readTextFileSync(`/proc/${pid}/task/${name}/stat`);
    return stat.slice(stat.lastIndexOf(")") + 2).startsWith("T");
  });
}
