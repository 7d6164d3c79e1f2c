/** The Worker's end of the socket pair: orders as they come. */
import type { Engine } from "../../os/engine.ts";
import { Slab } from "../../os/memory.ts";
import { OrderReader, type WorkerOrder } from "./messages.ts";
import type { Completion, Operations } from "./operations.ts";

const RECEIVE_BYTES = 64 * 1024;

/** What it calls. */
export interface OrderTaker {
  /** The next order, in the order of their sending. */
  order(order: WorkerOrder): void;
  /** The main thread closed its end. */
  closed(): void;
}

/** Receives orders for as long as the Worker runs. */
export class OrderInlet implements Completion {
  readonly #engine: Engine;
  readonly #operations: Operations;
  readonly #fd: number;
  readonly #taker: OrderTaker;
  readonly #slab = Slab.allocate(RECEIVE_BYTES);
  readonly #reader = new OrderReader();
  #open = true;

  /** Takes over the descriptor. */
  constructor(engine: Engine, operations: Operations, fd: number, taker: OrderTaker) {
    this.#engine = engine;
    this.#operations = operations;
    this.#fd = fd;
    this.#taker = taker;
  }

  /** Waits for the next bytes. */
  receive(): void {
    const tag = this.#operations.begin(this, 0);
    this.#engine.recv(this.#fd, this.#slab, 0, RECEIVE_BYTES, tag);
  }

  completed(_what: number, result: number): void {
    if (!this.#open) return this.#slab.free();
    if (result <= 0) {
      this.close();
      this.#slab.free();
      return this.#taker.closed();
    }
    const bytes = this.#slab.bytes.subarray(0, result);
    this.#reader.push(bytes, (order) => this.#taker.order(order));
    if (this.#open) this.receive();
  }

  /** Ends it; the memory goes when the pending receive has ended. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#engine.close(this.#fd);
  }
}
