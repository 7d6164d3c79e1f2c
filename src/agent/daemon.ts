/**
 * The agent as a process: its log and journal, its signals, its word to systemd.
 *
 * @module
 */
import type { Note } from "../cluster/types.ts";
import type { ClusterKeys } from "../config/key_file.ts";
import type { Config, NodeConfig } from "../config/types.ts";
import { sdNotify } from "../os/notify.ts";
import { Journal } from "../status/journal.ts";
import { endLogging, logNote, logText, setUpLogging } from "../status/logging.ts";
import { VoterStore } from "./voter_store.ts";
import { runInRealTime } from "../os/scheduling.ts";
import { Agent } from "./agent.ts";
import { inDirectory } from "./agent_error.ts";

/** What a run of the agent needs. */
export interface DaemonOptions {
  readonly config: Config;
  readonly node: NodeConfig;
  readonly keys: ClusterKeys;
  readonly logLevel: Note["level"];
}

/**
 * Runs the agent until SIGTERM or SIGINT, which hand its groups over first. SIGHUP makes it look at the
 * configuration file at once.
 *
 * @throws {AgentError} if an operator must mend what keeps it from starting or going on
 */
export async function runAgent(options: DaemonOptions): Promise<void> {
  const { config, node, keys } = options;
  setUpLogging({ level: options.logLevel, node: node.name });
  // First of all: it holds the lock that keeps a second agent off this state directory.
  const { state } = config.paths;
  const { voter, journal } = inDirectory(state, "the agent's state", "--state-dir", () => ({
    voter: VoterStore.open(state),
    journal: Journal.open(state, {
      node: node.name,
      onFailure: (text) => logText("error", text),
    }),
  }));
  const note = (entry: Note) => {
    logNote(entry);
    journal.append(entry);
  };
  const scheduling = urgentIf(config.cluster.realtime, node.name, note);
  let agent: Agent | null = null;
  const stop = () => {
    sdNotify("STOPPING=1");
    agent?.stop();
  };
  const reread = () => void agent?.readFile();
  const signals = ["SIGTERM", "SIGINT"] as const;
  try {
    agent = await Agent.start({ config, node, keys, voter, journal, note, scheduling });
    for (const signal of signals) Deno.addSignalListener(signal, stop);
    Deno.addSignalListener("SIGHUP", reread);
    sdNotify("READY=1");
    await agent.ended;
  } finally {
    for (const signal of signals) Deno.removeSignalListener(signal, stop);
    Deno.removeSignalListener("SIGHUP", reread);
    await journal.close();
    endLogging();
  }
}

/** Before the first Worker and the first child, which are to be ordinary. */
function urgentIf(
  wanted: boolean,
  node: string,
  note: (entry: Note) => void,
): "real-time" | "ordinary" {
  const refused = wanted ? runInRealTime() : null;
  if (wanted && refused === null) return "real-time";
  const text = wanted
    ? `the kernel does not let this agent run in real time (${refused}); on a busy machine a short ` +
      `deadtime may take it for dead: run it as root, with CAP_SYS_NICE, or write realtime = false`
    : "this agent is scheduled as any other process, as the configuration says";
  note({ level: wanted ? "warning" : "info", rule: "scheduling", node, text, known: {} });
  return "ordinary";
}
