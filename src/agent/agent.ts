/**
 * The agent: runs the pure parts on the operating system.
 *
 * `cluster_shell.ts` steps the cluster core; `links.ts` carries its frames; `voter_store.ts` keeps
 * what it promised; `volumes.ts` drives the data-plane Workers; `groups.ts` starts and stops resources;
 * `pinger.ts` measures the connection; `config_file.ts` watches the configuration;
 * `status_document.ts` answers questions. This file ties them together and holds no rule of its own.
 *
 * @module
 */
import { createCluster, wakeAt } from "../cluster/cluster.ts";
import { UnfitProgram } from "../cluster/protocol.ts";
import { lineageOf } from "../cluster/facts.ts";
import type { GroupRecord, Note, OperatorCommand } from "../cluster/types.ts";
import { BOOT_ALONE_RISK, SURVIVOR_RISK } from "../config/cluster.ts";
import type { ClusterKeys } from "../config/key_file.ts";
import type { Config, NodeConfig } from "../config/types.ts";
import { bootId, boottimeMs } from "../os/clock.ts";
import { ApiError, serveApi, type StatusApi, type VolumeCommand } from "../status/api.ts";
import type { Journal } from "../status/journal.ts";
import type { StatusDocument } from "../status/types.ts";
import { type FrameError, openFrame, sealFrame } from "../wire/frame.ts";
import { AgentError, inDirectory } from "./agent_error.ts";
import { ClusterShell } from "./cluster_shell.ts";
import { FenceRunner } from "./fence_runner.ts";
import { ConfigFile, type FileState } from "./config_file.ts";
import { Groups } from "./groups.ts";
import { raiseIncarnation } from "./incarnation.ts";
import { Links } from "./links.ts";
import { statusDocument } from "./status_document.ts";
import { Pinger } from "./pinger.ts";
import { Volumes } from "./volumes.ts";
import type { VoterStore, VoterStoreOpening } from "./voter_store.ts";

/** What an agent needs. */
export interface AgentInit {
  readonly config: Config;
  readonly node: NodeConfig;
  readonly keys: ClusterKeys;
  /** The opened voter's log; closed with the agent. */
  readonly voter: VoterStoreOpening;
  readonly journal: Journal;
  /** Log and journal. */
  readonly note: (note: Note) => void;
  /** How the kernel schedules this process, for the status. */
  readonly scheduling: "real-time" | "ordinary";
}

/** The core is ticked four times a keepalive, but no more often than this, in milliseconds. */
const TICK_LEAST = 10;
const TICKS = 4;
/** How often refused datagrams are summed up in the log, in milliseconds. */
const REFUSED_INTERVAL = 10_000;

/** One node of the cluster. */
export class Agent {
  readonly #init: AgentInit;
  readonly #store: VoterStore;
  readonly #shell: ClusterShell;
  readonly #links: Links;
  readonly #volumes: Volumes;
  readonly #groups: Groups;
  readonly #pinger: Pinger;
  readonly #file: ConfigFile;
  /** Wakes the core when it asked for it, or for its next ordinary tick. */
  #wake: ReturnType<typeof setTimeout> | undefined;
  readonly #fences: FenceRunner;
  readonly #api: StatusApi;
  readonly #ended = Promise.withResolvers<void>();
  readonly #commands = new Map<number, (error: string | null) => void>();
  #nextCommand = 1;
  #refused = new Map<FrameError, number>();
  #refusedAt = 0;
  #failed = false;

