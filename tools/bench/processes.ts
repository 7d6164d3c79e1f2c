/** Server processes that are measured: started, waited for, accounted, ended. */

/** How long a server may take to listen, and to end, in milliseconds. */
const PATIENCE = 20_000;
const KERNEL_TICKS = 100;

/** A process of a server under measurement. */
export class Server {
  readonly name: string;
  readonly child: Deno.ChildProcess;
  readonly #said: Promise<string>;
  #ended = false;

  constructor(command: string, args: readonly string[], options: { talk?: boolean } = {}) {
    this.name = `${command} ${args.join(" ")}`;
    const talk = options.talk === true;
    this.child = new Deno.Command(command, {
      args: [...args],
      stdin: talk ? "piped" : "null",
      stdout: talk ? "piped" : "null",
      stderr: "piped",
    }).spawn();
    this.#said = new Response(this.child.stderr).text();
    this.child.status.then(() => this.#ended = true);
  }

  /** CPU time so far, user and system, in seconds. */
  cpuSeconds(): number {
    const text = Deno.readTextFileSync(`/proc/${this.child.pid}/stat`);
    // The name in parentheses may hold blanks; utime and stime are fields 14 and 15.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / KERNEL_TICKS;
  }

  /** Waits until the unix socket or TCP port takes connections. */
  async listening(address: { path: string } | { port: number }): Promise<void> {
    const deadline = performance.now() + PATIENCE;
    for (;;) {
      if (this.#ended) throw new Error(`${this.name} ended: ${await this.#said}`);
      try {
        const conn = "path" in address
          ? await Deno.connect({ transport: "unix", path: address.path })
          : await Deno.connect({ hostname: "127.0.0.1", port: address.port });
        conn.close();
        return;
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  /** Ends it: by itself once its standard input ends, else by signals. */
  async stop(): Promise<void> {
    if (!this.#ended) {
      const timer = setTimeout(() => this.#signal("SIGKILL"), PATIENCE);
      this.#signal("SIGTERM");
      await this.child.status;
      clearTimeout(timer);
    }
    await this.#said;
  }

  #signal(signal: Deno.Signal): void {
    if (!this.#ended) this.child.kill(signal);
  }
}

/** Runs a program to its end; throws with what it said if it fails. */
export async function output(command: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(command, { args: [...args] }).output();
  const text = new TextDecoder().decode(stdout);
  if (code === 0) return text;
  const said = new TextDecoder().decode(stderr);
  throw new Error(`${command} ${args.join(" ")}: exit code ${code}\n${text}${said}`);
}

/** Is this program installed? */
export function installed(name: string): boolean {
  return (Deno.env.get("PATH") ?? "").split(":").some((directory) => {
    try {
      return Deno.statSync(`${directory}/${name}`).isFile;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
        return false;
      }
      throw error;
    }
  });
}

/** A TCP port that was free a moment ago. */
export function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return port;
}
