/**
 * Checks that who is named in an in-sync set is what the set means, by what stands on its disk when the
 * record is chosen: Consistent; and whoever is new in it bears the set's generation, or has it written
 * down as pending. (One that stays may be behind by a generation, and takes nothing before it has it.)
 */

import type { GroupRecord } from "../cluster/types.ts";
import type { DataPlane } from "./data_plane.ts";
import { newestSuperblock } from "../volume/metadata/superblock.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";

/** See the module comment. */
export class Bearers {
  readonly #world: World;
  /** By group: the record that was looked at. */
  readonly #seen = new Map<string, GroupRecord>();
  /** By volume: the set as it was before the newest epoch. */
  readonly #former = new Map<
    string,
    { readonly epoch: number; readonly upToDate: readonly string[] }
  >();

  constructor(world: World) {
    this.#world = world;
  }

  /** A voter made something durable: what was chosen by that is looked at. */
  look(): void {
    const { config, registers } = this.#world;
    for (const { name } of config.groups) {
      const record = registers.newest(`group:${name}`) as GroupRecord | undefined;
      const before = this.#seen.get(name);
      if (record === undefined || before?.version === record.version) continue;
      this.#seen.set(name, record);
      for (const volume of Object.keys(record.volumes)) {
        this.#check(record, before, volume);
        if (before === undefined || before.epoch === record.epoch) continue;
        const upToDate = before.volumes[volume]?.upToDate ?? [];
        this.#former.set(volume, { epoch: record.epoch, upToDate });
      }
    }
  }

  /**
   * A replica became Primary. What it lost with its power is lost only where every other member may
   * have lost it, too: one that certainly kept it was to be waited for.
   */
  promoted({ volume, disk, machine }: DataPlane, epoch: number): void {
    const { options, machines } = this.#world;
    const former = this.#former.get(volume);
    if (options.afterPowerLoss === "go" || options.protocol === "A") return;
    if (former?.epoch !== epoch) return;
    // Once: a later run goes on in the same epoch under its mark, as the only member.
    this.#former.delete(volume);
    const history = this.#world.history(volume);
    const others = machines.flatMap(({ disks }) => disks.get(volume) ?? []).filter((each) =>
      each !== disk && former.upToDate.includes(each.replicaId)
    );
    if (others.length === 0) return;
    for (const block of history.written) {
      const value = disk.cache[block]!;
      const missed = history.missed(block, value);
      if (missed === null) continue;
      const keeper = others.find(({ cache, metadata }) =>
        cache[block] === missed.value && newestSuperblock(metadata).superblock?.unclean === false
      );
      if (keeper === undefined) continue;
      throw history.lost(
        missed,
        value,
        `the new Primary on ${machine.name}, which did not wait for ${keeper.replicaId},`,
      );
    }
  }

  #check({ version, volumes }: GroupRecord, before: GroupRecord | undefined, volume: string): void {
    const { generation, upToDate } = volumes[volume]!;
    const earlier = before?.volumes[volume]?.upToDate ?? [];
    for (const { name, disks } of this.#world.machines) {
      const disk = disks.get(volume);
      if (disk === undefined || !upToDate.includes(disk.replicaId)) continue;
      const { superblock } = newestSuperblock(disk.metadata);
      const isNew = !earlier.includes(disk.replicaId);
      const why = superblock === undefined
        ? "cannot be read"
        : superblock.inconsistent
        ? "is Inconsistent"
        : isNew && superblock.generations.current !== generation &&
            superblock.pending !== generation
        ? `bears generation ${superblock.generations.current}, not ${generation}`
        : null;
      if (why === null) continue;
      throw new Violation(
        "P1",
        `version ${version} of the record names the replica of ${volume} on ${name} up to date, ` +
          `whose superblock ${why}`,
      );
    }
  }
}
