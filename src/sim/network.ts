/**
 * The network between machines: datagrams on their links, and paths of replication. Every direction
 * between two machines on every path can be cut by itself, and has its own weather: datagrams get
 * lost, doubled, delayed, hence reordered.
 */

import type { Frame } from "../cluster/types.ts";
import type { Config, VolumeConfig } from "../config/types.ts";
import { openFrame, sealFrame } from "../wire/frame.ts";
import type { Chance } from "./chance.ts";
import type { Machine } from "./machine.ts";
import { type Places, type Route, routesOf } from "./routes.ts";
import type { World } from "./world.ts";

/** How routes are at the moment. */
export interface Weather {
  readonly loss: number;
  readonly duplication: number;
  /** Milliseconds, least and most. */
  readonly delay: readonly [number, number];
}

/** Nothing gets lost, and packets are quick. */
const FINE: Weather = { loss: 0, duplication: 0, delay: [0.2, 1] };
const KEY = new Uint8Array(32).fill(7);
const KEYS = new Map([[1, KEY]]);

/** See the module comment. */
export class Network {
  readonly #world: World;
  readonly #chance: Chance;
  readonly #machines: number;
  readonly #links: number;
  readonly places: Places;
  /** By volume. */
  readonly #replication: ReadonlyMap<string, number>;
  /** By route: how many cuts it has. */
  readonly #cuts: Uint8Array;
  /** By route. */
  readonly #weather: Weather[];
  readonly #fine: Weather;

  /** @param fine the weather where nothing is wrong */
  constructor(world: World, chance: Chance, fine: Weather = FINE) {
    this.#fine = fine;
    this.#world = world;
    this.#chance = chance;
    const { nodes, config: { volumes } } = world;
    this.#machines = nodes.length;
    this.#links = Math.max(...nodes.map(({ links }) => links.length));
    this.#replication = new Map(
      volumes.map((volume) => [volume.name, replicationPath(world.config, volume, this.#links)]),
    );
    const replication = [...new Set(this.#replication.values())];
    this.places = {
      nodes: nodes.map(({ name }) => name),
      links: this.#links,
      paths: Math.max(this.#links, ...replication.map((path) => path + 1)),
      replication,
    };
    const count = this.#machines * this.#machines * this.places.paths;
    this.#cuts = new Uint8Array(count);
    this.#weather = new Array<Weather>(count).fill(fine);
  }

  /** Path that a volume is replicated on. */
  replicationPath(volume: string): number {
    return this.#replication.get(volume)!;
  }

  /** The routes that patterns name together. */
  routes(patterns: readonly string[]): Route[] {
    const routes = new Map<number, Route>();
    for (const pattern of patterns) {
      for (const route of routesOf(pattern, this.places)) routes.set(this.#place(route), route);
    }
    return [...routes.values()];
  }

  /** Cuts routes; each cut has to be mended once. */
  cut(routes: readonly Route[]): void {
    for (const route of routes) {
      const place = this.#place(route);
      this.#cuts[place] = Math.min(255, this.#cuts[place]! + 1);
    }
  }

  /** Mends what was cut once; `all`: whatever cuts there are. */
  mend(routes: readonly Route[], all = false): void {
    for (const route of routes) {
      const place = this.#place(route);
      this.#cuts[place] = all ? 0 : Math.max(0, this.#cuts[place]! - 1);
    }
  }

  /** Sets the weather on routes. */
  setWeather(routes: readonly Route[], weather: Weather): void {
    for (const route of routes) this.#weather[this.#place(route)] = weather;
  }

  /** It becomes fine where it still is as given. */
  clear(routes: readonly Route[], weather: Weather): void {
    for (const route of routes) {
      const place = this.#place(route);
      if (this.#weather[place] === weather) this.#weather[place] = this.#fine;
    }
  }

  /** Mends everything, and the weather is fine. */
  heal(): void {
    this.#cuts.fill(0);
    this.#weather.fill(this.#fine);
  }

  /** Whether nothing is cut, and nothing gets lost. */
  get whole(): boolean {
    return this.#cuts.every((cuts) => cuts === 0) && this.#weather.every(({ loss }) => loss === 0);
  }

  /** Whether a packet passes now. */
  isOpen(from: Machine, to: Machine, path: number): boolean {
    return this.#cuts[this.#at(from.index, to.index, path)] === 0;
  }

  /** How long a packet takes. */
  delay(from: Machine, to: Machine, path: number): number {
    const [least, most] = this.#weather[this.#at(from.index, to.index, path)]!.delay;
    // Most are quick: a long tail makes them overtake each other.
    const share = this.#chance.next();
    return least + (most - least) * share * share;
  }

  /** Sends a frame to one machine or to all (`*`), on every link. */
  send(from: Machine, to: string, frame: Frame): void {
    const passed = this.#world.options.codecs ? recode(frame) : frame;
    for (const machine of this.#world.machines) {
      if (machine === from || (to !== "*" && machine.name !== to)) continue;
      for (let link = 0; link < this.#links; link++) this.#sendOn(from, machine, link, passed);
    }
  }

  #sendOn(from: Machine, to: Machine, link: number, frame: Frame): void {
    const place = this.#at(from.index, to.index, link);
    if (this.#cuts[place] !== 0) return;
    const { loss, duplication } = this.#weather[place]!;
    const copies = duplication > 0 && this.#chance.is(duplication) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (loss > 0 && this.#chance.is(loss)) continue;
      this.#world.schedule.after(this.delay(from, to, link), () => to.receive(link, frame));
    }
  }

  #place({ from, to, path }: Route): number {
    return this.#at(from, to, path);
  }

  #at(from: number, to: number, path: number): number {
    return (from * this.#machines + to) * this.places.paths + path;
  }
}

/** The link whose addresses a volume is replicated on; where there is none, a path of its own. */
function replicationPath({ nodes }: Config, { replicas }: VolumeConfig, links: number): number {
  for (let link = 0; link < links; link++) {
    const same = replicas.every(({ node, host }) =>
      nodes.find(({ name }) => name === node)?.links[link]?.host === host
    );
    if (same) return link;
  }
  return links;
}

/** A frame as it comes out of the codecs. */
function recode(frame: Frame): Frame {
  const opened = openFrame(KEYS, "simulated", sealFrame(1, KEY, "simulated", frame));
  if (opened.error !== undefined) throw new Error(`a frame does not pass: ${opened.detail}`);
  return opened.frame;
}
