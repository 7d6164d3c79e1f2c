/**
 * The stage of a transcript: a simulated cluster (the production cores on simulated machines) in which
 * nothing is left to chance, and everything that an observer sees becomes a line.
 */

import type { Note } from "../../src/cluster/types.ts";
import type { Config } from "../../src/config/types.ts";
import type { Agent } from "../../src/sim/agent.ts";
import { Chance } from "../../src/sim/chance.ts";
import { Fences } from "../../src/sim/fences.ts";
import type { DataPlane } from "../../src/sim/data_plane.ts";
import { History } from "../../src/sim/history.ts";
import type { Disk } from "../../src/sim/disk.ts";
import { Machine } from "../../src/sim/machine.ts";
import { Network } from "../../src/sim/network.ts";
import { drawOptions, type Options } from "../../src/sim/options.ts";
import { RegisterWatch } from "../../src/sim/register_watch.ts";
import { createReplica } from "../../src/sim/replica.ts";
import { World } from "../../src/sim/world.ts";

/** Chance without surprises: the middle of everything, and seeds that differ. */
class Middle extends Chance {
  #seeds = 0;

  constructor() {
    super(0);
  }

  override next(): number {
    return 0.5;
  }

  override below(n: number): number {
    return n < 2 ** 24 ? Math.floor(n / 2) : ++this.#seeds * 7919;
  }

  override fork(): Chance {
    return this;
  }
}

/** The lines that an observer sees, in order. */
class Lines {
  shown: string[] = [];
  level: Note["level"] = "info";
  readonly #ids = new Map<string, string>();

  /** Random ids become `#1`, `#2` … in order of appearance. */
  push(line: string): void {
    const rounded = line.replace(/\b\d{3,}(?= ms\b)/g, (time) => `${roundTime(Number(time))}`);
    this.shown.push(rounded.replace(/\b[0-9a-f]{16}\b/g, (id) => {
      const name = this.#ids.get(id) ?? `#${this.#ids.size + 1}`;
      this.#ids.set(id, name);
      return name;
    }));
  }
}

/** The volume that clients ask. */
export const VOLUME = "data";
const LEVELS: readonly Note["level"][] = ["debug", "info", "warning", "error"];
const RULE_WIDTH = 16;
/** Milliseconds until a switch has switched a machine off. */
const SWITCHING = 200;

/** Times are told to 100 ms, so that a transcript does not change with every message more or less. */
function formatKnown(known: Note["known"]): string {
  const words = Object.entries(known).map(([key, value]) =>
    `${key}=${typeof value === "number" && /Ms\b/.test(key) ? roundTime(value) : value}`
  );
  return words.length === 0 ? "" : ` {${words.join(", ")}}`;
}

function roundTime(milliseconds: number): number {
  return milliseconds < 0 ? milliseconds : Math.round(milliseconds / 100) * 100;
}

/** What the power switch of a machine does when it is asked to switch it off. */
export type SwitchState = "works" | "fails" | "hangs";

/** Power switches that do what the transcript says. A machine stays off until it is started. */
class Switches extends Fences {
  readonly #stage: World;
  readonly states = new Map<string, SwitchState>();

  constructor(stage: World) {
    super(stage);
    this.#stage = stage;
  }

  override fence(agent: Agent, node: string, attempt: number): void {
    const state = this.states.get(node) ?? "works";
    const confirmed = state === "works";
    const detail = confirmed
      ? "it was switched off"
      : state === "fails"
      ? "the switch refuses"
      : "the switch does not answer";
    const methods = this.#stage.config.nodes.find(({ name }) => name === node)!.fence;
    const timeout = methods.reduce((sum, method) => sum + method.timeout, 0);
    this.#stage.schedule.after(state === "hangs" ? timeout : SWITCHING, () => {
      const target = this.#stage.machine(node);
      if (confirmed && target.agent !== null) target.kill(true);
      const { machine } = agent;
      if (machine.agent !== agent) return;
      machine.onMain(() => agent.dispatch({ type: "fenced", node, attempt, confirmed, detail }));
    });
  }
}

/** See the module comment. */
export class Stage extends World {
  readonly lines = new Lines();
  readonly switches = new Switches(this);
  readonly #width: number;
  #forced = false;
  /** By group: where its address answers, and since when nowhere. */
  readonly #answers = new Map<string, { where: string; silentSince: number }>();

