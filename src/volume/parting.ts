/**
 * Why two replicas do not come together: an operator disconnected them, or both have data that the
 * other lacks. Both sides hold, and show, the same: what each has, since when, and the way out.
 */

import type { VolumeContext } from "./context.ts";
import type { ControlMessage, Split, SplitView } from "./types.ts";

/** See the file's comment. */
export class Parting {
  readonly #context: VolumeContext;
  /** An operator wants no connection. */
  disconnected = false;
  /** Why no session is wanted: other data, or a newer epoch. */
  reason: string | null = null;
  /** Both replicas have data of their own; null: not known to. */
  split: Split | null = null;
  /** What was noted already. */
  #told = "";

  constructor(context: VolumeContext) {
    this.#context = context;
  }

  /** Why there is no connection and none is tried, for status; null: there may be one. */
  get shown(): string | null {
    return this.disconnected ? "disconnected by an operator" : this.reason;
  }

  /** Whether the Primary dials: refused replicas are met now and then, somebody may have mended them. */
  get hopeful(): boolean {
    return !this.disconnected && (this.reason === null || this.split !== null);
  }

  /** This side of a parting. */
  get own(): SplitView {
    const { superblock, bitmap, lastWrite } = this.#context;
    return {
      dirtyBlocks: bitmap.count,
      lastWrite,
      primarySince: superblock.value.primarySince ?? 0,
    };
  }

  /** The replicas are one again, or begin anew. */
  end(): void {
    this.reason = null;
    this.split = null;
    this.#told = "";
  }

  /** Both have data of their own. `key`: what is noted once. `tracked`: the bits name every difference. */
  part(reason: string, peer: SplitView, tracked: boolean, rule: string, key: string): void {
    const { init, layout } = this.#context;
    const { own } = this;
    const blocks = tracked ? Math.min(layout.blocks, own.dirtyBlocks + peer.dirtyBlocks) : null;
    this.reason = reason;
    this.split = { reason, blocks, own, peer };
    this.#context.changed = true;
    if (this.#told === key) return;
    this.#told = key;
    const text = `${reason}: no replication; what one side holds has to be given up, there, with ` +
      `bascule volume discard ${init.name}`;
    this.#context.note("error", rule, text, {
      peer: init.peers[0]!,
      ownBlocks: own.dirtyBlocks,
      peerBlocks: peer.dirtyBlocks,
    });
  }

  /** The replica declined to be served. True if a later try is useless until something changes. */
  declined({ why, epoch, parted }: Extract<ControlMessage, { type: "DECLINE" }>): void {
    const context = this.#context;
    if (parted !== undefined) {
      this.part(why, parted, false, "split-brain", why);
      return;
    }
    if (epoch > context.epoch) this.reason = why;
    if (this.#told === why) return;
    this.#told = why;
    const known = { peer: context.init.peers[0]!, epoch, own: context.epoch };
    context.note("warning", "declined", `the replica declined: ${why}`, known);
  }
}
