/** Whole copies by libnbd's nbdcopy. */
import { output } from "./processes.ts";

/** Request size that nbdcopy uses by itself, bytes. */
const REQUEST = 256 * 1024;

/** How a copy went: as a round without latencies. */
export interface Copied {
  readonly iops: number;
  readonly mibPerSecond: number;
  readonly p50: 0;
  readonly p99: 0;
  readonly seconds: number;
}

/** Reads the whole export and forgets it. */
export function copyOut(uri: string, size: number): Promise<Copied> {
  return timed(size, [uri, "null:"]);
}

/** Writes a whole file of pseudo-random bytes, made at first use, into the export. */
export function copyIn(uri: string, file: string, size: number): Promise<Copied> {
  makeFile(file, size);
  return timed(size, [file, uri]);
}

async function timed(size: number, args: readonly string[]): Promise<Copied> {
  const began = performance.now();
  await output("nbdcopy", args);
  const seconds = (performance.now() - began) / 1000;
  const perSecond = size / seconds;
  return {
    iops: perSecond / REQUEST,
    mibPerSecond: perSecond / (1 << 20),
    p50: 0,
    p99: 0,
    seconds,
  };
}

function makeFile(path: string, size: number): void {
  try {
    if (Deno.statSync(path).size === size) return;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  using file = Deno.openSync(path, { create: true, write: true, truncate: true });
  // Not zeroes: nbdcopy does not send those as data.
  const piece = new Uint8Array(1 << 20);
  for (let at = 0; at < piece.length; at += 1 << 16) {
    crypto.getRandomValues(piece.subarray(at, at + (1 << 16)));
  }
  for (let at = 0; at < size; at += piece.length) {
    file.writeSync(piece.subarray(0, Math.min(piece.length, size - at)));
  }
}
