/** One TCP connection to a peer's data plane: challenge first, then frames both ways. */
import { randomBytes } from "node:crypto";
import type { ControlMessage, FrameKind } from "../../volume/types.ts";
import { createChallenge, type LinkChallenge, NONCE_BYTES } from "../../wire/link_auth.ts";
import { Opener, PLAIN_GCM, Sealer } from "../../wire/link_seal.ts";
import {
  carriesData,
  CONTROL_KIND,
  decodeControl,
  decodeHeader,
  encodeControl,
  encodeHeader,
  FrameHeader,
  headBytes,
  NO_HEAD,
  payloadChecksum,
  REPLICATION_HEADER_BYTES,
} from "../../wire/replication.ts";
import { systemGcm } from "../../os/aes_gcm.ts";
import { doNotPace } from "../../os/congestion.ts";
import type { Slab } from "../../os/memory.ts";
import { FrameSender } from "./frame_sender.ts";
import type { Completion } from "./operations.ts";
import type { ReplicationHost } from "./replication.ts";

/** Bytes that one receive takes. */
const RECEIVE_BYTES = 32 * 1024;
const RING_BYTES = 256 * 1024;
/** From here on a payload is received straight into its buffer. */
const DIRECT_BYTES = 8 * 1024;

/** Bytes of the slab that one link takes. */
export const LINK_BYTES = 2 * RECEIVE_BYTES + RING_BYTES;

const enum What {
  Connect,
  Receive,
  ReceivePayload,
}

const enum Phase {
  Connecting,
  Challenge,
  /** Gathering a header. */
  Header,
  /** A header is parsed, its payload has no buffer yet. */
  Starved,
  Payload,
  /** Gathering a control message, or the head of a frame about scattered blocks. */
  Control,
  Closed,
}

/** Only `Replication` makes these. */
export class ReplicaLink implements Completion {
  /** Place in the slab. */
  readonly index: number;
  /** True on the side that connected. */
  readonly initiator: boolean;
  /** Index of the peer; -1 until an accepted connection has proved who it is. */
  peer: number;
  /** Of the link's protocol; 0 until the challenge is over. */
  version = 0;
  /** Monotonic milliseconds by which the challenge must be over. */
  readonly deadline: number;
  readonly #host: ReplicationHost;
  readonly #fd: number;
  readonly #slab: Slab;
  readonly #base: number;
  readonly #sender: FrameSender;
  readonly #header = new FrameHeader();
  #phase: Phase;
  #challenge: LinkChallenge | null = null;
  /** Received bytes `[at, end)` of the receive area, counted from its start. */
  #at = 0;
  #end = 0;
  /** Of an encrypted link: it opens what lies in an area of its own, so many bytes. */
  #opener: Opener | null = null;
  #sealedEnd = 0;
  #buffer = -1;
  #control: Uint8Array = NO_HEAD;
  /** Bytes of the payload that are there. */
  #got = 0;
  #operations = 0;
  #receiving = false;
  #gone = false;

