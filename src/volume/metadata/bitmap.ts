/**
 * The dirty bitmap about one peer: one bit per 4 KiB block that the peer may lack.
 *
 * In memory it takes one bit per block, 32 MiB per TiB. On disk it is a row of 4 KiB pages, each for
 * 31 extents (31 744 blocks):
 *
 * ```
 * offset size
 *  0     4   magic "BMAP"
 *  4     4   CRC-32 of the page with this field as zero
 *  8     4   peer
 * 12     4   page
 * 16   112   zero
 * 128 3968   bits: block b of the page is bit (b mod 32) of big-endian word (b div 32)
 * ```
 *
 * A page whose checksum is wrong, torn or rotten, is read as wholly dirty: too much is copied then,
 * never too little.
 */

import { crc32 } from "node:zlib";
import {
  BITMAP_PAGE_BLOCKS,
  BITMAP_PAGE_HEADER,
  bitmapPageOffset,
  type Geometry,
  META_PAGE_BYTES,
} from "./layout.ts";

const MAGIC = 0x424d4150;
const PAGE_WORDS = BITMAP_PAGE_BLOCKS / 32;

/** See the module comment. Blocks are numbered from 0. */
export class DirtyBitmap {
  readonly #layout: Geometry;
  readonly #peer: number;
  readonly #words: Uint32Array;
  /** Pages that differ from the disk's. */
  readonly #changed: Uint8Array;
  #changedPages = 0;
  #count = 0;

  /** An empty bitmap for the peer with this index. */
  constructor(layout: Geometry, peer: number) {
    this.#layout = layout;
    this.#peer = peer;
    this.#words = new Uint32Array(layout.bitmapPages * PAGE_WORDS);
    this.#changed = new Uint8Array(layout.bitmapPages);
  }

  /** Dirty blocks. */
  get count(): number {
    return this.#count;
  }

  /** Pages that are to be written. */
  get changedPages(): number {
    return this.#changedPages;
  }

