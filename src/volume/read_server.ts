/**
 * A replica that answers READ: a Primary asks for what its own disk cannot give, or for everything once
 * it has none. Overlapping writes were answered before; a Primary sees to that.
 */

import { PEER, type VolumeContext } from "./context.ts";
import { FrameKind } from "./types.ts";

interface Wanted {
  readonly session: number;
  readonly seq: number;
  readonly offset: number;
  readonly length: number;
}

/** See the file's comment. */
export class ReadServer {
  readonly #context: VolumeContext;
  /** The session that is open; answers of another are not sent. */
  readonly #session: () => number;
  /** Wait for a buffer. */
  #waiting: Wanted[] = [];

  constructor(context: VolumeContext, session: () => number) {
    this.#context = context;
    this.#session = session;
  }

  /** READ came; its range lies within the volume. */
  read(session: number, seq: number, offset: number, length: number): void {
    this.#waiting.push({ session, seq, offset, length });
    this.bufferFree();
  }

  /** A buffer may be had. */
  bufferFree(): void {
    while (this.#waiting.length > 0) {
      const wanted = this.#waiting[0]!;
      if (wanted.session === this.#session() && !this.#start(wanted)) return;
      this.#waiting.shift();
    }
  }

  #start({ session, seq, offset, length }: Wanted): boolean {
    const context = this.#context;
    const { io } = context;
    const buffer = io.acquire(length);
    if (buffer < 0) return false;
    const tag = context.callbacks.tag((errno) => {
      if (session === this.#session()) {
        if (errno === 0) {
          io.sendData(PEER, FrameKind.Data, session, seq, offset, length, buffer, 0, 0);
        } else {
          const text = `reading ${length} bytes at ${offset} for the Primary failed`;
          context.note("error", "read-error", text, { offset, errno });
          io.sendControl(PEER, { type: "UNREADABLE", session, seq });
        }
      }
      io.release(buffer);
      context.dataIoEnded();
    });
    context.dataIoBegan();
    io.read(tag, offset, length, buffer, 0);
    return true;
  }
}
