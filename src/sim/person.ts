/**
 * A person who looks in now and then and does what only a person may: states that a machine is off, or
 * forces a promotion. What they state is true; what they force may lose data, and from then on nothing
 * is promised about these data but that they stay apart.
 */

import type { Chance } from "./chance.ts";
import type { Injector } from "./injector.ts";
import type { World } from "./world.ts";

/** Looks in so many times deadtime, in the mean. */
const INTERVAL = 12;

/** See the module comment. */
export class Person {
  readonly #world: World;
  readonly #chance: Chance;
  readonly #injector: Injector;
  #over = false;

  constructor(world: World, chance: Chance, injector: Injector) {
    this.#world = world;
    this.#chance = chance;
    this.#injector = injector;
  }

  /** Begins to look in. */
  start(): void {
    const { operator, promotes, deadtime } = this.#world.options;
    if (operator === 0 && promotes === 0) return;
    const later = () =>
      this.#world.schedule.after(this.#chance.around(INTERVAL * deadtime), () => {
        if (this.#over) return;
        if (this.#chance.is(operator)) this.#stateOff();
        if (this.#chance.is(promotes)) this.#promote();
        later();
      });
    later();
  }

  /** Does nothing any more. */
  stop(): void {
    this.#over = true;
  }

  #stateOff(): void {
    const { machines } = this.#world;
    const down = machines.filter(({ agent }) => agent === null);
    const up = machines.find(({ agent }) => agent !== null);
    if (down.length !== 1 || up === undefined) return;
    const command = { type: "confirmOff", node: down[0]!.name } as const;
    this.#injector.inject({ fault: "command", node: up.name, command });
  }

  #promote(): void {
    const { machines, config: { groups } } = this.#world;
    const up = machines.filter(({ agent, disks }) => agent !== null && disks.size > 0);
    if (up.length === 0) return;
    const group = this.#chance.pick(
      groups.filter(({ resources }) => resources.some(({ kind }) => kind === "volume")),
    ).name;
    const command = { type: "promote", group } as const;
    this.#injector.inject({ fault: "command", node: this.#chance.pick(up).name, command });
  }
}
