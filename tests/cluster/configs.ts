/** Checked configurations for tests of the core, built by hand. */

import { DEFAULT_RESYNC, DEFAULT_VERIFY } from "../../src/config/resync.ts";
import type {
  Config,
  Failback,
  GroupConfig,
  QuorumMode,
  ResourceConfig,
  VolumeConfig,
} from "../../src/config/types.ts";

export const KEEPALIVE = 200;
export const DEADTIME = 1000;

export interface Shape {
  /** Default "hash". */
  readonly hash?: string;
  /** Default {@linkcode DEADTIME}; what follows from it does not change. */
  readonly deadtime?: number;
  readonly nodes?: readonly string[];
  /** Names among `nodes`; no candidates. */
  readonly witnesses?: readonly string[];
  readonly prefer?: readonly string[];
  readonly failback?: Failback;
  readonly failureTimeout?: number;
  readonly ping?: readonly string[];
  readonly afterPowerLoss?: "wait" | "go";
  /** With one volume, or only a process. */
  readonly volume?: boolean;
  readonly quorum?: QuorumMode;
  readonly bootAlone?: boolean;
  readonly fenceDelay?: number;
  /** More groups of the same shape, without a volume. */
  readonly groups?: readonly string[];
}

const base = {
  startTimeout: 1000,
  stopTimeout: 1000,
  monitorInterval: 0,
  monitorTimeout: 1000,
  restarts: 0,
  restartWindow: 60_000,
};

export function makeConfig(shape: Shape = {}): Config {
  const names = shape.nodes ?? ["a", "b", "w"];
  const witnesses = shape.witnesses ?? ["w"];
  const data = names.filter((name) => !witnesses.includes(name));
  const withVolume = shape.volume ?? true;
  const replicaNodes = data.slice(0, 2);
  const volume: VolumeConfig = {
    name: "data",
    size: 1 << 20,
    protocol: "C",
    export: { address: "unix:/tmp/data.sock", path: "/tmp/data.sock" },
    afterPowerLoss: shape.afterPowerLoss ?? "wait",
    soleBoot: false,
    io: "buffered",
    timeout: 2 * DEADTIME,
    freezeLimit: 60_000,
    onIoError: "detach",
    alExtents: "auto",
    resync: DEFAULT_RESYNC,
    verify: DEFAULT_VERIFY,
    afterSplitBrain: "disconnect",
    replicas: replicaNodes.map((node) => ({
      node,
      disk: "/dev/null",
      metaDisk: "internal",
      host: "127.0.0.1",
      port: 1,
    })),
  };
  const makeGroup = (name: string, useVolume: boolean): GroupConfig => {
    const volumeResource: ResourceConfig = {
      ...base,
      kind: "volume",
      id: "volume:data",
      volume: "data",
    };
    const process: ResourceConfig = {
      ...base,
      kind: "process",
      id: `process:${name}`,
      command: ["true"],
      environment: {},
    };
    return {
      name,
      prefer: shape.prefer ?? ["a"],
      failback: shape.failback ?? "never",
      failureTimeout: shape.failureTimeout ?? Infinity,
      ping: shape.ping ?? [],
      resources: useVolume ? [volumeResource, process] : [process],
      candidates: useVolume ? replicaNodes : data,
    };
  };
  return {
    file: "test.toml",
    hash: shape.hash ?? "hash",
    cluster: {
      name: "test",
      keyFile: "/dev/null",
      keepalive: KEEPALIVE,
      warntime: DEADTIME / 2,
      deadtime: shape.deadtime ?? DEADTIME,
      initdead: 10 * DEADTIME,
      shrinkAfter: 10 * DEADTIME,
      pingInterval: 1000,
      pingSettle: 5000,
      quorum: shape.quorum ?? "majority",
      fenceDelay: shape.fenceDelay ?? 2 * DEADTIME,
      bootAlone: shape.bootAlone ?? false,
      realtime: true,
    },
    paths: { state: "/tmp", runtime: "/tmp" },
    nodes: names.map((name) => ({
      name,
      witness: witnesses.includes(name),
      fence: [{ command: ["/bin/true"], timeout: 1000 }],
      links: [0, 1].map((n) => ({ address: `udp://${name}:${n}`, host: name, port: n })),
      resyncMax: null,
    })),
    volumes: withVolume ? [volume] : [],
    groups: [
      makeGroup("web", withVolume),
      ...(shape.groups ?? []).map((name) => makeGroup(name, false)),
    ],
  };
}
