/**
 * Sockets that several volumes share: the main thread makes one as soon as the first of them is served
 * here, and every Worker that serves one takes clients from it. Whichever takes a client carries out
 * its handshake, over the exports of all of them, and a client that chooses another volume is passed on,
 * descriptor and all, to the Worker that has it.
 *
 * @module
 */
import type { Note } from "../cluster/types.ts";
import type { ExportConfig, VolumeConfig } from "../config/types.ts";
import type { NbdExport } from "../nbd/mod.ts";
import { closeQuietly, OsError } from "../os/libc.ts";
import { duplicate, listenTcp, listenUnix } from "../os/sockets.ts";
import type { VolumeWorker } from "./dataplane/handle.ts";
import type { PassedClient } from "./dataplane/messages.ts";

/** How often a socket that could not be made is tried again, in milliseconds. */
const RETRY = 2000;

interface SharedSocket {
  readonly config: ExportConfig;
  /** In the order of the configuration, which clients see. */
  readonly volumes: readonly string[];
  readonly serving: Map<string, { readonly entry: NbdExport; readonly worker: VolumeWorker }>;
  /** The listening socket; null while nothing is served, or while it cannot be had. */
  fd: number | null;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** See the module comment. */
export class ExportSockets {
  readonly #sockets = new Map<string, SharedSocket>();
  readonly #note: (level: Note["level"], rule: string, text: string) => void;

  /** Of these volumes; `note` takes lines for the log. */
  constructor(
    volumes: readonly VolumeConfig[],
    note: (level: Note["level"], rule: string, text: string) => void,
  ) {
    this.#note = note;
    const byAddress = Map.groupBy(volumes, (volume) => volume.export.address);
    for (const sharing of byAddress.values()) {
      if (sharing.length < 2) continue;
      const socket: SharedSocket = {
        config: sharing[0]!.export,
        volumes: sharing.map((volume) => volume.name),
        serving: new Map(),
        fd: null,
        timer: undefined,
      };
      for (const name of socket.volumes) this.#sockets.set(name, socket);
    }
  }

  /** Does this volume share its socket with another one? */
  shared(volume: string): boolean {
    return this.#sockets.has(volume);
  }

  /** A volume is served from now on by this Worker, or, without an export, no more. */
  serving(volume: string, worker: VolumeWorker, entry: NbdExport | null): void {
    const socket = this.#sockets.get(volume);
    if (socket === undefined) return;
    if (entry !== null) socket.serving.set(volume, { entry, worker });
    else if (!socket.serving.delete(volume)) return;
    this.#announce(socket);
    if (entry !== null && socket.fd !== null) worker.listen(duplicate(socket.fd));
    else if (socket.serving.size > 0) this.#open(socket);
    else this.#shut(socket);
  }

  /** A client that has chosen a volume of another Worker. */
  pass(client: PassedClient): void {
    const worker = this.#sockets.get(client.volume)?.serving.get(client.volume)?.worker;
    if (worker === undefined) closeQuietly(client.fd);
    else worker.adopt(client);
  }

  /** Removes every socket. */
  close(): void {
    for (const socket of new Set(this.#sockets.values())) {
      socket.serving.clear();
      this.#shut(socket);
    }
  }

  #announce(socket: SharedSocket): void {
    const entries = socket.volumes.flatMap((name) => socket.serving.get(name)?.entry ?? []);
    for (const { worker } of socket.serving.values()) worker.exports(entries);
  }

  #open(socket: SharedSocket): void {
    clearTimeout(socket.timer);
    if (socket.fd !== null) return;
    const { address, path, tcp } = socket.config;
    try {
      socket.fd = tcp === undefined
        ? listenUnix(path)
        : listenTcp(tcp.host, tcp.port, { foreign: true });
    } catch (error) {
      if (!(error instanceof OsError)) throw error;
      this.#note("error", "export-listen", `${address} cannot be served: ${error.message}`);
      socket.timer = setTimeout(() => this.#open(socket), RETRY);
      return;
    }
    for (const { worker } of socket.serving.values()) worker.listen(duplicate(socket.fd));
  }

  #shut(socket: SharedSocket): void {
    clearTimeout(socket.timer);
    if (socket.fd === null) return;
    closeQuietly(socket.fd);
    socket.fd = null;
    const { path, tcp } = socket.config;
    if (tcp !== undefined) return;
    try {
      Deno.removeSync(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}
