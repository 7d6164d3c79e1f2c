/** Contexts, scripts and looks at processes for the tests of resources. */

import type { ResourceContext } from "../../src/resource/kind.ts";

/** A context that writes down what it is told. */
export interface TestContext extends ResourceContext {
  readonly lines: string[];
  readonly deaths: string[];
  /** Resolves with the reason of the next death. */
  death(): Promise<string>;
}

/** A context for a node "a" and a group "web". */
export function testContext(change: Partial<ResourceContext> = {}): TestContext {
  const lines: string[] = [];
  const deaths: string[] = [];
  let waiting: ((reason: string) => void) | undefined;
  return {
    node: "a",
    group: "web",
    log: (level, text) => lines.push(`${level} ${text}`),
    volumes: (name) => {
      throw new Error(`no volume ${name} in this test`);
    },
    probeDuplicates: false,
    died: (reason) => {
      deaths.push(reason);
      waiting?.(reason);
    },
    lines,
    deaths,
    death: () =>
      deaths.length > 0 ? Promise.resolve(deaths[0]!) : new Promise((resolve) => waiting = resolve),
    ...change,
  };
}

/** Durations of a resource, short. */
export const TIMES = {
  startTimeout: 5_000,
  stopTimeout: 5_000,
  monitorInterval: 0,
  monitorTimeout: 5_000,
  restarts: 1,
  restartWindow: 60_000,
} as const;

/** A signal that is never aborted. */
export function never(): AbortSignal {
  return new AbortController().signal;
}

/** A signal that the test aborts; it leaves no timer behind. */
export function abortAfter(milliseconds: number): { signal: AbortSignal; clear: () => void } {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort("no end in time"), milliseconds);
  return { signal: controller.signal, clear: () => clearTimeout(timer) };
}

/** Whether a process lives; the dead that nobody collected do not. */
export function lives(pid: number): boolean {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false;
  }
}

/** Resolves once the condition holds; rejects after ten seconds. */
export async function eventually(what: string, holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1000; turn++) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`did not come: ${what}`);
}

/** The whole number in a file, once it is there. */
export async function numberIn(path: string): Promise<number> {
  let number = NaN;
  await eventually(`a number in ${path}`, () => {
    try {
      number = parseInt(Deno.readTextFileSync(path));
    } catch {
      return false;
    }
    return !Number.isNaN(number);
  });
  return number;
}

/** A test with a directory of its own, which goes with it, as do the processes it names. */
export function withDirectory(
  name: string,
  body: (dir: string, ends: (pid: number) => number) => Promise<void>,
  options: { readonly needsRoot?: boolean } = {},
): void {
  const ignore = options.needsRoot === true && Deno.uid() !== 0;
  Deno.test({ name, ignore }, async () => {
    const dir = await Deno.makeTempDir({ prefix: "bascule-resource-" });
    const pids: number[] = [];
    try {
      await body(dir, (pid) => {
        pids.push(pid);
        return pid;
      });
    } finally {
      for (const pid of pids) if (lives(pid)) Deno.kill(pid, "SIGKILL");
      await Deno.remove(dir, { recursive: true });
    }
  });
}

/** A command line of the shell. */
export function sh(script: string): string[] {
  return ["/bin/sh", "-c", script];
}
