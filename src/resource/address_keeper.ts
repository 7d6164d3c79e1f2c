/**
 * Keeps one address on one interface: puts it there with a lifetime, renews that, tells the
 * neighbours, and takes it away at once when asked. The kernel removes an address whose agent no
 * longer renews it, so an address dies with its agent.
 */

import { formatIp, parseIp } from "../os/address.ts";
import { boottimeMs } from "../os/clock.ts";
import {
  addAddress,
  deleteAddress,
  listAddresses,
  listInterfaces,
  type NetworkInterface,
} from "../os/netlink.ts";
import { announceAddress } from "../os/packet.ts";
import type { ResourceLog } from "./kind.ts";

/** Renewals within one lifetime: three may be missed. */
const RENEWALS = 4;
/** When to announce after an address came up, in milliseconds: frames get lost, switches learn late. */
const ANNOUNCE_AT = [0, 200, 400, 600, 800, 1_000, 5_000, 10_000] as const;

/** What is kept where. */
export interface KeptAddress {
  readonly address: string;
  readonly prefix: number;
  readonly on: NetworkInterface;
}

/** Keeper of one address; it holds it between `hold` and `drop`. */
export class AddressKeeper {
  readonly #kept: KeptAddress;
  readonly #lifetime: number;
  readonly #mayServe: () => boolean;
  readonly #log: ResourceLog;
  #renewal: ReturnType<typeof setTimeout> | undefined;
  #announcement: ReturnType<typeof setTimeout> | undefined;
  #renewedAt = 0;

  /**
   * @param lifetime seconds that the address outlives its renewals, 2 or more
   * @param mayServe whether the lease holds now; no renewal without
   */
  constructor(kept: KeptAddress, lifetime: number, mayServe: () => boolean, log: ResourceLog) {
    this.#kept = kept;
    this.#lifetime = Math.max(2, Math.ceil(lifetime));
    this.#mayServe = mayServe;
    this.#log = log;
  }

  /** Puts the address there and announces it. Throws an OsError. */
  hold(): void {
    this.#clearTimers();
    this.#add();
    this.#announce(0);
    this.#renewLater(this.#interval);
  }

  /** Takes the address away; it is gone when this returns. Throws an OsError. */
  drop(): void {
    this.#clearTimers();
    removeAddress(this.#kept.address);
  }

  get #interval(): number {
    return this.#lifetime * 1_000 / RENEWALS;
  }

  #add(): void {
    const { address, prefix, on } = this.#kept;
    addAddress(on.index, address, prefix, { validLifetime: this.#lifetime });
    this.#renewedAt = boottimeMs();
  }

  #renewLater(milliseconds: number): void {
    this.#renewal = setTimeout(() => this.#renew(), milliseconds);
  }

  /** After a pause of this process the core must be heard first: it may have lost the lease. */
  #renew(): void {
    const late = boottimeMs() - this.#renewedAt > 2 * this.#interval;
    if (late) this.#renewedAt = boottimeMs() - this.#interval;
    if (late || !this.#mayServe()) return this.#renewLater(this.#interval / 2);
    const { address, prefix, on } = this.#kept;
    try {
      const gone = !addressPresent(address, on.index);
      this.#add();
      if (gone) {
        this.#log("warning", `${address}/${prefix} was gone from ${on.name}, it is back`);
        clearTimeout(this.#announcement);
        this.#announce(0);
      }
    } catch (error) {
      this.#log("warning", `${address}/${prefix} on ${on.name} was not renewed: ${text(error)}`);
    }
    this.#renewLater(this.#interval);
  }

  /**
   * The n-th announcement and the timer of the next one. A network that is down is no error yet. One that
   * is due after a pause of this process would call clients away from whoever has the address now.
   */
  #announce(nth: number): void {
    const { address, on } = this.#kept;
    try {
      const may = nth === 0 || this.#mayServe();
      if (may && !announceAddress(on, address)) return;
      if (nth === 0) this.#log("info", `${address} is announced on ${on.name}`);
    } catch (error) {
      this.#log("warning", `${address} was not announced on ${on.name}: ${text(error)}`);
    }
    const next = ANNOUNCE_AT[nth + 1];
    if (next === undefined) return;
    this.#announcement = setTimeout(() => this.#announce(nth + 1), next - ANNOUNCE_AT[nth]!);
  }

  #clearTimers(): void {
    clearTimeout(this.#renewal);
    clearTimeout(this.#announcement);
  }
}

/** Whether this address is on this interface, whatever its prefix. */
export function addressPresent(address: string, interfaceIndex: number): boolean {
  const wanted = formatIp(parseIp(address));
  return listAddresses().some((entry) =>
    entry.address === wanted && entry.interfaceIndex === interfaceIndex
  );
}

/** Takes an address from every interface that has it; gives their names. Throws an OsError. */
export function removeAddress(address: string): string[] {
  const wanted = formatIp(parseIp(address));
  const found = listAddresses().filter((entry) => entry.address === wanted);
  const removed = found.filter((entry) =>
    deleteAddress(entry.interfaceIndex, entry.address, entry.prefix)
  );
  if (removed.length === 0) return [];
  const names = new Map(listInterfaces().map(({ index, name }) => [index, name]));
  return removed.map((entry) => names.get(entry.interfaceIndex) ?? `${entry.interfaceIndex}`);
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
