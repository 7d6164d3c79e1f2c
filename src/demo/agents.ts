/**
 * The agents' processes of the demonstration.
 *
 * @module
 */
import { selfCommand } from "../agent/self.ts";
import type { Files } from "./configuration.ts";
import type { NodeName, Stage } from "./stage.ts";

interface Running {
  readonly child: Deno.ChildProcess;
  readonly logged: Promise<void>;
  /** Set when it ended without being told to. */
  ended: number | null;
  expected: boolean;
}

/** Starts, kills and stops the agents. */
export class Agents {
  readonly #stage: Stage;
  readonly #files: Files;
  readonly #running = new Map<NodeName, Running>();

  constructor(stage: Stage, files: Files) {
    this.#stage = stage;
    this.#files = files;
  }

  /** Runs `bascule volume create` on a node. */
  async createVolume(node: NodeName, volume: string): Promise<void> {
    const [program = "", ...args] = this.#command(node, ["volume", "create", volume]);
    const { code, stderr } = await new Deno.Command(program, { args, stdin: "null" }).output();
    if (code !== 0) {
      throw new Error(`volume create on ${node}: ${new TextDecoder().decode(stderr).trim()}`);
    }
  }

  /** Starts a node's agent; its log goes to a file. */
  start(node: NodeName): void {
    const [program = "", ...args] = this.#command(node, ["run"]);
    const child = new Deno.Command(program, {
      args,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const running: Running = {
      child,
      logged: keepLog(child.stderr, this.#files.log(node)),
      ended: null,
      expected: false,
    };
    child.status.then(({ code }) => running.ended = code);
    this.#running.set(node, running);
  }

  /** Kills everything on a node and cuts it off. */
  async powerCut(node: NodeName): Promise<void> {
    const running = this.#running.get(node);
    if (!running) throw new Error(`${node} is not running`);
    running.expected = true;
    await this.#stage.powerCut(node, running.child.pid);
    await running.child.status;
    await running.logged;
  }

  /** Throws if an agent ended that nobody killed. */
  check(): void {
    for (const [node, { ended, expected }] of this.#running) {
      if (ended !== null && !expected) {
        throw new Error(`the agent of ${node} ended with code ${ended}\n${this.lastWords()}`);
      }
    }
  }

  /** The end of every agent's log. */
  lastWords(): string {
    return [...this.#running.keys()].map((node) => {
      const lines = Deno.readTextFileSync(this.#files.log(node)).trimEnd().split("\n");
      return `--- log of ${node}\n${lines.slice(-12).join("\n")}`;
    }).join("\n");
  }

  /** Ends everything on every node. What they leave is in the temporary directory. */
  async end(): Promise<void> {
    await Promise.all([...this.#running].map(async ([node, running]) => {
      running.expected = true;
      if (running.ended === null) await this.#stage.powerCut(node, running.child.pid);
      await running.child.status;
      await running.logged;
    }));
  }

  #command(node: NodeName, command: readonly string[]): string[] {
    return this.#stage.on(node, [
      ...selfCommand(),
      ...command,
      "--config",
      this.#files.configuration,
      "--node",
      node,
      "--state-dir",
      this.#files.state(node),
      "--runtime-dir",
      this.#files.runtime(node),
    ]);
  }
}

/** Every line is in the file at once: an agent's last words are shown when the story fails. */
async function keepLog(output: ReadableStream<Uint8Array>, path: string): Promise<void> {
  const log = Deno.openSync(path, { create: true, append: true });
  try {
    for await (const bytes of output) {
      for (let at = 0; at < bytes.length;) at += log.writeSync(bytes.subarray(at));
    }
  } finally {
    log.close();
  }
}