  private constructor(init: AgentInit, api: (agent: Agent) => StatusApi) {
    this.#init = init;
    const { config, node, keys } = init;
    const opening = init.voter;
    this.#store = opening.store;
    try {
      if (opening.lost) {
        this.#note(
          "error",
          "voter-state-lost",
          `${opening.lost.reason}; this node votes again when ` +
            `the others have listed its new id (kept: ${opening.lost.kept.join(", ")})`,
        );
      }
      if (opening.torn !== undefined) this.#note("warning", "voter-log-torn", opening.torn);
      const state = createCluster({
        config,
        node: node.name,
        incarnation: inDirectory(
          config.paths.state,
          "the agent's state",
          "--state-dir",
          () => raiseIncarnation(config.paths.state, Date.now() / 1000),
        ),
        voterId: opening.voterId ?? randomId(),
        now: boottimeMs(),
        seed: crypto.getRandomValues(new Uint32Array(1))[0] ?? 0,
        log: opening.records,
      });
      this.#shell = new ClusterShell(state, this.#ports(), boottimeMs);
      this.#fences = new FenceRunner(config, node.name, {
        event: (event) => this.#dispatch(event),
        note: init.note,
      });
      this.#groups = new Groups(config, node.name, {
        promote: (volume, record) => this.#promote(volume, record),
        demote: (volume, forced) => this.#volumes.demote(volume, forced),
        health: (volume) => this.#volumes.health(volume),
        event: (event) => this.#dispatch(event),
        note: init.note,
      });
      this.#volumes = new Volumes({ config, node: node.name, keys, bootId: bootId() }, {
        report: (volume, report) => this.#dispatch({ type: "replica", volume, report }),
        ask: (volume, ask) => {
          if (ask.type === "minted" || ask.type === "shrink" || ask.type === "grow") {
            this.#dispatch({ ...ask, volume });
          }
        },
        note: init.note,
      });
      this.#links = new Links(config, node, {
        received: (link, datagram) => this.#received(link, datagram),
        state: (link, error) => this.#linkState(link, error),
      });
      this.#api = api(this);
      this.#pinger = new Pinger({
        reach: (targets) => this.#dispatch({ type: "reach", targets }),
        unable: (family, reason) => this.#pingUnable(family, reason),
      });
      this.#pinger.follow(config);
      this.#file = new ConfigFile(config, node.name, (file) => this.#fileChanged(file));
      this.#dispatch({ type: "tick" });
    } catch (error) {
      this.#store.close();
      if (error instanceof UnfitProgram) throw new AgentError(error.message, { cause: error });
      throw error;
    }
  }

  /**
   * Starts an agent: it sweeps leftovers of an earlier run, then takes part.
   *
   * @throws {AgentError} if another agent serves in the runtime directory, or the incarnation
   *   cannot be raised
   */
  static async start(init: AgentInit): Promise<Agent> {
    const { config, node } = init;
    const agent = new Agent(init, (agent) => agent.#serve());
    await agent.#groups.sweep();
    const { quorum, bootAlone } = config.cluster;
    if (quorum === "survivor") agent.#note("warning", "survivor-mode", SURVIVOR_RISK);
    if (bootAlone) agent.#note("warning", "boot-alone", BOOT_ALONE_RISK);
    agent.#note(
      "info",
      "agent-started",
      `agent of ${node.name} started, cluster ${config.cluster.name}`,
    );
    return agent;
  }

  #serve(): StatusApi {
    const { config: { paths }, journal } = this.#init;
    const provider = {
      status: () => this.status(),
      config: () => {
        this.readFile();
        return this.status().config!;
      },
      command: (command: OperatorCommand | VolumeCommand) => this.command(command),
      journal,
    };
    try {
      return inDirectory(
        paths.runtime,
        "the agent's socket",
        "--runtime-dir",
        () => serveApi(paths.runtime, provider),
      );
    } catch (error) {
      if (error instanceof ApiError) throw new AgentError(error.message, { cause: error });
      throw error;
    }
  }

  /** Resolves when the agent is over: after `stop`, or rejects with what it could not survive. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** SIGTERM: stop and release everything, then end. */
  stop(): void {
    this.#dispatch({ type: "shutdown" });
  }

  /** The status document of the contract. */
  status(): StatusDocument {
    const document = statusDocument(
      this.#shell.state.config,
      this.#shell.state,
      boottimeMs(),
      this.#volumes,
      this.#groups,
      this.#links,
      this.#file.state,
    );
    const { scheduling } = this.#init;
    return {
      ...document,
      scheduling,
      frames: { ...document.frames, ...Object.fromEntries(this.#refused) },
    };
  }

  /** SIGHUP, or before a push: reads the configuration file now. */
  readFile(): FileState {
    return this.#file.read();
  }

  /** Carries out an operator's command; resolves to an error text or null. */
  command(command: OperatorCommand | VolumeCommand): Promise<string | null> {
    if (command.type === "volume") return this.#volumes.operate(command.volume, command.what);
    if (command.type === "push") {
      const { found, problem, differences: { refused } } = this.readFile();
      if (problem !== null) return Promise.resolve(problem);
      if (found?.hash === command.hash && refused.length > 0) {
        return Promise.resolve(`nothing is pushed: ${refused.join("\n")}`);
      }
    }
    const id = this.#nextCommand++;
    return new Promise((resolve) => {
      this.#commands.set(id, resolve);
      this.#dispatch({ type: "command", id, command });
    });
  }

  #ports() {
    const { config, node, keys } = this.#init;
    const { name } = config.cluster;
    return {
      persist: (record: Parameters<VoterStore["append"]>[0]) => this.#store.append(record),
      send: (to: string, frame: Parameters<typeof sealFrame>[3]) => {
        const key = keys.keys.get(keys.active);
        if (key === undefined) throw new Error(`no key with the active id ${keys.active}`);
        this.#links.send(to, sealFrame(keys.active, key, name, frame));
      },
      mint: (volume: string, generation: string) =>
        this.#volumes.order(volume, { type: "mint", generation }),
      record: (group: string, record: GroupRecord) => {
        const { node: owner, incarnation } = record.owner ?? { node: "", incarnation: 0 };
        const mine = owner === node.name && incarnation === this.#shell.state.self.incarnation;
        for (const [volume, entry] of Object.entries(record.volumes)) {
          const { epoch, version } = record;
          this.#volumes.order(volume, { type: "record", epoch, version, mine, record: entry });
        }
        this.#groups.record(group, record);
      },
      prepare: (group: string) => this.#groups.prepare(group),
      start: (group: string, record: GroupRecord, part?: readonly string[]) =>
        this.#groups.start(group, record, part),
      stop: (group: string, epoch: number, forced: boolean) =>
        this.#groups.stop(group, epoch, forced),
      lease: (group: string, epoch: number, until: number) => {
        for (const volume of this.#groups.volumesOf(group)) {
          this.#volumes.lease(volume, epoch, until);
        }
        this.#groups.lease(group, until);
      },
      suspend: (group: string) => this.#groups.suspend(group),
      resume: (group: string) => this.#groups.resume(group),
      fence: (node: string, attempt: number) => this.#fences.fence(node, attempt),
      commandDone: (id: number, error: string | null) => {
        this.#commands.get(id)?.(error);
        this.#commands.delete(id);
      },
      maintenance: (on: boolean) => this.#groups.hold(on),
      config: (config: Config) => {
        this.#links.follow(config.nodes);
        this.#pinger.follow(config);
        this.#file.runs(this.#shell.state.pushed);
      },
      shutdownDone: () => void this.#close(),
      note: (note: Note) => this.#init.note(note),
    };
  }

  #dispatch(event: Parameters<ClusterShell["dispatch"]>[0]): void {
    if (this.#failed) return;
    try {
      this.#shell.dispatch(event);
      this.#wakeLater();
    } catch (error) {
      // An effect that could not be carried out must not be skipped: this run is over.
      this.#failed = true;
      clearTimeout(this.#wake);
      this.#ended.reject(error);
    }
  }

  #wakeLater(): void {
    clearTimeout(this.#wake);
    const { keepalive } = this.#init.config.cluster;
    const asked = wakeAt(this.#shell.state) - boottimeMs();
    // A timer that fires too early would find nothing due.
    const wait = Math.min(Math.ceil(asked), Math.max(TICK_LEAST, keepalive / TICKS));
    this.#wake = setTimeout(() => this.#dispatch({ type: "tick" }), Math.max(0, wait));
  }

  #pingUnable(family: 4 | 6, reason: string): void {
    const text =
      `ping targets (IPv${family}) cannot be asked, they count for nothing: ${reason}; ` +
      "run the agent as root, or let net.ipv4.ping_group_range admit its group";
    this.#note("error", "ping-unable", text);
  }

  #fileChanged({ found, problem, differences: { restart, refused } }: FileState): void {
    const { file } = this.#init.config;
    if (problem !== null) {
      this.#note(
        "warning",
        "config-file",
        `the configuration file is not good any more: ${problem}`,
      );
    } else if (found !== null) {
      const text =
        `${file} holds another configuration (${found.hash.slice(0, 12)}) than the one ` +
        `that runs; "bascule config push" brings it into force`;
      this.#note("info", "config-file", text);
    }
    const live = restart.length === 0 && refused.length === 0;
    this.#dispatch({ type: "file", found: found === null ? null : { config: found, live } });
  }

  #promote(volume: string, record: GroupRecord): Promise<void> {
    const lineage = lineageOf(this.#shell.state, record);
    const entry = record.volumes[volume];
    if (entry === undefined) {
      return Promise.reject(new Error(`volume ${volume}: the group's record does not name it`));
    }
    return this.#volumes.promote(volume, record, lineage, entry);
  }

  #received(link: number, datagram: Uint8Array): void {
    const { config, keys } = this.#init;
    const opened = openFrame(keys.keys, config.cluster.name, datagram);
    if (opened.error === undefined) {
      this.#dispatch({ type: "frame", link, frame: opened.frame });
      return;
    }
    this.#refused.set(opened.error, (this.#refused.get(opened.error) ?? 0) + 1);
    const now = boottimeMs();
    if (now - this.#refusedAt < REFUSED_INTERVAL) return;
    this.#refusedAt = now;
    const counts = Object.fromEntries(this.#refused);
    this.#init.note({
      level: "warning",
      rule: "frames-refused",
      node: this.#init.node.name,
      text: `refused datagrams that are none of this cluster's (${opened.error}: ${opened.detail})`,
      known: counts,
    });
  }

  #linkState(link: number, error: string | null): void {
    const address = this.#init.node.links[link]?.address ?? `link ${link}`;
    if (error === null) this.#note("info", "link-bound", `link ${address} is bound`);
    else this.#note("warning", "link-unbound", `link ${address}: ${error}; trying again`);
  }

  #note(level: Note["level"], rule: string, text: string): void {
    this.#init.note({ level, rule, node: this.#init.node.name, text, known: {} });
  }

  async #close(): Promise<void> {
    if (this.#failed) return;
    this.#failed = true;
    clearTimeout(this.#wake);
    await this.#fences.close();
    this.#pinger.close();
    this.#file.close();
    await this.#volumes.close();
    await this.#api.close();
    this.#links.close();
    this.#store.close();
    this.#note("info", "agent-ended", `agent of ${this.#init.node.name} ended`);
    this.#ended.resolve();
  }
}

/** 64 random bits, hex. */
function randomId(): string {
  return crypto.getRandomValues(new Uint8Array(8)).toHex();
}
