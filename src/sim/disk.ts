/**
 * A disk of a simulated machine: one number for each 4 KiB block (that of the write which made its
 * content; 0: zeroes), and a metadata region as bytes. Completed writes stand in a cache until a
 * flush; what is under way when the machine fails is done wholly, partly or not at all.
 */

import { Chance } from "./chance.ts";

/** Unit of power-safe writing, bytes. */
const SECTOR = 512;
/** errno of a disk that is full. */
export const ENOSPC = 28;
/** errno of a disk that is broken. */
export const EIO = 5;

/** Something under way that a crash interrupts. */
interface Interrupted {
  /** Carries out a part of it. */
  crash(power: boolean): void;
  /** The same for metadata, on a copy of the region. */
  tear?(region: Uint8Array, chance: Chance): void;
}

/** Ends an operation: wholly done, or `failed`, which may leave a part of it done. */
export type Complete = (failed?: boolean) => void;

/** What survives its machine's agent. */
export class Disk {
  /** As reads see it. */
  readonly cache: Int32Array;
  /** As it is found after a loss of power. */
  readonly stable: Int32Array;
  readonly metadata: Uint8Array;
  readonly #volatile: boolean;
  readonly #chance: Chance;
  readonly #underWay = new Set<Interrupted>();
  /** Seeds draws that must not change what happens. */
  #looks = 1;
  /** errno of operations from now on: of all of them, or of those that need room; 0: it works. */
  failing = 0;
  /** Only reads fail. */
  onlyReads = false;
  /** Milliseconds that operations take, least and most. */
  latency: readonly [number, number] = [0.05, 0.5];

  /** A disk of zeroes with a formatted metadata region. */
  constructor(
    readonly replicaId: string,
    blocks: number,
    metadata: Uint8Array,
    volatileCache: boolean,
    chance: Chance,
  ) {
    this.cache = new Int32Array(blocks);
    this.stable = new Int32Array(blocks);
    this.metadata = metadata;
    this.#volatile = volatileCache;
    this.#chance = chance;
  }

  /** Whether completed writes may be lost with the power. */
  get volatileCache(): boolean {
    return this.#volatile;
  }

  /** How an operation ends now; one that writes may need room that a full disk does not have. */
  errnoOf(what: "read" | "write" | "flush"): number {
    const spared = this.failing === ENOSPC ? what !== "write" : this.onlyReads && what !== "read";
    return spared ? 0 : this.failing;
  }

  /** How long the next operation takes. */
  delay(): number {
    return this.#chance.between(this.latency[0], this.latency[1]);
  }

  /** Begins to write `values` from block `first` on; the returned function completes it. */
  beginWrite(first: number, values: Int32Array, durable: boolean): Complete {
    const apply = (partly: boolean) => {
      for (let i = 0; i < values.length; i++) {
        if (partly && this.#chance.is(0.5)) continue;
        this.cache[first + i] = values[i]!;
        if (durable || !this.#volatile) this.stable[first + i] = values[i]!;
      }
    };
    const entry: Interrupted = {
      crash: () => {
        if (this.#chance.is(0.5)) apply(values.length > 1);
      },
    };
    this.#underWay.add(entry);
    return (failed = false) => {
      this.#underWay.delete(entry);
      if (failed) entry.crash(false);
      else apply(false);
    };
  }

  /** Begins a flush: what is complete now is stable once the returned function says so. */
  beginFlush(): Complete {
    if (!this.#volatile) return () => {};
    const blocks: number[] = [];
    const values: number[] = [];
    const before: number[] = [];
    for (let block = 0; block < this.cache.length; block++) {
      const value = this.cache[block]!;
      const stable = this.stable[block]!;
      if (value === stable) continue;
      blocks.push(block);
      values.push(value);
      before.push(stable);
    }
    return (failed = false) => {
      for (let i = 0; i < blocks.length && !failed; i++) {
        const block = blocks[i]!;
        if (this.stable[block] === before[i]) this.stable[block] = values[i]!;
      }
    };
  }

  /** Begins to write metadata; the returned function completes it, durably. */
  beginMetadata(offset: number, bytes: Uint8Array): Complete {
    const copy = bytes.slice();
    const tear = (region: Uint8Array, chance: Chance) => {
      for (let at = 0; at < copy.length; at += SECTOR) {
        if (chance.is(0.5)) region.set(copy.subarray(at, at + SECTOR), offset + at);
      }
    };
    const entry: Interrupted = {
      crash: (power) => {
        // A killed process leaves a write done or not; lost power may tear it between sectors.
        if (power) tear(this.metadata, this.#chance);
        else if (this.#chance.is(0.5)) this.metadata.set(copy, offset);
      },
      tear,
    };
    this.#underWay.add(entry);
    return (failed = false) => {
      this.#underWay.delete(entry);
      if (failed) entry.crash(true);
      else this.metadata.set(copy, offset);
    };
  }

  /** A copy of the metadata as a loss of power would leave them now. */
  afterPowerLoss(): Uint8Array {
    const region = this.metadata.slice();
    const chance = new Chance(this.#looks++);
    for (const entry of this.#underWay) entry.tear?.(region, chance);
    return region;
  }

  /** The agent was killed or the power was lost. */
  crash(power: boolean): void {
    const entries = [...this.#underWay];
    this.#underWay.clear();
    for (const entry of entries) entry.crash(power);
    if (!power) return;
    for (let block = 0; block < this.cache.length; block++) {
      const value = this.cache[block]!;
      if (value === this.stable[block]) continue;
      if (this.#chance.is(0.6)) {
        this.cache[block] = this.stable[block]!;
      } else {
        this.stable[block] = value;
      }
    }
  }
}
