/**
 * What a client on the LAN sees of the moving address: everybody who claims it by ARP, in order.
 *
 * One `arping` asks all the time by broadcast, so that a second owner could not keep silent; one
 * `tcpdump` records who answers and who announces the address unasked.
 *
 * @module
 */
import { VIRTUAL_ADDRESS } from "./cluster.ts";
import { type Network, run } from "./network.ts";

/** One frame that claims the address. */
export interface Claim {
  /** Hardware address of the sender. */
  readonly mac: string;
  /** An answer to a question of the client, or an announcement that nobody asked for. */
  readonly kind: "answer" | "announcement";
}

/** Listens on the LAN as the client until it is ended. */
export class ArpWatch {
  readonly claims: Claim[] = [];
  readonly #own: string;
  readonly #tcpdump: Deno.ChildProcess;
  readonly #arping: Deno.ChildProcess;
  readonly #reading: Promise<void>;

  private constructor(network: Network, own: string) {
    this.#own = own;
    const spawn = (command: readonly string[], stdout: "piped" | "null") => {
      const [program = "", ...args] = network.on("client", command);
      return new Deno.Command(program, { args, stdin: "null", stdout, stderr: "null" }).spawn();
    };
    this.#tcpdump = spawn(
      ["tcpdump", "-l", "-n", "-e", "-Z", "root", "-i", "eth0", "arp"],
      "piped",
    );
    this.#arping = spawn(["arping", "-b", "-I", "eth0", VIRTUAL_ADDRESS], "null");
    this.#reading = this.#read();
  }

  /** Starts to listen, runs `test`, ends. */
  static async during(network: Network, test: (watch: ArpWatch) => Promise<void>): Promise<void> {
    const watch = new ArpWatch(network, await network.mac("client"));
    try {
      await test(watch);
    } finally {
      await watch.#end();
    }
  }

  /** Hardware addresses that claimed the address, each once for every time it took over. */
  get owners(): string[] {
    const macs = this.claims.map(({ mac }) => mac);
    return macs.filter((mac, index) => mac !== macs[index - 1]);
  }

  /** Who answers now, asked by a few broadcasts from the client. Hardware addresses, each once. */
  static async askWho(network: Network): Promise<string[]> {
    const command = ["arping", "-b", "-c", "3", "-I", "eth0", VIRTUAL_ADDRESS];
    // Its exit code tells whether answers are as many as questions; those of others are seen too.
    const { stdout } = await run(network.on("client", command));
    const macs = [...stdout.matchAll(/reply from \S+ \[([0-9A-F:]{17})\]/g)];
    return [...new Set(macs.map((found) => found[1]!.toLowerCase()))];
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.#tcpdump.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.#line(line);
    }
  }

  #line(line: string): void {
    const mac = line.match(/^\S+ ([0-9a-f:]{17}) > /)?.[1];
    if (mac === undefined || mac === this.#own) return;
    const address = VIRTUAL_ADDRESS.replaceAll(".", "\\.");
    const asked = new RegExp(`Reply ${address} is-at`).test(line) && !line.includes(" > ff:ff");
    const unasked = new RegExp(`Announcement ${address}\\b|tell ${address}\\b`).test(line);
    if (asked || unasked) this.claims.push({ mac, kind: asked ? "answer" : "announcement" });
  }

  async #end(): Promise<void> {
    for (const child of [this.#arping, this.#tcpdump]) {
      try {
        child.kill("SIGKILL");
      } catch {
        // It ended by itself; then it missed something, and the test failed for that.
      }
      await child.status;
    }
    await this.#reading;
  }
}
