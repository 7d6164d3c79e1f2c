/** How a data plane opens its volume. */
import { randomBytes } from "node:crypto";
import type { VolumeInit } from "../../volume/types.ts";
import type { Volume } from "../../volume/volume.ts";
import { DiskError } from "./disk.ts";
import type { WorkerInit } from "./messages.ts";

/** The volume's own refusals are for operators, as those of the disk are. */
export function opened(open: () => Volume): Volume {
  try {
    return open();
  } catch (error) {
    throw new DiskError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** What the volume needs to know at the start. */
export function volumeInit(init: WorkerInit, volatileCache: boolean, now: number): VolumeInit {
  return {
    name: init.volume,
    node: init.node,
    size: init.size,
    protocol: init.protocol,
    soleBoot: init.soleBoot,
    timeout: init.timeout,
    resync: init.resync,
    verify: init.verify,
    afterSplitBrain: init.afterSplitBrain,
    wallClock: Date.now(),
    onIoError: init.onIoError,
    peers: init.peers.map((peer) => peer.node),
    bootId: init.bootId,
    volatileCache,
    freshStorage: randomBytes(8).toString("hex"),
    sessionSeed: randomBytes(4).readUInt32BE() >>> 1,
    now,
  };
}
