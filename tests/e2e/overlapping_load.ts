/**
 * A load in the manner of fsx: writes, zeroes and discards of any sectors, several at a time and over
 * one another, and a record per sector of what it may hold, so that every read can be judged.
 *
 * Of writes that were under way together any may have come last. One that was answered before
 * another began cannot be seen once that other one was answered; one that was never answered may
 * have been done or not, but is one of the two for good from the first look on.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { NbdConnection } from "../../src/cli/nbd_connection.ts";

const SECTOR = 512;
const LONGEST = 64 * 1024 / SECTOR;

/** A change of sectors `[first, end)`. */
interface Change {
  readonly id: number;
  readonly first: number;
  readonly end: number;
  /** It left zeroes. */
  readonly zero: boolean;
  readonly begun: number;
  /** When it was answered; Infinity: not yet, or never. */
  answered: number;
}

interface Look {
  readonly first: number;
  readonly end: number;
  /** Changes that began while it was under way. */
  readonly meanwhile: Change[];
}

/** See the module comment. */
export class OverlappingLoad {
  /** Changes that were answered. */
  answered = 0;
  /** Reads that were judged. */
  judged = 0;
  readonly #offset: number;
  readonly #sectors: number;
  readonly #random: () => number;
  /** Per sector, what may be read there. */
  readonly #possible: Change[][];
  readonly #looks = new Set<Look>();
  #clock = 0;
  #changes = 0;
  #stopped = false;

  /** Over `bytes` bytes of zeroes at `offset`. `random` gives numbers from 0 to below 1. */
  constructor(offset: number, bytes: number, random: () => number) {
    this.#offset = offset;
    this.#sectors = bytes / SECTOR;
    this.#random = random;
    const nothing = { id: 0, first: 0, end: this.#sectors, zero: true, begun: 0, answered: 0 };
    this.#possible = Array.from({ length: this.#sectors }, () => [nothing]);
  }

  /** Goes on, `depth` requests at a time, until `stop` or the end of the connection. */
  async run(nbd: NbdConnection, depth: number): Promise<void> {
    this.#stopped = false;
    const lane = async () => {
      while (!this.#stopped) {
        if (!await this.#step(nbd)) return;
      }
    };
    await Promise.all(Array.from({ length: depth }, lane));
  }

  /** Ends `run` after the requests under way. */
  stop(): void {
    this.#stopped = true;
  }

  /** Reads everything; nothing may be under way. What is found is what must be found from now on. */
  async verify(nbd: NbdConnection): Promise<void> {
    for (let first = 0; first < this.#sectors; first += LONGEST) {
      const end = Math.min(this.#sectors, first + LONGEST);
      const data = await nbd.read(this.#place(first), (end - first) * SECTOR);
      for (let sector = first; sector < end; sector++) {
        const found = this.#judge(sector, this.#possible[sector]!, data, sector - first);
        found.answered = Math.min(found.answered, this.#clock);
        this.#possible[sector] = [found];
      }
    }
  }

  /** One request; false when the connection is of no more use. */
  async #step(nbd: NbdConnection): Promise<boolean> {
    const first = Math.floor(this.#random() * this.#sectors);
    const longest = Math.min(LONGEST, this.#sectors - first);
    const count = 1 + Math.floor(this.#random() ** 2 * longest);
    const kind = this.#random();
    try {
      if (kind < 0.25) await this.#read(nbd, first, first + count);
      else if (kind < 0.9) await this.#write(nbd, first, first + count, kind > 0.85);
      else if (kind < 0.98) await this.#zero(nbd, first, first + count, kind > 0.94);
      else await nbd.flush();
      return true;
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      return false;
    }
  }

  async #write(nbd: NbdConnection, first: number, end: number, fua: boolean): Promise<void> {
    const change = this.#begin(first, end, false);
    const data = new Uint8Array((end - first) * SECTOR);
    const words = new DataView(data.buffer);
    for (let at = 0; at < data.length; at += 8) {
      words.setUint32(at, first + Math.floor(at / SECTOR));
      words.setUint32(at + 4, change.id);
    }
    await nbd.write(this.#place(first), data, { fua });
    this.#end(change);
  }

  async #zero(nbd: NbdConnection, first: number, end: number, trim: boolean): Promise<void> {
    const change = this.#begin(first, end, true);
    const length = (end - first) * SECTOR;
    if (trim) await nbd.trim(this.#place(first), length);
    else await nbd.writeZeroes(this.#place(first), length);
    this.#end(change);
  }

  async #read(nbd: NbdConnection, first: number, end: number): Promise<void> {
    const look: Look = { first, end, meanwhile: [] };
    const before = this.#possible.slice(first, end).map((changes) => [...changes]);
    this.#looks.add(look);
    const data = await nbd.read(this.#place(first), (end - first) * SECTOR)
      .finally(() => this.#looks.delete(look));
    for (let sector = first; sector < end; sector++) {
      const meanwhile = look.meanwhile.filter((one) => one.first <= sector && sector < one.end);
      this.#judge(sector, [...before[sector - first]!, ...meanwhile], data, sector - first);
    }
    this.judged++;
  }

  #place(sector: number): number {
    return this.#offset + sector * SECTOR;
  }

  #begin(first: number, end: number, zero: boolean): Change {
    const change = {
      id: ++this.#changes,
      first,
      end,
      zero,
      begun: ++this.#clock,
      answered: Infinity,
    };
    for (let sector = first; sector < end; sector++) this.#possible[sector]!.push(change);
    for (const look of this.#looks) {
      if (look.first < end && first < look.end) look.meanwhile.push(change);
    }
    return change;
  }

  #end(change: Change): void {
    change.answered = ++this.#clock;
    for (let sector = change.first; sector < change.end; sector++) {
      this.#possible[sector] = this.#possible[sector]!.filter((one) =>
        one === change || one.answered > change.begun
      );
    }
    this.answered++;
  }

  /** The change that left what stands in the `nth` sector of `data`. */
  #judge(sector: number, possible: readonly Change[], data: Uint8Array, nth: number): Change {
    const words = new DataView(data.buffer, data.byteOffset + nth * SECTOR, SECTOR);
    const [place, id] = [words.getUint32(0), words.getUint32(4)];
    for (let at = 8; at < SECTOR; at += 8) {
      const same = words.getUint32(at) === place && words.getUint32(at + 4) === id;
      assert.ok(same, `sector ${sector} of the load is torn: ${place}/${id} and other words`);
    }
    const found = possible.find((one) => one.zero ? id === 0 : one.id === id);
    assert.ok(
      found !== undefined && (id === 0 || place === sector),
      `sector ${sector} holds change ${id} of sector ${place}; possible are ` +
        possible.map((one) => `${one.id}${one.zero ? " (zeroes)" : ""}`).join(", "),
    );
    return found;
  }
}
