/**
 * What would happen if: a user's own configuration on simulated machines, with what they let happen to
 * it, as a timeline of decisions with their reasons.
 */

import type { Note } from "../cluster/types.ts";
import type { Config, GroupConfig } from "../config/types.ts";
import { Chance } from "./chance.ts";
import type { TimedFault } from "./faults.ts";
import { complaint, ownerOf } from "./health.ts";
import { Injector } from "./injector.ts";
import { type Options, PLAIN } from "./options.ts";
import { buildClients, buildWorld } from "./simulation.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";

/** Volumes are simulated with so many blocks of 4 KiB at most. */
export const MOST_BLOCKS = 2048;
/** A new cluster has so many times initdead to become well. */
const PATIENCE = 3;

/** One line of a timeline. */
export interface Entry {
  /** Milliseconds since all was well. */
  readonly at: number;
  /** A node, `you` for what the user lets happen, or `clients` for what they see. */
  readonly who: string;
  /** The rule that was applied; empty: this is no decision. */
  readonly rule: string;
  readonly text: string;
  readonly level: Note["level"];
  /** What was known. */
  readonly known: Note["known"];
}

/** What a client of a group saw. */
export interface Outage {
  readonly group: string;
  readonly from: number;
  /** Infinity: to the end. */
  readonly to: number;
  /** Nodes before and after; empty: none. */
  readonly before: string;
  readonly after: string;
}

/** How it was in the end. */
export interface EndState {
  readonly outages: readonly Outage[];
  /** Lines about nodes, groups and volumes. */
  readonly nodes: readonly { readonly name: string; readonly state: string }[];
  readonly groups: readonly { readonly name: string; readonly state: string }[];
  readonly volumes: readonly { readonly name: string; readonly state: string }[];
  /** The broken promise; null: none was. */
  readonly violation: string | null;
}

/** What to let happen. */
export interface Script {
  /** Times count from when all is well. */
  readonly happenings: readonly TimedFault[];
  /** When to stop looking. */
  readonly until: number;
  /** Draws latencies, nothing else. */
  readonly seed: number;
}

/** Plays a script; `tell` gets each line of the timeline in order. */
export function whatIf(config: Config, script: Script, tell: (entry: Entry) => void): EndState {
  const small = shrunkVolumes(config);
  const world = buildWorld(optionsFor(small, script), small, null);
  const watch = new Watch(world, config.groups, tell);
  let violation: string | null = null;
  try {
    boot(world);
    watch.begin();
    const injector = new Injector(world);
    for (const { at, ...fault } of script.happenings) {
      world.schedule.after(at, () => injector.inject(fault as TimedFault));
    }
    world.schedule.run(world.now + script.until, () => watch.look());
    for (const history of world.histories.values()) history.check();
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    violation = error.message;
  }
  return { ...endState(world), outages: watch.outages(), violation };
}

/** Sizes do not matter to what is decided, only to how long a resync takes. */
function shrunkVolumes(config: Config): Config {
  const volumes = config.volumes.map((volume) => ({
    ...volume,
    size: Math.min(volume.size, MOST_BLOCKS * 4096),
  }));
  return { ...config, volumes };
}

function optionsFor({ cluster, nodes, volumes }: Config, { seed }: Script): Options {
  const { keepalive, deadtime } = cluster;
  return {
    ...PLAIN,
    seed,
    mode: cluster.quorum,
    keepalive,
    deadtime,
    runners: nodes.filter(({ witness }) => !witness).length,
    witnesses: nodes.filter(({ witness }) => witness).length,
    links: Math.max(...nodes.map(({ links }) => links.length)),
    volumes: volumes.length,
    power: "many",
    clients: 1,
    think: Math.max(20, keepalive / 4),
  };
}

/** Starts every agent, and clients, and waits until all is well. */
function boot(world: World): void {
  const { schedule, machines, config: { cluster } } = world;
  const chance = Chance.named(world.options.seed, "start");
  for (const machine of machines) {
    schedule.after(chance.between(0, cluster.keepalive), () => machine.start());
  }
  for (const { clients } of buildClients(world)) for (const client of clients) client.start();
  const limit = PATIENCE * cluster.initdead;
  while (complaint(world) !== null) {
    if (world.now > limit) {
      throw new Violation("P4", `the cluster does not become well: ${complaint(world)}`);
    }
    schedule.run(world.now + cluster.keepalive / 4);
  }
}

