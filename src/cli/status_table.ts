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
import { formatBytes, progressLines } from "./progress.ts";

/** The lines of a document. */
export function statusLines(document: StatusDocument): string[] {
  const { cluster, node, quorum } = document;
  const have = quorum.have ? "quorum" : "NO QUORUM";
  return [
    `cluster ${cluster}, seen from ${node}: ${have}, ` +
    `${quorum.votes} of ${quorum.expected} votes (${quorum.mode})`,
    ...quorumLines(quorum),
    ...warningLines(document),
    "",
    ...formatTable(
      ["NODE", "STATE", "ROLE", "LINKS", ...pingHeader(document)],
      document.nodes.map(nodeRow),
    ),
    ...section(["GROUP", "OWNER", "STATE", "RESOURCES HERE"], document.groups.map(groupRow)),
    ...section(
      ["VOLUME", "ROLE", "DISK", "CONNECTION", "PEER", "PEER DISK", "OUT OF SYNC"],
      document.volumes.flatMap(volumeRows),
    ),
    ...document.volumes.flatMap(progressLines),
  ];
}

/** `< 64 µs`, `< 8.2 ms`, `< 2.1 s`: the upper end of a bucket of a histogram. */
export function formatMicroseconds(microseconds: number): string {
  if (microseconds < 1000) return `< ${microseconds} µs`;
  const [value, unit] = microseconds < 1e6
    ? [microseconds / 1000, "ms"]
    : [microseconds / 1e6, "s"];
  return `< ${value.toFixed(value < 10 ? 1 : 0)} ${unit}`;
}

/** What an operator should not overlook. */
function warningLines({ maintenance, config, nodes }: StatusDocument): string[] {
  const lines = maintenance ? ["MAINTENANCE: nothing is started, stopped or moved"] : [];
  if (config === undefined) return lines;
  const { running, pushed, file, problem, restart, refused, leaving, waitsFor } = config;
  if (problem !== null) lines.push(`the configuration file is not good: ${problem}`);
  if (file !== null && file === pushed && restart.length + refused.length > 0) {
    const [first] = [...refused, ...restart];
    lines.push(`the pushed configuration waits for a restart of this agent: ${first}`);
  } else if (file !== null && file !== pushed) {
    lines.push(`the file holds another configuration than the running one: bascule config push`);
  }
  const target = pushed ?? running;
  const others = nodes.filter((node) => node.config && node.config !== target).map((node) =>
    node.name
  )
    .filter((name) => !leaving.includes(name));
  if (others.length > 0) {
    lines.push(
      `${others.join(", ")} ${others.length === 1 ? "runs" : "run"} another configuration than ` +
        (pushed === null ? "this node" : "the one that was pushed"),
    );
  }
  if (waitsFor) lines.push(`the pushed configuration waits for ${waitsFor}`);
  return lines;
}

function section(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return rows.length === 0 ? [] : ["", ...formatTable(header, rows)];
}

/** What is unusual about a pair. */
function quorumLines({ have, joint, solo, fence }: QuorumStatus): string[] {
  const lines: string[] = [];
  if (joint === false && !have) {
    lines.push(
      "this node WAITS FOR ITS PEER: it has not read the records together with it since its start, and",
      "  the peer may have gone on alone; start it, or if it is lost for good: bascule volume promote",
    );
  }
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

/** A column for ping targets, where there are any. */
function pingHeader({ groups }: StatusDocument): string[] {
  const asks = groups.some(({ candidates }) => candidates?.some(({ of }) => of > 0));
  return asks ? ["PINGS"] : [];
}

function pingCell(reach: NodeStatus["reach"] = {}): string {
  const lost = Object.entries(reach).filter(([, answers]) => !answers).map(([target]) => target);
  const all = Object.keys(reach).length;
  if (all === 0) return "-";
  const ok = `${all - lost.length} of ${all}`;
  return lost.length === 0 ? ok : `${ok}; lost: ${lost.join(", ")}`;
}

function nodeRow({ name, state, role, links, reach }: NodeStatus): string[] {
  const down = links.filter((link) => !link.up).map((link) => link.address);
  const up = `${links.length - down.length} of ${links.length} up`;
  const shown = down.length === 0 ? up : `${up}; down: ${down.join(", ")}`;
  return [name, state, role, shown, pingCell(reach)];
}

function groupRow({ name, owner, state, resources, reason }: GroupStatus): string[] {
  const unusual = state === "running" ? "running" : "stopped";
  const shown = resources.map(({ id, state: its }) => its === unusual ? id : `${id} (${its})`);
  const why = reason === undefined ? [] : [reason];
  const here = resources.every((each) => each.state === "stopped") ? [] : shown;
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
