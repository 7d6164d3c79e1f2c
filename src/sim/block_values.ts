/** Content of simulated blocks, one number each, as resync and verify look at it. */

import { type BlockSums, DIGEST_BYTES } from "../wire/block_frames.ts";

/** Kinds of sums: few, so that unequal blocks often have equal ones. */
const SUMS = 5;

/** Anything that holds one number for each block. */
export interface BlockValues {
  [block: number]: number;
}

/** As `VolumeIo.sums`; `kinds`: how many sums there are. */
export function valueSums(
  values: Readonly<BlockValues>,
  blocks: number,
  kinds = SUMS,
): BlockSums {
  const crcs = new Uint32Array(blocks);
  const zeroes = new Uint8Array(blocks);
  for (let i = 0; i < blocks; i++) {
    const value = values[i]!;
    crcs[i] = (value >>> 0) % kinds;
    zeroes[i] = value === 0 ? 1 : 0;
  }
  return { crcs, zeroes };
}

/** As `VolumeIo.digest`: two sequences of values have the same one by no chance that matters. */
export function valueDigest(values: Readonly<BlockValues>, picks: Uint8Array): Uint8Array {
  const digest = new Uint8Array(DIGEST_BYTES);
  const view = new DataView(digest.buffer);
  for (let word = 0; word < DIGEST_BYTES; word += 4) {
    let state = (word + 1) * 0x9e37_79b9;
    for (let i = 0; i < picks.length; i++) {
      if (picks[i] === 0) continue;
      state = Math.imul(state ^ values[i]!, 0x85eb_ca6b);
      state = Math.imul(state ^ (state >>> 13), 0xc2b2_ae35);
    }
    view.setUint32(word, state >>> 0);
  }
  return digest;
}

/** As `VolumeIo.gather`. */
export function gatherValues(values: BlockValues, picks: Uint8Array): void {
  let to = 0;
  for (let i = 0; i < picks.length; i++) {
    if (picks[i] !== 0) values[to++] = values[i]!;
  }
}
