/**
 * Reads what `[volumes.NAME]` says of resync, verify and split brain.
 *
 * @module
 */

import type { Problems } from "./problem.ts";
import { choice, duration, fail, integer, type Reader, readTable, size } from "./schema.ts";
import type { TomlTable } from "./toml.ts";
import type { ResyncSettings, SplitBrainPolicy, VerifySettings } from "./types.ts";
import { formatSize } from "./units.ts";

/** Below this a resync of a large disk takes days. Bytes per second. */
const LEAST_RATE = 1024 * 1024;

/** What holds where the file says nothing. */
export const DEFAULT_RESYNC: ResyncSettings = {
  floor: 0.1,
  rateMax: null,
  latencyFactor: 2,
  stall: 10_000,
};

/** The same for verifies. */
export const DEFAULT_VERIFY: VerifySettings = { every: null, repair: false };

/** Words of `after_split_brain`. */
export const SPLIT_BRAIN_POLICIES: readonly SplitBrainPolicy[] = [
  "disconnect",
  "discard-zero-changes",
  "discard-younger-primary",
  "discard-least-changes",
];

const DAY = 24 * 60 * 60 * 1000;
const INTERVALS = { never: null, daily: DAY, weekly: 7 * DAY, monthly: 30 * DAY } as const;

/** `verify`: milliseconds between verifies. */
export const verifyInterval: Reader<number | null> = (value, problems) => {
  const word = choice(["never", "daily", "weekly", "monthly"])(value, problems);
  return word === undefined ? undefined : INTERVALS[word];
};

/** The settings of a volume; the defaults where the file has none. */
export function readResync(section: TomlTable | undefined, problems: Problems): ResyncSettings {
  if (section === undefined) return DEFAULT_RESYNC;
  return readTable(section, problems, (reader) => {
    const floor = reader.optional("floor_percent", integer(1, 100));
    const rateMax = reader.optional("rate_max", bytesPerSecond);
    const latencyFactor = reader.optional("latency_factor", integer(1, 100));
    const stall = reader.optional("stall", duration(1000));
    return {
      floor: floor === undefined ? DEFAULT_RESYNC.floor : floor.value / 100,
      rateMax: rateMax?.value ?? null,
      latencyFactor: latencyFactor?.value ?? DEFAULT_RESYNC.latencyFactor,
      stall: stall?.value ?? DEFAULT_RESYNC.stall,
    };
  });
}

/** Bytes per second, written as a size: `"100MiB"`. */
export const bytesPerSecond: Reader<number> = (value, problems) => {
  const bytes = size(value, problems);
  if (bytes === undefined || bytes >= LEAST_RATE) return bytes;
  return fail(
    value,
    `${formatSize(bytes)} a second is too little, a resync would take days; ` +
      `the least is "${formatSize(LEAST_RATE)}"`,
    problems,
  );
};
