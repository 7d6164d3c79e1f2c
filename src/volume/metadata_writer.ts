/**
 * Writing the superblock and the bitmap: several changes at once become one write, and a callback
 * says when a change is durable.
 */

import type { DirtyBitmap } from "./metadata/bitmap.ts";
import type { Metadata } from "./metadata/format.ts";
import { META_PAGE_BYTES } from "./metadata/layout.ts";
import { encodeSuperblock, type Superblock } from "./metadata/superblock.ts";

/** Writes metadata; `done` is called once it is durable, and never if it failed. */
export type WriteMetadata = (offset: number, bytes: Uint8Array, done: () => void) => void;

/** The superblock in memory and on the disk. */
export class SuperblockWriter {
  readonly #write: WriteMetadata;
  readonly #onDurable: () => void;
  readonly #offsets: readonly [number, number];
  #value: Superblock;
  #durable: Superblock;
  #sequence: number;
  #writing = false;
  #waiting: (() => void)[] = [];

  /**
   * The metadata are what stands on the disk. `onDurable`: called whenever what would be found after a
   * crash has changed, before those who waited for it.
   */
  constructor(
    write: WriteMetadata,
    { superblock, sequence, overwriteOrder }: Metadata,
    onDurable: () => void = () => {},
  ) {
    this.#write = write;
    this.#onDurable = onDurable;
    this.#offsets = overwriteOrder;
    this.#value = superblock;
    this.#durable = superblock;
    this.#sequence = sequence;
  }

  /** With all changes asked for. */
  get value(): Superblock {
    return this.#value;
  }

  /** What would be found after a crash now, or something newer. */
  get durable(): Superblock {
    return this.#durable;
  }

  /** Changes some fields; `done` once both copies hold them. */
  update(change: Partial<Superblock>, done?: () => void): void {
    this.#value = { ...this.#value, ...change };
    this.#waiting.push(done ?? (() => {}));
    if (!this.#writing) this.#next();
  }

  #next(): void {
    if (this.#waiting.length === 0) return;
    this.#writing = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    const value = this.#value;
    const page = encodeSuperblock(value, ++this.#sequence);
    this.#write(this.#offsets[0], page, () => {
      this.#write(this.#offsets[1], page, () => {
        this.#durable = value;
        this.#writing = false;
        this.#onDurable();
        for (const done of waiting) done();
        if (!this.#writing) this.#next();
      });
    });
  }
}

/** Pages of a bitmap that are written at once. */
const PAGES_AT_ONCE = 8;

/** Brings a bitmap's changed pages to the disk. */
export class BitmapWriter {
  readonly #write: WriteMetadata;
  readonly #bitmap: DirtyBitmap;
  readonly #page = new Uint8Array(META_PAGE_BYTES);
  /** Pages of this round that are still to be written: each once, so no page is under way twice. */
  readonly #left: number[] = [];
  #underWay = 0;
  #round: (() => void)[] = [];
  #waiting: (() => void)[] = [];

  /** For one peer's bitmap. */
  constructor(write: WriteMetadata, bitmap: DirtyBitmap) {
    this.#write = write;
    this.#bitmap = bitmap;
  }

  /** Writes every page that differs from the disk's; `done` once they are durable. */
  flush(done: () => void): void {
    this.#waiting.push(done);
    if (this.#left.length === 0 && this.#underWay === 0) this.#startRound();
  }

  #startRound(): void {
    while (this.#waiting.length > 0 && this.#left.length === 0 && this.#underWay === 0) {
      this.#round = this.#waiting;
      this.#waiting = [];
      for (let page = this.#bitmap.takeChangedPage(); page >= 0;) {
        this.#left.push(page);
        page = this.#bitmap.takeChangedPage();
      }
      if (this.#left.length > 0) this.#fill();
      else this.#endRound();
    }
  }

  #fill(): void {
    while (this.#left.length > 0 && this.#underWay < PAGES_AT_ONCE) {
      const page = this.#left.pop()!;
      this.#bitmap.encodePage(page, this.#page);
      this.#underWay++;
      this.#write(this.#bitmap.pageOffset(page), this.#page, () => {
        this.#underWay--;
        this.#fill();
        if (this.#left.length === 0 && this.#underWay === 0) {
          this.#endRound();
          this.#startRound();
        }
      });
    }
  }

  #endRound(): void {
    const round = this.#round;
    this.#round = [];
    for (const done of round) done();
  }
}
