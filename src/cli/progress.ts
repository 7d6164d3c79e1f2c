/**
 * Resyncs as bars, with pace and time left.
 *
 * @module
 */

import { count } from "./output.ts";
import type { VolumeStatus } from "../status/types.ts";
import type { WalkProgress } from "../volume/types.ts";

const BAR_WIDTH = 30;

/** What goes on between the replicas of a volume: bars of resync and verify, splits, results. */
export function progressLines(volume: VolumeStatus): string[] {
  const { name, connection, peers, standAlone, split, discard, verified } = volume;
  const lines = peers.flatMap(({ node, resync, verify }) => {
    const direction = connection === "SyncTarget" ? "from" : "to";
    return [
      ...(resync ? [`${name}: resync ${direction} ${node} ${formatProgress(resync)}`] : []),
      ...(verify ? [`${name}: verify with ${node} ${formatProgress(verify)}`] : []),
    ];
  });
  if (split !== undefined) {
    const blocks = split.blocks === null ? "perhaps all blocks" : `at most ${split.blocks} blocks`;
    lines.push(
      `${name}: both replicas have data of their own, ${blocks} differ: ${split.reason}; ` +
        (discard === true
          ? "what is here is given up"
          : `give one up, there, with bascule volume discard ${name}`),
    );
  } else if (standAlone !== undefined) {
    lines.push(`${name}: ${standAlone}`);
  }
  if (verified !== undefined) {
    const { at, differing, repaired } = verified;
    const found = differing === 0
      ? "both replicas are equal"
      : `${count(differing, "block")} differed${repaired ? ", repaired" : ""}`;
    lines.push(`${name}: last verify ${new Date(at).toISOString()}, ${found}`);
  }
  return lines.length === 0 ? [] : ["", ...lines];
}

/** `[###---] 50 %, 1.0 GiB of 2.0 GiB, 100 MiB/s, 11 s left`. */
export function formatProgress(progress: WalkProgress): string {
  const { doneBytes, totalBytes, bytesPerSecond, unreadableBytes } = progress;
  const share = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
  const filled = Math.floor(share * BAR_WIDTH);
  const bar = `[${"#".repeat(filled)}${"-".repeat(BAR_WIDTH - filled)}]`;
  const left = bytesPerSecond > 0
    ? `, ${formatBytes(bytesPerSecond)}/s, ` +
      `${formatDuration(1000 * Math.max(0, totalBytes - doneBytes) / bytesPerSecond)} left`
    : "";
  const unreadable = unreadableBytes === undefined
    ? ""
    : `, ${formatBytes(unreadableBytes)} cannot be read on the source`;
  return `${bar} ${Math.floor(share * 100)} %, ` +
    `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}${left}${unreadable}`;
}

/** `0 B`, `1.5 GiB`: three digits at most, binary units. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  // 999.5 and more would be shown with four digits.
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit > 0 && value < 9.95 ? 1 : 0;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/** `42 s`, `3 min 05 s`, `2 h 10 min`. */
export function formatDuration(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1000);
  const minutes = Math.floor(seconds / 60);
  const two = (value: number) => String(value).padStart(2, "0");
  if (minutes === 0) return `${seconds} s`;
  if (minutes < 60) return `${minutes} min ${two(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}
