/** Fills expected buffers from a stream of bytes, however the stream is cut into pieces. */

/** What to do with a buffer that is full; it may expect the next one. */
export type GatherStep = (filled: Uint8Array) => void;

/** One expected buffer at a time. */
export class Gatherer {
  #target: Uint8Array | undefined;
  #fill = 0;
  #then: GatherStep | undefined;

  /** The next `target.length` bytes (0 is allowed) go into `target`; then `then` is called. */
  expect(target: Uint8Array, then: GatherStep): void {
    this.#target = target;
    this.#fill = 0;
    this.#then = then;
  }

  /** Take nothing more. */
  stop(): void {
    this.#target = undefined;
    this.#then = undefined;
  }

  /** Take `bytes`, calling steps as their buffers fill; bytes after a `stop` are ignored. */
  consume(bytes: Uint8Array): void {
    let at = 0;
    while (this.#target !== undefined) {
      const target = this.#target;
      const count = Math.min(target.length - this.#fill, bytes.length - at);
      target.set(bytes.subarray(at, at + count), this.#fill);
      this.#fill += count;
      at += count;
      if (this.#fill < target.length) return;
      const then = this.#then!;
      this.stop();
      then(target);
    }
  }
}
