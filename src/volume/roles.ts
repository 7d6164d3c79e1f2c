/**
 * Changes of role, one at a time: what an unclean stop left is worked in, then promotion, demotion,
 * minted generations, records of the cluster, and the clean mark.
 */

import type { ActivityLog } from "./activity_log.ts";
import { Detach, type VolumeContext } from "./context.ts";
import type { Detachment } from "./detachment.ts";
import type { FlushPath } from "./flush_path.ts";
import { adopt } from "./generations.ts";
import { learned, sameList } from "./learned.ts";
import type { OpTable } from "./in_flight.ts";
import { EXTENT_BLOCKS } from "./metadata/layout.ts";
import type { Metadata } from "./metadata/format.ts";
import { type Promote, unfitFor } from "./promotion.ts";
import type { Requests } from "./requests.ts";
import type { SourceLink } from "./source_link.ts";
import type { TargetLink } from "./target_link.ts";
import type { VolumeOrder } from "./types.ts";
import type { Walks } from "./walks.ts";
import type { WritePath } from "./write_path.ts";

type RecordOrder = Extract<VolumeOrder, { type: "record" }>;

/** The parts that a change of role concerns. */
export interface RoleParts {
  readonly table: OpTable;
  readonly log: ActivityLog;
  readonly requests: Requests;
  readonly writes: WritePath;
  readonly flushes: FlushPath;
  readonly walks: Walks;
  readonly source: SourceLink;
  readonly target: TargetLink;
  readonly detachment: Detachment;
}

/** See the module comment. */
export class Roles {
  readonly #context: VolumeContext;
  readonly #parts: RoleParts;
  /** The role has ended by force; its I/O is still ending. */
  #ending = false;
  /** The last requests are done and the members' flush of a clean demotion has begun. */
  #flushing = false;
  /** Whether the last demotion was clean. */
  #lastClean = true;
  #closed = false;

