/**
 * A Primary whose own disk has failed goes on through its peer's: a diskless Primary.
 *
 * Nothing is acknowledged on the way there. DETACH tells the peer, a member of the in-sync set, to take
 * all blocks as dirty about this replica, durably: what is missed here is not followed one by one.
 * DETACHED says that this is done; only then writes may reach the peer that no log of this disk names.
 * Then this replica asks to leave the in-sync set itself: its disk may answer again after a restart, and
 * must not pass for up to date. It serves again once that is known chosen *and* the peer has answered
 * another DETACH: writes that it answered before may have gone with its power meanwhile, and no other
 * replica counts for them any more.
 */

import { Detach, PEER, type VolumeContext } from "./context.ts";
import type { FlushPath } from "./flush_path.ts";
import { OpState, type OpTable } from "./in_flight.ts";
import type { ActivityLog } from "./activity_log.ts";
import type { ReadPath } from "./read_path.ts";
import type { Requests } from "./requests.ts";
import type { WritePath } from "./write_path.ts";

/** The link, as far as a detachment needs it. */
export interface DetachLink {
  /** The peer holds everything, is connected, and understands DETACH. */
  readonly holdsAll: boolean;
  /** A session is open for data frames. */
  readonly streaming: boolean;
  /** Sends DETACH in the present session. */
  sayDetach(): void;
  /** Whatever waited goes on if it may. */
  progressAll(): void;
}

/** What a detachment takes over. */
export interface DetachParts {
  readonly table: OpTable;
  readonly log: ActivityLog;
  readonly requests: Requests;
  readonly reads: ReadPath;
  readonly writes: WritePath;
  readonly flushes: FlushPath;
}

/** See the module comment. */
export class Detachment {
  readonly #context: VolumeContext;
  readonly #link: DetachLink;
  readonly #parts: DetachParts;
  #askedAt = 0;
  /** DETACH frames of this session that are not answered. */
  #unanswered = 0;
  /** The last of them left after this replica was known to be out of the in-sync set. */
  #confirming = false;

  /** Of one volume. */
  constructor(context: VolumeContext, link: DetachLink, parts: DetachParts) {
    this.#context = context;
    this.#link = link;
    this.#parts = parts;
  }

  /** The disk of a Primary has failed: detaches if it shall and can, else the group must move. */
  begin(): void {
    const context = this.#context;
    const { init, failure } = context;
    const known = { policy: init.onIoError };
    if (init.onIoError !== "detach" || !this.#link.holdsAll) {
      const why = init.onIoError === "detach"
        ? "the peer does not hold everything, or is not connected"
        : "on_io_error says so";
      context.note("error", "hand-over", `the group is to move: ${why}`, known);
      return;
    }
    context.detach = Detach.Asked;
    context.detachFailed = false;
    context.note(
      "warning",
      "detach",
      `it goes on through ${init.peers[PEER]}, without the local disk: ${failure}`,
      known,
    );
    this.#parts.log.abandon();
    this.#unanswered = 0;
    this.#say();
  }

  /**
   * Says DETACH to a peer that was met again, if it holds all that was answered. Protocol A answers
   * before the peer has a write, and what a lost session took with it is on the failed disk alone; a
   * peer whose storage changed lost what it had not flushed. Nothing may pass for flushed then, so
   * nothing is served on; a takeover goes without it, and that is said.
   */
  resume(storageKept: boolean): boolean {
    const context = this.#context;
    const { bitmap, init } = context;
    if (bitmap.count === 0 && storageKept) {
      this.#unanswered = 0;
      this.#say();
      return true;
    }
    if (context.detachFailed) return false;
    context.detachFailed = true;
    context.changed = true;
    const peer = init.peers[PEER]!;
    const what = bitmap.count > 0
      ? `${bitmap.count} blocks that were answered before they reached it`
      : "what it had in its cache when it lost power";
    const text = `the group is to move: ${peer} lacks ${what}`;
    context.note("error", "hand-over", text, { peer, dirtyBlocks: bitmap.count });
    return false;
  }

  /** DETACHED: the peer takes all blocks as dirty about us. Also after a reconnect. */
  agreed(): void {
    const context = this.#context;
    this.#unanswered = Math.max(0, this.#unanswered - 1);
    if (context.detach === Detach.Asked) {
      context.detach = Detach.Agreed;
      this.#ask();
    }
    for (const op of this.#parts.table.ops) {
      if (op.state === OpState.Log) this.#parts.writes.logged(op);
    }
    this.recordChanged();
  }

  /** The in-sync set has changed, or something that was waited for has come. */
  recordChanged(): void {
    const context = this.#context;
    if (context.detach === Detach.Agreed && this.#isOut && !this.#confirming) {
      if (this.#link.streaming) this.#say();
    } else if (context.detach === Detach.Agreed && this.#confirming && this.#unanswered === 0) {
      context.detach = Detach.Done;
      context.changed = true;
      context.note("warning", "detached", "it serves without a disk of its own", {
        peer: context.init.peers[PEER]!,
        epoch: context.epoch,
      });
      this.#parts.requests.review();
    }
    this.#link.progressAll();
  }

  /** Time passed. */
  tick(): void {
    const { detach, now, init } = this.#context;
    if (detach === Detach.Agreed && now - this.#askedAt > init.timeout) this.#ask();
  }

  get #isOut(): boolean {
    return !this.#context.upToDate.includes(this.#context.replicaId);
  }

  #say(): void {
    this.#unanswered++;
    this.#confirming = this.#isOut;
    this.#link.sayDetach();
  }

  #ask(): void {
    const { io, now, epoch, replicaId, failure, version } = this.#context;
    this.#askedAt = now;
    const reason = `its own disk has failed: ${failure}`;
    io.ask({ type: "shrink", epoch, replicaId, reason, version });
  }
}
