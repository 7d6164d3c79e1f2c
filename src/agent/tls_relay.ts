/**
 * TLS for exports over TCP. A Worker of its own ends TLS, so that neither heartbeats nor volumes wait
 * for cryptography: it carries what is within TLS to and from a socket pair whose other end the volume's
 * Worker serves like any client. It is started when the first volume with TLS is opened.
 *
 * The TLS is the runtime's. It proves the server by its certificate; it does not check that a client has
 * the key of the certificate it shows, so clients are not asked for one.
 *
 * @module
 */
import type { Note } from "../cluster/types.ts";
import type { TlsConfig } from "../config/types.ts";
import { closeQuietly } from "../os/libc.ts";
import { TLS_RELAY, type TlsRelayMessage, type TlsRelayOrder } from "./tls_relay_messages.ts";

/** What the relay may say for the log. */
export type RelayNote = (level: Note["level"], rule: string, text: string) => void;

/** The main thread's side of it. */
export class TlsRelay {
  readonly #note: RelayNote;
  readonly #moduleUrl: string;
  #worker: Worker | null = null;
  #loaded = Promise.withResolvers<void>();
  /** Connections that came before the Worker listens. */
  #waiting: TlsRelayOrder[] | null = [];

  /** `moduleUrl`: what the Worker loads; default the program's main module. */
  constructor(note: RelayNote, moduleUrl = Deno.mainModule) {
    this.#note = note;
    this.#moduleUrl = moduleUrl;
  }

  /** Starts the Worker, if it does not run; resolves when it does. */
  start(): Promise<void> {
    if (this.#worker !== null) return this.#loaded.promise;
    this.#loaded = Promise.withResolvers();
    this.#waiting = [];
    const worker = new Worker(this.#moduleUrl, { type: "module", name: TLS_RELAY });
    this.#worker = worker;
    worker.onmessage = (event) => this.#heard(event.data as TlsRelayMessage);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#note("error", "tls-relay", `the Worker for TLS broke down: ${event.message}`);
      this.close();
    };
    return this.#loaded.promise;
  }

  /** Begins TLS on the connection `fd`, for `plain`. Takes over both descriptors. */
  begin(fd: number, plain: number, tls: TlsConfig): void {
    void this.start();
    const order: TlsRelayOrder = { fd, plain, tls };
    if (this.#waiting !== null) this.#waiting.push(order);
    else this.#worker!.postMessage(order);
  }

  /** Ends the Worker and with it every connection. */
  close(): void {
    this.#worker?.terminate();
    this.#worker = null;
    for (const { fd, plain } of this.#waiting ?? []) {
      closeQuietly(fd);
      closeQuietly(plain);
    }
    this.#waiting = [];
  }

  #heard(message: TlsRelayMessage): void {
    if (message.type === "note") return this.#note(message.level, message.rule, message.text);
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    this.#loaded.resolve();
    for (const order of waiting) this.#worker?.postMessage(order);
  }
}