  /** Whether the block is dirty. */
  has(block: number): boolean {
    return ((this.#words[wordOf(block)]! >>> (block & 31)) & 1) === 1;
  }

  /** Marks `blocks` blocks from `first`. */
  set(first: number, blocks: number): void {
    this.#change(first, blocks, true);
  }

  /** Clears `blocks` blocks from `first`. */
  clear(first: number, blocks: number): void {
    this.#change(first, blocks, false);
  }

  /** Marks the blocks whose bits are set in `map`, 32 to a word, from block `first` (a multiple of 32). */
  setMap(first: number, map: Uint32Array, from: number, words: number): void {
    for (let i = 0; i < words; i++) {
      const bits = map[from + i]!;
      const at = wordOf(first) + i;
      const before = this.#words[at]!;
      const after = (before | bits) >>> 0;
      if (after === before) continue;
      this.#words[at] = after;
      this.#count += ones(after) - ones(before);
      this.#touch(at);
    }
  }

  /** Marks the whole volume. */
  fill(): void {
    this.#change(0, this.#layout.blocks, true);
  }

  /** First dirty block at or after `from`; -1 if there is none. */
  next(from: number): number {
    const words = this.#words;
    let at = wordOf(from);
    if (at >= words.length) return -1;
    let bits = (words[at]! & (0xffff_ffff << (from & 31))) >>> 0;
    while (bits === 0) {
      at++;
      if (at >= words.length) return -1;
      bits = words[at]!;
    }
    return at * 32 + 31 - Math.clz32(bits & -bits);
  }

  /** Length of the run of dirty blocks that starts at `first`, at most `most`. */
  runLength(first: number, most: number): number {
    const end = Math.min(this.#layout.blocks, first + most);
    let block = first;
    while (block < end) {
      const at = wordOf(block);
      const rest = (~this.#words[at]! & (0xffff_ffff << (block & 31))) >>> 0;
      if (rest !== 0) return Math.min(end, at * 32 + 31 - Math.clz32(rest & -rest)) - first;
      block = (at + 1) * 32;
    }
    return end - first;
  }

  /** The next page to be written, as its number; -1 if none. The page counts as written from now. */
  takeChangedPage(): number {
    if (this.#changedPages === 0) return -1;
    const page = this.#changed.indexOf(1);
    this.#changed[page] = 0;
    this.#changedPages--;
    return page;
  }

  /** Offset of a page in the metadata region. */
  pageOffset(page: number): number {
    return bitmapPageOffset(this.#layout, this.#peer, page);
  }

  /** The bytes of a page as they are to stand on the disk. */
  encodePage(page: number, into: Uint8Array): void {
    const view = new DataView(into.buffer, into.byteOffset, META_PAGE_BYTES);
    into.fill(0, 0, BITMAP_PAGE_HEADER);
    view.setUint32(0, MAGIC);
    view.setUint32(8, this.#peer);
    view.setUint32(12, page);
    const from = page * PAGE_WORDS;
    for (let i = 0; i < PAGE_WORDS; i++) {
      view.setUint32(BITMAP_PAGE_HEADER + 4 * i, this.#words[from + i]!);
    }
    view.setUint32(4, crc32(into.subarray(0, META_PAGE_BYTES)));
  }

  /** Takes a page's bits from the disk; a page that cannot be trusted becomes wholly dirty: false. */
  loadPage(page: number, bytes: Uint8Array): boolean {
    const copy = bytes.slice(0, META_PAGE_BYTES);
    const view = new DataView(copy.buffer);
    const stated = view.getUint32(4);
    view.setUint32(4, 0);
    const first = page * BITMAP_PAGE_BLOCKS;
    const blocks = Math.min(BITMAP_PAGE_BLOCKS, this.#layout.blocks - first);
    if (
      view.getUint32(0) !== MAGIC || crc32(copy) !== stated ||
      view.getUint32(8) !== this.#peer || view.getUint32(12) !== page
    ) {
      this.set(first, blocks);
      return false;
    }
    const from = page * PAGE_WORDS;
    for (let i = 0; i < PAGE_WORDS; i++) {
      const rest = blocks - 32 * i;
      const bits = view.getUint32(BITMAP_PAGE_HEADER + 4 * i);
      const valid = rest >= 32 ? bits : rest <= 0 ? 0 : (bits & ((2 ** rest) - 1)) >>> 0;
      this.#words[from + i] = valid;
      this.#count += ones(valid);
    }
    return true;
  }

  #change(first: number, blocks: number, dirty: boolean): void {
    const end = first + blocks;
    if (first < 0 || end > this.#layout.blocks) {
      throw new Error(`blocks ${first} to ${end} of a volume of ${this.#layout.blocks}`);
    }
    let block = first;
    while (block < end) {
      const at = wordOf(block);
      const bit = block & 31;
      const many = Math.min(32 - bit, end - block);
      const mask = (many === 32 ? 0xffff_ffff : ((2 ** many) - 1) << bit) >>> 0;
      const before = this.#words[at]!;
      const after = (dirty ? before | mask : before & ~mask) >>> 0;
      if (after !== before) {
        this.#words[at] = after;
        this.#count += ones(after) - ones(before);
        this.#touch(at);
      }
      block += many;
    }
  }

  #touch(word: number): void {
    const page = Math.floor(word / PAGE_WORDS);
    if (this.#changed[page] === 0) {
      this.#changed[page] = 1;
      this.#changedPages++;
    }
  }
}

/** Word of a block. A shift would wrap at 2^32, which is one past the last block of 16 TiB. */
function wordOf(block: number): number {
  return Math.floor(block / 32);
}

function ones(word: number): number {
  let x = word - ((word >>> 1) & 0x5555_5555);
  x = (x & 0x3333_3333) + ((x >>> 2) & 0x3333_3333);
  return (((x + (x >>> 4)) & 0x0f0f_0f0f) * 0x0101_0101) >>> 24;
}
