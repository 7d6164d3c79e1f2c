/**
 * Puts together what `status` shows: the cluster core's view, the volumes' reports, the resources.
 *
 * @module
 */
import type { ClusterState } from "../cluster/cluster.ts";
import type { GroupRecord, NodeState } from "../cluster/types.ts";
import { type ClusterView, type GroupView, view } from "../cluster/view.ts";
import type { Config, VolumeConfig } from "../config/types.ts";
import type { GroupStatus, LatencyStatus, StatusDocument, VolumeStatus } from "../status/types.ts";
import type { ConnectionState, VolumeReport } from "../volume/types.ts";
import { type IoSnapshot, quantile } from "./dataplane/io_stats.ts";
import { type FileState, UNCHANGED } from "./config_file.ts";
import type { Groups } from "./groups.ts";
import type { Links } from "./links.ts";
import type { Volumes } from "./volumes.ts";

/** From the worst to the best. */
const CONNECTIONS: readonly ConnectionState[] = [
  "StandAlone",
  "Connecting",
  "SyncTarget",
  "SyncSource",
  "VerifyTarget",
  "VerifySource",
  "Connected",
];

/** The document of the contract. `now`: of the core's clock. */
export function statusDocument(
  config: Config,
  state: ClusterState,
  now: number,
  volumes: Pick<Volumes, "report" | "failure"> & Partial<Pick<Volumes, "stats">>,
  groups: Pick<Groups, "resources">,
  own: Pick<Links, "bound">,
  file: FileState = UNCHANGED,
): StatusDocument {
  const seen = view(state, now);
  return {
    cluster: config.cluster.name,
    node: seen.node,
    incarnation: seen.incarnation,
    quorum: seen.quorum,
    nodes: seen.nodes.map(({ name, state, role, links, ...node }) => ({
      name,
      state,
      role: role === "witness" ? "witness" : "data",
      voter: node.voter,
      heardAgo: node.heardAgo,
      silence: node.silence,
      sameConfig: node.sameConfig,
      config: node.configHash,
      reach: node.reach,
      speaks: node.speaks,
      links: links.map(({ index, up }) => ({
        address: config.nodes.find((node) => node.name === name)?.links[index]?.address ?? "",
        up: name === seen.node ? own.bound(index) : up,
      })),
    })),
    groups: seen.groups.map((group) => groupStatus(group, config, groups)),
    volumes: config.volumes.map((volume) => {
      const { name } = volume;
      return {
        ...volumeStatus(volume, config, seen, volumes.report(name), volumes.failure(name)),
        ...ioStatus(volumes.stats?.(name) ?? null),
      };
    }),
    frames: seen.frames,
    maintenance: seen.maintenance,
    protocol: { inForce: seen.protocol.inForce, ...seen.protocol.speaks },
    config: {
      running: seen.config.running,
      pushed: seen.config.pushed,
      file: file.found?.hash ?? null,
      problem: file.problem,
      ...file.differences,
      leaving: seen.config.leaving,
      waitsFor: seen.config.waitsFor,
    },
  };
}

function groupStatus(
  group: GroupView,
  config: Config,
  groups: Pick<Groups, "resources">,
): GroupStatus {
  const { name, owner, state, epoch, failed, failures, candidates } = group;
  const { action, to, why } = group.why;
  const here = groups.resources(name);
  const { resources: configured, ping } = config.groups.find((each) => each.name === name) ??
    { resources: [], ping: [] };
  return {
    name,
    owner,
    state,
    epoch,
    resources: here ?? configured.map(({ id, kind }) => ({ id, kind, state: "stopped" as const })),
    reason: why.text,
    failed,
    failures,
    why: { action, ...(to !== undefined && { to }), ...why },
    candidates: candidates.map((candidate) => ({ ...candidate, of: ping.length })),
  };
}

function volumeStatus(
  volume: VolumeConfig,
  config: Config,
  seen: ClusterView,
  report: VolumeReport | null,
  failure: string | null,
): VolumeStatus {
  const record = recordOf(volume.name, config, seen);
  const nodeOf = new Map<string, string>();
  for (const { name, replicas } of seen.nodes) {
    const id = replicas[volume.name]?.replicaId;
    if (id) nodeOf.set(id, name);
  }
  const entry = record?.volumes[volume.name];
  const common = {
    name: volume.name,
    size: volume.size,
    upToDate: (entry?.upToDate ?? []).map((id) => nodeOf.get(id) ?? id),
    generation: entry?.generation ?? report?.generation ?? "",
    ...(failure !== null && { failure }),
  };
  if (report === null) {
    const states = seen.nodes.map((node): [string, NodeState] => [node.name, node.state]);
    return {
      ...common,
      role: "Unknown",
      disk: "Diskless",
      connection: "StandAlone",
      peers: volume.replicas.map(({ node }) => ({
        node,
        disk: seen.nodes.find(({ name }) => name === node)?.replicas[volume.name]?.disk ??
          (new Map(states).get(node) === "offline" ? "Unknown" : "Diskless"),
        outOfSyncBytes: 0,
      })),
    };
  }
  const ranks = report.peers.map((peer) => CONNECTIONS.indexOf(peer.connection));
  return {
    ...common,
    role: report.role,
    disk: report.disk,
    connection: CONNECTIONS[Math.min(...ranks, CONNECTIONS.length - 1)] ?? "StandAlone",
    peers: report.peers,
    frozen: report.frozen,
    ...(report.standAlone !== undefined && { standAlone: report.standAlone }),
    ...(report.split !== undefined && { split: report.split }),
    ...(report.discard !== undefined && { discard: report.discard }),
    ...(report.verified !== undefined && { verified: report.verified }),
  };
}

function ioStatus(stats: IoSnapshot | null): Pick<VolumeStatus, "clients" | "io"> {
  if (stats === null) return {};
  const latency = (histogram: readonly number[]): LatencyStatus => ({
    count: histogram.reduce((sum, count) => sum + count, 0),
    p50: quantile(histogram, 0.5),
    p99: quantile(histogram, 0.99),
    histogram,
  });
  const io = Object.entries(stats.requests).map(([kind, { microseconds, ...counts }]) => {
    const { total, queue, disk, replica } = microseconds;
    return [kind, {
      ...counts,
      latency: {
        total: latency(total),
        queue: latency(queue),
        disk: latency(disk),
        replica: latency(replica),
      },
    }];
  });
  return { clients: stats.clients, io: Object.fromEntries(io) };
}

function recordOf(volume: string, config: Config, seen: ClusterView): GroupRecord | null {
  const group = config.groups.find(({ resources }) =>
    resources.some((each) => each.kind === "volume" && each.volume === volume)
  );
  return group === undefined ? null : seen.records.groups[group.name] ?? null;
}
