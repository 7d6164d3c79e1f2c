/**
 * What a volume reports of itself: only what is durable, for others act upon it.
 */

import type { DiskState } from "../cluster/types.ts";
import { Detach, type VolumeContext } from "./context.ts";
import { BLOCK_BYTES } from "./metadata/layout.ts";
import type { SourceLink } from "./source_link.ts";
import type { TargetLink } from "./target_link.ts";
import type { Walks } from "./walks.ts";
import type { PeerReport, VolumeReport } from "./types.ts";

/** Disk state in the field's words. */
export function diskState(context: VolumeContext): DiskState {
  const own = context.superblock.durable;
  if (context.failure !== null) return "Diskless";
  if (own.inconsistent) return "Inconsistent";
  if (own.unclean || own.upToDate.length === 0) return "Consistent";
  return own.upToDate.includes(own.replicaId) ? "UpToDate" : "Outdated";
}

/** The whole report. */
export function volumeReport(
  context: VolumeContext,
  source: SourceLink,
  target: TargetLink,
  { resync, verify }: Walks,
): VolumeReport {
  const own = context.superblock.durable;
  const { init } = context;
  const soleValid = own.sole !== null && own.sole === context.superblock.value.sole &&
    (own.sole.bootId === init.bootId || init.soleBoot);
  const primary = context.role === "Primary";
  return {
    replicaId: own.replicaId,
    disk: diskState(context),
    generation: own.generations.current,
    epoch: own.epoch,
    unclean: own.unclean,
    blank: own.blank,
    role: context.role,
    sole: soleValid ? own.sole!.epoch : null,
    pending: own.pending,
    ...(own.verified && { verified: own.verified }),
    ...(own.discard === true && { discard: true }),
    ...(context.parting.shown !== null && { standAlone: context.parting.shown }),
    ...(context.parting.split !== null && { split: context.parting.split }),
    frozen: primary && !context.serving,
    throughPeer: primary && context.detach !== Detach.No && !context.detachFailed &&
      source.hopeful,
    peers: init.peers.slice(0, 1).map((node): PeerReport => ({
      node,
      connection: primary ? source.connection : target.connection,
      disk: primary ? source.peerDisk : target.connected ? "UpToDate" : "DUnknown",
      outOfSyncBytes: context.bitmap.count * BLOCK_BYTES,
      ...(primary
        ? {
          ...(resync.active && { resync: resync.progress }),
          ...(verify.active && { verify: verify.progress }),
        }
        : target.syncing
        ? { resync: target.progress }
        : {}),
    })),
  };
}
