/**
 * One node's replica of one volume: the pure machine that the data plane drives.
 *
 * The data plane calls the methods below as things happen, one at a time, and carries out what they
 * call on {@linkcode VolumeIo}; no method of `VolumeIo` may call back into the volume before it
 * returned. All time comes from {@linkcode Volume.tick}.
 *
 * Connections: at most one per peer counts. Before `connected` or `accepted` is called for a peer to
 * which an older connection stands, the data plane has closed the older one; no `disconnected` and
 * no frame of it follows. After `hangUp` the same holds.
 *
 * Buffers: the buffer of a `request` belongs to the client side until `answer`; what is still being
 * sent or written then keeps its own hold. The buffer of a received frame belongs to the volume,
 * which gives it back by `release`, as it does with what it got by `acquire`.
 */

import type {
  BufferHandle,
  ControlMessage,
  FrameKind,
  RequestKind,
  VolumeInit,
  VolumeIo,
  VolumeOrder,
  VolumeReport,
} from "./types.ts";

/** See the module comment. Times are milliseconds of one monotonic clock. */
export interface Volume {
  /**
   * A client's request, answered exactly once by `io.answer(id, errno)`, perhaps before this
   * returns. `offset` and `length` in bytes, within the volume; FLUSH has neither. `fua`: stable on
   * every member of the in-sync set before it is answered. A volume that is not Primary answers
   * ESHUTDOWN; a frozen one answers later.
   */
  request(
    id: number,
    kind: RequestKind,
    offset: number,
    length: number,
    fua: boolean,
    buffer: BufferHandle,
    bufferOffset: number,
  ): void;
  /** The I/O with this tag ended; errno 0: done. Every tag exactly once. Tags are below 2^24. */
  done(tag: number, errno: number): void;
  /** `acquire` may succeed again. */
  bufferFree(): void;
  /** The connection that `dial` asked for stands and both ends have proved that they know the key. */
  connected(peer: number): void;
  /** A connection came in from this peer, authenticated. */
  accepted(peer: number): void;
  /** The connection ended, or `dial` failed. */
  disconnected(peer: number, why: string): void;
  /** A data frame of this peer; `buffer` is -1 without payload. Checksums have been checked. */
  frame(
    peer: number,
    kind: FrameKind,
    session: number,
    seq: number,
    offset: number,
    length: number,
    buffer: BufferHandle,
    flags: number,
  ): void;
  /** A control frame of this peer, checked by `decodeControl`. */
  control(peer: number, message: ControlMessage): void;
  /** An order from the cluster. */
  order(order: VolumeOrder): void;
  /** The lease of `epoch` lasts until this time: 0 none, Infinity sole. */
  lease(epoch: number, until: number): void;
  /** The time. To be called at least every 50 ms, and before events are handled after a wait. */
  tick(now: number): void;
  /** What it reports now. Also sent by `io.report` when anything in it changed. */
  report(): VolumeReport;
}

/**
 * Opens a replica from the bytes of its whole metadata region. Throws an Error that names the way
 * out if they cannot be used. What an unclean stop left is worked in at once, through `io`.
 */
export function openVolume(io: VolumeIo, init: VolumeInit, metadata: Uint8Array): Volume {
  throw new Error(`not reached: ${typeof io} ${init.name} ${metadata.length}`);
}
