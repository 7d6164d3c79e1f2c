/**
 * In and out of the in-sync set: a replica that has everything joins, one that misses something that
 * is waited for is given up. Only the cluster's record decides; this asks.
 *
 * JOIN: from before it is sent the replica counts for every write and FLUSH. JOINED in this very
 * session says that all is stable there, under the source's generations, and that it is Consistent;
 * only then the `sole` mark is cleared, durably, and GROW is asked. From the asking on the replica
 * counts until a record of a higher version says what was chosen; a reconnect settles nothing.
 */

import { Detach, type VolumeContext } from "./context.ts";
import { shared } from "./generations.ts";
import { type Op, OpKind, OpState, type OpTable, PeerState, Source } from "./in_flight.ts";
import type { ControlMessage } from "./types.ts";

/** A lost session may come back for this part of the timeout before the member is given up. */
const GRACE_PART = 8;

/** The link, as far as membership needs it. */
export interface MemberLink {
  /** Data frames may be sent in the present session. */
  readonly streaming: boolean;
  readonly session: number;
  readonly peerId: string;
  readonly syncing: boolean;
  /** The resync cannot end: some blocks cannot be read here. */
  readonly stuck: boolean;
  /** When the last session was lost, or the role began. */
  readonly downSince: number;
  /** Sends a control frame. */
  say(message: ControlMessage): void;
}

/** See the module comment. */
export class Membership {
  readonly #context: VolumeContext;
  readonly #table: OpTable;
  readonly #link: MemberLink;
  /** Generation that the peer bears. */
  #peerGeneration = "";
  /** Its last writes may be missing until it has joined again. */
  #peerUnclean = false;
  /** Generation of the JOIN that was not answered yet; null: none. */
  #joinSent: string | null = null;
  /** Session in which JOINED came; 0: none. */
  #joinedIn = 0;
  #askedAt = 0;
  /** Version on which a SHRINK was asked last. */
  #shrinkAsked = -1;

  /** Of one volume. */
  constructor(context: VolumeContext, table: OpTable, link: MemberLink) {
    this.#context = context;
    this.#table = table;
    this.#link = link;
  }

  /** Whether the peer's unflushed writes may be missing. */
  get peerUnclean(): boolean {
    return this.#peerUnclean;
  }

  /** A new epoch begins. */
  begin(): void {
    this.#shrinkAsked = -1;
    this.#joinSent = null;
  }

  /** Whether the peer bears the present generation and misses nothing. */
  get peerAgrees(): boolean {
    const { generations } = this.#context.superblock.value;
    return this.#peerGeneration === generations.current && !this.#peerUnclean;
  }

  /** Whether the connected peer is the other member, in sync and with nothing to come. */
  get peerHoldsAll(): boolean {
    const { others, upToDate, bitmap, joining } = this.#context;
    const { streaming, syncing, peerId } = this.#link;
    return streaming && !syncing && bitmap.count === 0 && joining === null &&
      others.length === 1 && others[0] === peerId && upToDate.includes(peerId) && this.peerAgrees;
  }

  /** WELCOME told what the replica bears. */
  welcomed(generation: string, unclean: boolean): void {
    this.#peerGeneration = generation;
    this.#peerUnclean = unclean;
    this.#context.countMembers();
  }

  /** The session is lost: a JOIN without GROW binds nobody. */
  lost(): void {
    const context = this.#context;
    this.#joinSent = null;
    if (context.joining !== null && context.growAsked < 0) {
      context.joining = null;
      context.countMembers();
      this.#markAgain();
    }
  }

