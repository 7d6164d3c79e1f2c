/**
 * Runs an engine in tests: starts operations with fresh tags and waits for their results.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createEpollEngine, createIoUringEngine, type Engine } from "../../src/os/engine.ts";
import { IoUring } from "../../src/os/io_uring.ts";
import { SETUP } from "../../src/os/io_uring_abi.ts";
import { Slab } from "../../src/os/memory.ts";

const probe = IoUring.probe();

/** True where the kernel has io_uring and lets this process use it. */
export const HAS_IO_URING = probe.usable;

if (!HAS_IO_URING) {
  Deno.test.ignore(`not run here (needs io_uring; ${probe.reason}): io_uring`, () => {});
}

/** The engines by name; io_uring also as a kernel before 5.18 gives it. */
export const ENGINES: readonly (readonly [string, (entries?: number) => Engine])[] = [
  ["io_uring", (entries?: number) => createIoUringEngine(entries)],
  [
    "io_uring with plain flags",
    (entries?: number) => createIoUringEngine(entries, [SETUP.CQSIZE | SETUP.CLAMP]),
  ],
  ["epoll", () => createEpollEngine()],
].filter(([name]) => HAS_IO_URING || name === "epoll") as [string, () => Engine][];

/** No test waits longer for one result. */
const PATIENCE_MS = 10_000;

export class Harness {
  readonly engine: Engine;
  readonly results = new Map<number, number>();
  readonly #slabs: Slab[] = [];
  readonly #running = new Set<number>();
  #nextTag = 1;

  constructor(engine: Engine) {
    this.engine = engine;
  }

  slab(length: number): Slab {
    const slab = Slab.allocate(length);
    this.#slabs.push(slab);
    return slab;
  }

  /** Start an operation with a fresh tag; returns the tag. */
  start(begin: (tag: number) => void): number {
    const tag = this.#nextTag++;
    this.#running.add(tag);
    begin(tag);
    assert.ok(!this.results.has(tag), "a result must not come from inside the call");
    return tag;
  }

  readonly onDone = (tag: number, result: number): void => {
    assert.ok(this.#running.delete(tag), `tag ${tag} was reported but is not under way`);
    this.results.set(tag, result);
  };

  /** Wait for the results of these tags. */
  collect(...tags: number[]): number[] {
    const deadline = performance.now() + PATIENCE_MS;
    while (tags.some((tag) => !this.results.has(tag))) {
      const left = deadline - performance.now();
      assert.ok(left > 0, `no result for tags ${tags.filter((t) => !this.results.has(t))}`);
      this.engine.wait(left, this.onDone);
    }
    return tags.map((tag) => this.results.get(tag)!);
  }

  /** Start one operation and wait for its result. */
  do(begin: (tag: number) => void): number {
    return this.collect(this.start(begin))[0]!;
  }

  /** Wait for a moment and see that nothing of these came. */
  expectPending(...tags: number[]): void {
    for (let i = 0; i < 3; i++) this.engine.wait(5, this.onDone);
    for (const tag of tags) assert.ok(!this.results.has(tag), `tag ${tag} finished too early`);
  }

  /** End the engine; every tag must have been reported by then. */
  end(): void {
    const stuck = this.engine.destroy(PATIENCE_MS, this.onDone);
    assert.equal(stuck, 0, "operations stuck at the end");
    assert.equal(this.#running.size, 0, `never reported: ${[...this.#running]}`);
    for (const slab of this.#slabs) slab.free();
  }
}

/** One test for each engine. */
export function testBoth(name: string, run: (h: Harness) => void | Promise<void>): void {
  for (const [engineName, create] of ENGINES) {
    Deno.test(`${engineName}: ${name}`, async () => {
      const harness = new Harness(create());
      try {
        await run(harness);
      } finally {
        harness.end();
      }
    });
  }
}

/** Open descriptors of this process, without the one used to look. */
export function openDescriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}
