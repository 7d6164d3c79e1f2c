/** The addresses of a peer, in order of preference, and which of them is to be tried next. */
import type { ReplicationAddress } from "../../config/types.ts";

/** An address over which a connection was lost or not made is tried last for so long, milliseconds. */
const TROUBLE = 20_000;

/** See the file's comment. */
export class PeerPaths {
  readonly #addresses: readonly ReplicationAddress[];
  /** When each was last in trouble, milliseconds. */
  readonly #trouble: number[];
  #left: number[] = [];
  #current = 0;

  /** Most wanted first; at least one. */
  constructor(addresses: readonly ReplicationAddress[]) {
    this.#addresses = addresses;
    this.#trouble = addresses.map(() => -Infinity);
  }

  /** How many there are. */
  get count(): number {
    return this.#addresses.length;
  }

  /** The one in use, or tried last. */
  get current(): ReplicationAddress {
    return this.#addresses[this.#current]!;
  }

  /** In words, for the log. */
  get text(): string {
    const { host, port } = this.current;
    const place = this.count > 1 ? `, address ${this.#current + 1} of ${this.count}` : "";
    return `${host}:${port}${place}`;
  }

  /** A more wanted one than that in use; null: there is none. */
  get better(): ReplicationAddress | null {
    return this.#current > 0 ? this.#addresses[0]! : null;
  }

  /** A new attempt over all of them: those that were in trouble of late come last. */
  begin(now: number): void {
    const late = (index: number) => now - this.#trouble[index]! < TROUBLE ? 1 : 0;
    this.#left = this.#addresses.map((_, index) => index).sort((a, b) =>
      late(a) - late(b) || a - b
    );
  }

  /** The next one of the attempt, from now on the current one; null: all have been tried. */
  next(): ReplicationAddress | null {
    const index = this.#left.shift();
    if (index === undefined) return null;
    this.#current = index;
    return this.current;
  }

  /** Whether some of the attempt are left. */
  get hasNext(): boolean {
    return this.#left.length > 0;
  }

  /** The current one did not do. */
  troubled(now: number): void {
    this.#trouble[this.#current] = now;
  }

  /** The most wanted one does again. */
  mended(): void {
    this.#trouble[0] = -Infinity;
  }
}
