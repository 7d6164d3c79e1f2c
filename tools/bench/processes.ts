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
    const { own } = cpuSecondsOf(this.child.pid);
    return own;
  }

  /** Waits until the unix socket or TCP port takes connections. */
  async listening(address: Address): Promise<void> {
    await answers(address, async () => {
      if (this.#ended) throw new Error(`${this.name} ended: ${await this.#said}`);
    });
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

/** A server that went to the background by itself. */
export class Daemon {
  readonly #pid: number;

  private constructor(pid: number) {
    this.#pid = pid;
  }

  /** The one that writes its process id to this file. */
  static async of(pidFile: string): Promise<Daemon> {
    for (let tries = 0;; tries++) {
      try {
        const pid = Number(Deno.readTextFileSync(pidFile));
        if (pid > 0) return new Daemon(pid);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
      if (tries > 100) throw new Error(`${pidFile} was not written`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** CPU time so far, that of clients that have left included, in seconds. */
  cpuSeconds(): number {
    const { own, children } = cpuSecondsOf(this.#pid);
    return own + children;
  }

  /** Waits until the unix socket or TCP port takes connections. */
  async listening(address: Address): Promise<void> {
    await answers(address, () => Promise.resolve());
  }

  /** Ends it. */
  stop(): Promise<void> {
    try {
      Deno.kill(this.#pid, "SIGTERM");
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    return Promise.resolve();
  }
}

type Address = { readonly path: string } | { readonly port: number };

async function answers(address: Address, check: () => Promise<void>): Promise<void> {
  const deadline = performance.now() + PATIENCE;
  for (;;) {
    await check();
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

/** User and system time of a process, and of its children that have ended. */
function cpuSecondsOf(pid: number): { own: number; children: number } {
  const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  // The name in parentheses may hold blanks; utime, stime, cutime and cstime are fields 14 to 17.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ").map(Number);
  return {
    own: (fields[11]! + fields[12]!) / KERNEL_TICKS,
    children: (fields[13]! + fields[14]!) / KERNEL_TICKS,
  };
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
