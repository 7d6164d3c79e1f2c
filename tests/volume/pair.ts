/** Two replicas that run, for tests that tell one story. */

import { readMetadata } from "../../src/volume/metadata/format.ts";
import type { Superblock } from "../../src/volume/metadata/superblock.ts";
import { Cluster } from "./register.ts";
import { World, type WorldOptions } from "./harness.ts";

/** Two started replicas and their register; alpha is Primary once `settled`. */
export class Pair {
  readonly world: World;
  readonly cluster: Cluster;

  constructor(options: WorldOptions = {}) {
    this.world = new World(options);
    this.cluster = new Cluster(this.world);
  }

  /** Both run, alpha is Primary, both are in the in-sync set and connected. */
  static settled(options: WorldOptions = {}): Pair {
    const pair = new Pair(options);
    pair.world.start(0);
    pair.world.start(1);
    pair.settle(20);
    pair.take(0);
    pair.settle(2000);
    return pair;
  }

  /** Starts a node again. */
  restart(index: number, boot = false): void {
    this.cluster.forget(index);
    this.world.start(index, boot);
  }

  /** Kills a node, or its power, whose disk then has exactly what was stable. */
  fail(index: number, power: boolean): void {
    const { disk } = this.world.nodes[index]!;
    const stable = new Map(disk.stable);
    this.world.crash(index, power);
    if (!power) return;
    for (const block of disk.cache.keys()) {
      disk.cache.set(block, stable.get(block) ?? 0);
      disk.stable.set(block, stable.get(block) ?? 0);
    }
  }

  /** The node takes the group; the request is chosen at once. */
  take(index: number): void {
    const node = this.world.nodes[index]!;
    this.cluster.read(node);
    if (!this.cluster.mayTake(node)) throw new Error(`${node.name} may not take`);
    this.cluster.take(node);
    this.settle(50);
  }

  /** Time passes with a quick register and leases; only these nodes read it. */
  settle(milliseconds: number, reading: readonly number[] = [0, 1]): void {
    for (let passed = 0; passed < milliseconds; passed += 10) {
      this.world.run(10);
      while (this.cluster.proposals.length > 0) this.cluster.apply(0);
      for (const index of reading) this.cluster.read(this.world.nodes[index]!);
    }
  }

  /** What stands in a node's superblock on the disk. */
  superblock(index: number): Superblock {
    const { disk } = this.world.nodes[index]!;
    return readMetadata(disk.metadata, { volume: "data", size: this.world.layout.size }).superblock;
  }

  /** Extents named by a node's activity log on the disk. */
  logExtents(index: number): readonly number[] {
    const { disk } = this.world.nodes[index]!;
    return readMetadata(disk.metadata, { volume: "data", size: this.world.layout.size }).logExtents;
  }

  /** Dirty blocks in a node's bitmap on the disk. */
  dirtyOnDisk(index: number): number {
    const { disk } = this.world.nodes[index]!;
    const metadata = readMetadata(disk.metadata, { volume: "data", size: this.world.layout.size });
    return metadata.bitmaps[0]!.count;
  }
}
