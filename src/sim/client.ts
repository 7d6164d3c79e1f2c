/**
 * A client of the volume's export: it finds a machine that serves, asks, and gives up on an answer that
 * does not come in time; a write that was given up may still take effect.
 */

import { RequestKind } from "../volume/types.ts";
import type { Chance } from "./chance.ts";
import type { DataPlane } from "./data_plane.ts";
import { checkMembers } from "./health.ts";
import type { World } from "./world.ts";

/** See the module comment. */
export class Client {
  readonly #world: World;
  readonly #chance: Chance;
  readonly #name: string;
  readonly #volume: string;
  readonly #blocks: readonly number[];
  #underWay = 0;
  #stopped = false;

  constructor(
    world: World,
    chance: Chance,
    name: string,
    volume: string,
    blocks: readonly number[],
  ) {
    this.#world = world;
    this.#chance = chance;
    this.#name = name;
    this.#volume = volume;
    this.#blocks = blocks;
  }

  /** Begins to ask. */
  start(): void {
    this.#stopped = false;
    for (let i = 0; i < this.#world.options.depth; i++) this.#next();
  }

  /** Asks nothing new. */
  stop(): void {
    this.#stopped = true;
  }

  /** Nothing is awaited any more. */
  get idle(): boolean {
    return this.#underWay === 0;
  }

  /** Reads a block; `done` is told whether it was answered in time. */
  read(block: number, done: (answered: boolean) => void): void {
    const plane = this.#serving();
    if (plane === null) return done(false);
    this.#ask(plane, RequestKind.Read, block, done);
  }

  #next(): void {
    if (this.#stopped) return;
    this.#world.schedule.after(this.#chance.around(this.#world.options.think), () => {
      if (this.#stopped) return;
      const plane = this.#serving();
      if (plane === null) return this.#next();
      const kind = this.#chance.is(this.#world.options.writes)
        ? RequestKind.Write
        : this.#chance.is(0.8)
        ? RequestKind.Read
        : RequestKind.Flush;
      this.#ask(plane, kind, this.#chance.pick(this.#blocks), () => this.#next());
    });
  }

  /** A machine whose export is open: where there are several, a client does not know better. */
  #serving(): DataPlane | null {
    const planes: DataPlane[] = [];
    for (const { agent } of this.#world.machines) {
      const plane = agent?.volumes.get(this.#volume)?.plane;
      if (plane?.serving) planes.push(plane);
    }
    return planes.length === 0 ? null : this.#chance.pick(planes);
  }

  #ask(
    plane: DataPlane,
    kind: RequestKind,
    block: number,
    done: (answered: boolean) => void,
  ): void {
    const world = this.#world;
    const history = world.history(this.#volume);
    const write = kind === RequestKind.Write;
    const value = write ? history.nextValue() : 0;
    const fua = write && this.#chance.is(0.1);
    const what = write ? "write" : kind === RequestKind.Read ? "read" : "flush";
    this.#underWay++;
    let over = false;
    const end = (answered: boolean) => {
      if (over) return;
      over = true;
      this.#underWay--;
      done(answered);
    };
    const where = plane.machine.name;
    world.schedule.after(3 * world.options.deadtime, () => end(false));
    plane.turn(() => {
      const operation = history.begin(what, block, value, fua, world.now, where, plane);
      plane.submit({
        kind,
        first: block,
        blocks: 1,
        value,
        fua,
        answered: (errno, values) => {
          // Whoever stood still without knowing may answer a read out of an old time, never a write.
          if (errno === 0 && !(what === "read" && plane.machine.stale)) {
            if (what === "read") operation.value = values[0]!;
            history.end(operation, world.now);
            if (write && world.survivors === null) checkMembers(world, this.#volume, block);
            else if (write) world.survivors!.acknowledged(plane, plane.state.epoch, block, value);
          }
          world.say(
            this.#name,
            () =>
              `${what} ${
                what === "flush" ? "" : `block ${block} of ${this.#volume} = ${operation.value} `
              }at ${where}` +
              `${fua ? " FUA" : ""} ${errno === 0 ? "done" : `errno ${errno}`}, asked ` +
              `${operation.began.toFixed(1)}`,
          );
          // The client goes on in a turn of its own.
          world.schedule.after(0, () => end(errno === 0));
        },
      });
    });
  }
}
