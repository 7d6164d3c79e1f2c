/**
 * What makes a namespace a machine for programs that know one machine only: a host name, private
 * directories in place of the system's, a /run and a /dev/shm of its own.
 */
import type { NodeName, Site } from "./site.ts";

/** Runs as the last thing before the program: `$1` host name, `$2` root, then directories up to `--`. */
const ENTER = `set -e
hostname "$1"; root=$2; shift 2
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mkdir -p /run/lock /run/crm /run/resource-agents
if id hacluster >/dev/null 2>&1; then
  install -d -o hacluster -g haclient -m 750 /run/heartbeat /run/heartbeat/ccm /run/heartbeat/crm \
    /run/heartbeat/dopd
  chown hacluster:haclient /run/crm
fi
while [ "$1" != -- ]; do mount --bind "$root$1" "$1"; shift; done
shift
ulimit -l unlimited 2>/dev/null || true
exec "$@"`;

/** The rooms of both nodes of a contender. */
export class MachineRoom {
  readonly #site: Site;
  readonly #directory: string;
  readonly #own: readonly string[];

  /** @param own directories that each node has for itself; what the system has there is copied */
  constructor(site: Site, directory: string, own: readonly string[]) {
    this.#site = site;
    this.#directory = directory;
    this.#own = own;
  }

  /** Directory that holds a node's private directories. */
  root(node: NodeName): string {
    return `${this.#directory}/${node}`;
  }

  /** Makes a node's directories as the system has them. */
  furnish(node: NodeName): void {
    for (const path of this.#own) {
      const target = `${this.root(node)}${path}`;
      Deno.mkdirSync(target, { recursive: true });
      if (path === "/var/log") continue;
      const copied = new Deno.Command("cp", { args: ["-a", `${path}/.`, target] }).outputSync();
      if (!copied.success) throw new Error(new TextDecoder().decode(copied.stderr));
    }
    Deno.writeTextFileSync(`${this.root(node)}/log`, "");
  }

  /** Starts a program in the node's room; what it says is kept. */
  run(node: NodeName, command: readonly string[]): void {
    const keepLog = 'log=$1; shift; exec "$@" >>"$log" 2>&1';
    const [program = "", ...args] = this.inside(node, [
      "sh",
      "-c",
      keepLog,
      "sh",
      `${this.root(node)}/log`,
      ...command,
    ]);
    new Deno.Command(program, { args, stdin: "null", stdout: "null", stderr: "null" }).spawn();
  }

  /** What the programs of a node have said. */
  log(node: NodeName): string {
    return Deno.readTextFileSync(`${this.root(node)}/log`);
  }

  /** Command line that makes a room for `command`. */
  inside(node: NodeName, command: readonly string[]): string[] {
    const unshare = ["unshare", "--uts", "--mount", "--ipc", "sh", "-c", ENTER, "sh"];
    const room = [`node-${node}`, this.root(node), ...this.#own, "--"];
    return this.#site.on(node, [...unshare, ...room, ...command]);
  }

  /** Runs a program to its end in the room of a running one; gives its output, or null if it fails. */
  async ask(node: NodeName, anchor: string, command: readonly string[]): Promise<string | null> {
    const [pid] = await this.processes(node, [anchor]);
    if (pid === undefined) return null;
    const { success, stdout } = await new Deno.Command("nsenter", {
      args: ["-t", `${pid}`, "-m", "-u", "-i", "-n", "--", ...command],
      stdin: "null",
    }).output();
    return success ? new TextDecoder().decode(stdout) : null;
  }

  /** Processes of a node with one of these names; without names, all but the service. */
  async processes(node: NodeName, names: readonly string[] = []): Promise<number[]> {
    const pids = await this.#site.pids(node);
    return pids.filter((pid) => {
      try {
        const name = Deno.readTextFileSync(`/proc/${pid}/comm`).trim();
        return names.length === 0 ? name !== "perl" && name !== "ip" : names.includes(name);
      } catch {
        return false;
      }
    });
  }
}
