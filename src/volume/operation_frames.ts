/**
 * An operation as frames: a write longer than a frame may carry goes as several, all with its seq.
 */

import { FLAG_FUA, MAX_DATA_PAYLOAD } from "../wire/replication.ts";
import { PEER, type VolumeContext } from "./context.ts";
import { type Op, OpKind, type OpTable, PeerState } from "./in_flight.ts";
import { BLOCK_BYTES } from "./metadata/layout.ts";
import { FrameKind } from "./types.ts";

/** Sends an operation's present chunk, or a FLUSH, and marks it as sent. */
export function sendOperation(
  context: VolumeContext,
  table: OpTable,
  op: Op,
  session: number,
): void {
  const { io } = context;
  const seq = table.seqOf(op);
  const kind = op.frameKind;
  const flags = op.fua && op.writes ? FLAG_FUA : 0;
  op.peer = PeerState.Sent;
  op.sentAt = context.now;
  op.frames = 1;
  if (op.kind !== OpKind.Write) {
    const offset = op.writes ? op.offset + op.chunkOffset : 0;
    const length = op.writes ? op.chunkLength : 0;
    io.sendData(PEER, kind, session, seq, offset, length, -1, 0, flags);
    return;
  }
  op.frames = Math.ceil(op.chunkLength / MAX_DATA_PAYLOAD);
  for (let i = 0; i < op.frames; i++) {
    const from = op.chunkOffset + i * MAX_DATA_PAYLOAD;
    const length = Math.min(MAX_DATA_PAYLOAD, op.chunkOffset + op.chunkLength - from);
    io.sendData(
      PEER,
      kind,
      session,
      seq,
      op.offset + from,
      length,
      op.buffer,
      op.bufferOffset + from,
      flags,
    );
  }
}

/** Sends a frame about the blocks of an operation; RESYNC carries the front of its buffer. */
export function sendBlocks(
  context: VolumeContext,
  table: OpTable,
  op: Op,
  session: number,
  kind: FrameKind,
  flags: number,
  head: Uint8Array,
): void {
  op.peer = PeerState.Sent;
  op.sentAt = context.now;
  op.frames = 1;
  const buffer = kind === FrameKind.Resync ? op.buffer : -1;
  const offset = op.runs[0]! * BLOCK_BYTES;
  const length = op.blocks * BLOCK_BYTES;
  const seq = table.seqOf(op);
  context.io.sendData(PEER, kind, session, seq, offset, length, buffer, 0, flags, head);
}
