/** The server's side of fixed newstyle negotiation. */
import { decodeString, Writer } from "./bytes.ts";
import {
  HeaderStyle,
  MAX_PAYLOAD,
  MAX_STRING,
  NBD_HANDSHAKE_FLAG,
  NBD_MAGIC,
  NBD_OPT,
  NBD_REP,
} from "./constants.ts";
import { transmissionFlags } from "./exports.ts";
import {
  contextReply,
  infoReplies,
  optionError,
  optionReply,
  parseContextRequest,
  parseInfoRequest,
  selectContexts,
  serverReply,
} from "./options.ts";
import {
  type ExportTable,
  type NbdContext,
  type NbdExport,
  type NbdLimits,
  type NbdNegotiated,
  TlsStage,
} from "./types.ts";

/** Handshake flags that we set; a client may set the same bits and no others. */
const OFFERED_FLAGS = NBD_HANDSHAKE_FLAG.FIXED_NEWSTYLE | NBD_HANDSHAKE_FLAG.NO_ZEROES;

/** Bytes before an option's data: magic, option, length. */
const OPTION_HEADER = 16;

/** Zeroes after the reply to EXPORT_NAME, unless both sides agreed to leave them out. */
const PADDING = 124;

/** How a handshake ended. */
export type HandshakeOutcome =
  | { readonly kind: "established"; readonly negotiated: NbdNegotiated }
  /** STARTTLS was granted. */
  | { readonly kind: "tls"; readonly clientFlags: number }
  | { readonly kind: "aborted" }
  | { readonly kind: "broken"; readonly reason: string };

/** The contexts of the last SET_META_CONTEXT, valid for the export name it gave. */
interface Selection {
  readonly name: string;
  readonly contexts: readonly NbdContext[];
}

/** Takes the client's bytes up to the end of the handshake; buffers one option at most. */
export class Handshake {
  readonly #exports: ExportTable;
  readonly #limits: NbdLimits;
  readonly #tls: TlsStage;
  readonly #output = new Writer();
  #outcome: HandshakeOutcome | undefined;
  #stopping = false;

  /** The message being gathered: client flags, an option's header, an option's data. */
  #message = new Uint8Array(4);
  #fill = 0;
  /** Bytes of an option too large to keep, still to be passed over. */
  #skip = 0;
  #awaiting: "flags" | "header" | "data" = "flags";
  #option = 0;
  #options = 0;

  #flags = 0;
  #style = HeaderStyle.Simple;
  #selection: Selection | undefined;

  constructor(exports: ExportTable, limits: NbdLimits, tls: TlsStage) {
    this.#exports = exports;
    this.#limits = limits;
    this.#tls = tls;
  }

  /** Goes on after the greeting and these client flags, which an earlier handshake has had. */
  resume(clientFlags: number): void {
    this.#flags = clientFlags;
    this.#expect("header", OPTION_HEADER);
  }

  /** How it ended; undefined while it goes on. */
  get outcome(): HandshakeOutcome | undefined {
    return this.#outcome;
  }

  /** The server's first words. */
  greeting(): Uint8Array {
    return new Writer().halves(NBD_MAGIC.INIT_PASSWD).halves(NBD_MAGIC.IHAVEOPT)
      .uint16(OFFERED_FLAGS).take();
  }

  /** Bytes to send since the last call; may be empty. */
  takeOutput(): Uint8Array {
    return this.#output.take();
  }

  /** Answer further options, ABORT excepted, with `NBD_REP_ERR_SHUTDOWN`. */
  shutdown(): void {
    this.#stopping = true;
  }

  /** Take bytes until they end or the handshake does; returns the index of the first not taken. */
  consume(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && this.#outcome === undefined) {
      const skipped = Math.min(this.#skip, end - at);
      const kept = Math.min(this.#message.length - this.#fill, end - at - skipped);
      this.#message.set(bytes.subarray(at + skipped, at + skipped + kept), this.#fill);
      this.#skip -= skipped;
      this.#fill += kept;
      at += skipped + kept;
      this.#advance();
    }
    return at;
  }

  /** Act on messages that are whole; an option without data is whole with its header. */
  #advance(): void {
    while (
      this.#skip === 0 && this.#fill === this.#message.length && this.#outcome === undefined
    ) {
      const message = this.#message;
      switch (this.#awaiting) {
        case "flags":
          this.#clientFlags(new DataView(message.buffer).getUint32(0));
          this.#expect("header", OPTION_HEADER);
          break;
        case "header":
          this.#optionHeader(new DataView(message.buffer));
          break;
        case "data":
          this.#answer(message);
          this.#expect("header", OPTION_HEADER);
          break;
      }
    }
  }

