/** A replica's disk and metadata, opened, locked and read. */
import { geometry, internalMetadataOffset, LOG_OFFSET } from "../../volume/metadata/layout.ts";
import { newestSuperblock } from "../../volume/metadata/superblock.ts";
import { readAt, signaturesOf } from "../disk_content.ts";
import {
  checkSize,
  type Disk,
  DiskError,
  lockDisk,
  openBuffered,
  releaseDisk,
  type ReplicaPlaces,
} from "./disk.ts";

/** What the data plane works on. */
export interface ReplicaDisk {
  readonly disk: Disk;
  /** For metadata: through the page cache, since their writes are small and always synced. */
  readonly metaFd: number;
  /** Byte of `metaFd` at which the metadata begin. */
  readonly metaStart: number;
  /** The whole metadata region. */
  readonly metadata: Uint8Array;
  /** Closes the descriptors, and so lets go of the locks. */
  close(): void;
}

/**
 * Opens the replica of a volume. Refuses a disk that is missing, too small, in use, without metadata
 * or with something else on it.
 *
 * @throws {DiskError} what, where, the mend
 */
export function openReplicaDisk(places: ReplicaPlaces, io: "direct" | "buffered"): ReplicaDisk {
  const opened: number[] = [];
  const close = () => {
    for (const fd of opened.splice(0)) releaseDisk(fd);
  };
  try {
    const disk = lockDisk(places.disk, { direct: io === "direct" });
    opened.push(disk.fd);
    checkSize(disk, places);
    const internal = places.metaDisk === "internal";
    const metaPath = internal ? places.disk : places.metaDisk;
    const metaFd = internal
      ? (io === "direct" ? openBuffered(metaPath) : disk.fd)
      : lockDisk(metaPath, { direct: false }).fd;
    if (metaFd !== disk.fd) opened.push(metaFd);
    const metaStart = internal ? internalMetadataOffset(places.size) : 0;
    return { disk, metaFd, metaStart, metadata: readRegion(metaPath, metaStart, places), close };
  } catch (error) {
    close();
    throw error;
  }
}

function readRegion(path: string, start: number, places: ReplicaPlaces): Uint8Array<ArrayBuffer> {
  const beginning = readAt(path, start, LOG_OFFSET);
  const newest = newestSuperblock(beginning);
  if (newest.superblock !== undefined) {
    const { size, alExtents, maxPeers } = newest.superblock;
    return readAt(path, start, geometry(size, alExtents, maxPeers).bytes);
  }
  // With damaged superblocks the signatures are those of the volume's own content.
  const never = newest.error === "no magic number";
  const foreign = never ? signaturesOf(places.disk, places.size) : [];
  if (foreign.length > 0) {
    throw new DiskError(
      `${places.disk} holds ${foreign.join(" and ")} and no replica of volume ` +
        `${places.volume}: name the right disk, or make the replica with bascule volume create`,
    );
  }
  // The volume says what is wrong with it.
  return beginning;
}
