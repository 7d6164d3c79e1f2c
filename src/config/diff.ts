/**
 * What differs between two configurations, and what it takes to go from one to the other: nothing,
 * a restart of the agent, or a stop of the whole cluster.
 *
 * @module
 */

import type { Config } from "./types.ts";

/** Each as one line: key, what it was, what it becomes. */
export interface Differences {
  /** Taken over by a running agent. */
  readonly live: readonly string[];
  /** Taken over by the agent's next start on this node. */
  readonly restart: readonly string[];
  /** Not to be changed in a running cluster; each with the mend. */
  readonly refused: readonly string[];
}

/** How a change is taken over, or why it cannot be. */
type Way = "live" | "restart" | { readonly refused: string };

const WHOLE = "stop every agent, copy the file to every node, start them again";

const PAIR = "give the new machine the old one's name, it is then admitted by itself, or " +
  "stop both agents, copy the file, start them again";

/** Keys of `[cluster]` that a running agent takes over; all others need more. */
const CLUSTER: Readonly<Record<string, Way>> = {
  pingInterval: "live",
  pingSettle: "live",
  keepalive: "restart",
  warntime: "restart",
  initdead: "restart",
  shrinkAfter: "restart",
  keyFile: "restart",
};

/** Keys of a group that a running agent takes over. */
const GROUP_LIVE = ["prefer", "failback", "failureTimeout", "ping"];

/** What differs, as it concerns the agent of `node`. */
export function diffConfigs(running: Config, next: Config, node: string): Differences {
  const found = { live: [] as string[], restart: [] as string[], refused: [] as string[] };
  const add = (way: Way, text: string) => {
    if (way === "live" || way === "restart") found[way].push(text);
    else found.refused.push(`${text}: ${way.refused}`);
  };
  each("cluster", running.cluster, next.cluster, (key, text) => {
    const why = key === "deadtime"
      ? "leases of two lengths at a time would allow two owners"
      : "nodes that disagree about it would not understand each other";
    add(CLUSTER[key] ?? { refused: `${why}; ${WHOLE}` }, text);
  });
  nodesDiffer(running, next, node, add);
  named("volumes", running.volumes, next.volumes, (_, part, text) =>
    add(
      part === "size" ? { refused: "the size of a volume does not change by a push" } : "restart",
      text,
    ));
  named("groups", running.groups, next.groups, (name, part, text) => {
    if (part !== "candidates") return add(GROUP_LIVE.includes(part) ? "live" : "restart", text);
    const runs = (config: Config) =>
      config.groups.find((group) => group.name === name)?.candidates.includes(node) ?? false;
    add(runs(running) === runs(next) ? "live" : "restart", text);
  });
  if (next.nodes.every(({ name }) => name !== node)) {
    found.restart.push(`nodes.${node}: it is this node, and it is not named any more`);
  }
  return found;
}

function nodesDiffer(
  running: Config,
  next: Config,
  self: string,
  add: (way: Way, text: string) => void,
): void {
  const isPair = running.cluster.quorum !== "majority";
  named("nodes", running.nodes, next.nodes, (name, part, text) => {
    if (part === "" && isPair) {
      return add({ refused: `a pair does not change while it runs; ${PAIR}` }, text);
    }
    add(part === "" || (part === "links" && name !== self) ? "live" : "restart", text);
  });
  const order = (config: Config) => config.nodes.map(({ name }) => name).join(", ");
  const sorted = (config: Config) => config.nodes.map(({ name }) => name).toSorted().join(", ");
  if (sorted(running) === sorted(next) && order(running) !== order(next)) {
    add("live", `nodes: the order was ${order(running)}, becomes ${order(next)}`);
  }
}

/** Entries of two lists by name; `part` is the key that changes, empty for an entry that comes or goes. */
function named(
  section: string,
  before: readonly { readonly name: string }[],
  after: readonly { readonly name: string }[],
  tell: (name: string, part: string, text: string) => void,
): void {
  const find = (list: typeof before, name: string) => list.find((each) => each.name === name);
  for (const old of before) {
    const now = find(after, old.name);
    if (now === undefined) tell(old.name, "", `${section}.${old.name} is taken out`);
    else {
      each(`${section}.${old.name}`, old, now, (key, text) => tell(old.name, key, text));
    }
  }
  for (const { name } of after) {
    if (find(before, name) === undefined) tell(name, "", `${section}.${name} is new`);
  }
}

/** Keys of two objects whose values differ. */
function each(
  path: string,
  before: object,
  after: object,
  tell: (key: string, text: string) => void,
): void {
  const old = new Map<string, unknown>(Object.entries(before));
  const now = new Map<string, unknown>(Object.entries(after));
  for (const key of new Set([...old.keys(), ...now.keys()])) {
    const [was, becomes] = [shown(old.get(key)), shown(now.get(key))];
    if (was !== becomes) tell(key, `${path}.${snake(key)} was ${was}, becomes ${becomes}`);
  }
}

function shown(value: unknown): string {
  if (value === undefined) return "not set";
  if (value === Infinity) return '"never"';
  return JSON.stringify(value);
}

/** The key as it stands in the file. */
function snake(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
