/** Who is measured against whom. */
import type { EngineName } from "../../src/os/engine.ts";
import { startPlanes } from "./bascule.ts";
import { output, Server } from "./processes.ts";

/** A contender that serves. */
export interface Running {
  readonly uri: string;
  /** How it serves, for the table. */
  readonly detail: string;
  readonly servers: readonly Server[];
  /** Ends its processes. */
  stop(): Promise<void>;
}

/** One that can be measured. */
export interface Contender {
  readonly name: string;
  /** Programs that it needs. */
  readonly needs: readonly string[];
  /** Says its version. */
  version(): Promise<string>;
  /** Serves files that it makes in this directory. */
  start(directory: string, size: number): Promise<Running>;
}

/** Settings of a run that concern contenders. */
export interface ContenderSettings {
  readonly io: "direct" | "buffered";
  readonly engine: EngineName | undefined;
}

function firstLine(text: string): string {
  return text.split("\n")[0]!;
}

function emptyFile(path: string, size: number): void {
  const file = Deno.openSync(path, { create: true, write: true, truncate: true });
  file.truncateSync(size);
  file.close();
}

function bascule(name: string, nodes: readonly string[], settings: ContenderSettings): Contender {
  return {
    name,
    needs: [],
    version: () => Promise.resolve(`Deno ${Deno.version.deno}`),
    start: (directory, size) => startPlanes({ ...settings, directory, size, nodes }),
  };
}

function qemuCache(settings: ContenderSettings): string[] {
  return settings.io === "direct"
    ? ["--cache=none", "--aio=io_uring"]
    : ["--cache=writeback", "--aio=io_uring"];
}

function qemuNbd(settings: ContenderSettings): Contender {
  return {
    name: "qemu-nbd",
    needs: ["qemu-nbd"],
    version: async () => firstLine(await output("qemu-nbd", ["--version"])),
    async start(directory, size) {
      const [image, path] = [`${directory}/qemu.img`, `${directory}/qemu.sock`];
      emptyFile(image, size);
      const cache = qemuCache(settings);
      const args = ["-t", "-f", "raw", "-k", path, "-x", "bench", "-e", "8", ...cache, image];
      const server = new Server("qemu-nbd", args);
      await listening(server, { path });
      return {
        uri: `nbd+unix:///bench?socket=${path}`,
        detail: cache.join(" "),
        servers: [server],
        stop: () => server.stop(),
      };
    },
  };
}

function nbdkit(settings: ContenderSettings): Contender {
  return {
    name: "nbdkit file",
    needs: ["nbdkit"],
    version: async () => firstLine(await output("nbdkit", ["--version"])),
    async start(directory, size) {
      const [image, path] = [`${directory}/nbdkit.img`, `${directory}/nbdkit.sock`];
      emptyFile(image, size);
      const server = new Server("nbdkit", ["-f", "-U", path, "-e", "bench", "file", image]);
      await listening(server, { path });
      return {
        uri: `nbd+unix:///bench?socket=${path}`,
        detail: settings.io === "direct" ? "page cache (has no direct I/O)" : "page cache",
        servers: [server],
        stop: () => server.stop(),
      };
    },
  };
}

/** Two files, each behind a qemu-nbd; a third one writes to both and waits for both. */
function qemuQuorum(settings: ContenderSettings): Contender {
  return {
    name: "qemu-nbd, quorum of 2",
    needs: ["qemu-nbd"],
    version: async () => firstLine(await output("qemu-nbd", ["--version"])),
    async start(directory, size) {
      const servers: Server[] = [];
      const stop = async () => {
        for (const server of servers.toReversed()) await server.stop();
      };
      const start = async (path: string, args: readonly string[]) => {
        const server = new Server("qemu-nbd", [
          "-t",
          "-k",
          path,
          "-x",
          "bench",
          "-e",
          "8",
          ...args,
        ]);
        servers.push(server);
        await server.listening({ path });
      };
      try {
        // Over TCP its requests stall for 40 ms at a time; unix sockets show what it can do.
        const paths = [`${directory}/copy-0.sock`, `${directory}/copy-1.sock`];
        for (const path of paths) {
          const image = path.replace(".sock", ".img");
          emptyFile(image, size);
          await start(path, ["-f", "raw", ...qemuCache(settings), image]);
        }
        const path = `${directory}/quorum.sock`;
        const children = paths.map((path, index) => {
          const child = `children.${index}`;
          return `${child}.driver=raw,${child}.file.driver=nbd,${child}.file.export=bench,` +
            `${child}.file.server.type=unix,${child}.file.server.path=${path}`;
        });
        const image = `driver=quorum,vote-threshold=2,read-pattern=fifo,${children.join(",")}`;
        await start(path, ["--image-opts", image]);
        return {
          uri: `nbd+unix:///bench?socket=${path}`,
          detail: "copies over unix sockets, reads from the first, no log and no resync",
          servers,
          stop,
        };
      } catch (error) {
        await stop();
        throw error;
      }
    },
  };
}

async function listening(server: Server, address: { path: string }): Promise<void> {
  try {
    await server.listening(address);
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** Servers of one file. */
export function localContenders(settings: ContenderSettings): Contender[] {
  return [bascule("bascule", ["a"], settings), qemuNbd(settings), nbdkit(settings)];
}

/** Servers that keep two copies, and answer when both have a write. */
export function replicatedContenders(settings: ContenderSettings): Contender[] {
  return [bascule("bascule, protocol C", ["a", "b"], settings), qemuQuorum(settings)];
}
