/**
 * What a user lets happen to their own configuration, from words such as `a@5s` or `a-b/0@8s+12s`:
 * what it happens to, when, and for how long.
 */

import type { Config } from "../config/types.ts";
import { nearest } from "../config/suggest.ts";
import { parseDuration } from "../config/units.ts";
import { EIO } from "./disk.ts";
import type { Duration, TimedFault } from "./faults.ts";
import { type Places, RouteError, routesOf } from "./routes.ts";

/** Words that cannot be understood; the message says how they are written. */
export class HappeningError extends Error {
  override readonly name = "HappeningError";
}

/** Kinds of happenings, as options of the command line, with how they are written. */
export const HAPPENINGS = {
  crash: "NODE@TIME",
  power: "NODE@TIME",
  stop: "NODE@TIME",
  restart: "NODE@TIME",
  cut: "NODE-NODE[/LINK]@TIME",
  heal: "NODE-NODE[/LINK]@TIME",
  pause: "NODE@TIME+TIME",
  freeze: "NODE@TIME+TIME",
  "fail-disk": "NODE/VOLUME@TIME",
  standby: "NODE@TIME",
  unstandby: "NODE@TIME",
  move: "GROUP[>NODE]@TIME",
  cleanup: "GROUP@TIME",
} as const;

/** One of {@linkcode HAPPENINGS}. */
export type Happening = keyof typeof HAPPENINGS;

/** The fault that the words of an option mean. Throws a {@linkcode HappeningError}. */
export function parseHappening(kind: Happening, text: string, config: Config): TimedFault {
  const where = `--${kind} ${text}`;
  const sign = text.lastIndexOf("@");
  if (sign <= 0) {
    throw new HappeningError(`${where}: says not when; write --${kind} ${HAPPENINGS[kind]}`);
  }
  const what = text.slice(0, sign);
  const [start = "", length] = text.slice(sign + 1).split("+");
  const at = milliseconds(where, start);
  const during = length === undefined ? null : milliseconds(where, length);
  const node = (name = what) => known(where, "node", name, config.nodes.map((each) => each.name));
  const group = (name: string) =>
    known(where, "group", name, config.groups.map((each) => each.name));
  const asked = (command: Extract<TimedFault, { fault: "command" }>["command"]): TimedFault => ({
    at,
    fault: "command",
    command,
  });
  switch (kind) {
    case "crash":
      return { at, fault: "kill", node: node(), down: during };
    case "power":
      return { at, fault: "power", node: node(), down: during };
    case "stop":
      return { at, fault: "shutdown", node: node(), down: during, reboot: false };
    case "restart":
      return { at, fault: "start", node: node() };
    case "cut":
      return { at, fault: "cut", routes: [checkRoutes(where, what, config)], for: during };
    case "heal":
      if (what === "all") return { at, fault: "heal", routes: [] };
      return { at, fault: "heal", routes: [checkRoutes(where, what, config)] };
    case "pause":
      return { at, fault: "pause", node: node(), threads: "both", for: during };
    case "freeze":
      return { at, fault: "freeze", node: node(), for: needed(where, during) };
    case "fail-disk": {
      const slash = what.lastIndexOf("/");
      const name = node(slash < 0 ? what : what.slice(0, slash));
      const volumes = config.volumes.filter(({ replicas }) =>
        replicas.some((replica) => replica.node === name)
      ).map((volume) => volume.name);
      if (volumes.length === 0) throw new HappeningError(`${where}: ${name} has no replica`);
      const volume = slash < 0
        ? volumes[0]!
        : known(where, "volume", what.slice(slash + 1), volumes);
      return { at, fault: "diskError", node: name, volume, errno: EIO, for: during };
    }
    case "standby":
    case "unstandby":
      return asked({ type: "standby", node: node(), on: kind === "standby" });
    case "move": {
      const [name = "", to] = what.split(">");
      return asked({
        type: "move",
        group: group(name),
        ...(to !== undefined && { to: node(to) }),
      });
    }
    case "cleanup":
      return asked({ type: "cleanup", group: group(what) });
  }
}

function milliseconds(where: string, text: string): number {
  const parsed = parseDuration(text);
  if ("error" in parsed) throw new HappeningError(`${where}: ${parsed.error}`);
  return parsed.value;
}

function needed(where: string, during: Duration): number {
  if (during !== null) return during;
  throw new HappeningError(`${where}: says not for how long; write @TIME+TIME, as in @5s+3s`);
}

function known(where: string, noun: string, name: string, names: readonly string[]): string {
  if (names.includes(name)) return name;
  const near = nearest(name, names);
  const mend = near !== undefined ? `did you mean ${near}?` : `there are ${names.join(", ")}`;
  throw new HappeningError(`${where}: no ${noun} is called ${name}; ${mend}`);
}

function checkRoutes(where: string, pattern: string, config: Config): string {
  const links = Math.max(...config.nodes.map((node) => node.links.length));
  const places: Places = {
    nodes: config.nodes.map(({ name }) => name),
    links,
    paths: links + 1,
    replication: [links],
  };
  try {
    routesOf(pattern, places);
    return pattern;
  } catch (error) {
    if (error instanceof RouteError) throw new HappeningError(`${where}: ${error.message}`);
    throw error;
  }
}
