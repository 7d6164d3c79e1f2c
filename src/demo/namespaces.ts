/**
 * Hosts on one machine: network namespaces joined by two bridges, as two networks join servers.
 *
 * Needs only Debian's base (util-linux, iproute2). Everything is made inside a private mount, process
 * and network namespace, so it vanishes with the process that made it, on every exit path.
 *
 * @module
 */

/** A host: its name and its address on each network, or null where it is not attached. */
export interface Host {
  readonly name: string;
  /** CIDR by network, e.g. `["10.77.0.1/24", null]`. */
  readonly addresses: readonly (string | null)[];
}

/** Variable that tells a process that it runs inside the private namespaces. */
const INSIDE = "BASCULE_DEMO_INSIDE";

/** True in a process started by {@linkcode enterPrivateNamespaces}. */
export function insidePrivateNamespaces(): boolean {
  return Deno.env.get(INSIDE) === "1";
}

/**
 * Runs `command` again in namespaces of its own (as root, or rootless where the kernel allows it) and
 * returns its exit code; or says why that cannot be done here.
 */
export async function enterPrivateNamespaces(
  command: readonly string[],
): Promise<{ code: number } | { refused: string }> {
  const flags = ["-nmpf", "--kill-child", "--mount-proc"];
  if (Deno.uid() !== 0) flags.unshift("-Ur");
  try {
    const probe = await run(["unshare", ...flags, "sh", "-c", `${PREPARE} && ip netns add probe`]);
    if (probe.code !== 0) {
      return { refused: probe.error || "unshare failed without a word" };
    }
  } catch (error) {
    return { refused: `unshare: ${error instanceof Error ? error.message : error}` };
  }
  // The private /run is where `ip netns` keeps its names; quoting is left to the shell's "$@".
  const child = new Deno.Command("unshare", {
    args: [...flags, "sh", "-c", `${PREPARE} && exec "$@"`, "sh", ...command],
    env: { [INSIDE]: "1" },
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn();
  return { code: (await child.status).code };
}

const PREPARE = "mount -t tmpfs tmpfs /run && ip link set lo up";

/** Namespaces, bridges and the cables between them. */
export class Namespaces {
  readonly #hosts: readonly Host[];

  private constructor(hosts: readonly Host[]) {
    this.#hosts = hosts;
  }

  /** Makes the hosts and `networks` bridges, everything up. */
  static async create(hosts: readonly Host[], networks: number): Promise<Namespaces> {
    for (let network = 0; network < networks; network++) {
      await must(["ip", "link", "add", bridge(network), "type", "bridge"]);
      await must(["ip", "link", "set", bridge(network), "up"]);
    }
    for (const host of hosts) {
      await must(["ip", "netns", "add", host.name]);
      await must(["ip", "-n", host.name, "link", "set", "lo", "up"]);
      for (const [network, address] of host.addresses.entries()) {
        if (address === null) continue;
        const port = cable(host.name, network);
        const nic = `eth${network}`;
        await must(
          ["ip", "link", "add", port, "type", "veth", "peer", "name", nic, "netns", host.name],
        );
        await must(["ip", "link", "set", port, "master", bridge(network), "up"]);
        await must(["ip", "-n", host.name, "addr", "add", address, "dev", nic]);
        await must(["ip", "-n", host.name, "link", "set", nic, "up"]);
      }
    }
    return new Namespaces(hosts);
  }

  /** Command line that runs `command` on `host`. */
  on(host: string, command: readonly string[]): string[] {
    return ["ip", "netns", "exec", host, ...command];
  }

  /** Pulls every cable of a host, or plugs them in again. */
  async plug(host: string, up: boolean): Promise<void> {
    const addresses = this.#hosts.find((each) => each.name === host)?.addresses ?? [];
    for (const [network, address] of addresses.entries()) {
      if (address === null) continue;
      await must(["ip", "link", "set", cable(host, network), up ? "up" : "down"]);
    }
  }

  /** Ends every process of a host with SIGKILL, as a power cut does. */
  async powerCut(host: string): Promise<void> {
    const { output } = await run(["ip", "netns", "pids", host]);
    for (const pid of output.split("\n").map(Number).filter((pid) => pid > 1)) {
      try {
        Deno.kill(pid, "SIGKILL");
      } catch {
        // It ended by itself meanwhile.
      }
    }
  }

  /** Ends all processes of all hosts and takes the hosts and bridges away. */
  async remove(): Promise<void> {
    for (const host of this.#hosts) {
      await this.powerCut(host.name);
      await run(["ip", "netns", "del", host.name]);
    }
    const networks = Math.max(...this.#hosts.map((host) => host.addresses.length));
    for (let network = 0; network < networks; network++) {
      await run(["ip", "link", "del", bridge(network)]);
    }
  }
}

function bridge(network: number): string {
  return `bsc-net${network}`;
}

/** Interface names hold 15 characters. */
function cable(host: string, network: number): string {
  return `${host.slice(0, 11)}-p${network}`;
}

interface Outcome {
  readonly code: number;
  readonly output: string;
  readonly error: string;
}

async function run(command: readonly string[]): Promise<Outcome> {
  const [program = "", ...args] = command;
  const { code, stdout, stderr } = await new Deno.Command(program, { args, stdin: "null" })
    .output();
  const text = new TextDecoder();
  return { code, output: text.decode(stdout), error: text.decode(stderr).trim() };
}

async function must(command: readonly string[]): Promise<void> {
  const { code, error } = await run(command);
  if (code !== 0) throw new Error(`${command.join(" ")}: ${error || `exit code ${code}`}`);
}