  #expect(what: "header" | "data", length: number): void {
    this.#awaiting = what;
    this.#message = new Uint8Array(length);
    this.#fill = 0;
  }

  #clientFlags(flags: number): void {
    if ((flags & ~OFFERED_FLAGS) !== 0) {
      return this.#break(`unknown client flags 0x${flags.toString(16)}`);
    }
    this.#flags = flags;
  }

  #optionHeader(header: DataView): void {
    const [high, low] = NBD_MAGIC.IHAVEOPT;
    const length = header.getUint32(12);
    this.#option = header.getUint32(8);
    if (header.getUint32(0) !== high || header.getUint32(4) !== low) {
      return this.#break("an option does not begin with its magic");
    }
    if (++this.#options > this.#limits.options) {
      return this.#break(`more than ${this.#limits.options} options`);
    }
    if (
      (this.#flags & NBD_HANDSHAKE_FLAG.FIXED_NEWSTYLE) === 0 &&
      this.#option !== NBD_OPT.EXPORT_NAME
    ) {
      return this.#break(`option ${this.#option} without fixed newstyle`);
    }
    if (this.#option === NBD_OPT.EXPORT_NAME && length > MAX_STRING) {
      return this.#break(`an export name of ${length} bytes`);
    }
    if (length > MAX_PAYLOAD) return this.#break(`an option of ${length} bytes`);

    const verdict = this.#judge(length);
    if (verdict === undefined) return this.#expect("data", length);
    // The answer depends on the length alone: send it now, pass over the data, stay in step.
    this.#output.bytes(verdict);
    this.#skip = length;
    this.#expect("header", OPTION_HEADER);
    if (this.#option === NBD_OPT.ABORT) this.#outcome = { kind: "aborted" };
  }

  /** The reply to an option whose data does not matter; undefined if the data must be read. */
  #judge(length: number): Uint8Array | undefined {
    const option = this.#option;
    if (option === NBD_OPT.ABORT) return optionReply(option, NBD_REP.ACK);
    if (this.#tls === TlsStage.Required && option !== NBD_OPT.STARTTLS) {
      return option === NBD_OPT.EXPORT_NAME
        ? undefined
        : this.#error(NBD_REP.ERR_TLS_REQD, "this export is served over TLS only");
    }
    if (this.#stopping) {
      if (option !== NBD_OPT.EXPORT_NAME) {
        return this.#error(NBD_REP.ERR_SHUTDOWN, "the server is shutting down");
      }
      return undefined;
    }
    switch (option) {
      case NBD_OPT.EXPORT_NAME:
        return undefined;
      case NBD_OPT.LIST:
      case NBD_OPT.STRUCTURED_REPLY:
      case NBD_OPT.EXTENDED_HEADERS:
      case NBD_OPT.STARTTLS:
        return length > 0
          ? this.#error(NBD_REP.ERR_INVALID, "this option takes no data")
          : undefined;
      case NBD_OPT.INFO:
      case NBD_OPT.GO:
        return this.#tooBig(length);
      case NBD_OPT.SET_META_CONTEXT:
        // Whatever comes of it, the previous selection is gone.
        this.#selection = undefined;
        return this.#tooBig(length);
      case NBD_OPT.LIST_META_CONTEXT:
        return this.#tooBig(length);
      default:
        return this.#error(NBD_REP.ERR_UNSUP, `option ${option} is not supported`);
    }
  }

  #tooBig(length: number): Uint8Array | undefined {
    const limit = this.#limits.optionBytes;
    if (length <= limit) return undefined;
    return this.#error(NBD_REP.ERR_TOO_BIG, `option data is limited to ${limit} bytes`);
  }

  #answer(data: Uint8Array): void {
    const option = this.#option;
    switch (option) {
      case NBD_OPT.EXPORT_NAME:
        return this.#exportName(data);
      case NBD_OPT.LIST:
        for (const entry of this.#exports.list()) this.#output.bytes(serverReply(option, entry));
        return this.#acknowledge();
      case NBD_OPT.STARTTLS:
        return this.#startTls();
      case NBD_OPT.STRUCTURED_REPLY:
        if (this.#style === HeaderStyle.Extended) {
          return this.#refuse(NBD_REP.ERR_EXT_HEADER_REQD, "extended headers are negotiated");
        }
        this.#style = HeaderStyle.Structured;
        return this.#acknowledge();
      case NBD_OPT.EXTENDED_HEADERS:
        this.#style = HeaderStyle.Extended;
        return this.#acknowledge();
      case NBD_OPT.INFO:
      case NBD_OPT.GO:
        return this.#info(data);
      case NBD_OPT.LIST_META_CONTEXT:
      case NBD_OPT.SET_META_CONTEXT:
        return this.#contexts(data);
      default:
        throw new Error(`option ${option} was let through and has no answer`);
    }
  }

  #startTls(): void {
    switch (this.#tls) {
      case TlsStage.None:
        return this.#refuse(NBD_REP.ERR_POLICY, "this export is not served over TLS");
      case TlsStage.Running:
        return this.#refuse(NBD_REP.ERR_INVALID, "TLS is running already");
      case TlsStage.Required:
        this.#acknowledge();
        this.#outcome = { kind: "tls", clientFlags: this.#flags };
    }
  }

  #exportName(data: Uint8Array): void {
    // This option knows no error reply; closing is all that the protocol leaves.
    if (this.#tls === TlsStage.Required) return this.#break("an export is asked for before TLS");
    if (this.#stopping) return this.#break("the server is shutting down");
    if (this.#style === HeaderStyle.Extended) {
      return this.#break("EXPORT_NAME after extended headers were negotiated");
    }
    const name = decodeString(data);
    if (name === undefined) return this.#break("an export name that is no valid string");
    const entry = this.#exports.find(name);
    if (entry === undefined) return this.#break(`no export is named ${JSON.stringify(name)}`);
    const negotiated = this.#negotiated(name, entry);
    const padded = (this.#flags & NBD_HANDSHAKE_FLAG.NO_ZEROES) === 0;
    this.#output.uint64(entry.size).uint16(negotiated.flags).zeroes(padded ? PADDING : 0);
    this.#outcome = { kind: "established", negotiated };
  }

  #info(data: Uint8Array): void {
    const request = parseInfoRequest(data);
    if (request === undefined) {
      return this.#refuse(NBD_REP.ERR_INVALID, "malformed information request");
    }
    const entry = this.#exports.find(request.name);
    if (entry === undefined) {
      return this.#refuse(NBD_REP.ERR_UNKNOWN, "no export has this name");
    }
    const negotiated = this.#negotiated(request.name, entry);
    for (const reply of infoReplies(this.#option, entry, negotiated.flags, request.wanted)) {
      this.#output.bytes(reply);
    }
    this.#acknowledge();
    if (this.#option === NBD_OPT.GO) this.#outcome = { kind: "established", negotiated };
  }

  #contexts(data: Uint8Array): void {
    const request = parseContextRequest(data);
    if (request === undefined) {
      return this.#refuse(NBD_REP.ERR_INVALID, "malformed metadata context request");
    }
    if (this.#style === HeaderStyle.Simple) {
      return this.#refuse(NBD_REP.ERR_INVALID, "negotiate structured replies first");
    }
    const entry = this.#exports.find(request.name);
    if (entry === undefined) {
      return this.#refuse(NBD_REP.ERR_UNKNOWN, "no export has this name");
    }
    const listing = this.#option === NBD_OPT.LIST_META_CONTEXT;
    const all = listing && request.queries.length === 0;
    const queries = all ? entry.contexts : request.queries;
    const contexts = selectContexts(entry, queries, listing);
    if (contexts === undefined) {
      return this.#refuse(NBD_REP.ERR_INVALID, "a metadata context query has no namespace");
    }
    for (const { id, name } of contexts) {
      this.#output.bytes(contextReply(this.#option, listing ? 0 : id, name));
    }
    if (!listing) this.#selection = { name: request.name, contexts };
    this.#acknowledge();
  }

  /** What holds if the client chooses this export, by this name, now. */
  #negotiated(name: string, entry: NbdExport): NbdNegotiated {
    const selection = this.#selection;
    const contexts = selection !== undefined && selection.name === name ? selection.contexts : [];
    const flags = transmissionFlags(entry, this.#style, contexts);
    return { export: entry, flags, style: this.#style, contexts };
  }

  #acknowledge(): void {
    this.#output.bytes(optionReply(this.#option, NBD_REP.ACK));
  }

  #refuse(type: number, message: string): void {
    this.#output.bytes(this.#error(type, message));
  }

  #error(type: number, message: string): Uint8Array {
    return optionError(this.#option, type, message);
  }

  #break(reason: string): void {
    this.#outcome = { kind: "broken", reason };
  }
}