  /** Of one volume. */
  constructor(context: VolumeContext, parts: RoleParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /** Whether completions of operations are of no more interest. */
  get ending(): boolean {
    return this.#ending;
  }

  /** Works in what the last stop left, before anybody is answered. */
  open(metadata: Metadata): void {
    const context = this.#context;
    const { init, bitmap, layout, superblock, hasPeer } = context;
    const found = metadata.superblock;
    const rebooted = found.bootId !== init.bootId;
    const lossy = !found.clean && rebooted && init.volatileCache;
    const storage = lossy ? { storage: init.freshStorage, unclean: true } : {};
    if (hasPeer) {
      for (const extent of metadata.logExtents) {
        const first = extent * EXTENT_BLOCKS;
        bitmap.set(first, Math.min(EXTENT_BLOCKS, layout.blocks - first));
      }
    }
    if (metadata.damage.length > 0) {
      context.note("warning", "metadata-damage", "unreadable parts are taken as dirty", {
        damage: metadata.damage.join("; "),
      });
    }
    context.tasks.add((done) => {
      context.bitmapWriter.flush(() => {
        const { logFrom } = this.#parts.log;
        superblock.update({ clean: false, bootId: init.bootId, logFrom, ...storage }, () => {
          context.note("info", "open", "the replica is open", {
            clean: found.clean,
            rebooted,
            dirtyBlocks: bitmap.count,
            logExtents: metadata.logExtents.length,
          });
          context.opened = true;
          context.changed = true;
          if (metadata.damage.length > 0) this.#parts.log.rewrite(done);
          else done();
        });
      });
    });
  }

  /** An order of the cluster. */
  order(order: VolumeOrder): void {
    const context = this.#context;
    if (context.failure !== null) {
      if (context.role === "Primary" && context.detach !== Detach.No) this.#orderDetached(order);
      else this.#orderFailed(order);
      return;
    }
    if (order.type === "demote" && order.forced) context.draining = context.role === "Primary";
    context.tasks.add((done) => {
      switch (order.type) {
        case "promote":
          this.#promote(order, done);
          return;
        case "demote":
          this.#demote(order.forced, done);
          return;
        case "record":
          this.#record(order, done);
          return;
        case "mint":
          context.superblock.update({ pending: order.generation }, () => {
            context.changed = true;
            context.io.ask({ type: "minted", generation: order.generation });
            done();
          });
          return;
        case "close":
          this.#close(done);
      }
    });
  }

  /** Ends an own role as Primary by force, from within a task. */
  yieldRole(why: string, done: () => void): void {
    if (this.#context.role === "Primary") this.#force(why, done);
    else done();
  }

  /** No request is left and the volume is draining: flush the members. */
  drained(): void {
    const context = this.#context;
    if (!context.draining || this.#flushing || context.role !== "Primary" || this.#ending) return;
    this.#flushing = true;
    this.#parts.flushes.flushMembers(() => {
      if (context.detach !== Detach.No) {
        this.#letGo();
        context.io.ask({ type: "demoted", epoch: context.epoch, clean: true });
        return;
      }
      context.tasks.add((done) => {
        if (this.#flushing && context.role === "Primary") this.#finishClean(done);
        else done();
      });
    });
  }

  /** Without a disk nothing is made durable here; the peer and the record hold all that counts. */
  #orderDetached(order: VolumeOrder): void {
    const context = this.#context;
    if (order.type === "demote" && !order.forced) {
      context.draining = true;
      context.changed = true;
      if (this.#parts.requests.drained) this.drained();
    } else if (order.type !== "record") {
      this.#orderFailed(order);
    } else if (order.version >= context.version) {
      context.knownEpoch = Math.max(context.knownEpoch, order.epoch);
      context.version = order.version;
      if (order.epoch < context.epoch) return;
      if (!order.mine || order.epoch > context.epoch) {
        this.#letGo();
        context.io.ask({ type: "demoted", epoch: context.epoch, clean: false });
        return;
      }
      context.upToDate = order.record.upToDate;
      context.countMembers();
      this.#parts.source.recordChanged();
      this.#parts.detachment.recordChanged();
    }
  }

  /** With a failed disk nothing can be made durable; clients are let go, no promise is made. */
  #orderFailed(order: VolumeOrder): void {
    const { io, epoch } = this.#context;
    const reason = `the disk has failed: ${this.#context.failure}`;
    switch (order.type) {
      case "promote":
        io.ask({ type: "promoteFailed", epoch: order.epoch, reason });
        break;
      case "demote":
        this.#letGo();
        io.ask({ type: "demoted", epoch, clean: false });
        break;
      case "close":
        this.#letGo();
        io.ask({ type: "closed" });
        break;
      default:
    }
  }

  #letGo(): void {
    const context = this.#context;
    this.#ending = true;
    context.role = "Secondary";
    context.changed = true;
    this.#parts.source.end();
    this.#parts.target.end();
    this.#parts.requests.abandon();
  }

  #promote(order: Promote, done: () => void): void {
    const context = this.#context;
    if (context.role === "Primary" && context.epoch === order.epoch) {
      context.io.ask({ type: "promoted", epoch: order.epoch });
      done();
      return;
    }
    const unfit = context.role === "Primary" || this.#closed
      ? "it is not Secondary"
      : unfitFor(context, order);
    if (unfit !== null) {
      context.note("error", "promote-refused", `it cannot be Primary: ${unfit}`, {
        epoch: order.epoch,
      });
      context.io.ask({ type: "promoteFailed", epoch: order.epoch, reason: unfit });
      done();
      return;
    }
    this.#parts.target.end();
    // What was received as Secondary may be in a volatile cache and is in nobody's log: flush it
    // before anything is built on it.
    context.whenDrained(() => context.flushDisk(() => this.#enthrone(order, done)));
  }

  #enthrone(order: Promote, done: () => void): void {
    const context = this.#context;
    const { superblock, init, replicaId } = context;
    const { record, epoch } = order;
    const alone = record.upToDate.length === 1;
    superblock.update({
      epoch,
      lineage: order.lineage ?? superblock.value.lineage,
      generations: adopt(superblock.value.generations, record.generation),
      pending: superblock.value.pending === record.generation ? null : superblock.value.pending,
      upToDate: record.upToDate,
      unclean: false,
      blank: "no",
      discard: false,
      primarySince: context.wall,
      sole: alone ? { epoch, bootId: init.bootId } : null,
    }, () => {
      context.role = "Primary";
      context.draining = false;
      context.epoch = epoch;
      context.version = Math.max(context.version, order.version);
      context.upToDate = record.upToDate;
      context.joining = null;
      context.growAsked = -1;
      context.countMembers();
      this.#flushing = false;
      context.note("info", "promoted", `Primary of epoch ${epoch}`, {
        epoch,
        replicaId,
        generation: record.generation,
        upToDate: record.upToDate.join(" "),
        dirtyBlocks: context.bitmap.count,
      });
      context.io.ask({ type: "promoted", epoch });
      if (context.hasPeer) this.#parts.source.begin();
      this.#parts.requests.review();
      done();
    });
  }