  /** The mark was cleared for a GROW that was never asked for: without it the loss of others freezes. */
  #markAgain(): void {
    const { role, draining, failure, superblock, isOnlyMember, epoch, knownEpoch, init } =
      this.#context;
    if (role !== "Primary" || draining || failure !== null || superblock.value.sole !== null) {
      return;
    }
    if (!isOnlyMember || knownEpoch > epoch) return;
    superblock.update({ sole: { epoch, bootId: init.bootId } }, () => {
      this.#context.changed = true;
    });
  }

  /** The record has changed, or the session has come up. */
  recordChanged(): void {
    const { superblock, upToDate, bitmap, epoch, detach } = this.#context;
    const link = this.#link;
    if (!link.streaming) return;
    const own = superblock.value.generations;
    if (upToDate.includes(link.peerId) && detach === Detach.No) {
      const generations = shared(own);
      const agreed = this.peerAgrees && bitmap.count === 0;
      if (agreed && generations !== own) superblock.update({ generations });
    }
    link.say({
      type: "RECORD",
      session: link.session,
      epoch,
      generation: own.current,
      upToDate,
    });
    this.join();
  }

  /** Sends JOIN if the replica has everything and is not a member in good standing already. */
  join(): void {
    const context = this.#context;
    const link = this.#link;
    const { bitmap, superblock, upToDate } = context;
    if (!link.streaming || link.syncing || bitmap.count > 0 || this.#joinSent !== null) return;
    if (context.failure !== null) return;
    const member = upToDate.includes(link.peerId);
    const generations = shared(superblock.value.generations);
    const agreed = this.#peerGeneration === generations.current && !this.#peerUnclean;
    if (member && agreed) return;
    if (!member && agreed && context.growAsked >= 0 && this.#joinedIn === link.session) return;
    if (!member) {
      context.joining = link.peerId;
      context.countMembers();
    }
    this.#joinSent = generations.current;
    link.say({ type: "JOIN", session: link.session, epoch: context.epoch, generations });
  }

  /** JOINED: everything is stable there. True if the replica is Consistent now. */
  joined(epoch: number): boolean {
    const context = this.#context;
    const link = this.#link;
    if (this.#joinSent === null || epoch !== context.epoch) return false;
    this.#peerGeneration = this.#joinSent;
    this.#joinSent = null;
    this.#joinedIn = link.session;
    this.#peerUnclean = false;
    if (this.#peerGeneration !== context.superblock.value.generations.current) {
      // A generation was minted meanwhile; it must bear that one.
      this.join();
    } else if (context.upToDate.includes(link.peerId)) {
      this.recordChanged();
    } else {
      const { session } = link;
      context.superblock.update({ sole: null }, () => {
        if (link.streaming && link.session === session) this.#askGrow();
      });
    }
    return true;
  }

  /** Time passed: asks again what was not settled, and for a SHRINK if something waits in vain. */
  tick(): void {
    const context = this.#context;
    const { now, init, others, version } = context;
    const link = this.#link;
    if (
      link.streaming && context.growAsked >= 0 && context.joining === link.peerId &&
      this.#joinedIn === link.session && now - this.#askedAt > init.timeout
    ) {
      this.#askGrow();
    }
    if (others.length === 0 || context.failure !== null) return;
    const present = link.streaming && !link.stuck ? link.peerId : "";
    const missing = others.find((one) => one !== present);
    if (missing === undefined) return;
    if (missing === link.peerId && now - link.downSince < init.timeout / GRACE_PART) return;
    if (!this.#awaited()) return;
    if (this.#shrinkAsked === version && now - this.#askedAt < init.timeout) return;
    this.#shrinkAsked = version;
    this.#askedAt = now;
    context.io.ask({
      type: "shrink",
      epoch: context.epoch,
      replicaId: missing,
      reason: context.parting.shown ??
        (link.stuck
          ? "a FLUSH waits for it, and some blocks that it lacks cannot be read here"
          : "a write or FLUSH waits for it and it is not connected"),
      version,
    });
  }

  #askGrow(): void {
    const context = this.#context;
    const { peerId } = this.#link;
    if (context.joining !== peerId || context.role !== "Primary") return;
    if (context.upToDate.includes(peerId)) return;
    context.growAsked = context.version;
    this.#askedAt = context.now;
    context.changed = true;
    context.io.ask({
      type: "grow",
      epoch: context.epoch,
      replicaId: peerId,
      reason: "it is in sync and stable",
      version: context.version,
    });
  }

  /** Whether something waits for a replica that it has not been sent to. */
  #awaited(): boolean {
    return this.#table.ops.some((op) =>
      op.state === OpState.Running && op.peer !== PeerState.Sent && awaitsPeer(op)
    );
  }
}

/** A write or FLUSH that is done here, or a read that the local disk could not answer. */
function awaitsPeer(op: Op): boolean {
  if (op.kind === OpKind.Read) return op.source === Source.Peer && op.peer === PeerState.None;
  return op.localDone && (op.writes || op.kind === OpKind.Flush);
}
