/**
 * Simulated fence devices: most do what they are told, some fail, some take so long that the machine
 * is back before they say so, some lose their answer after they did it. What they confirm is true.
 */

import type { Agent } from "./agent.ts";
import { Chance } from "./chance.ts";
import type { World } from "./world.ts";

/** See the module comment. */
export class Fences {
  readonly #world: World;
  readonly #chance: Chance;
  /** All work from now on. */
  mended = false;

  constructor(world: World) {
    this.#world = world;
    this.#chance = Chance.named(world.options.seed, "fences");
  }

  /** A machine is to be switched off; its core is told how that went. */
  fence(agent: Agent, node: string, attempt: number): void {
    const { schedule, options: { deadtime, fenceTrouble } } = this.#world;
    const chance = this.#chance;
    const trouble = !this.mended && chance.is(fenceTrouble)
      ? chance.pick(["fails", "slow", "lost"] as const)
      : null;
    const done = trouble !== "fails";
    const confirmed = trouble === null || trouble === "slow";
    const off = deadtime * chance.between(0.02, 0.3);
    const most = trouble === "slow" ? 8 : 0.2;
    const answer = off + deadtime * chance.between(0, this.mended ? 0.1 : most);
    if (done) schedule.after(off, () => this.#switchOff(node));
    schedule.after(answer, () => {
      const { machine } = agent;
      if (machine.agent !== agent) return;
      const detail = confirmed ? "it was switched off" : "the device does not answer";
      machine.onMain(() => agent.dispatch({ type: "fenced", node, attempt, confirmed, detail }));
    });
  }

  #switchOff(node: string): void {
    const machine = this.#world.machine(node);
    const { deadtime } = this.#world.options;
    if (machine.agent !== null) machine.kill(true);
    this.#world.schedule.after(deadtime * this.#chance.between(0.1, 4), () => {
      if (machine.agent === null) machine.start();
    });
  }
}
