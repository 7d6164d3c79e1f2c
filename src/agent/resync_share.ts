/** How what a node may spend on resyncs is divided: evenly among the volumes that are at it. */
import type { VolumeOrder, VolumeReport } from "../volume/types.ts";

/** See the file's comment. */
export class ResyncShare {
  readonly #most: number | null;
  readonly #order: (volume: string, order: VolumeOrder) => void;
  readonly #walking = new Set<string>();

  /** `most`: bytes per second of the whole node; null: no limit. */
  constructor(most: number | null, order: (volume: string, order: VolumeOrder) => void) {
    this.#most = most;
    this.#order = order;
  }

  /** A volume reported, or (null) is gone. */
  reported(volume: string, report: VolumeReport | null): void {
    if (this.#most === null) return;
    const walks = report?.role === "Primary" &&
      report.peers.some(({ resync, verify }) => resync !== undefined || verify !== undefined);
    if (walks === this.#walking.has(volume)) return;
    if (walks) this.#walking.add(volume);
    else this.#walking.delete(volume);
    const ceiling = Math.floor(this.#most / this.#walking.size);
    for (const one of this.#walking) this.#order(one, { type: "pace", ceiling });
  }
}
