/** Looking at the content of blocks, for resync and verify. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import type { BlockSums } from "../../wire/block_frames.ts";

const BLOCK = 4096;
const ZEROES = new Uint8Array(BLOCK);
const ZERO_CRC = crc32(ZEROES);

/** Sums of the blocks from byte `at` on: 0.2 µs a block. */
export function blockSums(bytes: Uint8Array, at: number, blocks: number): BlockSums {
  const crcs = new Uint32Array(blocks);
  const zeroes = new Uint8Array(blocks);
  for (let i = 0; i < blocks; i++) {
    const from = at + i * BLOCK;
    const block = bytes.subarray(from, from + BLOCK);
    const crc = crc32(block);
    crcs[i] = crc;
    if (crc === ZERO_CRC && Buffer.compare(block, ZEROES) === 0) zeroes[i] = 1;
  }
  return { crcs, zeroes };
}

/** SHA-256 of the picked blocks, neighbours at once. */
export function blockDigest(bytes: Uint8Array, at: number, picks: Uint8Array): Uint8Array {
  const hash = createHash("sha256");
  eachRun(picks, (first, blocks) => {
    const from = at + first * BLOCK;
    hash.update(bytes.subarray(from, from + blocks * BLOCK));
  });
  return hash.digest();
}

/** Moves the picked blocks to the front, in order. */
export function gatherBlocks(bytes: Uint8Array, at: number, picks: Uint8Array): void {
  let to = at;
  eachRun(picks, (first, blocks) => {
    const from = at + first * BLOCK;
    if (from !== to) bytes.copyWithin(to, from, from + blocks * BLOCK);
    to += blocks * BLOCK;
  });
}

function eachRun(picks: Uint8Array, each: (first: number, blocks: number) => void): void {
  for (let i = 0; i < picks.length;) {
    if (picks[i] === 0) {
      i++;
      continue;
    }
    const first = i;
    while (i < picks.length && picks[i] !== 0) i++;
    each(first, i - first);
  }
}
