/** What operators ask of volumes here, until the data plane has answered. */
import type { VolumeAsk, VolumeOperation, VolumeOrder } from "../volume/types.ts";

type Operated = Extract<VolumeAsk, { type: "operated" }>;

interface Waiting {
  readonly volume: string;
  readonly resolve: (error: string | null) => void;
}

/** Numbers what is asked, and hands the answers out. */
export class VolumeOperations {
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;

  /** Asks through `order`; resolves to null when it is done or has begun, else to why not. */
  ask(
    volume: string,
    what: VolumeOperation,
    order: (order: VolumeOrder) => void,
  ): Promise<string | null> {
    const id = this.#next++;
    return new Promise((resolve) => {
      this.#waiting.set(id, { volume, resolve });
      order({ type: "operate", id, what });
    });
  }

  /** The data plane answered. */
  answered({ id, error }: Operated): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.resolve(error === null ? null : `volume ${waiting.volume}: ${error}`);
  }

  /** The data plane of a volume is gone: nothing of it will be answered. */
  lost(volume: string, reason: string): void {
    for (const [id, waiting] of this.#waiting) {
      if (waiting.volume !== volume) continue;
      this.#waiting.delete(id);
      waiting.resolve(`volume ${volume}: ${reason}`);
    }
  }
}
