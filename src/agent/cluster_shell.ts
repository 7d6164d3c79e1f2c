/**
 * Runs the pure cluster core: events go in one at a time, its effects are carried out in order.
 *
 * The order matters: what follows a `persist` may leave only when the `persist` is durable, so
 * `persist` is synchronous here and an effect that throws stops the agent rather than be skipped.
 *
 * @module
 */
import { type ClusterState, step } from "../cluster/cluster.ts";
import type {
  ClusterEffect,
  ClusterEvent,
  Frame,
  GroupRecord,
  Note,
  VoterLogRecord,
} from "../cluster/types.ts";
import type { Config } from "../config/types.ts";

/** What carries out the effects. Every call returns at once; answers come back as events. */
export interface ClusterPorts {
  /** Durable when it returns. */
  persist(record: VoterLogRecord): void;
  /** To one node or to all (`*`), over every link. */
  send(to: string, frame: Frame): void;
  /** Makes a pending generation durable in the superblock; answered by a `minted` event. */
  mint(volume: string, generation: string): void;
  /** Tells a newly known-chosen record to the volumes and resources of its group. */
  record(group: string, record: GroupRecord): void;
  /** A take of a group was proposed: what takes time and changes nothing may begin. */
  prepare(group: string): void;
  /** Starts the resources of a group in order; answered by `started` or `startFailed`. */
  start(group: string, record: GroupRecord, part?: readonly string[]): void;
  /** Stops them in reverse; answered by `stopped`. */
  stop(group: string, epoch: number, forced: boolean): void;
  /** The lease of a group, in milliseconds of the core's clock; Infinity: sole. */
  lease(group: string, epoch: number, until: number): void;
  /** The lease is lost: addresses go before this returns. */
  suspend(group: string): void;
  /** The lease of the own epoch is back. */
  resume(group: string): void;
  /** Switches a node off; answered by `fenced`. */
  fence(node: string, attempt: number): void;
  /** Answers an operator; `error` is null when it is done. */
  commandDone(id: number, error: string | null): void;
  /** Maintenance begins or ends. */
  maintenance(on: boolean): void;
  /** This configuration runs from now on. */
  config(config: Config): void;
  /** Everything is stopped and released, or the time for it is over. */
  shutdownDone(): void;
  /** One line for the log and the journal. */
  note(note: Note): void;
}

/** The core with its queue. */
export class ClusterShell {
  readonly state: ClusterState;
  readonly #ports: ClusterPorts;
  readonly #now: () => number;
  readonly #queue: ClusterEvent[] = [];
  #running = false;

  /** @param now monotonic milliseconds, the clock of all leases on this node */
  constructor(state: ClusterState, ports: ClusterPorts, now: () => number) {
    this.state = state;
    this.#ports = ports;
    this.#now = now;
  }

  /** Takes an event. Events that effects cause while they run wait for their turn. */
  dispatch(event: ClusterEvent): void {
    this.#queue.push(event);
    if (this.#running) return;
    this.#running = true;
    try {
      for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
        for (const effect of step(this.state, this.#now(), next)) this.#timed(effect);
      }
    } finally {
      this.#running = false;
    }
  }

  /** Whatever an effect waits for, the heartbeats wait too: why a node was late is worth a line. */
  #timed(effect: ClusterEffect): void {
    const began = this.#now();
    this.#carryOut(effect);
    const took = this.#now() - began;
    const { node } = this.state.self;
    if (took < this.state.timing.warntime / 2) return;
    this.#ports.note({
      level: "warning",
      rule: "slow-effect",
      node,
      text: `"${effect.type}" took ${Math.round(took)} ms, in which this agent did nothing else`,
      known: { effect: effect.type, tookMs: took },
    });
  }

  #carryOut(effect: ClusterEffect): void {
    const ports = this.#ports;
    switch (effect.type) {
      case "persist":
        return ports.persist(effect.record);
      case "send":
        return ports.send(effect.to, effect.frame);
      case "mint":
        return ports.mint(effect.volume, effect.generation);
      case "record":
        return ports.record(effect.group, effect.record);
      case "prepare":
        return ports.prepare(effect.group);
      case "start":
        return ports.start(effect.group, effect.record, effect.part);
      case "stop":
        return ports.stop(effect.group, effect.epoch, effect.forced);
      case "lease":
        return ports.lease(effect.group, effect.epoch, effect.until);
      case "suspend":
        return ports.suspend(effect.group);
      case "resume":
        return ports.resume(effect.group);
      case "fence":
        return ports.fence(effect.node, effect.attempt);
      case "commandDone":
        return ports.commandDone(effect.id, effect.error ?? null);
      case "maintenance":
        return ports.maintenance(effect.on);
      case "config":
        return ports.config(effect.config);
      case "shutdownDone":
        return ports.shutdownDone();
      case "note":
        return ports.note(effect.note);
    }
  }
}
