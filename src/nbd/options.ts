/** The data of the handshake's options: reading them, and building the replies. */
import { encodeString, Reader, Writer } from "./bytes.ts";
import { NBD_INFO, NBD_MAGIC, NBD_REP } from "./constants.ts";
import { contextsOf } from "./exports.ts";
import type { NbdContext, NbdExport } from "./types.ts";

/** Data of INFO and GO. */
export interface InfoRequest {
  readonly name: string;
  /** Information types asked for; unknown ones included, to be ignored. */
  readonly wanted: ReadonlySet<number>;
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export interface ContextRequest {
  readonly name: string;
  readonly queries: readonly string[];
}

/** Read the data of INFO or GO; undefined if it is malformed. */
export function parseInfoRequest(data: Uint8Array): InfoRequest | undefined {
  const reader = new Reader(data);
  const name = reader.string(reader.uint32());
  const count = reader.uint16();
  if (!reader.intact || reader.left !== 2 * count) return undefined;
  const wanted = new Set<number>();
  for (let i = 0; i < count; i++) wanted.add(reader.uint16());
  return { name, wanted };
}

/** Read the data of LIST_META_CONTEXT or SET_META_CONTEXT; undefined if it is malformed. */
export function parseContextRequest(data: Uint8Array): ContextRequest | undefined {
  const reader = new Reader(data);
  const name = reader.string(reader.uint32());
  const count = reader.uint32();
  const queries: string[] = [];
  // Every query takes four bytes at least, so the data's length bounds this loop.
  for (let i = 0; i < count && reader.intact; i++) queries.push(reader.string(reader.uint32()));
  return reader.complete ? { name, queries } : undefined;
}

/**
 * The export's contexts that a query selects. `wildcard`:
 * is `namespace:` alone a query for all of it (it is when listing, not when setting)? Unknown
 * namespaces and leaves select nothing; undefined if a query has no namespace.
 */
export function selectContexts(
  entry: NbdExport,
  queries: readonly string[],
  wildcard: boolean,
): NbdContext[] | undefined {
  if (queries.some((query) => query.indexOf(":") < 1)) return undefined;
  return contextsOf(entry).filter(({ name }) =>
    queries.some((query) =>
      query === name || (wildcard && query.endsWith(":") && name.startsWith(query))
    )
  );
}

/** An option reply with this data. */
export function optionReply(option: number, type: number, data?: Uint8Array): Uint8Array {
  const writer = new Writer().halves(NBD_MAGIC.OPTION_REPLY)
    .uint32(option).uint32(type).uint32(data?.length ?? 0);
  if (data !== undefined) writer.bytes(data);
  return writer.take();
}

/** An error reply; the message is for people. */
export function optionError(option: number, type: number, message: string): Uint8Array {
  return optionReply(option, type, encodeString(message));
}

/** `NBD_REP_SERVER`: one export of the list. */
export function serverReply(option: number, entry: NbdExport): Uint8Array {
  const name = encodeString(entry.name);
  const data = new Writer().uint32(name.length).bytes(name).bytes(encodeString(entry.description));
  return optionReply(option, NBD_REP.SERVER, data.take());
}

/** `NBD_REP_META_CONTEXT`: one context; the ID is 0 in a mere listing. */
export function contextReply(option: number, id: number, name: string): Uint8Array {
  const data = new Writer().uint32(id).bytes(encodeString(name)).take();
  return optionReply(option, NBD_REP.META_CONTEXT, data);
}

/** `NBD_REP_INFO` replies for the export: EXPORT always, the others if they were asked for. */
export function* infoReplies(
  option: number,
  entry: NbdExport,
  flags: number,
  wanted: ReadonlySet<number>,
): Generator<Uint8Array> {
  const info = (data: Writer) => optionReply(option, NBD_REP.INFO, data.take());
  yield info(new Writer().uint16(NBD_INFO.EXPORT).uint64(entry.size).uint16(flags));
  if (wanted.has(NBD_INFO.NAME)) {
    yield info(new Writer().uint16(NBD_INFO.NAME).bytes(encodeString(entry.name)));
  }
  if (wanted.has(NBD_INFO.DESCRIPTION)) {
    yield info(new Writer().uint16(NBD_INFO.DESCRIPTION).bytes(encodeString(entry.description)));
  }
  if (wanted.has(NBD_INFO.BLOCK_SIZE)) {
    yield info(
      new Writer().uint16(NBD_INFO.BLOCK_SIZE).uint32(entry.minimumBlock)
        .uint32(entry.preferredBlock).uint32(entry.maximumPayload),
    );
  }
}