  #demote(forced: boolean, done: () => void): void {
    const context = this.#context;
    if (context.role !== "Primary") {
      context.io.ask({ type: "demoted", epoch: context.epoch, clean: this.#lastClean });
      done();
      return;
    }
    if (forced) {
      this.#force("ordered", done);
      return;
    }
    context.draining = true;
    context.changed = true;
    if (this.#parts.requests.drained) this.drained();
    done();
  }

  #finishClean(done: () => void): void {
    const context = this.#context;
    const { source, log } = this.#parts;
    source.end();
    context.whenDrained(() => {
      log.spillAll();
      this.#leave(true, done);
    });
  }

  /** Requests are let go, what they wrote becomes dirty bits, what was submitted is waited for. */
  #force(why: string, done: () => void): void {
    const context = this.#context;
    const { source, log, requests, flushes, writes } = this.#parts;
    context.note("warning", "demoted-by-force", `no longer Primary: ${why}`, {
      epoch: context.epoch,
    });
    this.#ending = true;
    context.draining = true;
    context.role = "Secondary";
    context.changed = true;
    source.end();
    log.spillAll();
    log.abandon();
    requests.abandon();
    flushes.abandon();
    writes.abandon();
    context.whenDrained(() => this.#leave(false, done));
  }

  #leave(clean: boolean, done: () => void): void {
    const context = this.#context;
    const { walks, table, log } = this.#parts;
    walks.abandon();
    table.reset();
    log.reset();
    context.bitmapWriter.flush(() => {
      context.superblock.update(
        { logFrom: log.logFrom, sole: null, lastWrite: context.lastWrite },
        () => {
          context.role = "Secondary";
          context.draining = false;
          context.joining = null;
          context.growAsked = -1;
          context.others = [];
          context.changed = true;
          this.#ending = false;
          this.#flushing = false;
          this.#lastClean = clean;
          context.note("info", "demoted", `Secondary again${clean ? ", clean" : ""}`, {
            epoch: context.epoch,
            dirtyBlocks: context.bitmap.count,
          });
          context.io.ask({ type: "demoted", epoch: context.epoch, clean });
          done();
        },
      );
    });
  }

