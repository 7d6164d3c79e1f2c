/**
 * The shape of a checked configuration. Everything here has been validated: names resolve, durations
 * are whole milliseconds, sizes are bytes, every reference points at something that exists.
 *
 * @module
 */

/** Nodes of a cluster at most; parts of the protocol rest on it. */
export const MAX_NODES = 16;

/**
 * Which nodes may decide. `majority`: more than half of the voters. `fencing`: both nodes of a pair, or
 * one that has had the other switched off. `survivor`: a pair in which a silent peer is taken for
 * dead, so that a cut between them makes both serve.
 */
export type QuorumMode = "majority" | "fencing" | "survivor";

/** Replication protocol, as DRBD names them: A asynchronous, B memory-synchronous, C synchronous. */
export type ReplicationProtocol = "A" | "B" | "C";

/** A checked `bascule.toml`. The same file, hence the same value, on every node. */
export interface Config {
  /** Path of the file as the user gave it, for messages. */
  readonly file: string;
  /** SHA-256, hex, of the parsed content; the same on every node that has the same configuration. */
  readonly hash: string;
  readonly cluster: ClusterConfig;
  readonly paths: PathsConfig;
  /** In file order, which is also the order that breaks ties. */
  readonly nodes: readonly NodeConfig[];
  readonly volumes: readonly VolumeConfig[];
  readonly groups: readonly GroupConfig[];
}

/** `[cluster]`. All durations in milliseconds. */
export interface ClusterConfig {
  readonly name: string;
  readonly keyFile: string;
  readonly keepalive: number;
  /** Default: half of deadtime. */
  readonly warntime: number;
  readonly deadtime: number;
  /** Default: 10 × deadtime. */
  readonly initdead: number;
  /** An unreachable member of the in-sync set is dropped after this time. Default: 10 × deadtime. */
  readonly shrinkAfter: number;
  readonly quorum: QuorumMode;
  /** How often every ping target is asked, milliseconds. Default 1 s. */
  readonly pingInterval: number;
  /** A node must reach more targets than the owner for so long before a group moves; milliseconds. */
  readonly pingSettle: number;
  /** `fencing`: how long a node that owns nothing lets the other fence first. Default 5 s. */
  readonly fenceDelay: number;
  /** `survivor`: a node that boots alone serves after initdead, however old its data. Default false. */
  readonly bootAlone: boolean;
  /** Whether agents ask the kernel to be scheduled in real time. Default true. */
  readonly realtime: boolean;
}

/** `[paths]`. `--state-dir` and `--runtime-dir` override. */
export interface PathsConfig {
  /** Default `/var/lib/bascule`. */
  readonly state: string;
  /** Default `/run/bascule`. */
  readonly runtime: string;
}

/** One heartbeat link. Link number n of every node is on one network. */
export interface LinkConfig {
  /** As written, e.g. `udp://192.0.2.1:6940`. */
  readonly address: string;
  readonly host: string;
  readonly port: number;
}

/** `[nodes.NAME]`. */
export interface NodeConfig {
  readonly name: string;
  /** A witness votes and holds no data. */
  readonly witness: boolean;
  readonly links: readonly LinkConfig[];
  /** How another node switches this one off or resets it, in this order; none: it cannot. */
  readonly fence: readonly FenceMethod[];
  /** Most bytes per second of all resyncs and verifies that it is the source of; null: no limit. */
  readonly resyncMax: number | null;
}

/** One way to switch a node off or to reset it by power. Exit code 0: it is certain that it was. */
export interface FenceMethod {
  readonly command: readonly string[];
  /** Milliseconds, after which the command is killed and has not confirmed anything. Default 30 s. */
  readonly timeout: number;
}

/** `[volumes.NAME]`. */
export interface VolumeConfig {
  readonly name: string;
  /** Bytes, a multiple of 4096. */
  readonly size: number;
  readonly protocol: ReplicationProtocol;
  readonly export: ExportConfig;
  /** What a replica whose unflushed writes may be lost does: default `wait`. */
  readonly afterPowerLoss: "wait" | "go";
  /** May a sole up-to-date replica serve after a boot without asking a quorum? Default false. */
  readonly soleBoot: boolean;
  /** `direct` bypasses the page cache. Default `buffered`. */
  readonly io: "direct" | "buffered";
  /** A replica that does not answer for so long is treated as lost; milliseconds, default 2 × deadtime. */
  readonly timeout: number;
  /**
   * A volume that has been frozen for so long answers its clients with errors until it thaws;
   * milliseconds, default one minute or, if that is longer, 10 × deadtime.
   */
  readonly freezeLimit: number;
  /** The replication link is encrypted; absent: it is not. */
  readonly encrypt?: boolean;
  /** What the Primary does when its own disk fails. Default `detach`. */
  readonly onIoError: "detach" | "hand-over";
  /** Activity-log extents of 4 MiB; `auto` sizes it from the volume. */
  readonly alExtents: number | "auto";
  readonly resync: ResyncSettings;
  readonly verify: VerifySettings;
  /** Default `disconnect`: a person decides. */
  readonly afterSplitBrain: SplitBrainPolicy;
  /** One or two, in file order. */
  readonly replicas: readonly ReplicaConfig[];
}

/** What is done when both replicas were written apart, as DRBD names it. */
export type SplitBrainPolicy =
  | "disconnect"
  | "discard-zero-changes"
  | "discard-younger-primary"
  | "discard-least-changes";

