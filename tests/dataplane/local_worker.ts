/**
 * A data plane whose volume only passes requests on to the local disk: the module that tests start
 * as a Worker to look at the NBD side, the engine and the disk without replication.
 */
import { serveDataPlane } from "../../src/agent/dataplane/worker.ts";
import { readMetadata } from "../../src/volume/metadata/format.ts";
import { RequestKind, type VolumeIo } from "../../src/volume/types.ts";
import type { VolumeOrder, VolumeReport } from "../../src/volume/types.ts";
import type { Volume } from "../../src/volume/volume.ts";

const ESHUTDOWN = 108;

class LocalVolume implements Volume {
  readonly #io: VolumeIo;
  readonly #size: number;
  #primary = false;
  #pending = 0;

  constructor(io: VolumeIo, size: number) {
    this.#io = io;
    this.#size = size;
  }

  request(
    id: number,
    kind: RequestKind,
    offset: number,
    length: number,
    fua: boolean,
    buffer: number,
    at: number,
  ): void {
    if (!this.#primary) return this.#io.answer(id, ESHUTDOWN);
    const ranged = kind !== RequestKind.Flush;
    if (ranged && !(length > 0 && offset >= 0 && offset + length <= this.#size)) {
      throw new Error(`a request out of bounds: kind ${kind}, ${length} bytes at ${offset}`);
    }
    this.#pending++;
    switch (kind) {
      case RequestKind.Read:
        return this.#io.read(id, offset, length, buffer, at);
      case RequestKind.Write:
        return this.#io.write(id, offset, length, buffer, at, fua);
      case RequestKind.Flush:
        return this.#io.flush(id);
      case RequestKind.Trim:
        return this.#io.discard(id, offset, length);
      case RequestKind.Zero:
        return this.#io.zero(id, offset, length, false);
      case RequestKind.ZeroAllocated:
        return this.#io.zero(id, offset, length, true);
    }
  }

  done(tag: number, errno: number): void {
    this.#pending--;
    this.#io.answer(tag, errno);
    if (!this.#primary && this.#pending === 0) this.#demoted();
  }

  order(order: VolumeOrder): void {
    switch (order.type) {
      case "promote":
        this.#primary = true;
        this.#io.ask({ type: "promoted", epoch: order.epoch });
        return this.#io.report(this.report());
      case "demote":
        this.#primary = false;
        if (this.#pending === 0) this.#demoted();
        return;
      case "close":
        return this.#io.ask({ type: "closed" });
    }
  }

  dirty(_offset: number, length: number, extents: Uint32Array): number {
    extents[0] = length;
    extents[1] = 0;
    return 1;
  }

  report(): VolumeReport {
    return {
      replicaId: "r",
      disk: "UpToDate",
      generation: "g",
      epoch: 1,
      unclean: false,
      blank: "no",
      role: this.#primary ? "Primary" : "Secondary",
      sole: null,
      pending: null,
      frozen: false,
      throughPeer: false,
      peers: [],
    };
  }

  bufferFree(): void {}
  connected(): void {}
  accepted(): void {}
  disconnected(): void {}
  frame(): void {}
  control(): void {}
  lease(): void {}
  tick(): void {}

  #demoted(): void {
    this.#io.ask({ type: "demoted", epoch: 1, clean: true });
    this.#io.report(this.report());
  }
}

serveDataPlane((io, init, metadata) => {
  readMetadata(metadata, { volume: init.name, size: init.size });
  return new LocalVolume(io, init.size);
});
