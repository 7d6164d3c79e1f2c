/** An address that moves: IPv4 or IPv6, on the interface of its network. */

import type { IpResource } from "../config/types.ts";
import {
  findInterfaceFor,
  interfaceByName,
  listInterfaces,
  type NetworkInterface,
} from "../os/netlink.ts";
import { findDuplicate } from "../os/packet.ts";
import { AddressKeeper, addressPresent, removeAddress } from "./address_keeper.ts";
import type { Health, ResourceContext, ResourceKind, StopResult } from "./kind.ts";
import { pause } from "./process_group.ts";

/** Seconds that an address outlives its agent, where the agent does not say. */
const LIFETIME = 3;
/**
 * One round of probes, in milliseconds; a takeover cannot wait for the seconds of RFC 5227. A kernel
 * answers within one, whatever its agent does; only a lost frame takes a second probe.
 */
const PROBE = { count: 3, timeoutMs: 30 } as const;
/** Pause between two rounds while somebody answers, in milliseconds. */
const PROBE_PAUSE = 50;
/** What a probe found is good for so long, in milliseconds. */
const PROBE_VALID = 1_000;

/**
 * `"ip:ADDRESS/PREFIX"`. When nobody knows whether the old owner still has the address, the network
 * is asked first, and the start waits as long as somebody answers: an address of a dead agent runs
 * out within seconds. On the loopback nothing is announced.
 */
export class IpKind implements ResourceKind {
  readonly #config: IpResource;
  readonly #context: ResourceContext;
  #interface: NetworkInterface | null = null;
  #keeper: AddressKeeper | null = null;
  #suspended = false;
  /** Begun when a start became likely: who has the address. */
  #probe: { readonly at: number; readonly owner: Promise<string | undefined> } | null = null;

  constructor(config: IpResource, context: ResourceContext) {
    this.#config = config;
    this.#context = context;
  }

  /** While the others are asked for the group, the network is asked for the address. */
  prepare(): void {
    if (this.#probe !== null && performance.now() - this.#probe.at < PROBE_VALID) return;
    try {
      const owner = findDuplicate(this.#findInterface(), this.#config.address, PROBE);
      this.#probe = { at: performance.now(), owner };
      // What went wrong is told by the start, which asks again.
      owner.catch(() => this.#probe = null);
    } catch {
      this.#probe = null;
    }
  }

  async start(signal: AbortSignal): Promise<void> {
    const { address, prefix } = this.#config;
    this.#suspended = false;
    const on = this.#findInterface();
    if (this.#context.probeDuplicates) await this.#untilFree(on, signal);
    if (signal.aborted) throw new Error(`given up: ${signal.reason}`);
    this.#keeper?.drop();
    this.#interface = on;
    this.#keeper = new AddressKeeper(
      { address, prefix, on },
      this.#context.addressLifetime ?? LIFETIME,
      this.#context.leaseHolds ?? (() => true),
      this.#context.log,
    );
    if (!this.#suspended) this.#keeper.hold();
  }

  stop(_signal: AbortSignal, _forced: boolean): Promise<StopResult> {
    try {
      this.#keeper?.drop();
      this.#keeper = null;
      removeAddress(this.#config.address);
      return Promise.resolve({ clean: true });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  monitor(_signal: AbortSignal): Promise<Health> {
    return Promise.resolve(this.#look());
  }

  suspend(): void {
    this.#suspended = true;
    this.#keeper?.drop();
  }

  resume(): void {
    this.#suspended = false;
    this.#keeper?.hold();
  }

  #look(): Health {
    const { address } = this.#config;
    const known = this.#interface;
    if (this.#keeper === null || known === null) {
      return { state: "stopped", reason: "it was not started" };
    }
    const on = listInterfaces().find(({ index }) => index === known.index);
    if (on === undefined) return { state: "failed", reason: `interface ${known.name} is gone` };
    if (!on.up) return { state: "failed", reason: `interface ${on.name} is down` };
    if (!addressPresent(address, on.index)) {
      return { state: "stopped", reason: `${address} is not on ${on.name}` };
    }
    return { state: "running" };
  }

  #findInterface(): NetworkInterface {
    const { id, address, prefix, interface: name } = this.#config;
    const found = name === undefined ? findInterfaceFor(address, prefix) : interfaceByName(name);
    if (found === undefined) {
      throw new Error(
        name === undefined
          ? `no interface of this node has an address in the network of ${address}/${prefix}; ` +
            `name one with { kind = "ip", address = …, interface = … }`
          : `there is no interface ${name} on this node; see ip link`,
      );
    }
    if (!found.up) {
      throw new Error(
        `interface ${found.name} is down; bring it up with ip link set ${found.name} up`,
      );
    }
    if (!found.running && !found.loopback) {
      this.#context.log("warning", `${id}: interface ${found.name} has no carrier`);
    }
    return found;
  }

  /** Waits until nobody answers for the address; rejects when the signal is aborted before. */
  async #untilFree(on: NetworkInterface, signal: AbortSignal): Promise<void> {
    const { id, address } = this.#config;
    for (let round = 0;; round++) {
      const owner = await (this.#takeProbe() ?? findDuplicate(on, address, PROBE));
      if (owner === undefined) return;
      if (signal.aborted) {
        throw new Error(
          `${address} is in use by ${owner} on the network of ${on.name}; find that machine, or ` +
            "wait until it lets go",
        );
      }
      if (round === 0) {
        this.#context.log(
          "warning",
          `${id}: ${address} is in use by ${owner}, waiting for it to go`,
        );
      }
      // An answer that comes at once must not keep the event loop from everything else.
      await pause(PROBE_PAUSE, signal);
    }
  }

  #takeProbe(): Promise<string | undefined> | null {
    const probe = this.#probe;
    this.#probe = null;
    return probe !== null && performance.now() - probe.at < PROBE_VALID ? probe.owner : null;
  }
}
