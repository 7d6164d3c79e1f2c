/**
 * The NBD protocol (Network Block Device, doc/proto.md of the NBD project), the way a volume is
 * served to clients: bytes to requests, replies to bytes. No sockets, no clock, no promises.
 *
 * A connection begins with *negotiation* (fixed newstyle): the client asks for options, one at a
 * time, and last for an export. Where TLS is required, STARTTLS comes first, and what was negotiated
 * before it is forgotten. Then comes *transmission*: requests with a header of 28 bytes (32 with the
 * extension EXTENDED_HEADERS), a WRITE's payload after it, each answered in any order under the
 * client's cookie.
 *
 * - {@link NbdSession} is the server's side of one connection. It hands the caller's
 *   {@link NbdSink} valid requests only; everything else it rejects, as the protocol says, or
 *   drops the connection. `handshake.ts` and `options.ts` are its first phase, `requests.ts` the
 *   rules of its second.
 * - `replies.ts` writes replies into the caller's buffers: `encodeReadHeader` and `encodeReply` are
 *   all that plain service needs, the chunk encoders serve sparse reads and block status.
 * - {@link NbdClient} is the client's side, as the command line and the tests use it.
 *
 * @module
 */
export * from "./client.ts";
export type { NbdClientOptions, NbdExportInfo } from "./client_handshake.ts";
export * from "./constants.ts";
export * from "./errors.ts";
export { assertExport, exportTable, negotiatedWith, transmissionFlags } from "./exports.ts";
export * from "./replies.ts";
export {
  encodeExtendedRequest,
  encodeRequest,
  NbdRequest,
  type NbdRequestFields,
} from "./requests.ts";
export { NbdSession } from "./session.ts";
export * from "./types.ts";
