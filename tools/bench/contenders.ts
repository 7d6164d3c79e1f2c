/** Who is measured against whom. */
import type { EngineName } from "../../src/os/engine.ts";
import { startPlanes } from "./bascule.ts";
import { Daemon, freePort, output, Server } from "./processes.ts";

/** A contender that serves. */
export interface Running {
  readonly uri: string;
  /** How it serves, for the table. */
  readonly detail: string;
  readonly servers: readonly (Server | Daemon)[];
  /** Ends its processes. */
  stop(): Promise<void>;
}

/** One that can be measured. */
export interface Contender {
  readonly name: string;
  /** Programs that it needs. */
  readonly needs: readonly string[];
  /** Whether ours is compared with it; default true. */
  readonly rival?: boolean;
  /** Says its version. */
  version(): Promise<string>;
  /** Serves files that it makes in this directory. */
  start(directory: string, size: number): Promise<Running>;
}

/** What contenders are to do alike. */
export interface ContenderSettings {
  readonly io: "direct" | "buffered";
  readonly transport: "unix" | "tcp";
  readonly engine?: EngineName;
}

function firstLine(text: string): string {
  return text.split("\n")[0]!;
}

function emptyFile(path: string, size: number): void {
  const file = Deno.openSync(path, { create: true, write: true, truncate: true });
  file.truncateSync(size);
  file.close();
}

/** Our data planes, one for each node. */
export function bascule(
  name: string,
  nodes: readonly string[],
  settings: ContenderSettings,
  rival = true,
): Contender {
  return {
    name,
    needs: [],
    rival,
    version: () => Promise.resolve(`Deno ${Deno.version.deno}`),
    start: (directory, size) => {
      const own = `${directory}/${crypto.randomUUID().slice(0, 8)}`;
      Deno.mkdirSync(own);
      return startPlanes({ ...settings, directory: own, size, nodes });
    },
  };
}

/** Where a server is to listen: a socket in the directory, or a free port of loopback. */
interface Place {
  readonly path: string;
  readonly port: number;
  readonly uri: string;
}

function placeFor(settings: ContenderSettings, directory: string, name: string): Place {
  const path = `${directory}/${name}.sock`;
  if (settings.transport === "unix") {
    return { path, port: 0, uri: `nbd+unix:///bench?socket=${path}` };
  }
  const port = freePort();
  return { path, port, uri: `nbd://127.0.0.1:${port}/bench` };
}

async function serving(
  server: Server | Daemon,
  { path, port, uri }: Place,
  detail: string,
): Promise<Running> {
  try {
    await server.listening(port === 0 ? { path } : { port });
  } catch (error) {
    await server.stop();
    throw error;
  }
  return { uri, detail, servers: [server], stop: () => server.stop() };
}

function qemuCache(settings: ContenderSettings): string[] {
  return settings.io === "direct"
    ? ["--cache=none", "--aio=io_uring"]
    : ["--cache=writeback", "--aio=io_uring"];
}

/** QEMU's server. */
export function qemuNbd(settings: ContenderSettings): Contender {
  return {
    name: "qemu-nbd",
    needs: ["qemu-nbd"],
    version: async () => firstLine(await output("qemu-nbd", ["--version"])),
    start(directory, size) {
      const image = `${directory}/qemu.img`;
      emptyFile(image, size);
      const place = placeFor(settings, directory, "qemu");
      const listen = place.port === 0
        ? ["-k", place.path]
        : ["-b", "127.0.0.1", "-p", `${place.port}`];
      const cache = qemuCache(settings);
      const args = ["-t", "-f", "raw", ...listen, "-x", "bench", "-e", "8", ...cache, image];
      return serving(new Server("qemu-nbd", args), place, cache.join(" "));
    },
  };
}

