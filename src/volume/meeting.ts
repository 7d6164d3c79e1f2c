/**
 * A Primary and a replica meet: WELCOME and the replica's dirty blocks come in, what must be copied is
 * decided, the bits of both are made durable here, and SYNC says which resync follows.
 */

import { PEER, type VolumeContext } from "./context.ts";
import { trackedFrom } from "./generations.ts";
import { decideSync, type SyncDecision } from "./sync_decision.ts";
import { afterSplitBrain } from "./split_brain.ts";
import type { ControlMessage, SplitView } from "./types.ts";

/** What a replica says of itself. */
export type Welcome = Extract<ControlMessage, { type: "WELCOME" }>;

/** What a meeting needs of the link. */
export interface MeetingHost {
  readonly session: number;
  /** Sends a control frame. */
  say(message: ControlMessage): void;
  /** Ends the connection. */
  drop(why: string): void;
  /** Whose session it is, for the journal. */
  known(): Record<string, string | number | boolean>;
  /** The activity log becomes dirty bits. */
  spill(): void;
  /** It is decided that the replica is to be synchronized. */
  agreed(): void;
  /** The session is still this one, and nothing has gone on. */
  isPreparing(session: number): boolean;
}

/** See the module comment. */
export class Meeting {
  readonly #context: VolumeContext;
  readonly #host: MeetingHost;
  #peerId = "";
  /** Storage in which the peer answered the writes of this run; null: it has answered none. */
  #peerStorage: string | null = null;
  #welcome: Welcome | null = null;
  /** Its dirty blocks, as runs: ours, too, once it is agreed to copy. */
  #theirs: number[] = [];
  #inconsistent = false;

  constructor(context: VolumeContext, host: MeetingHost) {
    this.#context = context;
    this.#host = host;
  }

  /** Id of the replica that was met; empty: none. */
  get peerId(): string {
    return this.#peerId;
  }

  /** Whether the replica is a mixture. */
  get peerInconsistent(): boolean {
    return this.#inconsistent;
  }

  /** Whether SYNC must be said again before blocks are copied: the replica does not know it is needed. */
  get mustSyncAgain(): boolean {
    return !this.#isMember && this.#context.bitmap.count > 0 && !this.#inconsistent;
  }

  /** A new epoch begins. */
  begin(): void {
    this.#peerId = "";
    this.#peerStorage = null;
  }

  /** Whether the replica that was met lost nothing since it was met last in this epoch. */
  get storageKept(): boolean {
    return this.#peerStorage === null || this.#peerStorage === this.#welcome?.storage;
  }

  /** The replica is Consistent. */
  joined(): void {
    this.#inconsistent = false;
  }

  /** WELCOME came; false if it does not fit, and the session is over. */
  welcomed(welcome: Welcome): boolean {
    const context = this.#context;
    if (welcome.epoch !== context.epoch || welcome.replicaId === context.replicaId) {
      this.#host.drop("its WELCOME does not fit this Primary");
      return false;
    }
    this.#welcome = welcome;
    this.#peerId = welcome.replicaId;
    this.#inconsistent = welcome.inconsistent;
    this.#theirs = [];
    return true;
  }

  /** Some of the replica's dirty blocks, as runs; `last`: all of them. */
  learn(runs: readonly number[], last: boolean): void {
    const { layout } = this.#context;
    for (let i = 0; i < runs.length; i += 2) {
      const first = runs[i]!;
      // A replica that has grown already: what is new there is zero on both.
      const end = Math.min(first + runs[i + 1]!, layout.blocks);
      if (end > first) this.#theirs.push(first, end - first);
    }
    if (last) this.#decide(this.#welcome!);
  }

  /** Tells the replica which resync follows. */
  sync(): void {
    const { bitmap } = this.#context;
    const inconsistent = !this.#isMember && (bitmap.count > 0 || this.#inconsistent);
    this.#inconsistent = inconsistent;
    const { session } = this.#host;
    this.#host.say({ type: "SYNC", session, inconsistent, blocks: bitmap.count });
  }