/** Turns what happens in a world into a timeline, and watches where groups answer. */
class Watch {
  readonly #world: World;
  readonly #groups: readonly GroupConfig[];
  readonly #tell: (entry: Entry) => void;
  #zero = 0;
  /** By group: where it answers. */
  readonly #where = new Map<string, string>();
  readonly #dark = new Map<string, { from: number; before: string }>();
  readonly #outages: Outage[] = [];

  constructor(world: World, groups: readonly GroupConfig[], tell: (entry: Entry) => void) {
    this.#world = world;
    this.#groups = groups;
    this.#tell = tell;
  }

  begin(): void {
    const world = this.#world;
    this.#zero = world.now;
    for (const { name } of this.#groups) this.#where.set(name, ownerOf(world, name)?.name ?? "");
    world.onNote = (who, note) => this.#note(who, note);
    world.onSaid = (who, text) => this.#said(who, text);
  }

  /** Looks where every group answers now. Never stops the world. */
  look(): boolean {
    for (const { name } of this.#groups) this.#lookAt(name);
    return false;
  }

  outages(): Outage[] {
    const open = [...this.#dark].map(([group, { from, before }]) => ({
      group,
      from,
      to: Infinity,
      before,
      after: "",
    }));
    return [...this.#outages, ...open];
  }

  #lookAt(group: string): void {
    const where = this.#world.machines.filter((each) => each.runs(group))
      .map(({ name }) => name).join(" and ");
    const before = this.#where.get(group)!;
    if (where === before) return;
    const at = this.#world.now - this.#zero;
    this.#where.set(group, where);
    const dark = this.#dark.get(group);
    if (where === "") {
      this.#dark.set(group, { from: at, before });
      this.#line("clients", "", `${group} answers nowhere`);
      return;
    }
    this.#dark.delete(group);
    const from = dark?.from ?? at;
    if (dark !== undefined) {
      this.#outages.push({ group, from, to: at, before: dark.before, after: where });
    }
    const after = dark === undefined ? "" : `, after ${seconds(at - from)}`;
    this.#line("clients", "", `${group} answers at ${where}${after}`);
  }

  #note(who: string, { rule, text, group, level, known }: Note): void {
    const about = group === undefined || text.includes(group) ? "" : `${group}: `;
    this.#line(who, rule, `${about}${text}`, level, known);
  }

  /** What is done, and what becomes of agents; not what clients ask all the time. */
  #said(who: string, text: string): void {
    const [, mark, rest] = /^(\.\.\.|---) (.*)$/.exec(text) ?? [];
    if (mark !== undefined) this.#line(who === "sim" ? "you" : who, "", rest!);
  }

  #line(
    who: string,
    rule: string,
    text: string,
    level: Note["level"] = "info",
    known: Note["known"] = {},
  ): void {
    this.#tell({ at: this.#world.now - this.#zero, who, rule, text, level, known });
  }
}

function endState(world: World): Omit<EndState, "outages" | "violation"> {
  const { machines, config } = world;
  const nodes = machines.map(({ name, agent, witness, main }) => ({
    name,
    state: agent === null
      ? "its agent does not run"
      : main.heldUntil > world.now
      ? "stands still"
      : witness
      ? "runs, a witness"
      : "runs",
  }));
  const groups = config.groups.map(({ name }) => {
    const owner = ownerOf(world, name);
    if (owner !== null) return { name, state: `runs on ${owner.name}` };
    const why = machines.flatMap(({ agent, name: node }) => {
      const group = agent?.state.groups.get(name);
      return group === undefined ? [] : [`${node}: ${group.decision.why.text}`];
    });
    return { name, state: ["runs nowhere", ...why].join("; ") };
  });
  const volumes = config.volumes.map(({ name, replicas }) => ({
    name,
    state: replicas.map(({ node }) => {
      const plane = world.machine(node).agent?.volumes.get(name)?.plane;
      if (!plane) return `${node}: not open`;
      const { role, disk, peers } = plane.state;
      const link = peers[0] === undefined ? "" : `, ${peers[0].connection}`;
      return `${node}: ${role}, ${disk}${link}`;
    }).join("; "),
  }));
  return { nodes, groups, volumes };
}

/** Milliseconds as seconds. */
export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(3)} s`;
}
