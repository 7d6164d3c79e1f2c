/**
 * AES-256-GCM on a replication link: after the challenge every byte travels in records.
 *
 * ```
 * offset size
 *  0     4   n: bytes that follow, big-endian, the tag included
 *  4   n-16  ciphertext of at most 16 KiB of what would travel without encryption
 *  n-12  16  tag; the 4 bytes of n are authenticated with it
 * ```
 *
 * The nonce is the number of the record in its direction, from 0, in 12 bytes: with keys that are made
 * for this connection and this direction alone (link_auth.ts) none is ever used twice, and a record
 * that is repeated, left out or moved does not open.
 */

import { createCipheriv, createDecipheriv } from "node:crypto";

/** Most bytes of plain text in a record. */
export const SEAL_BYTES = 16 * 1024;
/** Bytes of a record beyond its plain text. */
export const SEAL_OVERHEAD = 20;

const TAG_BYTES = 16;
const LENGTH_BYTES = 4;

/** AES-256-GCM. `key`: 32 bytes, `nonce`: 12. */
export interface Gcm {
  /** Writes ciphertext and tag to `into`, which has room for 16 bytes more than `plain`. */
  seal(
    key: Uint8Array,
    nonce: Uint8Array,
    aad: Uint8Array,
    plain: Uint8Array,
    into: Uint8Array,
  ): void;
  /** The plain text of ciphertext and tag; null: they are not what was sealed. */
  open(
    key: Uint8Array,
    nonce: Uint8Array,
    aad: Uint8Array,
    sealed: Uint8Array,
  ): Uint8Array | null;
}

/** The one that is always there, and slow: some 50 MB/s. */
export const PLAIN_GCM: Gcm = {
  seal(key, nonce, aad, plain, into) {
    const cipher = createCipheriv("aes-256-gcm", key, nonce);
    cipher.setAAD(aad);
    into.set(cipher.update(plain));
    cipher.final();
    into.set(cipher.getAuthTag(), plain.length);
  },
  open(key, nonce, aad, sealed) {
    const end = sealed.length - TAG_BYTES;
    const cipher = createDecipheriv("aes-256-gcm", key, nonce);
    cipher.setAAD(aad);
    cipher.setAuthTag(sealed.subarray(end));
    const plain = cipher.update(sealed.subarray(0, end));
    try {
      cipher.final();
    } catch {
      return null;
    }
    return plain;
  },
};

/** Counts the records of one direction. */
class Nonce {
  readonly #bytes = new Uint8Array(12);
  readonly #view = new DataView(this.#bytes.buffer);
  #next = 0n;

  next(): Uint8Array {
    this.#view.setBigUint64(4, this.#next++);
    return this.#bytes;
  }
}

/** The sending end of one direction. */
export class Sealer {
  readonly #key: Uint8Array;
  readonly #nonce = new Nonce();

  readonly #gcm: Gcm;

  /** `key`: 32 bytes. */
  constructor(key: Uint8Array, gcm: Gcm = PLAIN_GCM) {
    this.#key = key;
    this.#gcm = gcm;
  }

  /** The record of at most {@linkcode SEAL_BYTES} bytes. */
  seal(plain: Uint8Array): Uint8Array {
    const record = new Uint8Array(plain.length + SEAL_OVERHEAD);
    const length = record.subarray(0, LENGTH_BYTES);
    new DataView(record.buffer).setUint32(0, plain.length + TAG_BYTES);
    const into = record.subarray(LENGTH_BYTES);
    this.#gcm.seal(this.#key, this.#nonce.next(), length, plain, into);
    return record;
  }
}

/** The receiving end of one direction. */
export class Opener {
  readonly #key: Uint8Array;
  readonly #nonce = new Nonce();

  readonly #gcm: Gcm;

  /** `key`: 32 bytes. */
  constructor(key: Uint8Array, gcm: Gcm = PLAIN_GCM) {
    this.#key = key;
    this.#gcm = gcm;
  }

  /**
   * Bytes of the record that `bytes` begin with; 0: not known yet, or not all there. -1: no record is so
   * long, the connection is of no more use.
   */
  sizeOf(bytes: Uint8Array): number {
    if (bytes.length < LENGTH_BYTES) return 0;
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
    if (length < TAG_BYTES || length > SEAL_BYTES + TAG_BYTES) return -1;
    return bytes.length < LENGTH_BYTES + length ? 0 : LENGTH_BYTES + length;
  }

  /** The plain text of a whole record; null: it is not what the peer sealed. */
  open(record: Uint8Array): Uint8Array | null {
    const length = record.subarray(0, LENGTH_BYTES);
    return this.#gcm.open(this.#key, this.#nonce.next(), length, record.subarray(LENGTH_BYTES));
  }
}
