/**
 * The status document as tables for people.
 *
 * @module
 */

import type {
  GroupStatus,
  NodeStatus,
  PeerStatus,
  QuorumStatus,
  StatusDocument,
  VolumeStatus,
} from "../status/types.ts";
import { formatTable } from "./output.ts";

const BAR_WIDTH = 30;

/** Where a resync stood when it was first seen: its pace follows from there. */
interface Sighting {
  readonly at: number;
  readonly doneBytes: number;
}

/** Renders documents; it remembers resyncs from one to the next, for their time left. */
export class StatusTable {
  readonly #seen = new Map<string, Sighting>();

  /** The lines of a document. `now`: milliseconds of any clock that only goes forward. */
  lines(document: StatusDocument, now: number): string[] {
    const { cluster, node, quorum } = document;
    const have = quorum.have ? "quorum" : "NO QUORUM";
    return [
      `cluster ${cluster}, seen from ${node}: ${have}, ` +
      `${quorum.votes} of ${quorum.expected} votes (${quorum.mode})`,
      ...quorumLines(quorum),
      "",
      ...formatTable(["NODE", "STATE", "ROLE", "LINKS"], document.nodes.map(nodeRow)),
      ...section(["GROUP", "OWNER", "STATE", "RESOURCES HERE"], document.groups.map(groupRow)),
      ...section(
        ["VOLUME", "ROLE", "DISK", "CONNECTION", "PEER", "PEER DISK", "OUT OF SYNC"],
        document.volumes.flatMap(volumeRows),
      ),
      ...document.volumes.flatMap((volume) => this.#resyncs(volume, now)),
    ];
  }

  #resyncs(volume: VolumeStatus, now: number): string[] {
    return volume.peers.flatMap((peer) => {
      const key = `${volume.name} ${peer.node}`;
      const { resync } = peer;
      if (resync === undefined) {
        this.#seen.delete(key);
        return [];
      }
      const { doneBytes, totalBytes } = resync;
      const before = this.#seen.get(key);
      const first = before !== undefined && before.doneBytes <= doneBytes
        ? before
        : { at: now, doneBytes };
      this.#seen.set(key, first);
      const pace = now > first.at ? (doneBytes - first.doneBytes) / (now - first.at) : 0;
      const left = pace > 0 ? `, ${formatDuration((totalBytes - doneBytes) / pace)} left` : "";
      const direction = volume.connection === "SyncTarget" ? "from" : "to";
      return [
        "",
        `${volume.name}: resync ${direction} ${peer.node} ${bar(doneBytes, totalBytes)} ` +
        `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}${left}`,
      ];
    });
  }
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

/** `< 64 µs`, `< 8.2 ms`, `< 2.1 s`: the upper end of a bucket of a histogram. */
export function formatMicroseconds(microseconds: number): string {
  if (microseconds < 1000) return `< ${microseconds} µs`;
  const [value, unit] = microseconds < 1e6
    ? [microseconds / 1000, "ms"]
    : [microseconds / 1e6, "s"];
  return `< ${value.toFixed(value < 10 ? 1 : 0)} ${unit}`;
}

function section(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return rows.length === 0 ? [] : ["", ...formatTable(header, rows)];
}

/** What is unusual about a pair. */
function quorumLines({ solo, fence }: QuorumStatus): string[] {
  const lines: string[] = [];
  if (solo !== undefined) lines.push(`${solo} decides alone until its peer votes again`);
  if (fence?.state === "pending") lines.push(`${fence.node} is being fenced, I/O waits for it`);
  if (fence?.state === "failed") {
    lines.push(
      `${fence.node} COULD NOT BE FENCED (${fence.attempts} attempts): ${fence.detail}`,
      `  it is tried again; if you see that it is off: bascule confirm-off ${fence.node}`,
    );
  }
  return lines;
}

function nodeRow({ name, state, role, links }: NodeStatus): string[] {
  const down = links.filter((link) => !link.up).map((link) => link.address);
  const up = `${links.length - down.length} of ${links.length} up`;
  return [name, state, role, down.length === 0 ? up : `${up}; down: ${down.join(", ")}`];
}

function groupRow({ name, owner, state, resources, reason }: GroupStatus): string[] {
  const unusual = state === "running" ? "running" : "stopped";
  const shown = resources.map(({ id, state: its }) => its === unusual ? id : `${id} (${its})`);
  const why = reason === undefined ? [] : [reason];
  const here = state === "stopped" && resources.every((each) => each.state === "stopped")
    ? []
    : shown;
  return [name, owner ?? "-", state, [...here, ...why].join(", ")];
}

function volumeRows(volume: VolumeStatus): string[][] {
  const { name, role, disk, connection, peers, failure } = volume;
  const frozen = volume.frozen === true ? " (frozen)" : "";
  // A witness, say, has no replica of its own to speak of.
  const none = role === "Unknown" && failure === undefined;
  const own = none ? [name, "-", "-", "-"] : [name, role + frozen, disk, connection];
  if (peers.length === 0) return [own];
  return peers.map((
    peer,
    index,
  ) => [...(index === 0 ? own : ["", "", "", ""]), ...peerCells(peer)]);
}

function peerCells({ node, disk, outOfSyncBytes }: PeerStatus): string[] {
  return [node, disk, formatBytes(outOfSyncBytes)];
}

function bar(done: number, total: number): string {
  const share = total === 0 ? 1 : Math.min(1, done / total);
  const filled = Math.floor(share * BAR_WIDTH);
  const percent = Math.floor(share * 100);
  return `[${"#".repeat(filled)}${"-".repeat(BAR_WIDTH - filled)}] ${percent} %,`;
}
