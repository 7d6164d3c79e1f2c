/**
 * Reads `[cluster]` and `[paths]`.
 *
 * @module
 */

import { checkPlainName } from "./names.ts";
import type { Problems } from "./problem.ts";
import { pingTargets } from "./ping.ts";
import { absolutePath, boolean, choice, duration, type Field, readTable, text } from "./schema.ts";
import type { TomlTable } from "./toml.ts";
import type { ClusterConfig, PathsConfig, QuorumMode } from "./types.ts";
import { formatDuration } from "./units.ts";

/** Where state and sockets live unless the file or the command line says otherwise. */
export const DEFAULT_PATHS: PathsConfig = {
  state: "/var/lib/bascule",
  runtime: "/run/bascule",
};

/** What survivor mode risks, in one sentence for `check` and the start of an agent. */
export const SURVIVOR_RISK =
  "a cut between the two nodes makes both serve: addresses are doubled, the data part, and the " +
  'writes of one side are lost in the end; "fencing", or "majority" with a witness, does not';
/** What `boot_alone` risks on top of it. */
export const BOOT_ALONE_RISK =
  "a node that boots while the other is down serves what it has, which may lack everything " +
  "that the other wrote alone";

/** More heartbeats a second would load a machine without telling more. */
const SHORTEST_KEEPALIVE = 10;

/** Longer than it takes to switch a machine off over its management board. */
const FENCE_DELAY = 5000;

/** A target is asked at most this often, in milliseconds. */
const SHORTEST_PING = 200;

/** `[cluster]` and what groups have of it. */
export interface ReadCluster extends ClusterConfig {
  /** Ping targets of every group that names none of its own. */
  readonly ping: readonly string[];
}

/** Reads `[cluster]`; nothing if a required key is missing or wrong. */
export function readCluster(table: TomlTable, problems: Problems): ReadCluster | undefined {
  return readTable(table, problems, (reader) => {
    const name = reader.required("name", text, `"web"`);
    if (name !== undefined) checkPlainName(name.value, name.at, problems);
    const keyFile = reader.required("key_file", absolutePath, `"/etc/bascule/key"`);
    const keepalive = reader.required("keepalive", duration(SHORTEST_KEEPALIVE), `"200ms"`);
    const deadtime = reader.required("deadtime", duration(), `"1s"`);
    const warntime = reader.optional("warntime", duration());
    const initdead = reader.optional("initdead", duration());
    const shrinkAfter = reader.optional("shrink_after", duration());
    const ping = reader.optional("ping", pingTargets);
    const pingInterval = reader.optional("ping_interval", duration(SHORTEST_PING));
    const pingSettle = reader.optional("ping_settle", duration());
    const realtime = reader.optional("realtime", boolean);
    const quorum = reader.required(
      "quorum",
      choice(["majority", "fencing", "survivor"]),
      `"majority"`,
    );
    const fenceDelay = reader.optional("fence_delay", duration(0));
    const bootAlone = reader.optional("boot_alone", boolean);
    if (quorum !== undefined) checkMode(quorum, { fenceDelay, bootAlone }, problems);

    if (keepalive !== undefined && deadtime !== undefined) {
      const least = 2 * keepalive.value;
      atLeast(deadtime, least, "twice the keepalive, or one lost packet is a death", problems);
    }
    if (warntime !== undefined) {
      if (keepalive !== undefined) atLeast(warntime, keepalive.value, "the keepalive", problems);
      if (deadtime !== undefined && warntime.value > deadtime.value) {
        const latest = formatDuration(deadtime.value);
        problems.error(
          warntime.at,
          `${
            formatDuration(warntime.value)
          } is longer than the deadtime; write at most "${latest}"`,
        );
      }
    }
    for (const later of [initdead, shrinkAfter]) {
      if (later !== undefined && deadtime !== undefined) {
        atLeast(later, deadtime.value, "the deadtime", problems);
      }
    }

    const everyPing = pingInterval?.value ?? 1000;
    if (pingSettle !== undefined) {
      atLeast(pingSettle, 3 * everyPing, "three pings, or one lost packet moves a group", problems);
    }

    if (!name || !keyFile || !keepalive || !deadtime || !quorum) return undefined;
    return {
      name: name.value,
      keyFile: keyFile.value,
      keepalive: keepalive.value,
      warntime: warntime?.value ?? Math.floor(deadtime.value / 2),
      deadtime: deadtime.value,
      initdead: initdead?.value ?? 10 * deadtime.value,
      shrinkAfter: shrinkAfter?.value ?? 10 * deadtime.value,
      quorum: quorum.value,
      pingInterval: everyPing,
      pingSettle: pingSettle?.value ?? 10 * everyPing,
      ping: ping?.value ?? [],
      fenceDelay: fenceDelay?.value ?? FENCE_DELAY,
      bootAlone: bootAlone?.value ?? false,
      realtime: realtime?.value ?? true,
    };
  });
}

/** What a mode risks is said whenever the file is checked, and keys of another mode are pointed out. */
function checkMode(
  quorum: Field<QuorumMode>,
  { fenceDelay, bootAlone }: {
    readonly fenceDelay: Field<number> | undefined;
    readonly bootAlone: Field<boolean> | undefined;
  },
  problems: Problems,
): void {
  if (quorum.value === "survivor") problems.warning(quorum.at, SURVIVOR_RISK);
  if (fenceDelay !== undefined && quorum.value !== "fencing") {
    problems.warning(fenceDelay.at, `it has no effect with quorum = "${quorum.value}"; remove it`);
  }
  if (bootAlone === undefined) return;
  if (quorum.value === "survivor") {
    if (bootAlone.value) problems.warning(bootAlone.at, BOOT_ALONE_RISK);
  } else {
    problems.warning(bootAlone.at, `it has no effect with quorum = "${quorum.value}"; remove it`);
  }
}

/** Reads `[paths]`; what the command line says goes before what the file says. */
export function readPaths(
  table: TomlTable | undefined,
  overrides: Partial<PathsConfig>,
  problems: Problems,
): PathsConfig {
  const written: Partial<PathsConfig> = table === undefined ? {} : readTable(
    table,
    problems,
    (reader) => {
      const state = reader.optional("state", absolutePath)?.value;
      const runtime = reader.optional("runtime", absolutePath)?.value;
      return { ...(state && { state }), ...(runtime && { runtime }) };
    },
  );
  return { ...DEFAULT_PATHS, ...written, ...overrides };
}

function atLeast(field: Field<number>, least: number, what: string, problems: Problems): void {
  if (field.value >= least) return;
  const written = formatDuration(field.value);
  problems.error(
    field.at,
    `${written} is shorter than ${what}; write at least "${formatDuration(least)}"`,
  );
}
