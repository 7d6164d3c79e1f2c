/** The main thread's end of the socket pair that carries orders to a Worker. */
import { ERRNO, errnoText } from "../../os/errno.ts";
import { closeQuietly, libc, negErrno } from "../../os/libc.ts";
import { setNonblocking, socketPair } from "../../os/sockets.ts";
import { encodeOrder, type WorkerOrder } from "./messages.ts";

const MSG_NOSIGNAL = 0x4000;

/** How soon a full pipe is tried again, in milliseconds. */
const RETRY = 20;
/** Orders that a Worker may leave unread, in bytes, before that counts as broken. */
const BACKLOG_BYTES = 8 << 20;

/**
 * Sends without ever blocking the main thread: what the kernel does not take waits here, in order.
 * A Worker that reads nothing (a stuck disk) therefore cannot stop heartbeats.
 */
export class OrderPipe {
  /** Descriptor for the Worker, which closes it. */
  readonly workerEnd: number;
  readonly #end: number;
  #waiting: Uint8Array<ArrayBuffer>[] = [];
  #backlog = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  readonly #broken: (reason: string) => void;

  /**
   * Makes the pair. Throws an OsError when the kernel has no descriptor left. `broken` is called,
   * later, when the Worker cannot be reached any more.
   */
  constructor(broken: (reason: string) => void) {
    this.#broken = broken;
    [this.#end, this.workerEnd] = socketPair();
    setNonblocking(this.#end, true);
  }

  /** Queues an order. A Worker that has ended already gets nothing; its end is told otherwise. */
  send(order: WorkerOrder): void {
    if (this.#closed) return;
    // A sleeper that is to be woken already needs no second wake.
    if (order.type === "wake" && this.#waiting.length > 0) return;
    const bytes = encodeOrder(order);
    this.#backlog += bytes.length;
    if (this.#backlog > BACKLOG_BYTES) {
      return this.#fail(`it left ${this.#backlog} bytes of orders unread`);
    }
    this.#waiting.push(bytes);
    this.#flush();
  }

  /** Closes this end; the Worker sees the end of the stream. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#waiting = [];
    closeQuietly(this.#end);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#waiting.length > 0) {
      const bytes = this.#waiting[0]!;
      const sent = negErrno(
        libc.sendto(this.#end, bytes, bytes.length, MSG_NOSIGNAL, null, 0),
      );
      if (sent === -ERRNO.EAGAIN || sent === -ERRNO.EINTR) {
        this.#timer = setTimeout(() => this.#flush(), RETRY);
        return;
      }
      // It closed its end: it is about to say why by a message.
      if (sent === -ERRNO.EPIPE || sent === -ERRNO.ECONNRESET) return this.close();
      if (sent < 0) return this.#fail(`orders cannot be sent, ${errnoText(sent)}`);
      this.#backlog -= sent;
      if (sent < bytes.length) this.#waiting[0] = bytes.slice(sent);
      else this.#waiting.shift();
    }
  }

  #fail(reason: string): void {
    this.close();
    queueMicrotask(() => this.#broken(reason));
  }
}
