/**
 * What is still promised in `survivor` mode. While two nodes do not hear each other both may serve, and
 * their records and data part. Nothing else is given up: once all is calm one of them serves alone, and
 * data that have parted are never made one without a person's word.
 */

import type { GroupRecord } from "../cluster/types.ts";
import type { DataPlane } from "./data_plane.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";

/** So many times deadtime two may go on to serve after everything is calm. */
const PATIENCE = 3;

/** See the module comment. */
export class Survivors {
  readonly #world: World;
  /** By group: since when two have served in calm. */
  readonly #since = new Map<string, number>();
  /** By volume: the highest epoch in which a replica became Primary, and where. */
  readonly #newest = new Map<string, { readonly epoch: number; readonly machine: string }>();
  /** Volumes that two served at a time: reads may be old. */
  readonly doubled = new Set<string>();
  /** A person forced a promotion: epochs are counted in each lineage by itself. */
  forced = false;
  /** Volumes in which a write was acknowledged that the newer epoch does not hold. */
  readonly parted = new Set<string>();

  constructor(world: World) {
    this.#world = world;
  }

  /** Two machines answer for the address of a group. */
  double(group: string): void {
    const { now, options: { deadtime } } = this.#world;
    if (!this.#isCalm()) {
      this.#since.delete(group);
      return;
    }
    const since = this.#since.get(group) ?? now;
    this.#since.set(group, since);
    if (now - since <= PATIENCE * deadtime) return;
    throw new Violation("P3", `two machines serve ${group} for long though they hear each other`);
  }

  /** One machine does, or none. */
  single(group: string): void {
    this.#since.delete(group);
  }

  /** Whether two served a volume, so that there may be two states of its data. */
  isApart(volume: string): boolean {
    return this.parted.has(volume) || this.doubled.has(volume);
  }

  /** Both nodes changed the record of a group alone: the generations of its volumes have parted. */
  reunited(group: string): void {
    const { resources } = this.#world.config.groups.find(({ name }) => name === group)!;
    for (const each of resources) if (each.kind === "volume") this.doubled.add(each.volume);
  }

  /** A replica became Primary. */
  promoted(plane: DataPlane, epoch: number): void {
    const before = this.#newest.get(plane.volume);
    for (const { agent } of this.#world.machines) {
      const other = agent?.volumes.get(plane.volume)?.plane;
      if (other && other !== plane && other.serving) this.doubled.add(plane.volume);
    }
    if (!this.forced && before?.epoch === epoch && before.machine !== plane.machine.name) {
      throw new Violation(
        "P2",
        `epoch ${epoch} of ${plane.volume} has two owners, ${before.machine} and ` +
          `${plane.machine.name}`,
      );
    }
    if (before === undefined || before.epoch < epoch) {
      this.#newest.set(plane.volume, { epoch, machine: plane.machine.name });
    }
  }

  /** A write was acknowledged by a Primary of this epoch. */
  acknowledged(plane: DataPlane, epoch: number, block: number, value: number): void {
    const { volume, machine } = plane;
    const newest = this.#newest.get(volume);
    if (newest === undefined || newest.epoch <= epoch || newest.machine === machine.name) return;
    const found = this.#world.machine(newest.machine).disks.get(volume)?.cache[block] ?? 0;
    if (found === value) return;
    // Where the newer one has written since, it may have had this before.
    const since = this.#world.history(volume).askedAt(found) === newest.machine;
    // Protocol A answers before its peer does: what a takeover finds in flight is lost, as it says.
    const inFlight = this.#world.options.protocol === "A" && membersFor(plane) > 1;
    (since || inFlight ? this.doubled : this.parted).add(volume);
  }

  /** When all is well again: what has parted is still two. */
  check(): void {
    for (const volume of this.parted) {
      const members = [...this.#world.registers.records()].flatMap((record) =>
        (record as GroupRecord).volumes?.[volume]?.upToDate ?? []
      );
      if (members.length < 2) continue;
      throw new Violation(
        "P2",
        `the data of ${volume} parted and were made one without a person's word`,
      );
    }
  }

  #isCalm(): boolean {
    const { network, machines, now } = this.#world;
    return network.whole &&
      machines.every(({ main, worker, agent }) =>
        agent !== null && main.heldUntil <= now && worker.heldUntil <= now
      );
  }
}

/** How many replicas the machine of a Primary knows to be in the in-sync set. */
function membersFor({ machine, volume }: DataPlane): number {
  const { agent, world: { config } } = machine;
  const { name } = config.groups.find(({ resources }) =>
    resources.some((each) => each.kind === "volume" && each.volume === volume)
  )!;
  const known = agent?.state.registers.get(`group:${name}`)?.known?.record as GroupRecord | null;
  return known?.volumes[volume]?.upToDate.length ?? 0;
}
