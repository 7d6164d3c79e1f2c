/**
 * What precedes the data of frames about scattered blocks: which blocks they are, and what is known of
 * their content. All numbers are big-endian; block numbers count from the header's offset.
 *
 * ```
 * runs      n × { u32 first block, u32 blocks }, ascending, never overlapping
 * RESYNC    runs; the data of the blocks follow, without gaps
 * SUMS      runs, then b × u32 CRC-32 of each block, then ⌈b/8⌉ bytes: a bit per block of zeroes
 * DIFFERS   ⌈b/8⌉ bytes: a bit per block that differs, then 32 bytes SHA-256 of the other blocks
 * ```
 *
 * In all of them the header's length is 4096 × b. CRC-32 is cheap and proves a difference; that blocks
 * are equal is claimed by the SHA-256 over all blocks whose CRC agrees, which the asking side checks.
 * So nobody's data can be made to look alike, and the costly sum is taken only where it saves sending.
 */

/** Bytes of a block. */
const BLOCK = 4096;
/** Most blocks of one such frame: 1 MiB. */
export const MAX_BATCH_BLOCKS = 256;
/** Bytes of a SHA-256. */
export const DIGEST_BYTES = 32;
const RUN_BYTES = 8;

/** Bytes of bits for so many blocks. */
function bitBytes(blocks: number): number {
  return (blocks + 7) >> 3;
}

/** Most bytes before the data of any frame. */
export const MAX_HEAD_BYTES = MAX_BATCH_BLOCKS * (RUN_BYTES + 4) + bitBytes(MAX_BATCH_BLOCKS);

/** What a side knows of the content of some blocks. */
export interface BlockSums {
  /** CRC-32 by block. */
  readonly crcs: Uint32Array;
  /** 1 for a block of zeroes. */
  readonly zeroes: Uint8Array;
}

/** Runs of blocks: [first block, blocks, first block, …]. */
export type Runs = readonly number[];

/** Blocks in all runs. */
export function blocksOf(runs: Runs): number {
  let blocks = 0;
  for (let i = 1; i < runs.length; i += 2) blocks += runs[i]!;
  return blocks;
}

/** Head of a RESYNC. `runs` are blocks of the volume; the header's offset is that of the first. */
export function encodeRuns(runs: Runs): Uint8Array {
  const bytes = new Uint8Array(4 * runs.length);
  putRuns(new DataView(bytes.buffer), runs);
  return bytes;
}

/** Head of a SUMS. */
export function encodeSums(runs: Runs, { crcs, zeroes }: BlockSums): Uint8Array {
  const from = 4 * runs.length;
  const bytes = new Uint8Array(from + 4 * crcs.length + bitBytes(crcs.length));
  const view = new DataView(bytes.buffer);
  putRuns(view, runs);
  for (let i = 0; i < crcs.length; i++) view.setUint32(from + 4 * i, crcs[i]!);
  putBits(bytes, from + 4 * crcs.length, zeroes);
  return bytes;
}

/** Head of a DIFFERS; `differs`: 1 by block, `digest` of the others. */
export function encodeDiffers(differs: Uint8Array, digest: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(bitBytes(differs.length) + DIGEST_BYTES);
  putBits(bytes, 0, differs);
  bytes.set(digest, bitBytes(differs.length));
  return bytes;
}

/** Runs of a RESYNC of `length` bytes at `offset`; null if the head is not what it should be. */
export function decodeRuns(head: Uint8Array, offset: number, length: number): Runs | null {
  return takeRuns(head, head.length, offset, length / BLOCK);
}

/** Content of a SUMS about `length` bytes; null if the head is not what it should be. */
export function decodeSums(
  head: Uint8Array,
  offset: number,
  length: number,
): { readonly runs: Runs; readonly sums: BlockSums } | null {
  const blocks = length / BLOCK;
  const from = head.length - 4 * blocks - bitBytes(blocks);
  const runs = takeRuns(head, from, offset, blocks);
  if (runs === null) return null;
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const crcs = new Uint32Array(blocks);
  for (let i = 0; i < blocks; i++) crcs[i] = view.getUint32(from + 4 * i);
  return { runs, sums: { crcs, zeroes: takeBits(head, from + 4 * blocks, blocks) } };
}

/** Content of a DIFFERS about `blocks` blocks; null if the head is not what it should be. */
export function decodeDiffers(
  head: Uint8Array,
  blocks: number,
): { readonly differs: Uint8Array; readonly digest: Uint8Array } | null {
  const bits = bitBytes(blocks);
  if (head.length !== bits + DIGEST_BYTES) return null;
  return { differs: takeBits(head, 0, blocks), digest: head.subarray(bits) };
}

function putRuns(view: DataView, runs: Runs): void {
  const base = runs[0]!;
  for (let i = 0; i < runs.length; i += 2) {
    view.setUint32(4 * i, runs[i]! - base);
    view.setUint32(4 * i + 4, runs[i + 1]!);
  }
}

function takeRuns(head: Uint8Array, bytes: number, offset: number, blocks: number): Runs | null {
  if (
    !Number.isInteger(blocks) || offset % BLOCK !== 0 || bytes <= 0 || bytes % RUN_BYTES !== 0
  ) {
    return null;
  }
  const view = new DataView(head.buffer, head.byteOffset, bytes);
  const base = offset / BLOCK;
  const runs: number[] = [];
  let end = 0;
  let left = blocks;
  for (let at = 0; at < bytes; at += RUN_BYTES) {
    const first = view.getUint32(at);
    const count = view.getUint32(at + 4);
    if (first < end || count === 0 || count > left || (at === 0 && first !== 0)) return null;
    runs.push(base + first, count);
    end = first + count;
    left -= count;
  }
  return left === 0 ? runs : null;
}

function putBits(bytes: Uint8Array, at: number, flags: Uint8Array): void {
  for (let i = 0; i < flags.length; i++) {
    if (flags[i] !== 0) bytes[at + (i >> 3)]! |= 1 << (i & 7);
  }
}

function takeBits(bytes: Uint8Array, at: number, blocks: number): Uint8Array {
  const flags = new Uint8Array(blocks);
  for (let i = 0; i < blocks; i++) flags[i] = (bytes[at + (i >> 3)]! >> (i & 7)) & 1;
  return flags;
}
