/** The client's side of fixed newstyle negotiation. */
import { decodeString, encodeString, Reader, Writer } from "./bytes.ts";
import {
  MAX_PAYLOAD,
  NBD_HANDSHAKE_FLAG,
  NBD_INFO,
  NBD_MAGIC,
  NBD_OPT,
  NBD_REP,
} from "./constants.ts";
import type { Gatherer } from "./gatherer.ts";

/** What a client asks for. */
export interface NbdClientOptions {
  /** `""`: the server's default export. */
  readonly exportName: string;
  /** Ask for structured replies; default true. */
  readonly structured?: boolean;
  /** Ask for extended headers, and make do with structured replies; default false. */
  readonly extended?: boolean;
  /** Metadata contexts to select, e.g. `base:allocation`; default none. */
  readonly contexts?: readonly string[];
  /** Default `go`, which falls back to EXPORT_NAME with servers that do not know GO. */
  readonly method?: "go" | "export-name";
}

/** What the handshake brought. */
export interface NbdExportInfo {
  /** Bytes. */
  readonly size: number;
  /** Transmission flags. */
  readonly flags: number;
  /** Replies come in chunks, structured or extended. */
  readonly structured: boolean;
  readonly extended: boolean;
  /** Names of the selected metadata contexts by their ID. */
  readonly contexts: ReadonlyMap<number, string>;
  /** The server's block sizes, or the protocol's defaults. */
  readonly minimumBlock: number;
  readonly preferredBlock: number;
  readonly maximumPayload: number;
}

/** What a client handshake calls. */
export interface ClientHandshakeEvents {
  /** Bytes to send, in order. */
  send(bytes: Uint8Array): void;
  /** The transmission phase begins with the next byte. */
  ready(info: NbdExportInfo): void;
  /** The server refused or broke the protocol; no further calls follow. */
  failed(reason: string): void;
}

/** Longest option reply that is believed, in bytes. */
const MAX_REPLY = 1 << 16;

const FLAGS = NBD_HANDSHAKE_FLAG.FIXED_NEWSTYLE | NBD_HANDSHAKE_FLAG.NO_ZEROES;

/** Negotiates over a {@link Gatherer}, from the server's greeting to the transmission phase. */
export class ClientHandshake {
  readonly #options: NbdClientOptions;
  readonly #gatherer: Gatherer;
  readonly #events: ClientHandshakeEvents;
  #noZeroes = false;
  #option = 0;
  #structured = false;
  #extended = false;
  readonly #contexts = new Map<number, string>();
  #size: number | undefined;
  #flags = 0;
  #blocks = { minimumBlock: 1, preferredBlock: 4096, maximumPayload: MAX_PAYLOAD };

  constructor(options: NbdClientOptions, gatherer: Gatherer, events: ClientHandshakeEvents) {
    this.#options = options;
    this.#gatherer = gatherer;
    this.#events = events;
    gatherer.expect(new Uint8Array(18), (greeting) => this.#greeted(new Reader(greeting)));
  }

  #greeted(greeting: Reader): void {
    for (const half of [...NBD_MAGIC.INIT_PASSWD, ...NBD_MAGIC.IHAVEOPT]) {
      if (greeting.uint32() !== half) {
        return this.#fail("the server's greeting is not newstyle NBD");
      }
    }
    const flags = greeting.uint16() & FLAGS;
    this.#noZeroes = (flags & NBD_HANDSHAKE_FLAG.NO_ZEROES) !== 0;
    this.#events.send(new Writer().uint32(flags).take());
    const fixed = (flags & NBD_HANDSHAKE_FLAG.FIXED_NEWSTYLE) !== 0;
    if (!fixed) this.#askExportName();
    else if (this.#options.extended === true) this.#ask(NBD_OPT.EXTENDED_HEADERS, new Writer());
    else if (this.#options.structured ?? true) this.#ask(NBD_OPT.STRUCTURED_REPLY, new Writer());
    else this.#askExport();
  }

  #ask(option: number, data: Writer): void {
    this.#option = option;
    const bytes = data.take();
    this.#events.send(
      new Writer().halves(NBD_MAGIC.IHAVEOPT).uint32(option).uint32(bytes.length).bytes(bytes)
        .take(),
    );
    if (option !== NBD_OPT.EXPORT_NAME) this.#expectReply();
  }

