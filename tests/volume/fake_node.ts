/** A node in memory, and the connection between two of them. */

import type { Note } from "../../src/cluster/types.ts";
import type { VolumeAsk, VolumeReport } from "../../src/volume/types.ts";
import type { Volume } from "../../src/volume/volume.ts";
import type { FakeDisk } from "./fake_disk.ts";

/** A frame on its way: a control frame, or a header with the values it carries. */
export interface Message {
  readonly control?: Uint8Array;
  readonly header?: Uint8Array;
  readonly head?: Uint8Array;
  readonly values?: readonly number[];
}

/** A connection; `queues[n]` is what goes to node n. */
export class Connection {
  readonly dialer: number;
  readonly queues: [Message[], Message[]] = [[], []];
  readonly ended: [boolean, boolean] = [false, false];
  constructor(dialer: number) {
    this.dialer = dialer;
  }
}

/** A node of the world. */
export class FakeNode {
  readonly index: number;
  readonly name: string;
  readonly replicaId: string;
  disk: FakeDisk;
  volume: Volume | null = null;
  report: VolumeReport | null = null;
  /** Counts runs: what belongs to an earlier one is not delivered. */
  life = 0;
  boots = 0;
  connection: Connection | null = null;
  dialing = 0;
  readonly buffers = new Map<number, number[]>();
  readonly notes: Note[] = [];
  readonly asks: VolumeAsk[] = [];

  constructor(index: number, disk: FakeDisk) {
    this.index = index;
    this.name = index === 0 ? "alpha" : "beta";
    this.replicaId = index === 0 ? "aaaaaaaa" : "bbbbbbbb";
    this.disk = disk;
  }
  get peer(): number {
    return 1 - this.index;
  }
}