/** nbdkit with its file plugin. */
export function nbdkit(settings: ContenderSettings): Contender {
  return {
    name: "nbdkit file",
    needs: ["nbdkit"],
    version: async () => firstLine(await output("nbdkit", ["--version"])),
    start(directory, size) {
      const image = `${directory}/nbdkit.img`;
      emptyFile(image, size);
      const place = placeFor(settings, directory, "nbdkit");
      const listen = place.port === 0
        ? ["-U", place.path]
        : ["-i", "127.0.0.1", "-p", `${place.port}`];
      // It has no direct I/O; this is how it keeps the page cache clean.
      const cache = settings.io === "direct" ? ["cache=none"] : [];
      const args = ["-f", ...listen, "-e", "bench", "file", image, ...cache];
      const detail = settings.io === "direct" ? "cache=none (has no direct I/O)" : "page cache";
      return serving(new Server("nbdkit", args), place, detail);
    },
  };
}

/** The reference server of the NBD project. */
export function nbdServer(settings: ContenderSettings): Contender {
  return {
    name: "nbd-server",
    needs: ["nbd-server"],
    version: async () => {
      // It knows no option for this and says its version on top of its usage.
      const { stdout, stderr } = await new Deno.Command("nbd-server", { args: ["-V"] }).output();
      const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
      return /version [\w.-]+/.exec(text)?.[0] ?? firstLine(text);
    },
    async start(directory, size) {
      const image = `${directory}/nbd-server.img`;
      emptyFile(image, size);
      const place = placeFor(settings, directory, "nbd-server");
      const port = place.port === 0 ? freePort() : place.port;
      const socket = place.port === 0 ? `unixsock = ${place.path}\n` : "";
      const [file, pidFile] = [`${directory}/nbd-server.conf`, `${directory}/nbd-server.pid`];
      Deno.writeTextFileSync(
        file,
        `[generic]\nlistenaddr = 127.0.0.1\nport = ${port}\n${socket}` +
          `[bench]\nexportname = ${image}\n`,
      );
      // It always goes to the background, and serves each client in a process of its own.
      await output("nbd-server", ["-C", file, "-p", pidFile]);
      return serving(await Daemon.of(pidFile), place, "page cache");
    },
  };
}

/** Two files, each behind a server of its own; a qemu-nbd writes to both and waits for both. */
export function qemuQuorum(kind: "qemu-nbd" | "nbdkit", settings: ContenderSettings): Contender {
  return {
    name: `quorum of two ${kind}`,
    needs: ["qemu-nbd", kind],
    version: async () => firstLine(await output("qemu-nbd", ["--version"])),
    async start(directory, size) {
      const servers: Server[] = [];
      const stop = async () => {
        for (const server of servers.toReversed()) await server.stop();
      };
      const start = async (command: string, path: string, args: readonly string[]) => {
        const server = new Server(command, args);
        servers.push(server);
        await server.listening({ path });
      };
      const asQemu = ["-t", "-x", "bench", "-e", "8"];
      try {
        // Over TCP its requests stall for 40 ms at a time; unix sockets show what it can do.
        const paths = [0, 1].map((copy) => `${directory}/${kind}-copy-${copy}.sock`);
        for (const path of paths) {
          const image = path.replace(".sock", ".img");
          emptyFile(image, size);
          const args = kind === "nbdkit"
            ? ["-f", "-U", path, "-e", "bench", "file", image]
            : [...asQemu, "-k", path, "-f", "raw", ...qemuCache(settings), image];
          await start(kind, path, args);
        }
        const path = `${directory}/${kind}-quorum.sock`;
        const children = paths.map((path, index) => {
          const child = `children.${index}`;
          return `${child}.driver=raw,${child}.file.driver=nbd,${child}.file.export=bench,` +
            `${child}.file.server.type=unix,${child}.file.server.path=${path}`;
        });
        const image = `driver=quorum,vote-threshold=2,read-pattern=fifo,${children.join(",")}`;
        await start("qemu-nbd", path, [...asQemu, "-k", path, "--image-opts", image]);
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