  #askContexts(names: readonly string[]): void {
    const data = this.#named().uint32(names.length);
    for (const name of names.map(encodeString)) data.uint32(name.length).bytes(name);
    this.#ask(NBD_OPT.SET_META_CONTEXT, data);
  }

  #askExport(): void {
    if (this.#options.method === "export-name") return this.#askExportName();
    this.#ask(NBD_OPT.GO, this.#named().uint16(1).uint16(NBD_INFO.BLOCK_SIZE));
  }

  #askExportName(): void {
    this.#ask(NBD_OPT.EXPORT_NAME, new Writer().bytes(encodeString(this.#options.exportName)));
    this.#gatherer.expect(new Uint8Array(this.#noZeroes ? 10 : 134), (bytes) => {
      const reader = new Reader(bytes);
      this.#size = reader.uint64();
      this.#flags = reader.uint16();
      this.#ready();
    });
  }

  #named(): Writer {
    const name = encodeString(this.#options.exportName);
    return new Writer().uint32(name.length).bytes(name);
  }

  #expectReply(): void {
    this.#gatherer.expect(new Uint8Array(20), (bytes) => {
      const header = new Reader(bytes);
      const [high, low] = NBD_MAGIC.OPTION_REPLY;
      if (header.uint32() !== high || header.uint32() !== low) {
        return this.#fail("an option reply does not begin with its magic");
      }
      const option = header.uint32();
      if (option !== this.#option) {
        return this.#fail(`a reply to option ${option} where ${this.#option} was asked`);
      }
      const type = header.uint32();
      const length = header.uint32();
      if (length > MAX_REPLY) return this.#fail(`an option reply of ${length} bytes`);
      this.#gatherer.expect(new Uint8Array(length), (data) => this.#replied(type, data));
    });
  }

  #replied(type: number, data: Uint8Array): void {
    if (type === NBD_REP.ACK) return this.#granted();
    if (type >= 0x80000000) return this.#refused(type, data);
    const reader = new Reader(data);
    if (type === NBD_REP.INFO) this.#information(reader);
    if (type === NBD_REP.META_CONTEXT) {
      const id = reader.uint32();
      this.#contexts.set(id, reader.string(reader.left));
    }
    if (!reader.intact) return this.#fail(`a malformed reply of type ${type}`);
    this.#expectReply();
  }

  #information(reader: Reader): void {
    switch (reader.uint16()) {
      case NBD_INFO.EXPORT:
        this.#size = reader.uint64();
        this.#flags = reader.uint16();
        break;
      case NBD_INFO.BLOCK_SIZE:
        this.#blocks = {
          minimumBlock: reader.uint32(),
          preferredBlock: reader.uint32(),
          maximumPayload: reader.uint32(),
        };
        break;
    }
  }

  #granted(): void {
    switch (this.#option) {
      case NBD_OPT.EXTENDED_HEADERS:
      case NBD_OPT.STRUCTURED_REPLY: {
        this.#structured = true;
        this.#extended = this.#option === NBD_OPT.EXTENDED_HEADERS;
        const contexts = this.#options.contexts ?? [];
        return contexts.length > 0 ? this.#askContexts(contexts) : this.#askExport();
      }
      case NBD_OPT.SET_META_CONTEXT:
        return this.#askExport();
      case NBD_OPT.GO:
        return this.#ready();
    }
  }

  #refused(type: number, data: Uint8Array): void {
    switch (this.#option) {
      case NBD_OPT.EXTENDED_HEADERS:
        return this.#ask(NBD_OPT.STRUCTURED_REPLY, new Writer());
      case NBD_OPT.STRUCTURED_REPLY:
        return this.#askExport();
      case NBD_OPT.SET_META_CONTEXT:
        this.#contexts.clear();
        return this.#askExport();
    }
    if (type === NBD_REP.ERR_UNSUP) return this.#askExportName();
    const message = decodeString(data);
    const reason = message ? message : `error 0x${type.toString(16)}`;
    this.#ask(NBD_OPT.ABORT, new Writer());
    this.#fail(`export ${JSON.stringify(this.#options.exportName)} is refused: ${reason}`);
  }

  #ready(): void {
    const size = this.#size;
    if (size === undefined) return this.#fail("the server did not tell the export's size");
    if (!Number.isSafeInteger(size)) return this.#fail(`an export of ${size} bytes is too large`);
    this.#events.ready({
      size,
      flags: this.#flags,
      structured: this.#structured,
      extended: this.#extended,
      contexts: this.#contexts,
      ...this.#blocks,
    });
  }

  #fail(reason: string): void {
    this.#gatherer.stop();
    this.#events.failed(reason);
  }
}
