/**
 * One data plane in a process of its own, for measuring: led by JSON lines on standard input, it says
 * on standard output what its Worker says.
 *
 * @module
 */
import { VolumeWorker, type VolumeWorkerOptions } from "../../src/agent/dataplane/handle.ts";
import type { VolumeOrder } from "../../src/volume/types.ts";

/** First line: how to start. `key` in hex. */
export type ServeOptions = Omit<VolumeWorkerOptions, "keys" | "moduleUrl"> & {
  readonly key: string;
};

/** Every further line. */
export interface ServeOrder {
  readonly order?: VolumeOrder;
  /** A lease without end in this epoch. */
  readonly lease?: number;
}

async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + piece).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}

function say(what: unknown): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(what)}\n`));
}

async function serve(): Promise<void> {
  let worker: VolumeWorker | null = null;
  for await (const line of lines(Deno.stdin.readable)) {
    if (worker === null) {
      const { key, ...options } = JSON.parse(line) as ServeOptions;
      worker = VolumeWorker.start({
        ...options,
        keys: { active: 1, keys: new Map([[1, Uint8Array.fromHex(key)]]) },
        moduleUrl: new URL("../../main.ts", import.meta.url).href,
      });
      worker.onReady = (ready) => say({ ready });
      worker.onReport = (report) => say({ report });
      worker.onAsk = (ask) => say({ ask });
      worker.onFatal = (fatal) => say({ fatal });
      continue;
    }
    const { order, lease } = JSON.parse(line) as ServeOrder;
    if (order !== undefined) worker.order(order);
    if (lease !== undefined) worker.lease(lease, Infinity);
  }
  await worker?.close();
}

await serve();
