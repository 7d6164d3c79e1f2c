/** Simulated time: what is due is done in order of its time, ties in order of asking. */

interface Entry {
  readonly at: number;
  readonly order: number;
  readonly action: () => void;
}

/** A binary heap of things to do. Times are milliseconds of the simulated world. */
export class Schedule {
  readonly #heap: Entry[] = [];
  #order = 0;
  #now = 0;
  /** Things done so far. */
  done = 0;

  /** Milliseconds since the beginning of the world. */
  get now(): number {
    return this.#now;
  }

  /** Does `action` after so many milliseconds. */
  after(delay: number, action: () => void): void {
    const entry = { at: this.#now + (delay > 0 ? delay : 0), order: this.#order++, action };
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent]!;
      if (above.at <= entry.at) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = entry;
  }

  /** Lets time pass up to `end`, or until `stop` says so, asked after each thing done. */
  run(end: number, stop?: () => boolean): void {
    const heap = this.#heap;
    while (heap.length > 0 && heap[0]!.at <= end) {
      const entry = this.#pop();
      this.#now = entry.at;
      this.done++;
      entry.action();
      if (stop?.()) return;
    }
    this.#now = end;
  }

  #pop(): Entry {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap.pop()!;
    const size = heap.length;
    if (size === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && before(heap[child + 1]!, heap[child]!)) child++;
      if (before(last, heap[child]!)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}

function before(one: Entry, other: Entry): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order);
}