  get #isMember(): boolean {
    const { upToDate, joining } = this.#context;
    return upToDate.includes(this.#peerId) || joining === this.#peerId;
  }

  #decide(welcome: Welcome): void {
    const context = this.#context;
    const host = this.#host;
    const { superblock, bitmap, layout } = context;
    if (this.#peerStorage !== null && this.#peerStorage !== welcome.storage) {
      // It may have lost what it answered and was not asked to flush: the log names all of that.
      host.spill();
    }
    this.#peerStorage = welcome.storage;
    const own = superblock.value;
    const boundTo = own.peers[PEER] ?? "";
    let decision = decideSync(
      {
        generations: own.generations,
        dirtyBlocks: bitmap.count,
        inconsistent: own.inconsistent,
        blank: own.blank !== "no",
      },
      {
        generations: welcome.generations,
        dirtyBlocks: welcome.dirtyBlocks,
        inconsistent: welcome.inconsistent,
        blank: welcome.blank,
      },
      boundTo === "" || boundTo === welcome.replicaId,
    );
    if (decision.verdict === "split-brain" || decision.verdict === "unrelated") {
      const apart = decision;
      const given = this.#givenUp(welcome, apart);
      if (given === null) return this.#split(welcome, apart);
      const verdict = apart.tracked === true ? "bitmap" : "full";
      decision = { verdict, reason: `${apart.reason}, its data are given up: ${given}` };
    }
    const { verdict, reason } = decision;
    for (let i = 0; i < this.#theirs.length; i += 2) {
      bitmap.set(this.#theirs[i]!, this.#theirs[i + 1]!);
    }
    this.#theirs = [];
    if (verdict === "full") bitmap.set(0, layout.blocks);
    context.parting.end();
    const known = { ...host.known(), verdict, dirtyBlocks: bitmap.count };
    const text = `meeting replica ${welcome.replicaId}: ${verdict}, ${reason}`;
    context.note("info", "sync-decision", text, known);
    host.agreed();
    const { session } = host;
    context.bitmapWriter.flush(() => {
      if (!host.isPreparing(session)) return;
      const generations = verdict === "full"
        ? trackedFrom(superblock.value.generations, welcome.generations.current)
        : superblock.value.generations;
      const peers = [welcome.replicaId, ...superblock.value.peers.slice(1)];
      if (boundTo === welcome.replicaId && generations === superblock.value.generations) {
        this.sync();
        return;
      }
      superblock.update({ generations, peers }, () => {
        if (host.isPreparing(session)) this.sync();
      });
    });
  }

  /** Why the target's data may be given up; null: nobody said so. */
  #givenUp(welcome: Welcome, { verdict }: SyncDecision): string | null {
    const { init, parting } = this.#context;
    if (welcome.discard === true) return "an operator said so there";
    if (verdict !== "split-brain") return null;
    const target = viewOf(welcome);
    const choice = afterSplitBrain(init.afterSplitBrain, parting.own, target);
    return choice.discard ? `${init.afterSplitBrain}, ${choice.reason}` : null;
  }

  /** Nobody's data are thrown away unasked. Both sides know, and the target hangs up. */
  #split(welcome: Welcome, { verdict, reason, tracked = false }: SyncDecision): void {
    const { parting } = this.#context;
    const { session } = this.#host;
    this.#theirs = [];
    this.#host.say({ type: "SPLIT", session, why: reason, tracked, source: parting.own });
    const key = `${welcome.replicaId} ${welcome.generations.current}`;
    parting.part(reason, viewOf(welcome), tracked, verdict, key);
  }
}

/** What a side holds, as it says. */
export function viewOf(
  { dirtyBlocks, lastWrite = 0, primarySince = 0 }: {
    readonly dirtyBlocks: number;
    readonly lastWrite?: number;
    readonly primarySince?: number;
  },
): SplitView {
  return { dirtyBlocks, lastWrite, primarySince };
}
