/**
 * The network between machines: datagrams on one or two links, and a path for replication. Every
 * direction between two machines on every path can be cut by itself. Datagrams get lost, doubled,
 * delayed, hence reordered.
 */

import type { Frame } from "../cluster/types.ts";
import { openFrame, sealFrame } from "../wire/frame.ts";
import type { Chance } from "./chance.ts";
import type { Machine } from "./machine.ts";
import type { World } from "./world.ts";

/** One direction on one path. */
export interface Route {
  readonly from: number;
  readonly to: number;
  /** Index of a link; the number of links: replication. */
  readonly path: number;
}

/** How the network is at the moment. */
export interface Weather {
  loss: number;
  duplication: number;
  /** Milliseconds, least and most. */
  delay: [number, number];
}

const KEY = new Uint8Array(32).fill(7);
const KEYS = new Map([[1, KEY]]);

/** See the module comment. */
export class Network {
  readonly #world: World;
  readonly #chance: Chance;
  readonly #paths: number;
  /** How many cuts each route has. */
  readonly #cuts: Uint8Array;
  weather: Weather = { loss: 0, duplication: 0, delay: [0.2, 1] };

  constructor(world: World, chance: Chance) {
    this.#world = world;
    this.#chance = chance;
    this.#paths = world.options.links + 1;
    const machines = world.config.nodes.length;
    this.#cuts = new Uint8Array(machines * machines * this.#paths);
  }

  /** Index of the path of replication. */
  get replicationPath(): number {
    return this.#paths - 1;
  }

  /** All routes between two sets of machines that a test of the route passes. */
  routes(which: (route: Route) => boolean): Route[] {
    const routes: Route[] = [];
    const count = this.#world.machines.length;
    for (let from = 0; from < count; from++) {
      for (let to = 0; to < count; to++) {
        if (from === to) continue;
        for (let path = 0; path < this.#paths; path++) {
          const route = { from, to, path };
          if (which(route)) routes.push(route);
        }
      }
    }
    return routes;
  }

  /** Cuts routes; each cut has to be mended once. */
  cut(routes: readonly Route[]): void {
    for (const route of routes) this.#cuts[this.#place(route.from, route.to, route.path)]!++;
  }

  /** Mends what was cut. */
  mend(routes: readonly Route[]): void {
    for (const { from, to, path } of routes) {
      const place = this.#place(from, to, path);
      if (this.#cuts[place]! > 0) this.#cuts[place]!--;
    }
  }

  /** Mends everything, and the weather is fine. */
  heal(): void {
    this.#cuts.fill(0);
    this.weather = { loss: 0, duplication: 0, delay: [0.2, 1] };
  }

  /** Whether nothing is cut. */
  get whole(): boolean {
    return this.#cuts.every((cuts) => cuts === 0);
  }

  /** Whether a packet passes now. */
  isOpen(from: Machine, to: Machine, path: number): boolean {
    return this.#cuts[this.#place(from.index, to.index, path)] === 0;
  }

  /** How long a packet takes. */
  delay(): number {
    const [least, most] = this.weather.delay;
    // Most are quick: a long tail makes them overtake each other.
    const share = this.#chance.next();
    return least + (most - least) * share * share;
  }

  /** Sends a frame to one machine or to all (`*`), on every link. */
  send(from: Machine, to: string, frame: Frame): void {
    const passed = this.#world.options.codecs ? recode(frame) : frame;
    for (const machine of this.#world.machines) {
      if (machine === from || (to !== "*" && machine.name !== to)) continue;
      for (let link = 0; link < this.#paths - 1; link++) this.#sendOn(from, machine, link, passed);
    }
  }

  #sendOn(from: Machine, to: Machine, link: number, frame: Frame): void {
    if (!this.isOpen(from, to, link)) return;
    const { loss, duplication } = this.weather;
    const copies = duplication > 0 && this.#chance.is(duplication) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (loss > 0 && this.#chance.is(loss)) continue;
      this.#world.schedule.after(this.delay(), () => to.receive(link, frame));
    }
  }

  #place(from: number, to: number, path: number): number {
    return (from * this.#world.config.nodes.length + to) * this.#paths + path;
  }
}

/** A frame as it comes out of the codecs. */
function recode(frame: Frame): Frame {
  const opened = openFrame(KEYS, "simulated", sealFrame(1, KEY, "simulated", frame));
  if (opened.error !== undefined) throw new Error(`a frame does not pass: ${opened.detail}`);
  return opened.frame;
}
