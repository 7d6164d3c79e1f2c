/**
 * Connections between two data planes: frames arrive in order or not at all. Either end may learn of
 * the end alone and late; a cut path holds frames up until it is mended or somebody gives up.
 */

import { type ControlMessage, FrameKind } from "../volume/types.ts";
import { decodeControl, encodeControl, REPLICATION_HEADER_BYTES } from "../wire/replication.ts";
import { crc32 } from "node:zlib";
import type { DataPlane } from "./data_plane.ts";
import type { World } from "./world.ts";

/** What travels: a control message, a data frame, or the news that the other end is closed. */
export type Packet =
  | { readonly control: ControlMessage }
  | {
    readonly control?: never;
    readonly kind: FrameKind;
    readonly session: number;
    readonly seq: number;
    readonly offset: number;
    readonly length: number;
    readonly values: Int32Array | null;
    readonly flags: number;
    readonly head: Uint8Array;
  }
  | { readonly control?: never; readonly kind?: never; readonly closed: string };

interface Arriving {
  readonly at: number;
  readonly packet: Packet;
}

/** One end of a connection. */
export class End {
  readonly plane: DataPlane;
  readonly #world: World;
  #peer: End | null = null;
  open = true;
  readonly #incoming: Arriving[] = [];
  #pumping = false;
  /** Nothing arrives earlier. */
  #last = 0;

  private constructor(plane: DataPlane) {
    this.plane = plane;
    this.#world = plane.machine.world;
  }

  /** Both ends of a new connection, `one`'s first. */
  static pair(one: DataPlane, other: DataPlane): readonly [End, End] {
    const ends = [new End(one), new End(other)] as const;
    ends[0].#peer = ends[1];
    ends[1].#peer = ends[0];
    return ends;
  }

  /** Nothing arrives here before this time. */
  holdUntil(at: number): void {
    this.#last = Math.max(this.#last, at);
  }

  /** Sends to the other end. */
  send(packet: Packet): void {
    if (!this.open) return;
    const codecs = this.#world.options.codecs && packet.control !== undefined;
    this.#peer!.#arrive(codecs ? recode(packet.control!) : packet);
  }

  /** Closes this end; the other learns of it unless the machine is simply gone (`silently`). */
  close(why: string, silently = false): void {
    if (!this.open) return;
    const abrupt = silently || this.#world.chance.is(0.3);
    if (abrupt) this.#peer!.#lose();
    if (!silently) this.send({ closed: why });
    this.open = false;
    this.#incoming.length = 0;
  }

  /**
   * The connection breaks: what is under way is lost in part, each end learns of it in its time, or one
   * by the other's silence alone.
   */
  reset(patience: number): void {
    let silent = 0;
    for (const end of [this, this.#peer!]) {
      end.#lose();
      if (this.#world.chance.is(0.2) && ++silent === 1) continue;
      this.#world.schedule.after(this.#world.chance.between(0, patience), () => {
        end.#arrive({ closed: "connection reset" });
      });
    }
  }

  #lose(): void {
    this.#incoming.length = Math.min(
      this.#incoming.length,
      this.#world.chance.below(this.#incoming.length + 1),
    );
  }

  #arrive(packet: Packet): void {
    if (!this.open) return;
    const { now, network } = this.#world;
    const from = this.#peer!.plane.machine;
    const path = network.replicationPath(this.plane.volume);
    this.#last = Math.max(this.#last, now + network.delay(from, this.plane.machine, path));
    this.#incoming.push({ at: this.#last, packet });
    if (!this.#pumping) this.#pumpLater(this.#last - now);
  }

  #pumpLater(delay: number): void {
    this.#pumping = true;
    this.#world.schedule.after(delay, () => this.#pump());
  }

  #pump(): void {
    this.#pumping = false;
    const first = this.#incoming[0];
    if (!this.open || first === undefined) return;
    const { network, now, options } = this.#world;
    if (first.at > now) return this.#pumpLater(first.at - now);
    const { machine } = this.plane;
    const path = network.replicationPath(this.plane.volume);
    if (!network.isOpen(this.#peer!.plane.machine, machine, path)) {
      // Retransmission: it comes when the path is mended.
      return this.#pumpLater(options.deadtime / 10);
    }
    this.#incoming.shift();
    this.plane.turn(() => {
      if (this.open) this.plane.received(this, first.packet);
    });
    const next = this.#incoming[0];
    if (next !== undefined) this.#pumpLater(Math.max(0, next.at - now));
  }
}

/** A control message as it comes out of the codecs. */
function recode(message: ControlMessage): Packet {
  const payload = encodeControl(message).subarray(REPLICATION_HEADER_BYTES);
  const decoded = decodeControl(payload, crc32(payload));
  if (decoded.error !== undefined) {
    throw new Error(`a ${message.type} does not pass: ${decoded.error}`);
  }
  return { control: decoded.message };
}
