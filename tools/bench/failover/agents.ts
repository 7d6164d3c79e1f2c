/** Our agents' processes at a site. */
import type { HostName, Site } from "./site.ts";

/** The program of this repository. */
export const MAIN = new URL("../../../main.ts", import.meta.url).pathname;
/** Hosts of a site that run an agent. */
export const AGENTS = ["a", "b", "witness"] as const;

/** Directory of an agent's sockets. */
export function runtimeOf(home: string, host: HostName): string {
  return `${home}/${host}/run`;
}

/** Starts the agent of a host; `home` holds `bascule.toml`, and what the agents leave. */
export function runAgent(site: Site, host: HostName, home: string): void {
  const own = `${home}/${host}`;
  Deno.mkdirSync(own, { recursive: true });
  const keepLog = 'log=$1; shift; exec "$@" 2>>"$log"';
  const command = [Deno.execPath(), "run", "-A", "--quiet", MAIN, "run"];
  const options = ["-c", `${home}/bascule.toml`, "--node", host];
  const paths = ["--state-dir", `${own}/state`, "--runtime-dir", runtimeOf(home, host)];
  const logged = ["sh", "-c", keepLog, "sh", `${own}/agent.log`, ...command, ...options, ...paths];
  const [program = "", ...args] = site.on(host, logged);
  new Deno.Command(program, { args, stdin: "null", stdout: "null", stderr: "null" }).spawn();
}
