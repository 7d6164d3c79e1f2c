/** What all parts of a simulated world share: time, chance, its machines, what is watched. */

import type { ClusterRecord, Note } from "../cluster/types.ts";
import type { Config, NodeConfig } from "../config/types.ts";
import { Bearers } from "./bearers.ts";
import { Chance } from "./chance.ts";
import { names, variantsOf } from "./configuration.ts";
import type { Fences } from "./fences.ts";
import type { History } from "./history.ts";
import type { Machine } from "./machine.ts";
import type { Network } from "./network.ts";
import type { Options } from "./options.ts";
import { RegisterClients } from "./register_clients.ts";
import type { RegisterWatch } from "./register_watch.ts";
import type { Survivors } from "./survivors.ts";
import { Violation } from "./violation.ts";
import { Schedule } from "./schedule.ts";

/** What shows where somebody forgot to say what was meant. */
const MEANINGLESS = /\bundefined\b|\bNaN\b|\[object /;

/** Receives one line of the timeline. */
export type Trace = (line: string) => void;

/** See the module comment. Parts are set once by whoever builds the world. */
export class World {
  readonly schedule = new Schedule();
  readonly options: Options;
  readonly config: Config;
  /** The configuration, and others that an operator may put in its place. */
  readonly variants: readonly Config[];
  /** All nodes that some variant names: those of `config` first. */
  readonly nodes: readonly NodeConfig[];
  readonly machines: Machine[] = [];
  /** Draws of network, disks and other latencies. */
  readonly chance: Chance;
  readonly trace: Trace | null;
  network!: Network;
  /** By volume: what its clients saw. */
  readonly histories = new Map<string, History>();
  registers!: RegisterWatch;
  /** By volume: the in-sync set whose members were looked at as a whole. */
  readonly checkedMembers = new Map<string, readonly string[]>();
  readonly bearers = new Bearers(this);
  readonly registerClients = new RegisterClients();
  fences!: Fences;
  /** What is still promised where two may serve; null: everything is. */
  survivors: Survivors | null = null;
  /** An operation of some disk failed: what cannot be read counts as different. */
  diskFailed = false;
  /** How often a group was started somewhere. */
  starts = 0;
  /** Told of every PREPARE that a machine sends. */
  onPrepare: (who: string) => void = () => {};
  /** Told of every note of a machine's core or volume. */
  onNote: (who: string, note: Note) => void = () => {};
  /** Told of every line of the timeline that is no note; null: nobody listens. */
  onSaid: ((who: string, text: string) => void) | null = null;

  constructor(options: Options, config: Config, chance: Chance, trace: Trace | null) {
    this.options = options;
    this.config = config;
    this.variants = variantsOf(config, options);
    const named = new Map(
      this.variants.flatMap(({ nodes }) => nodes).map((node) => [node.name, node]),
    );
    this.nodes = [...named.values()];
    this.chance = chance;
    this.trace = trace;
  }

  /** Milliseconds since the beginning. */
  get now(): number {
    return this.schedule.now;
  }

  /** What the clients of a volume saw. */
  history(volume: string): History {
    return this.histories.get(volume)!;
  }

  /** Index of the plainest variant with the nodes of the one that operators have pushed, or mean to. */
  get settledVariant(): number {
    const pushed = (this.registers.newest("cluster") as ClusterRecord | undefined)?.config;
    const meant = this.machines.filter(({ name }) => names(this.config, name))
      .map(({ variant }) => this.variants[variant]!);
    const all = [...meant, ...this.variants.filter(({ hash }) => hash === pushed)];
    const swapped = all.find(({ nodes }) => !sameNodes(nodes, this.config.nodes));
    return swapped === undefined
      ? 0
      : this.variants.findIndex(({ nodes }) => sameNodes(nodes, swapped.nodes));
  }

  /** The machine of this name. */
  machine(name: string): Machine {
    const machine = this.machines.find((each) => each.name === name);
    if (machine === undefined) throw new Error(`no machine is called ${name}`);
    return machine;
  }

  /** A line of the timeline. `text` is made only if somebody reads it. */
  say(who: string, text: () => string): void {
    this.onSaid?.(who, text());
    if (this.trace !== null) this.#trace(who, text());
  }

  #trace(who: string, text: string): void {
    this.trace?.(`${this.now.toFixed(1).padStart(10)}  ${who.padEnd(4)}  ${text}`);
  }

  /** A note of a core or a volume as a line of the timeline. */
  note(who: string, note: Note): void {
    if (note.rule === "start") this.starts++;
    checkExplained(who, note);
    if (note.rule === "reunion" && note.group !== undefined) this.survivors?.reunited(note.group);
    this.onNote(who, note);
    if (this.trace === null) return;
    const known = Object.entries(note.known).map(([key, value]) => `${key}=${value}`).join(" ");
    this.#trace(who, `[${note.rule}] ${note.text} {${known}}`);
  }

  /**
   * Whether two machines answer for the address of a group: at most one may. Asked after every change.
   * A machine whose clock stood still cannot know that its lease ran out: it is forgiven for a while.
   */
  checkOneOwner(): void {
    for (const { name } of this.config.groups) {
      let first: Machine | null = null;
      let double = false;
      for (const machine of this.machines) {
        if (!machine.holdsAddress(name) || machine.stale) continue;
        if (first !== null && this.survivors !== null) {
          double = true;
          this.survivors.double(name);
        } else if (first !== null) {
          throw new Violation(
            "P3",
            `${first.name} and ${machine.name} both hold the address of ${name} at ` +
              `${this.now.toFixed(1)} ms`,
          );
        }
        first = machine;
      }
      if (!double) this.survivors?.single(name);
    }
  }
}

function sameNodes(one: readonly NodeConfig[], other: readonly NodeConfig[]): boolean {
  return one.length === other.length &&
    one.every(({ name }) => other.some((node) => node.name === name));
}

/** Every decision explains itself, in words that mean something. */
function checkExplained(who: string, { rule, text, known }: Note): void {
  const words = [rule, text, ...Object.entries(known).flat()].map(String);
  if (text !== "" && rule !== "" && !words.some((word) => MEANINGLESS.test(word))) return;
  throw new Violation("P6", `${who} notes [${rule}] ${text} ${JSON.stringify(known)}`);
}
