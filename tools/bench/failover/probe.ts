/** The client's process, seen from the bench. Times are of CLOCK_MONOTONIC, milliseconds. */
import { installed } from "../processes.ts";
import { SERVICE_PORT } from "./responder.ts";
import type { Site } from "./site.ts";

/** What a client saw between `start` and `stop`. */
export interface ProbeReport {
  /** Silences between two answers. */
  readonly gaps: readonly {
    readonly from: number;
    readonly ms: number;
    readonly before: string;
    readonly after: string;
  }[];
  /** Who answered, each once for every time that the answers changed over to it. */
  readonly runs: readonly { readonly who: string; readonly from: number }[];
  readonly sent: number;
  readonly answers: number;
  /** Milliseconds since the last answer. */
  readonly silentAtEnd: number;
  /** How late the latest probe was sent, milliseconds: no shorter gap means anything. */
  readonly latestProbe: number;
}

/** A client that probes a site's address on demand. */
export class Probe {
  readonly #child: Deno.ChildProcess;
  readonly #orders: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: ReadableStreamDefaultReader<string>;
  #rest = "";

  constructor(site: Site) {
    const program = new URL("prober.ts", import.meta.url).pathname;
    const prober = [Deno.execPath(), "run", "-A", "--quiet", program];
    // Load on the machine must not look like an outage.
    const priority = installed("chrt") ? ["chrt", "-f", "50"] : [];
    const [command = "", ...args] = site.on("client", [
      ...priority,
      ...prober,
      site.virtualAddress,
      `${SERVICE_PORT}`,
    ]);
    this.#child = new Deno.Command(command, {
      args,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#orders = this.#child.stdin.getWriter();
    this.#lines = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Begins to ask. */
  start(): Promise<void> {
    return this.#order("start");
  }

  /** Stops asking and tells what was heard. */
  async stop(): Promise<ProbeReport> {
    await this.#order("stop");
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 1);
        return JSON.parse(line);
      }
      const { value, done } = await this.#lines.read();
      if (done) throw new Error("the prober ended unexpectedly");
      this.#rest += value;
    }
  }

  /** Ends the process. */
  async end(): Promise<void> {
    await this.#orders.close().catch(() => {});
    await this.#child.status;
    await this.#lines.cancel();
  }

  #order(order: string): Promise<void> {
    return this.#orders.write(new TextEncoder().encode(`${order}\n`));
  }
}
