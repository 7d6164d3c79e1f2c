/** The Worker that ends TLS: see `tls_relay.ts`. Its event loop is an ordinary one. */
import { Socket } from "node:net";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import type { TlsConfig } from "../config/types.ts";
import { closeQuietly } from "../os/libc.ts";
import type { TlsRelayMessage, TlsRelayOrder } from "./tls_relay_messages.ts";

interface WorkerScope {
  onmessage: ((event: { readonly data: TlsRelayOrder }) => void) | null;
  postMessage(message: TlsRelayMessage): void;
}

/** Makes this Worker a relay. */
export function serveTlsRelay(): void {
  const scope = globalThis as unknown as WorkerScope;
  const relay = new Relay((message) => scope.postMessage(message));
  scope.onmessage = ({ data }) => relay.begin(data);
  scope.postMessage({ type: "loaded" });
}

/** A certificate and its key, read from their files. */
interface Credentials {
  readonly context: SecureContext;
  /** Of the files, when they were read. */
  readonly version: string;
}

class Relay {
  readonly #post: (message: TlsRelayMessage) => void;
  readonly #credentials = new Map<string, Credentials>();

  constructor(post: (message: TlsRelayMessage) => void) {
    this.#post = post;
  }

  begin({ fd, plain, tls }: TlsRelayOrder): void {
    let context: SecureContext;
    try {
      context = this.#context(tls);
    } catch (error) {
      closeQuietly(fd);
      closeQuietly(plain);
      const why = error instanceof Error ? error.message : String(error);
      return this.#note("error", "tls-certificate", `no client can be served over TLS: ${why}`);
    }
    const outer = new Socket(streamOf(fd));
    const inner = new Socket(streamOf(plain));
    const secure = new TLSSocket(outer, {
      isServer: true,
      secureContext: context,
      minVersion: "TLSv1.2",
    });
    this.#join(outer, secure, inner);
  }

  /** Each side's end is the other's; whatever fails ends both. */
  #join(outer: Socket, secure: TLSSocket, inner: Socket): void {
    let begun = false;
    const end = (why: string | undefined) => {
      if (why !== undefined && !begun) {
        this.#note("debug", "tls-handshake", `a TLS handshake failed: ${why}`);
      }
      for (const each of [secure, outer, inner]) each.destroy();
    };
    secure.once("secure", () => {
      begun = true;
    });
    for (const each of [outer, secure, inner]) {
      each.on("error", (error: Error) => end(error.message));
      each.on("close", () => end(undefined));
    }
    // The volume's Worker hangs up on a client that does not get through its handshake in time.
    inner.once("end", () => begun ? undefined : end("it took too long"));
    secure.pipe(inner);
    inner.pipe(secure);
  }

  /** Files that have changed are read again, so that a new certificate needs no restart. */
  #context({ certificate, key }: TlsConfig): SecureContext {
    const version = [certificate, key].map(versionOf).join(" ");
    const known = this.#credentials.get(certificate);
    if (known?.version === version) return known.context;
    const context = createSecureContext({ cert: readPem(certificate), key: readPem(key) });
    this.#credentials.set(certificate, { context, version });
    return context;
  }

  #note(level: "debug" | "error", rule: string, text: string): void {
    this.#post({ type: "note", level, rule, text });
  }
}

/** What Node's types do not tell: a socket over any connected stream. */
function streamOf(fd: number): { fd: number; readable: true; writable: true; allowHalfOpen: true } {
  return { fd, readable: true, writable: true, allowHalfOpen: true };
}

function versionOf(path: string): string {
  try {
    const { mtime, size, ino } = Deno.statSync(path);
    return `${path} ${mtime?.getTime()} ${size} ${ino}`;
  } catch (error) {
    throw new Error(unreadable(path, error), { cause: error });
  }
}

function readPem(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw new Error(unreadable(path, error), { cause: error });
  }
}

function unreadable(path: string, error: unknown): string {
  return `${path} cannot be read (${
    error instanceof Error ? error.message : String(error)
  }): put ` +
    `the file there, as tls of the export says, readable by this user`;
}