  /** `base`: first of {@linkcode LINK_BYTES} bytes of the slab. */
  constructor(
    host: ReplicationHost,
    index: number,
    fd: number,
    slab: Slab,
    base: number,
    peer: number,
    deadline: number,
  ) {
    this.#host = host;
    this.index = index;
    this.initiator = peer >= 0;
    this.peer = peer;
    this.deadline = deadline;
    this.#fd = fd;
    this.#slab = slab;
    this.#base = base;
    this.#sender = new FrameSender(host, fd, slab, base + RECEIVE_BYTES, RING_BYTES, (result) => {
      if (result < 0) this.#fail(`sending failed, ${host.errorText(result)}`);
      this.#settle();
    });
    this.#phase = this.initiator ? Phase.Connecting : Phase.Challenge;
  }

  /** Connects to this socket address. */
  connect(sockaddr: Uint8Array): void {
    this.#operations++;
    const tag = this.#host.operations.begin(this, What.Connect);
    this.#host.engine.connect(this.#fd, sockaddr, tag);
  }

  /** Says what this side has to say first, and listens. */
  begin(): void {
    this.#phase = Phase.Challenge;
    doNotPace(this.#fd);
    const { keys, names } = this.#host;
    const role = this.initiator ? "initiator" : "acceptor";
    const peers = this.initiator ? [names.peers[this.peer]!] : names.peers;
    const nonce = new Uint8Array(randomBytes(NONCE_BYTES));
    this.#challenge = createChallenge(role, keys, { ...names, peers }, nonce);
    this.#sender.bytes(this.#challenge.opening);
    this.#sender.flush();
    this.#receive();
  }

  /** Both ends know each other, and frames may go. */
  get open(): boolean {
    return this.#phase > Phase.Challenge && this.#phase < Phase.Closed;
  }

  /** Frames wait for {@linkcode flush}. */
  sendData(
    kind: FrameKind,
    session: number,
    seq: number,
    offset: number,
    length: number,
    buffer: number,
    bufferOffset: number,
    flags: number,
    head: Uint8Array,
  ): void {
    if (!this.open) return;
    const view = this.#sender.header;
    if (!carriesData(kind)) {
      const crc = payloadChecksum(head);
      encodeHeader(view, 0, kind, flags, session, seq, offset, length, head.length, crc);
      return this.#sender.commitHeader(head);
    }
    const { pool } = this.#host;
    const from = pool.offset(buffer) + bufferOffset;
    const crc = payloadChecksum(pool.slab.bytes.subarray(from, from + length), head);
    encodeHeader(view, 0, kind, flags, session, seq, offset, length, head.length + length, crc);
    this.#sender.commitWithPayload(head, buffer, from, length);
  }

  /** In order with data frames. */
  sendControl(message: ControlMessage): void {
    if (this.open) this.#sender.bytes(encodeControl(message));
  }

  /** Hands gathered frames to the kernel. */
  flush(): void {
    if (this.#phase !== Phase.Closed) this.#sender.flush();
  }

  /** A buffer may be free for the payload that waits. */
  retry(): void {
    if (this.#phase !== Phase.Starved) return;
    if (this.#provide()) {
      this.#parse();
      this.#unseal();
    }
    this.#receive();
  }

  /** Ends the connection; nobody is told. */
  close(): void {
    if (this.#phase === Phase.Closed) return;
    this.#phase = Phase.Closed;
    this.#sender.close();
    this.#host.engine.close(this.#fd);
    this.#settle();
  }

  completed(what: number, result: number): void {
    this.#operations--;
    if (what === What.Connect) this.#connected(result);
    else this.#received(what, result);
    this.#settle();
  }

  #connected(result: number): void {
    if (this.#phase === Phase.Closed) return;
    if (result < 0) return this.#fail(`connecting failed, ${this.#host.errorText(result)}`);
    this.begin();
  }

  #receive(): void {
    const waiting = this.#phase === Phase.Closed || this.#phase === Phase.Starved;
    if (waiting || this.#receiving) return;
    this.#receiving = true;
    this.#operations++;
    const { engine, operations, pool } = this.#host;
    const left = this.#header.length - this.#got;
    if (this.#opener !== null) {
      const tag = operations.begin(this, What.Receive);
      const at = this.#sealed + this.#sealedEnd;
      engine.recv(this.#fd, this.#slab, at, RECEIVE_BYTES - this.#sealedEnd, tag);
    } else if (this.#phase === Phase.Payload && left >= DIRECT_BYTES) {
      const tag = operations.begin(this, What.ReceivePayload);
      engine.recvAll(this.#fd, pool.slab, pool.offset(this.#buffer) + this.#got, left, tag);
    } else {
      const tag = operations.begin(this, What.Receive);
      const at = this.#base + this.#end;
      engine.recv(this.#fd, this.#slab, at, RECEIVE_BYTES - this.#end, tag);
    }
  }

  #received(what: number, result: number): void {
    this.#receiving = false;
    if (this.#phase === Phase.Closed) return;
    if (result < 0) return this.#fail(`receiving failed, ${this.#host.errorText(result)}`);
    if (result === 0) return this.#fail("the peer closed the connection");
    if (what === What.ReceivePayload) {
      this.#got += result;
      if (this.#got < this.#header.length) return this.#fail("the peer hung up within a frame");
      this.#payloadComplete();
    } else if (this.#opener !== null) {
      this.#sealedEnd += result;
      this.#unseal();
      this.#receive();
      return;
    } else {
      this.#end += result;
    }
    this.#parse();
    this.#receive();
  }

  /** First byte of what came sealed. */
  get #sealed(): number {
    return this.#base + RECEIVE_BYTES + RING_BYTES;
  }

  /** Opens the records that are whole and hands their content to the parser, as far as it goes. */
  #unseal(): void {
    const opener = this.#opener;
    if (opener === null) return;
    const { bytes } = this.#slab;
    const first = this.#sealed;
    let at = 0;
    while (this.#phase !== Phase.Starved && this.#phase !== Phase.Closed) {
      const rest = bytes.subarray(first + at, first + this.#sealedEnd);
      const size = opener.sizeOf(rest);
      if (size === 0) break;
      const plain = size < 0 ? null : opener.open(rest.subarray(0, size));
      if (plain === null) return this.#fail("the peer sent what its key did not seal");
      at += size;
      bytes.set(plain, this.#base + this.#end);
      this.#end += plain.length;
      this.#parse();
    }
    bytes.copyWithin(first, first + at, first + this.#sealedEnd);
    this.#sealedEnd -= at;
  }

  /** Takes what is in the receive area, as far as it goes. */
  #parse(): void {
    while (this.#at < this.#end && this.#step());
    if (this.#at === this.#end) {
      this.#at = 0;
      this.#end = 0;
    } else if (this.#at > 0) {
      this.#slab.bytes.copyWithin(this.#base, this.#base + this.#at, this.#base + this.#end);
      this.#end -= this.#at;
      this.#at = 0;
    }
  }

  /** One step; false when more bytes, or a buffer, are needed first. */
  #step(): boolean {
    switch (this.#phase) {
      case Phase.Challenge:
        return this.#challengeStep();
      case Phase.Header: {
        if (this.#end - this.#at < REPLICATION_HEADER_BYTES) return false;
        const error = decodeHeader(this.#slab.view, this.#base + this.#at, this.#header);
        if (error !== undefined) {
          this.#fail(`the peer sent a broken frame (${error})`);
          return false;
        }
        this.#at += REPLICATION_HEADER_BYTES;
        return this.#headerComplete();
      }
      case Phase.Payload: {
        const to = this.#host.pool.offset(this.#buffer) + this.#got;
        const left = this.#header.length - this.#got;
        this.#take(this.#host.pool.slab.bytes, to, left);
        if (this.#got === this.#header.length) this.#payloadComplete();
        return true;
      }
      case Phase.Control:
        this.#take(this.#control, this.#got, this.#control.length - this.#got);
        if (this.#got < this.#control.length) return true;
        if (this.#header.kind === CONTROL_KIND) this.#controlComplete();
        else return this.#headComplete();
        return true;
      default:
        return false;
    }
  }

  #take(target: Uint8Array, to: number, wanted: number): void {
    const count = Math.min(wanted, this.#end - this.#at);
    const from = this.#base + this.#at;
    target.set(this.#slab.bytes.subarray(from, from + count), to);
    this.#at += count;
    this.#got += count;
  }

  #challengeStep(): boolean {
    const from = this.#base + this.#at;
    const bytes = this.#slab.bytes.slice(from, this.#base + this.#end);
    const step = this.#challenge!.consume(bytes);
    this.#at = this.#end;
    this.#sender.bytes(step.send);
    this.#sender.flush();
    if (step.verdict === "refused") {
      this.#fail(step.detail);
      return false;
    }
    if (step.verdict === "more") return false;
    this.#challenge = null;
    this.#phase = Phase.Header;
    this.#at = 0;
    this.#end = 0;
    if (step.seal === null) {
      this.#end = step.rest.length;
      this.#slab.bytes.set(step.rest, this.#base);
    } else {
      const gcm = systemGcm() ?? PLAIN_GCM;
      this.#sender.encrypt(new Sealer(step.seal.send, gcm));
      this.#opener = new Opener(step.seal.receive, gcm);
      this.#sealedEnd = step.rest.length;
      this.#slab.bytes.set(step.rest, this.#sealed);
    }
    this.version = step.version;
    this.peer = this.#host.names.peers.indexOf(step.peer);
    this.#host.opened(this);
    this.#unseal();
    return true;
  }

  #headerComplete(): boolean {
    const header = this.#header;
    this.#got = 0;
    const control = header.kind === CONTROL_KIND ? header.payload : headBytes(header);
    this.#control = control > 0 ? new Uint8Array(control) : NO_HEAD;
    if (control > 0) {
      this.#phase = Phase.Control;
      return true;
    }
    return this.#headComplete();
  }

  /** What stands before the data is there. */
  #headComplete(): boolean {
    const { kind, payloadCrc } = this.#header;
    this.#got = 0;
    if (carriesData(kind)) return this.#provide();
    this.#phase = Phase.Header;
    if (payloadChecksum(NO_HEAD, this.#control) !== payloadCrc) {
      this.#fail("the peer sent a frame whose content does not match its checksum");
      return false;
    }
    this.#deliver(-1);
    return true;
  }

  /** A buffer for the payload; without one the peer has to wait. */
  #provide(): boolean {
    this.#buffer = this.#host.pool.acquire(this.#header.length);
    this.#phase = this.#buffer < 0 ? Phase.Starved : Phase.Payload;
    if (this.#buffer < 0) this.#host.starved(this);
    return this.#buffer >= 0;
  }

  #payloadComplete(): void {
    const { pool } = this.#host;
    const from = pool.offset(this.#buffer);
    const payload = pool.slab.bytes.subarray(from, from + this.#header.length);
    if (payloadChecksum(payload, this.#control) !== this.#header.payloadCrc) {
      return this.#fail("the peer sent a frame whose data do not match their checksum");
    }
    const buffer = this.#buffer;
    this.#buffer = -1;
    this.#phase = Phase.Header;
    this.#deliver(buffer);
  }

  #controlComplete(): void {
    this.#phase = Phase.Header;
    const { message, error } = decodeControl(this.#control, this.#header.payloadCrc);
    if (error !== undefined) return this.#fail(`the peer sent a broken message (${error})`);
    this.#host.control(this.peer, message);
  }

  #deliver(buffer: number): void {
    const { kind, session, seq, offset, length, flags } = this.#header;
    const head = this.#control;
    this.#control = NO_HEAD;
    this.#host.frame(this.peer, kind, session, seq, offset, length, buffer, flags, head);
  }

  #fail(why: string): void {
    if (this.#phase === Phase.Closed) return;
    const wasOpen = this.open;
    this.close();
    this.#host.failed(this, why, wasOpen);
  }

  #settle(): void {
    if (this.#phase !== Phase.Closed || this.#operations > 0 || this.#sender.busy) return;
    if (this.#gone) return;
    this.#gone = true;
    if (this.#buffer >= 0) this.#host.pool.release(this.#buffer);
    this.#buffer = -1;
    this.#host.removed(this);
  }
}
