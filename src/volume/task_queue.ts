/**
 * Changes of a replica's role and identity, one at a time: each may take several disk operations, and
 * none may start before the one before it is durable.
 */
export class TaskQueue {
  readonly #tasks: ((done: () => void) => void)[] = [];
  #running = false;
  #ended = false;

  /** Runs `task` after all earlier ones; it calls `done` when it is finished, perhaps at once. */
  add(task: (done: () => void) => void): void {
    if (this.#ended) return;
    this.#tasks.push(task);
    if (!this.#running) this.#next();
  }

  /** Drops what has not ended, for good: the disk has failed under it. */
  end(): void {
    this.#ended = true;
    this.#tasks.length = 0;
  }

  #next(): void {
    for (;;) {
      const task = this.#ended ? undefined : this.#tasks.shift();
      if (task === undefined) {
        this.#running = false;
        return;
      }
      this.#running = true;
      let inside = true;
      let finished = false;
      task(() => {
        if (finished) throw new Error("a task of the volume ended twice");
        finished = true;
        if (!inside) this.#next();
      });
      inside = false;
      if (!finished) return;
    }
  }
}