/** `verify` and `verify_repair`. */
export interface VerifySettings {
  /** Milliseconds between verifies; null, the default: only on demand. */
  readonly every: number | null;
  /** Whether those that begin by themselves repair what differs. Default false. */
  readonly repair: boolean;
}

/** `[volumes.NAME.resync]`: how a resync or a verify shares disk and link with clients. */
export interface ResyncSettings {
  /** Share of the best rate reached that it gets whatever clients do; 0 to 1. Default 0.1. */
  readonly floor: number;
  /** Most bytes per second; null, the default: no limit. */
  readonly rateMax: number | null;
  /** Clients' requests may take so many times what they take without it. Default 2. */
  readonly latencyFactor: number;
  /** Without progress for so long it begins anew; milliseconds, default 10 s. */
  readonly stall: number;
}

/** Where the volume is served on the Primary. */
export interface ExportConfig {
  /** As written, e.g. `unix:/run/bascule/data.sock` or `tcp://192.0.2.3:10809`. */
  readonly address: string;
  /** Path of the unix socket; empty for TCP. */
  readonly path: string;
  /** Over TCP in place of a unix socket. */
  readonly tcp?: TcpExportConfig;
  /** Clients at a time; default {@link DEFAULT_CONNECTIONS}. */
  readonly connections?: number;
}

/** Clients that an export takes at a time, if nothing else is said. */
export const DEFAULT_CONNECTIONS = 64;

/** An export over TCP. */
export interface TcpExportConfig {
  /** An address of the nodes or of the group; the unspecified address stands for all. */
  readonly host: string;
  readonly port: number;
  /** null: in the clear. */
  readonly tls: TlsConfig | null;
  /** Clients come from one of these networks. Empty: from anywhere. */
  readonly allow: readonly IpNetwork[];
}

/** A network: the addresses that agree with `bytes` in their first `prefix` bits. */
export interface IpNetwork {
  /** 4 or 16, network order. */
  readonly bytes: readonly number[];
  readonly prefix: number;
}

/** Files in PEM. */
export interface TlsConfig {
  /** Of this server, with the intermediate ones. */
  readonly certificate: string;
  readonly key: string;
}

/** `[volumes.NAME.replicas]`. */
export interface ReplicaConfig {
  readonly node: string;
  /** File or block device. */
  readonly disk: string;
  /** `internal`: after the data on the same disk; otherwise the path of a file or device. */
  readonly metaDisk: string;
  /** Replication address, the most wanted one. */
  readonly host: string;
  readonly port: number;
  /** Further ones, in order of preference, where there are any. */
  readonly more?: readonly ReplicationAddress[];
}

/** Where a replica's data plane listens for its peer. */
export interface ReplicationAddress {
  readonly host: string;
  readonly port: number;
}

/** When a group goes back to a node that it prefers. */
export type Failback = "never" | "now" | { readonly after: number };

/** `[groups.NAME]`. */
export interface GroupConfig {
  readonly name: string;
  /** Node names, most wanted first. */
  readonly prefer: readonly string[];
  /** `after`: milliseconds for which a more wanted node must have been without any trouble. */
  readonly failback: Failback;
  /**
   * After so long a node that failed the group may run it again, doubled with each further failure;
   * milliseconds, Infinity: only after a cleanup.
   */
  readonly failureTimeout: number;
  /** Addresses whose answers say how well a node is connected; default: those of `[cluster]`. */
  readonly ping: readonly string[];
  /** Started in this order, stopped in reverse. */
  readonly resources: readonly ResourceConfig[];
  /** Nodes that may run the group: not a witness, and a replica of every volume of the group. */
  readonly candidates: readonly string[];
}

/** One resource. `id` is unique within the cluster. */
export type ResourceConfig =
  | VolumeResource
  | IpResource
  | ProcessResource
  | CommandResource;

/** Common to all kinds. Durations in milliseconds. */
export interface ResourceBase {
  /** As in status: `volume:data`, `ip:192.0.2.3/24`, `process:web`. */
  readonly id: string;
  readonly startTimeout: number;
  readonly stopTimeout: number;
  /** 0: not monitored. */
  readonly monitorInterval: number;
  readonly monitorTimeout: number;
  /** Restarts in place allowed within `restartWindow` before the group fails on this node. */
  readonly restarts: number;
  readonly restartWindow: number;
}

/** `"volume:NAME"`: the volume is Primary and its export served. */
export interface VolumeResource extends ResourceBase {
  readonly kind: "volume";
  readonly volume: string;
}

/** `"ip:ADDRESS/PREFIX"` or a table with `interface`. */
export interface IpResource extends ResourceBase {
  readonly kind: "ip";
  readonly address: string;
  readonly prefix: number;
  readonly family: 4 | 6;
  /** Default: the interface that has an address in the same network. */
  readonly interface?: string;
}

/** A child that the agent supervises itself. */
export interface ProcessResource extends ResourceBase {
  readonly kind: "process";
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly directory?: string;
  readonly user?: string;
  /** Exit code 0 means healthy. */
  readonly health?: readonly string[];
}

/** Three commands in the manner of a resource script. */
export interface CommandResource extends ResourceBase {
  readonly kind: "command";
  readonly start: readonly string[];
  readonly stop: readonly string[];
  /** Exit 0: running, 3 or 7: not running, anything else: failed. */
  readonly status?: readonly string[];
}
