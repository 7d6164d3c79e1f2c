/** The checked configuration of a simulated cluster, as the parser would give it. */

import { DEFAULT_RESYNC } from "../config/resync.ts";
import type {
  Config,
  GroupConfig,
  NodeConfig,
  ResourceBase,
  ResourceConfig,
  VolumeConfig,
} from "../config/types.ts";
import type { Options } from "./options.ts";

/** Names of volumes, in order. */
const VOLUMES = ["data", "logs"];
/** Names of the groups that have volumes, in order; `aux` has none. */
const GROUPS = ["web", "files"];

/** Makes the configuration that every simulated node has. */
export function simulatedConfig(options: Options): Config {
  const { keepalive, deadtime, runners, witnesses } = options;
  const runnerNames = Array.from({ length: runners }, (_, i) => `n${i + 1}`);
  const witnessNames = Array.from({ length: witnesses }, (_, i) => `w${i + 1}`);
  const replicaNodes = runnerNames.slice(0, 2);
  const base = (id: string): ResourceBase => ({
    id,
    startTimeout: 4 * deadtime,
    stopTimeout: 4 * deadtime,
    monitorInterval: 2 * deadtime,
    monitorTimeout: deadtime,
    restarts: 2,
    restartWindow: 20 * deadtime,
  });
  const services = (group: string): ResourceConfig[] => [
    {
      ...base(`process:${group}`),
      kind: "process",
      command: ["true"],
      environment: {},
    },
    { ...base(`ip:${group}`), kind: "ip", address: "192.0.2.3", prefix: 24, family: 4 },
  ];
  const group = (
    name: string,
    candidates: readonly string[],
    resources: readonly ResourceConfig[],
  ): GroupConfig => ({
    name,
    prefer: [candidates[0]!],
    failback: options.failback,
    failureTimeout: 60 * deadtime,
    ping: [],
    resources,
    candidates,
  });
  const volumeNames = VOLUMES.slice(0, options.volumes);
  const groupOf = (index: number) => GROUPS[options.together ? 0 : index]!;
  const groups = [...new Set(volumeNames.map((_, index) => groupOf(index)))].map((name) =>
    group(name, replicaNodes, [
      ...volumeNames.filter((_, index) => groupOf(index) === name).map((volume) => ({
        ...base(`volume:${volume}`),
        kind: "volume" as const,
        volume,
      })),
      ...services(name),
    ])
  );
  if (runners > 2) groups.push(group("aux", runnerNames, services("aux")));
  return {
    file: "simulated.toml",
    hash: "simulated",
    cluster: {
      name: "simulated",
      keyFile: "/nowhere",
      keepalive,
      warntime: deadtime / 2,
      deadtime,
      initdead: 10 * deadtime,
      shrinkAfter: 10 * deadtime,
      quorum: options.mode,
      pingInterval: deadtime,
      pingSettle: 10 * deadtime,
      fenceDelay: 2 * deadtime,
      bootAlone: false,
      realtime: true,
    },
    paths: { state: "/nowhere", runtime: "/nowhere" },
    nodes: [
      ...runnerNames.map((name) => simulatedNode(name, false, options)),
      ...witnessNames.map((name) => simulatedNode(name, true, options)),
    ],
    volumes: volumeNames.map((name, index) => simulatedVolume(name, index, replicaNodes, options)),
    groups,
  };
}

function simulatedNode(name: string, witness: boolean, { links, deadtime }: Options): NodeConfig {
  return {
    name,
    witness,
    fence: [{ command: ["/nowhere/off"], timeout: 4 * deadtime }],
    links: Array.from({ length: links }, (_, port) => ({
      address: `udp://${name}:${port}`,
      host: name,
      port,
    })),
    resyncMax: null,
  };
}

/**
 * What an operator may put in the place of a configuration, itself first: groups prefer other nodes, or
 * go back to them; where there is a spare witness, all of these once more with it for the last one.
 */
export function variantsOf(config: Config, options: Options): Config[] {
  const changed = (hash: string, change: (group: GroupConfig) => Partial<GroupConfig>): Config => ({
    ...config,
    hash: `${config.hash}-${hash}`,
    groups: config.groups.map((group) => ({ ...group, ...change(group) })),
  });
  const variants = [
    config,
    changed("turned", ({ prefer, candidates }) => ({
      prefer: candidates.filter((node) => !prefer.includes(node)),
    })),
    changed("back", () => ({ failback: "now" })),
  ];
  if (!options.spare) return variants;
  const spare = simulatedNode(`w${options.witnesses + 1}`, true, options);
  return [
    ...variants,
    ...variants.map((each) => ({
      ...each,
      hash: `${each.hash}-swapped`,
      nodes: [...each.nodes.slice(0, -1), spare],
    })),
  ];
}

/** Whether a configuration names a node. */
export function names({ nodes }: Config, name: string): boolean {
  return nodes.some((node) => node.name === name);
}

/** Milliseconds between verifies of a volume. */
const VERIFY_EVERY = 90_000;

function simulatedVolume(
  name: string,
  index: number,
  nodes: readonly string[],
  { blocks, protocol, afterPowerLoss, soleBoot, onIoError, deadtime }: Options,
): VolumeConfig {
  const path = `/nowhere/${name}.sock`;
  return {
    name,
    size: blocks * 4096,
    protocol,
    export: { address: `unix:${path}`, path },
    afterPowerLoss,
    soleBoot,
    io: "buffered",
    freezeLimit: 60_000,
    timeout: 2 * deadtime,
    onIoError,
    alExtents: "auto",
    resync: DEFAULT_RESYNC,
    // A verify that finds something has found a broken promise.
    verify: { every: VERIFY_EVERY, repair: false },
    afterSplitBrain: "disconnect",
    // A network of its own.
    replicas: nodes.map((node) => ({
      node,
      disk: "/nowhere",
      metaDisk: "internal",
      host: `${node}-replication`,
      port: index,
    })),
  };
}
