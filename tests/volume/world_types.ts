/** What the world of two replicas in memory is made of. */

import type {
  ReplicationProtocol,
  ResyncSettings,
  SplitBrainPolicy,
  VerifySettings,
} from "../../src/config/types.ts";
import type { RequestKind } from "../../src/volume/types.ts";

/** Something that will happen. */
export interface Pending {
  readonly what: string;
  readonly node: number;
  readonly run: () => void;
  /** For disk I/O: what a crash does to it. */
  readonly crash?: (power: boolean) => void;
}

/** How the world is made. */
export interface WorldOptions {
  readonly seed?: number;
  readonly extents?: number;
  readonly logSlots?: number;
  readonly volatileCache?: boolean;
  readonly protocol?: ReplicationProtocol;
  readonly blank?: "zero" | "unknown" | "no";
  readonly timeout?: number;
  readonly soleBoot?: boolean;
  readonly resync?: Partial<ResyncSettings>;
  readonly verify?: VerifySettings;
  readonly afterSplitBrain?: SplitBrainPolicy;
  /** Default `hand-over`. */
  readonly onIoError?: "detach" | "hand-over";
}

/** A client's request. */
export interface Request {
  readonly id: number;
  readonly node: number;
  readonly life: number;
  readonly kind: RequestKind;
  readonly blocks: readonly number[];
  readonly value: number;
  readonly fua: boolean;
  buffer: number;
  answered: number | null;
}
