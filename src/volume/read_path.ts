/**
 * Reads of a Primary: from the local disk, after overlapping writes are done everywhere.
 */

import type { VolumeContext } from "./context.ts";
import { type Op, OpState } from "./in_flight.ts";
import type { Requests } from "./requests.ts";
import { makeTag, TagKind } from "./tags.ts";

/** See the module comment. */
export class ReadPath {
  readonly #context: VolumeContext;
  readonly #requests: Requests;

  /** Of one volume. */
  constructor(context: VolumeContext, requests: Requests) {
    this.#context = context;
    this.#requests = requests;
  }

  /** A read whose turn has come. */
  start(op: Op): void {
    op.state = OpState.Running;
    this.#context.dataIoBegan();
    this.#context.io.began?.(op.request);
    this.#context.io.read(
      makeTag(TagKind.Operation, op.index),
      op.offset,
      op.length,
      op.buffer,
      op.bufferOffset,
    );
  }

  /** The data are in the client's buffer, or the disk failed. */
  localDone(op: Op, errno: number): void {
    if (errno !== 0) {
      this.#context.fail(`reading ${op.length} bytes at ${op.offset} failed`, errno);
      return;
    }
    op.localDone = true;
    this.#requests.finish(op);
  }
}
