/**
 * Runs the commands that switch another node off.
 *
 * Each method is tried once, in the order of the configuration, until one exits with 0: that is the
 * node's confirmation. A command that hangs is killed with its whole process group. It learns from its
 * environment what it shall do: `BASCULE_FENCE_NODE` (which node), `BASCULE_FENCE_ACTION` (`off`: off,
 * or reset by power), `BASCULE_CLUSTER` and `BASCULE_NODE` (who asks).
 *
 * @module
 */
import type { ClusterEvent, Note } from "../cluster/types.ts";
import type { Config, FenceMethod } from "../config/types.ts";
import { runCommand } from "../resource/child.ts";

/** What the runner needs of the agent. */
export interface FencePorts {
  /** How a fence ended. */
  event(event: ClusterEvent): void;
  /** For the log and the journal. */
  note(note: Note): void;
}

/** See the module comment. */
export class FenceRunner {
  readonly #config: Config;
  readonly #node: string;
  readonly #ports: FencePorts;
  readonly #closing = new AbortController();
  #running: Promise<void> = Promise.resolve();

  /** @param node the name of this node */
  constructor(config: Config, node: string, ports: FencePorts) {
    this.#config = config;
    this.#node = node;
    this.#ports = ports;
  }

  /** Fences a node; answered by a `fenced` event unless the runner is closed before. */
  fence(node: string, attempt: number): void {
    this.#running = this.#running.then(async () => {
      const { confirmed, detail } = await this.#tryAll(node);
      if (this.#closing.signal.aborted) return;
      this.#ports.event({ type: "fenced", node, attempt, confirmed, detail });
    });
  }

  /** Kills a command that runs, and waits for its end. */
  async close(): Promise<void> {
    this.#closing.abort("the agent ends");
    await this.#running;
  }

  async #tryAll(node: string): Promise<{ confirmed: boolean; detail: string }> {
    const methods = this.#config.nodes.find(({ name }) => name === node)?.fence ?? [];
    const said: string[] = [];
    for (const method of methods) {
      if (this.#closing.signal.aborted) break;
      const { confirmed, detail } = await this.#try(node, method);
      if (confirmed) return { confirmed, detail };
      said.push(detail);
    }
    const detail = said.join("; ") || `nodes.${node}.fence names no command`;
    return { confirmed: false, detail: detail.slice(0, 1000) };
  }

  async #try(node: string, method: FenceMethod): Promise<{ confirmed: boolean; detail: string }> {
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(`it did not end within ${method.timeout / 1000} s`),
      method.timeout,
    );
    try {
      const { code, text } = await runCommand({
        command: method.command,
        environment: {
          BASCULE_CLUSTER: this.#config.cluster.name,
          BASCULE_NODE: this.#node,
          BASCULE_FENCE_NODE: node,
          BASCULE_FENCE_ACTION: "off",
        },
        onLine: (line) =>
          this.#ports.note({
            level: "info",
            rule: "fence-output",
            node,
            text: `fence ${node}: ${line}`,
            known: {},
          }),
      }, AbortSignal.any([late.signal, this.#closing.signal]));
      return { confirmed: code === 0, detail: text };
    } catch (error) {
      return { confirmed: false, detail: error instanceof Error ? error.message : String(error) };
    } finally {
      clearTimeout(timer);
    }
  }
}
