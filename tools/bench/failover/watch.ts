/** When each node had the moving address, as its kernel says; times of the wall clock, milliseconds. */
import { type NodeName, NODES, type Site } from "./site.ts";

/** One change. */
interface Change {
  readonly at: number;
  readonly node: NodeName;
  readonly there: boolean;
}

/** Follows the addresses of both nodes. */
export class AddressWatch {
  readonly #changes: Change[] = [];
  readonly #children: Deno.ChildProcess[] = [];
  readonly #reading: Promise<void>[] = [];
  readonly #address: string;

  private constructor(address: string) {
    this.#address = address;
  }

  /** Begins; the state at the beginning counts as changes of that moment. */
  static async begin(site: Site): Promise<AddressWatch> {
    const watch = new AddressWatch(site.virtualAddress);
    for (const node of NODES) {
      const [program = "", ...args] = site.on(node, ["ip", "-ts", "-o", "monitor", "address"]);
      const options = { args, stdin: "null", stdout: "piped", stderr: "null" } as const;
      const child = new Deno.Command(program, options).spawn();
      watch.#children.push(child);
      watch.#reading.push(watch.#read(node, child.stdout));
      watch.#changes.push({ at: Date.now(), node, there: await site.holds(node) });
    }
    return watch;
  }

  /** Ends; gives the milliseconds for which both nodes had the address, and who had it when. */
  async end(): Promise<{ bothMs: number; changes: readonly Change[] }> {
    for (const child of this.#children) {
      try {
        child.kill("SIGKILL");
      } catch {
        // It ended with its node.
      }
      await child.status;
    }
    await Promise.all(this.#reading);
    const changes = this.#changes.toSorted((one, other) => one.at - other.at);
    const there = { a: false, b: false };
    let bothMs = 0;
    let since = Date.now();
    for (const change of [...changes, { at: Date.now(), node: "a", there: false } as const]) {
      if (there.a && there.b) bothMs += change.at - since;
      since = change.at;
      there[change.node] = change.there;
    }
    return { bothMs, changes: changes.filter((change, i) => isNews(changes, change, i)) };
  }

  async #read(node: NodeName, output: ReadableStream<Uint8Array>): Promise<void> {
    let rest = "";
    for await (const text of output.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (!line.includes(` ${this.#address}/`)) continue;
        const at = Date.parse(`${line.match(/^\[(\S+)\]/)?.[1]}Z`);
        this.#changes.push({ at, node, there: !line.includes("Deleted") });
      }
    }
  }
}

/** The kernel also tells when a lifetime was renewed. */
function isNews(changes: readonly Change[], change: Change, index: number): boolean {
  const before = changes.slice(0, index).findLast(({ node }) => node === change.node);
  return (before?.there ?? false) !== change.there;
}
