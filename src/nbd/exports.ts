/** What the server tells clients about an export. */
import { HeaderStyle, MAX_PAYLOAD, NBD_FLAG } from "./constants.ts";
import type { ExportTable, NbdContext, NbdExport, NbdNegotiated } from "./types.ts";

/**
 * A table of these exports, in this order. The empty name finds the one called so, else a sole
 * export. Throws if two have the same name or one promises what the protocol forbids.
 */
export function exportTable(exports: readonly NbdExport[]): ExportTable {
  const byName = new Map<string, NbdExport>();
  for (const entry of exports) {
    if (byName.has(entry.name)) throw new Error(`two exports are named "${entry.name}"`);
    assertExport(entry);
    byName.set(entry.name, entry);
  }
  const sole = exports.length === 1 ? exports[0] : undefined;
  return {
    list: () => exports,
    find: (name) => byName.get(name) ?? (name === "" ? sole : undefined),
  };
}

/** Throw, with the facts, if the sizes of an export break the protocol's "Size constraints". */
export function assertExport(entry: NbdExport): void {
  const { name, size, minimumBlock, preferredBlock, maximumPayload } = entry;
  const check = (holds: boolean, fact: string) => {
    if (!holds) throw new Error(`export "${name}": ${fact}`);
  };
  check(Number.isSafeInteger(size) && size >= 0, `size ${size} is not a safe integer`);
  check(
    powerOfTwo(minimumBlock) && minimumBlock <= 65536,
    `minimum block size ${minimumBlock} is not a power of two up to 65536`,
  );
  check(size % minimumBlock === 0, `size ${size} is no multiple of block size ${minimumBlock}`);
  check(
    powerOfTwo(preferredBlock) && preferredBlock >= Math.max(512, minimumBlock),
    `preferred block size ${preferredBlock} is not a power of two from 512 and the minimum up`,
  );
  check(
    maximumPayload >= preferredBlock && maximumPayload <= MAX_PAYLOAD,
    `maximum payload ${maximumPayload} is not between the preferred block size and 32 MiB`,
  );
}

/** The transmission flags of an export for a client that negotiated this much. */
export function transmissionFlags(
  entry: NbdExport,
  style: HeaderStyle,
  contexts: readonly NbdContext[],
): number {
  const writable = !entry.readOnly;
  return NBD_FLAG.HAS_FLAGS |
    when(entry.readOnly, NBD_FLAG.READ_ONLY) |
    when(entry.flush, NBD_FLAG.SEND_FLUSH) |
    when(entry.fua, NBD_FLAG.SEND_FUA) |
    when(entry.rotational, NBD_FLAG.ROTATIONAL) |
    when(writable && entry.trim, NBD_FLAG.SEND_TRIM) |
    when(writable && entry.writeZeroes, NBD_FLAG.SEND_WRITE_ZEROES) |
    when(writable && entry.writeZeroes && entry.fastZero, NBD_FLAG.SEND_FAST_ZERO) |
    when(style !== HeaderStyle.Simple, NBD_FLAG.SEND_DF) |
    when(
      style === HeaderStyle.Extended && contexts.length > 0,
      NBD_FLAG.BLOCK_STATUS_PAYLOAD,
    ) |
    when(entry.multiConn, NBD_FLAG.CAN_MULTI_CONN) |
    when(entry.cache, NBD_FLAG.SEND_CACHE);
}

/** What holds between the server and a client that chose these names of contexts. */
export function negotiatedWith(
  entry: NbdExport,
  style: HeaderStyle,
  names: readonly string[],
): NbdNegotiated {
  const contexts = contextsOf(entry).filter(({ name }) => names.includes(name));
  return { export: entry, flags: transmissionFlags(entry, style, contexts), style, contexts };
}

/** The contexts of an export; their IDs are their places, counted from 1. */
export function contextsOf(entry: NbdExport): readonly NbdContext[] {
  return entry.contexts.map((name, index) => ({ id: index + 1, name }));
}

function when(condition: boolean, flag: number): number {
  return condition ? flag : 0;
}

function powerOfTwo(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && Number.isInteger(Math.log2(value));
}
