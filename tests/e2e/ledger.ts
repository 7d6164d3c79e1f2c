/**
 * A client that remembers, block by block, what it wrote and what was acknowledged, so that it can
 * tell later whether anything acknowledged was lost.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { NbdConnection } from "../../src/cli/nbd_connection.ts";

const BLOCK = 4096;

interface Entry {
  /** Version of the newest write that was answered; 0: none. */
  acknowledged: number;
  /** Version of the newest write that was sent. */
  sent: number;
}

/** Blocks of a volume, numbered from its start. */
export class Ledger {
  readonly #entries = new Map<number, Entry>();
  /** Writes that were answered. */
  acknowledged = 0;

  /** Writes the next version of a block. */
  async write(nbd: NbdConnection, block: number): Promise<void> {
    const entry = this.#entries.get(block) ?? { acknowledged: 0, sent: 0 };
    this.#entries.set(block, entry);
    const version = ++entry.sent;
    await nbd.write(block * BLOCK, content(block, version));
    entry.acknowledged = version;
    this.acknowledged++;
  }

  /** Writes these blocks once, some at a time. */
  async writeAll(nbd: NbdConnection, blocks: readonly number[]): Promise<void> {
    for (let at = 0; at < blocks.length; at += 16) {
      await Promise.all(blocks.slice(at, at + 16).map((block) => this.write(nbd, block)));
    }
  }

  /**
   * Writes the blocks again and again, several at a time, never flushing, until the connection ends;
   * then the newest version of some may or may not have been written.
   */
  async load(nbd: NbdConnection, blocks: readonly number[]): Promise<void> {
    const writers = 8;
    const writer = async (first: number) => {
      for (let at = first;; at = at + writers < blocks.length ? at + writers : first) {
        try {
          await this.write(nbd, blocks[at]!);
        } catch {
          return;
        }
      }
    };
    await Promise.all(Array.from({ length: writers }, (_, first) => writer(first)));
  }

  /** Every block is whole and holds what was acknowledged last, or something sent after it. */
  async verify(nbd: NbdConnection): Promise<void> {
    assert.ok(this.#entries.size > 0, "nothing was ever written");
    for (const [block, entry] of this.#entries) {
      const found = await nbd.read(block * BLOCK, BLOCK);
      const version = new DataView(found.buffer, found.byteOffset).getUint32(4);
      assert.ok(
        version >= entry.acknowledged && version <= entry.sent,
        `block ${block} holds version ${version}; ${entry.acknowledged} was acknowledged, ` +
          `${entry.sent} was sent`,
      );
      if (version > 0) assert.deepEqual(found, content(block, version), `block ${block} is torn`);
      // From now on this is its content, whatever became of the writes that were not answered.
      entry.acknowledged = entry.sent = version;
    }
  }
}

/** Numbers from `first` on. */
export function blocks(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}

/** A block full of its number and the version, so that a torn or misplaced one shows. */
function content(block: number, version: number): Uint8Array {
  const words = new DataView(new ArrayBuffer(BLOCK));
  for (let at = 0; at < BLOCK; at += 8) {
    words.setUint32(at, block);
    words.setUint32(at + 4, version);
  }
  return new Uint8Array(words.buffer);
}
