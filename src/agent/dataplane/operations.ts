/** Who is told when an operation of the engine ends. */

/** Takes the end of an operation that it started. */
export interface Completion {
  /** `what` as given to {@linkcode Operations.begin}; `result` as the engine reports it. */
  completed(what: number, result: number): void;
}

const NOBODY: Completion = {
  completed() {
    throw new Error("an operation ended that nobody had begun");
  },
};

/**
 * Gives out the engine's tags: each stands for a receiver and a number of its own. Tags are reused;
 * the arrays grow to the most operations that were ever under way, and stay.
 */
export class Operations {
  #owners: Completion[] = [];
  #whats: number[] = [];
  #free: number[] = [];
  #pending = 0;

  /** Operations under way. */
  get pending(): number {
    return this.#pending;
  }

  /** A tag for an operation that is about to start. */
  begin(owner: Completion, what: number): number {
    this.#pending++;
    const tag = this.#free.pop();
    if (tag === undefined) {
      this.#owners.push(owner);
      this.#whats.push(what);
      return this.#owners.length - 1;
    }
    this.#owners[tag] = owner;
    this.#whats[tag] = what;
    return tag;
  }

  /** To be passed to `Engine.wait`. */
  readonly done = (tag: number, result: number): void => {
    const owner = this.#owners[tag]!;
    const what = this.#whats[tag]!;
    this.#owners[tag] = NOBODY;
    this.#free.push(tag);
    this.#pending--;
    owner.completed(what, result);
  };
}