  #record(order: RecordOrder, done: () => void): void {
    const context = this.#context;
    if (order.version < context.version) {
      done();
      return;
    }
    context.knownEpoch = Math.max(context.knownEpoch, order.epoch);
    if (context.role === "Primary") {
      if (order.mine && order.epoch === context.epoch) return this.#bear(order, done);
      if (order.mine && order.epoch > context.epoch && this.#servesAlone) {
        this.#moveOn(order, done);
        return;
      } else if (order.epoch >= context.epoch) {
        context.version = order.version;
        this.#force(`the record has epoch ${order.epoch}, not ours`, () => {
          this.#learn(order, done);
        });
        return;
      }
      done();
      return;
    }
    this.#learn(order, done);
  }

  /** The newest known-chosen record, to a replica that is not Primary of its epoch. */
  #learn(order: RecordOrder, done: () => void): void {
    const context = this.#context;
    context.version = order.version;
    const { superblock } = context;
    const change = learned(superblock.value, order.epoch, order.record);
    if (change === null) return done();
    context.changed = true;
    superblock.update(change, done);
  }

  /** Primary under the `sole` mark of its epoch, as the only member. */
  get #servesAlone(): boolean {
    const { superblock, epoch, isOnlyMember } = this.#context;
    return superblock.value.sole?.epoch === epoch && isOnlyMember;
  }

  /**
   * This run took its own group again: it served under the mark of an earlier run's epoch, and goes on
   * in the new one. Nobody else could have served in between, so nothing stops; a session of the old
   * epoch ends, and what a GROW of it had begun cannot be chosen any more.
   */
  #moveOn(order: RecordOrder, done: () => void): void {
    const context = this.#context;
    const { superblock, init, replicaId } = context;
    const { source, requests } = this.#parts;
    const { epoch, version, record } = order;
    const own = superblock.value;
    const alone = record.upToDate.length === 1 && record.upToDate[0] === replicaId;
    source.replaced();
    superblock.update({
      epoch,
      generations: adopt(own.generations, record.generation),
      pending: own.pending === record.generation ? null : own.pending,
      upToDate: record.upToDate,
      sole: alone ? { epoch, bootId: init.bootId } : null,
    }, () => {
      source.end();
      context.epoch = epoch;
      context.version = version;
      context.upToDate = record.upToDate;
      context.joining = null;
      context.growAsked = -1;
      context.changed = true;
      context.countMembers();
      context.note("info", "moved-on", `Primary of epoch ${epoch} from now on`, { epoch, version });
      if (context.hasPeer) source.begin();
      requests.review();
      done();
    });
  }

  /**
   * The set's generation is durable here before anything is answered under it: where nobody else holds
   * the record, it alone tells the peer that this replica was written apart.
   */
  #bear(order: RecordOrder, done: () => void): void {
    const { superblock } = this.#context;
    const generations = adopt(superblock.value.generations, order.record.generation);
    const follow = (): void => {
      if (this.#context.role === "Primary") this.#adoptOwn(order);
      done();
    };
    if (generations === superblock.value.generations) follow();
    else superblock.update({ generations }, follow);
  }

  /** The newest known-chosen record of our own epoch: who must have a write from now on. */
  #adoptOwn(order: RecordOrder): void {
    const context = this.#context;
    const { superblock, init } = context;
    const { generation, upToDate } = order.record;
    const own = superblock.value;
    const told = order.version === context.version && sameList(upToDate, context.upToDate);
    context.version = order.version;
    context.upToDate = upToDate;
    const settled = context.growAsked >= 0 && order.version > context.growAsked;
    if (settled) context.growAsked = -1;
    if (context.joining !== null && (settled || upToDate.includes(context.joining))) {
      context.joining = null;
    }
    const alone = context.isOnlyMember && context.joining === null;
    const sole = alone
      ? (own.sole?.epoch === context.epoch
        ? own.sole
        : { epoch: context.epoch, bootId: init.bootId })
      : context.joining !== null
      ? own.sole
      : null;
    const pending = own.pending === generation ? null : own.pending;
    if (pending !== own.pending || sole !== own.sole || !sameList(upToDate, own.upToDate)) {
      superblock.update({ pending, upToDate, sole }, () => {
        context.changed = true;
        this.#parts.requests.review();
      });
    }
    if (told) return;
    context.countMembers();
    context.note("info", "record", "the in-sync set is known", {
      epoch: order.epoch,
      version: order.version,
      upToDate: upToDate.join(" "),
    });
    this.#parts.source.recordChanged();
  }

  #close(done: () => void): void {
    const context = this.#context;
    this.#closed = true;
    this.yieldRole("closing", () => {
      this.#parts.target.end();
      context.whenDrained(() =>
        context.flushDisk(() =>
          context.bitmapWriter.flush(() =>
            context.superblock.update({ clean: true }, () => {
              context.io.ask({ type: "closed" });
              done();
            })
          )
        )
      );
    });
  }
}
