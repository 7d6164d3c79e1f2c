/**
 * The little protocol between the demonstration's client and its service: fixed-size records, written
 * and read by index. A record is answered only after the volume has answered the flushed write.
 *
 * Request: op (u32: 1 write, 2 read), index (u32), then for a write the record's bytes.
 * Answer: status (u32: 0 done), then for a read the record's bytes. All integers big-endian.
 *
 * @module
 */
import { createHash } from "node:crypto";

/** Bytes of one record. */
export const RECORD_SIZE = 64 * 1024;
/** Bytes of a request before its payload. */
export const REQUEST_HEADER = 8;
/** Bytes of an answer before its payload. */
export const ANSWER_HEADER = 4;
/** Operations of a request. */
export const Operation = { write: 1, read: 2 } as const;

/** Contents of record `index` in its `generation`-th writing: different for every pair, never zero. */
export function recordContent(index: number, generation: number): Uint8Array {
  const content = new Uint8Array(RECORD_SIZE);
  const words = new Uint32Array(content.buffer);
  let state = (Math.imul(index + 1, 0x9e3779b1) ^ Math.imul(generation + 1, 0x85ebca6b)) | 1;
  for (let at = 0; at < words.length; at++) {
    // xorshift32 (Marsaglia 2003): cheap, and no two seeds share a stretch of this length.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state;
  }
  return content;
}

/** SHA-256, hex. */
export function recordHash(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

/** Reads exactly `target.length` bytes; false at a clean end before the first byte. */
export async function readFull(conn: Deno.Conn, target: Uint8Array): Promise<boolean> {
  for (let at = 0; at < target.length;) {
    const count = await conn.read(target.subarray(at));
    if (count === null) {
      if (at === 0) return false;
      throw new Deno.errors.UnexpectedEof("the connection ended inside a message");
    }
    at += count;
  }
  return true;
}

/** Writes all of `bytes`. */
export async function writeFull(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}
