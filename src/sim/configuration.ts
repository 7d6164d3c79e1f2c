/** The checked configuration of a simulated cluster, as the parser would give it. */

import type { Config, GroupConfig, ResourceBase, ResourceConfig } from "../config/types.ts";
import type { Options } from "./options.ts";

/** Name of the one volume. */
export const VOLUME = "data";
/** The group with the volume; `aux` has none. */
export const GROUP = "web";

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
  const groups = [
    group(GROUP, replicaNodes, [
      { ...base(`volume:${VOLUME}`), kind: "volume", volume: VOLUME },
      ...services(GROUP),
    ]),
  ];
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
      quorum: "majority",
      pingInterval: deadtime,
      pingSettle: 10 * deadtime,
    },
    paths: { state: "/nowhere", runtime: "/nowhere" },
    nodes: [...runnerNames, ...witnessNames].map((name) => ({
      name,
      witness: witnessNames.includes(name),
      links: Array.from({ length: options.links }, (_, port) => ({
        address: `udp://${name}:${port}`,
        host: name,
        port,
      })),
    })),
    volumes: [{
      name: VOLUME,
      size: options.blocks * 4096,
      protocol: options.protocol,
      export: { address: "unix:/nowhere/data.sock", path: "/nowhere/data.sock" },
      afterPowerLoss: options.afterPowerLoss,
      soleBoot: options.soleBoot,
      io: "buffered",
      timeout: 2 * deadtime,
      alExtents: "auto",
      replicas: replicaNodes.map((node) => ({
        node,
        disk: "/nowhere",
        metaDisk: "internal",
        host: node,
        port: 1,
      })),
    }],
    groups,
  };
}