  /** @param rates how fast the clocks run, in file order; default: all alike */
  constructor(config: Config, extra: Partial<Options> = {}, rates: readonly number[] = []) {
    const options = optionsFor(config, extra);
    super(options, config, new Middle(), null);
    this.network = new Network(this, this.chance, { loss: 0, duplication: 0, delay: [1, 1] });
    for (const { name } of config.volumes) {
      this.histories.set(name, new History(options.volatileCache ? "power" : "nothing"));
    }
    this.registers = new RegisterWatch(config.nodes.length, this.#apart);
    this.fences = this.switches;
    this.nodes.forEach(({ name }, index) => {
      const disks = new Map<string, Disk>();
      for (const volume of config.volumes) {
        if (!volume.replicas.some(({ node }) => node === name)) continue;
        const { volatileCache } = options;
        const disk = createReplica(volume, name, disks.size + 1, false, volatileCache, this.chance);
        disks.set(volume.name, disk);
      }
      this.machines.push(new Machine(this, index, rates[index] ?? 1, disks));
    });
    this.#width = Math.max("clients".length, ...this.nodes.map(({ name }) => name.length));
    for (const { name } of config.groups) this.#answers.set(name, { where: "", silentSince: 0 });
  }

  override say(who: string, text: () => string): void {
    const [, mark, rest] = /^\[([\w-]+)\] (.*)$/.exec(text()) ?? [];
    if (mark !== undefined) this.line(who, mark, rest!);
    else this.line(who, "", text().replace(/^--- /, ""));
  }

  override note(who: string, note: Note): void {
    this.onNote(who, note);
    const { level, rule, group, text, known } = note;
    if (LEVELS.indexOf(level) < LEVELS.indexOf(this.lines.level)) return;
    const about = group === undefined || text.includes(group) ? "" : `${group}: `;
    const urgency = level === "error" ? "ERROR " : "";
    this.line(who, rule, `${urgency}${about}${text}${formatKnown(known)}`);
  }

  /** One line of what is seen now. */
  line(who: string, rule: string, text: string): void {
    const time = (this.now / 1000).toFixed(1).padStart(6);
    const word = rule === "" ? "" : `${rule.padEnd(RULE_WIDTH)}  `;
    this.lines.push(`${time}  ${who.padEnd(this.#width)}  ${word}${text}`);
  }

  /** In survivor mode two owners that cannot hear each other are what was asked for. */
  override checkOneOwner(): void {
    if (!this.#apart) super.checkOneOwner();
  }

  get #apart(): boolean {
    return this.config.cluster.quorum === "survivor";
  }

  /** A person forces data: what was acknowledged beyond them is lost by that. */
  forgive(): void {
    this.#forced = true;
    for (const name of this.histories.keys()) this.histories.set(name, new History("takeover"));
  }

  /** One disk could have answered what clients were answered; survivors may have had two. */
  checkHistories(): void {
    if (this.#apart || this.#forced) return;
    for (const history of this.histories.values()) history.check();
  }

  /** Lets time pass, until `stop` says so. Gives whether it did. */
  pass(milliseconds: number, stop: () => boolean = () => false): boolean {
    let stopped = stop();
    if (!stopped) {
      this.schedule.run(this.now + milliseconds, () => {
        this.#watchAddresses();
        return stopped = stop();
      });
    }
    return stopped;
  }

  /** Where the address of a group answers; empty: nowhere. */
  answersAt(group: string): string {
    return this.machines.filter((each) => each.holdsAddress(group)).map(({ name }) => name)
      .join(" and ");
  }

  /** What a client of each group would see. */
  #watchAddresses(): void {
    for (const [group, seen] of this.#answers) {
      const where = this.answersAt(group);
      if (where === seen.where) continue;
      if (where === "") {
        this.line("clients", "", `${group} answers nowhere`);
        seen.silentSince = this.now;
      } else {
        const silent = seen.where === "" ? roundTime(this.now - seen.silentSince) / 1000 : 0;
        const after = seen.where === "" ? `, after ${silent.toFixed(1)} s` : "";
        this.line("clients", "", `${group} answers at ${where}${after}`);
      }
      seen.where = where;
    }
  }

  /** The volume that clients are served by: where the address is, or where it was; null: none is. */
  serving(volume: string): DataPlane | null {
    const planes = this.machines.flatMap(({ agent }) => agent?.volumes.get(volume)?.plane ?? [])
      .filter(({ serving }) => serving);
    return planes.find(({ machine }) => machine.holdsAddress("web")) ?? planes[0] ?? null;
  }

  /** Shows what was seen since the last time. */
  take(): string[] {
    const { shown } = this.lines;
    this.lines.shown = [];
    return shown;
  }
}

function optionsFor(config: Config, extra: Partial<Options>): Options {
  const { keepalive, deadtime } = config.cluster;
  const volume = config.volumes[0];
  return {
    ...drawOptions(1, 0),
    spare: false,
    lateDisks: 0,
    keepalive,
    deadtime,
    runners: config.nodes.filter(({ witness }) => !witness).length,
    witnesses: config.nodes.filter(({ witness }) => witness).length,
    links: Math.max(...config.nodes.map(({ links }) => links.length)),
    blocks: (volume?.size ?? 4096) / 4096,
    protocol: volume?.protocol ?? "C",
    volatileCache: false,
    soleBoot: volume?.soleBoot ?? false,
    afterPowerLoss: volume?.afterPowerLoss ?? "wait",
    drift: 0,
    power: extra.volatileCache === true ? "many" : "none",
    codecs: true,
    ...extra,
  };
}
