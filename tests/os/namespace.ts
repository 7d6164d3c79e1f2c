/**
 * Two network namespaces joined by a cable, for tests. Everything is named uniquely and removed.
 *
 * @module
 */
import { fromFileUrl } from "./paths.ts";
import type { Command } from "./namespace_agent.ts";

async function ip(...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("ip", { args }).output();
  if (!success) throw new Error(`ip ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

/** Why namespaces cannot be made here; undefined when they can. */
export function namespacesMissing(): string | undefined {
  if (Deno.uid() !== 0) return "needs root";
  try {
    const probe = new Deno.Command("unshare", { args: ["--net", "true"] }).outputSync();
    if (!probe.success) return "needs root with the right to make network namespaces";
    const { success } = new Deno.Command("ip", { args: ["-V"] }).outputSync();
    return success ? undefined : "needs iproute2";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "needs iproute2 and util-linux";
    throw error;
  }
}

/** One end of the cable. */
export class Side {
  readonly namespace: string;
  readonly cable: string;
  #child: Deno.ChildProcess | undefined;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #writer: WritableStreamDefaultWriter<Uint8Array> | undefined;
  #text = "";

  constructor(namespace: string, cable: string) {
    this.namespace = namespace;
    this.cable = cable;
  }

  /** Run `ip` inside. */
  ip(...args: string[]): Promise<string> {
    return ip("-n", this.namespace, ...args);
  }

  /** Have the agent inside do something; rejects with its error. */
  async run<T>(command: Command): Promise<T> {
    if (this.#child === undefined) {
      const agent = fromFileUrl("namespace_agent.ts");
      const config = fromFileUrl("../../deno.json");
      this.#child = new Deno.Command("ip", {
        args: ["netns", "exec", this.namespace, Deno.execPath(), "run", "-A", "--quiet"]
          .concat(["--config", config, agent]),
        stdin: "piped",
        stdout: "piped",
      }).spawn();
      this.#reader = this.#child.stdout.getReader();
      this.#writer = this.#child.stdin.getWriter();
    }
    await this.#writer!.write(new TextEncoder().encode(`${JSON.stringify(command)}\n`));
    let end = this.#text.indexOf("\n");
    while (end < 0) {
      const { value, done } = await this.#reader!.read();
      if (done) throw new Error(`the agent in ${this.namespace} ended`);
      this.#text += new TextDecoder().decode(value);
      end = this.#text.indexOf("\n");
    }
    const answer = JSON.parse(this.#text.slice(0, end)) as { value?: T; error?: string };
    this.#text = this.#text.slice(end + 1);
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.value as T;
  }

  /** End the agent and remove the namespace, as far as they exist. */
  async remove(): Promise<void> {
    try {
      this.#child?.kill("SIGKILL");
    } catch {
      // it has ended by itself
    }
    await this.#child?.status;
    await this.#reader?.cancel();
    await this.#writer?.abort().catch(() => {});
    await ip("netns", "delete", this.namespace);
  }
}

/** Make two namespaces with a cable between them, hand them to `run`, and remove them. */
export async function withCable(run: (a: Side, b: Side) => Promise<void>): Promise<void> {
  const unique = crypto.randomUUID().slice(0, 8);
  const sides = [
    new Side(`bascule-${unique}-a`, `va${unique}`),
    new Side(`bascule-${unique}-b`, `vb${unique}`),
  ] as const;
  const made: Side[] = [];
  let removals: PromiseSettledResult<void>[] = [];
  try {
    for (const side of sides) {
      await ip("netns", "add", side.namespace);
      made.push(side);
    }
    const [a, b] = sides;
    await a.ip("link", "add", a.cable, "type", "veth", "peer", b.cable, "netns", b.namespace);
    for (const side of sides) {
      await side.ip("link", "set", "lo", "up");
      await side.ip("link", "set", side.cable, "up");
    }
    await run(a, b);
  } finally {
    removals = await Promise.allSettled(made.map((side) => side.remove()));
  }
  for (const removal of removals) {
    if (removal.status === "rejected") throw removal.reason;
  }
}
