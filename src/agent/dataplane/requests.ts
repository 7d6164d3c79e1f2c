/** One client request under way, as a connection keeps it. Reused; nothing is allocated per request. */
import type { NbdRequest } from "../../nbd/mod.ts";
import { RequestKind } from "../../volume/types.ts";

/** What a slot is doing. */
export const enum SlotState {
  Free,
  /** The payload of a WRITE is coming in. */
  Receiving,
  /** The volume has it. */
  Submitted,
  /** The volume has it, and the client has got an error already: it took too long. */
  Overdue,
  /** The data of a READ are going out. */
  Sending,
}

/** A place for one request. Its number within the connection is what the volume's answer names. */
export class RequestSlot {
  readonly index: number;
  state: SlotState = SlotState.Free;
  type = 0;
  flags = 0;
  cookieHi = 0;
  cookieLo = 0;
  offset = 0;
  length = 0;
  /** Held by this slot while it is 0 or more. */
  buffer = -1;
  /** Bytes kept free for its reply. */
  reserved = 0;
  /** CACHE: bytes that were read already. */
  progress = 0;
  /** BLOCK_STATUS: the contexts that are wanted, bit by bit. */
  contexts = 0;
  /** What the volume was asked for. */
  kind: RequestKind = RequestKind.Read;
  /** When it was whole, milliseconds. */
  since = 0;
  /** The volume has begun with it. */
  begun = false;

  constructor(index: number) {
    this.index = index;
  }

  /** Takes the fields of a request. */
  fill(request: NbdRequest, buffer: number, reserved: number): void {
    this.type = request.type;
    this.flags = request.flags;
    this.cookieHi = request.cookieHi;
    this.cookieLo = request.cookieLo;
    this.offset = request.offset;
    this.length = request.length;
    this.buffer = buffer;
    this.reserved = reserved;
    this.progress = 0;
    this.contexts = request.contexts;
    this.begun = false;
  }
}
