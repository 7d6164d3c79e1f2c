/**
 * The client's process, seen from the demonstration.
 *
 * @module
 */
import { selfCommand } from "../agent/self.ts";
import type { LoadReport } from "./load_client.ts";
import type { Stage } from "./stage.ts";

type ReportOf<T extends LoadReport["type"]> = Extract<LoadReport, { type: T }>;

/** A running client. */
export class LoadProcess {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reports: LoadReport[] = [];
  readonly #ended: Promise<void>;
  #wake: () => void = () => {};
  #over = false;
  /** Writes acknowledged so far. */
  acknowledged = 0;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#input = child.stdin.getWriter();
    this.#ended = this.#read();
  }

  /** Starts the client; it waits for orders. */
  static start(stage: Stage, records: number): LoadProcess {
    const role = ["demo", "--role", "client", "--records", `${records}`];
    for (const target of stage.clientTargets) role.push("--target", target);
    const [program = "", ...args] = stage.on("client", [...selfCommand(), ...role]);
    const child = new Deno.Command(program, {
      args,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    return new LoadProcess(child);
  }

  /** Gives an order; see `load_client.ts`. */
  send(order: "load" | "pause" | "mark" | "verify"): void {
    this.#input.write(new TextEncoder().encode(`${order}\n`)).catch(() => {
      // It ended: `next` says so.
    });
  }

  /** The next report of this type; others before it are passed over. */
  async next<T extends LoadReport["type"]>(type: T, patience = 30_000): Promise<ReportOf<T>> {
    const deadline = performance.now() + patience;
    while (performance.now() < deadline) {
      for (let report = this.#reports.shift(); report; report = this.#reports.shift()) {
        if (report.type === type) return report as ReportOf<T>;
      }
      if (this.#over) throw new Error("the demonstration's client ended unexpectedly");
      const timer = setTimeout(() => this.#wake(), 100);
      await new Promise<void>((resolve) => this.#wake = resolve);
      clearTimeout(timer);
    }
    throw new Error(`the client did not report "${type}" within ${patience / 1000} s`);
  }

  /** Ends the client. */
  async end(): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It ended by itself.
    }
    await this.#ended;
    await this.#input.abort().catch(() => {});
    await this.#child.status;
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const report = JSON.parse(line) as LoadReport;
        if (report.type === "progress" || report.type === "paused") {
          this.acknowledged = report.acknowledged;
        }
        if (report.type !== "progress") this.#reports.push(report);
      }
      this.#wake();
    }
    this.#over = true;
    this.#wake();
  }
}
