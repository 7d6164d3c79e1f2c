/**
 * Tags of the I/O that a volume starts: what the completion belongs to, in the low two bits, and its
 * index above them.
 */

/** To whom a completion goes. */
export const enum TagKind {
  /** An operation of the Primary (in_flight.ts). */
  Operation = 0,
  /** A frame that a replica received (target_link.ts). */
  Received = 1,
  /** A callback: metadata and the rare flushes of a change of role. */
  Callback = 2,
  /** Checksums that a replica compares (comparer.ts). */
  Compared = 3,
}

/** Bits of the kind. */
export const TAG_KIND_BITS = 2;
/** Tags are below this. */
export const TAG_LIMIT = 2 ** 24;

/** Makes a tag. */
export function makeTag(kind: TagKind, index: number): number {
  return (index << TAG_KIND_BITS) | kind;
}

/** Completions that go to a function, for what is rare. */
export class Callbacks {
  readonly #waiting: (((errno: number) => void) | null)[] = [];
  readonly #free: number[] = [];

  /** A tag whose completion calls `callback` once. */
  tag(callback: (errno: number) => void): number {
    const index = this.#free.pop() ?? this.#waiting.length;
    this.#waiting[index] = callback;
    return makeTag(TagKind.Callback, index);
  }

  /** The I/O with this index ended. */
  done(index: number, errno: number): void {
    const callback = this.#waiting[index];
    if (!callback) throw new Error(`completion of callback ${index}, which is not under way`);
    this.#waiting[index] = null;
    this.#free.push(index);
    callback(errno);
  }
}
