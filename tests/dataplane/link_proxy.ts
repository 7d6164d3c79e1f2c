/** A TCP relay that can be cut, stopped, and made to damage what goes through. */

/** Relays connections to a port of this machine. */
export class LinkProxy {
  readonly port: number;
  /** Bytes that went towards the target. */
  forwarded = 0;
  /** Whether this byte pattern went by, in one piece. */
  seen = false;
  watchFor: Uint8Array | null = null;
  /** New connections are refused while this is off. */
  open = true;
  /** Turns one bit over in the first piece towards the target that is longer than this; once. */
  damageAbove = Infinity;
  readonly #listener: Deno.TcpListener;
  readonly #target: number;
  readonly #connections = new Set<Deno.TcpConn>();
  readonly #tasks = new Set<Promise<void>>();
  /** Pending while nothing may pass. */
  #held: PromiseWithResolvers<void> | null = null;

  constructor(target: number) {
    this.#target = target;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.port = (this.#listener.addr as Deno.NetAddr).port;
    this.#track(this.#serve());
  }

  /** Ends all connections. */
  cut(): void {
    for (const connection of this.#connections) closeQuietly(connection);
    this.#connections.clear();
  }

  /** Keeps connections, but lets nothing pass until `resume`. */
  hold(): void {
    this.#held ??= Promise.withResolvers();
  }

  /** Lets bytes pass again. */
  resume(): void {
    this.#held?.resolve();
    this.#held = null;
  }

  async close(): Promise<void> {
    this.open = false;
    closeQuietly(this.#listener);
    this.cut();
    this.resume();
    while (this.#tasks.size > 0) await Promise.all(this.#tasks);
  }

  async #serve(): Promise<void> {
    for (;;) {
      const near = await this.#listener.accept().catch(() => null);
      if (near === null) return;
      this.#connections.add(near);
      const far = this.open
        ? await Deno.connect({ hostname: "127.0.0.1", port: this.#target }).catch(() => null)
        : null;
      if (far === null) {
        closeQuietly(near);
        continue;
      }
      this.#connections.add(far);
      this.#track(this.#pump(near, far, true));
      this.#track(this.#pump(far, near, false));
    }
  }

  async #pump(from: Deno.TcpConn, to: Deno.TcpConn, forward: boolean): Promise<void> {
    const buffer = new Uint8Array(64 * 1024);
    try {
      for (;;) {
        const count = await from.read(buffer);
        if (count === null) break;
        await this.#held?.promise;
        if (this.watchFor !== null && contains(buffer.subarray(0, count), this.watchFor)) {
          this.seen = true;
        }
        if (forward) this.forwarded += count;
        if (forward && count > this.damageAbove) {
          buffer[count - 10]! ^= 4;
          this.damageAbove = Infinity;
        }
        for (let at = 0; at < count;) at += await to.write(buffer.subarray(at, count));
      }
    } catch {
      // Cut, or the other end went away: both ends hear of it.
    } finally {
      closeQuietly(from);
      closeQuietly(to);
    }
  }

  #track(task: Promise<void>): void {
    this.#tasks.add(task);
    task.finally(() => this.#tasks.delete(task));
  }
}

function closeQuietly(resource: { close(): void }): void {
  try {
    resource.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

function contains(bytes: Uint8Array, pattern: Uint8Array): boolean {
  const first = pattern[0]!;
  for (let at = bytes.indexOf(first); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (pattern.every((byte, i) => bytes[at + i] === byte)) return true;
  }
  return false;
}
