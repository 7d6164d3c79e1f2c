/**
 * Scenarios of the ip resource, each run by ip_test.ts in a network namespace of its own that has a
 * veth pair `v0`–`v1`: what v0 sends, a packet socket on v1 sees.
 *
 * Usage: ip_scenarios.ts NAME
 */

import assert from "node:assert/strict";
import type { IpResource } from "../../src/config/types.ts";
import { addAddress, interfaceByName, listAddresses } from "../../src/os/netlink.ts";
import { removeAddress } from "../../src/resource/address_keeper.ts";
import { formatIp, formatMac } from "../../src/os/address.ts";
import { PacketSocket } from "../../src/os/packet.ts";
import { IpKind } from "../../src/resource/ip.ts";
import { sweepLeftovers } from "../../src/resource/sweep.ts";
import { abortAfter, eventually, never, testContext, TIMES } from "./fixtures.ts";

function config(address: string, prefix: number, change: Partial<IpResource> = {}): IpResource {
  const family = address.includes(":") ? 6 : 4;
  return {
    kind: "ip",
    id: `ip:${address}/${prefix}`,
    ...TIMES,
    address,
    prefix,
    family,
    ...change,
  };
}

/** Where an address is: `v0 2`, interface and seconds left; empty when it is nowhere. */
function where(address: string): string {
  const entry = listAddresses().find((candidate) => candidate.address === address);
  if (entry === undefined) return "";
  const name = ["v0", "v1", "lo"].find((one) =>
    interfaceByName(one)?.index === entry.interfaceIndex
  );
  return `${name} ${entry.validLifetime}`;
}

function wait(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Everything of this EtherType that arrives at v1 while `during` runs. */
async function heard(etherType: number, during: () => Promise<void>): Promise<Uint8Array[]> {
  using socket = new PacketSocket(interfaceByName("v1")!, etherType);
  const frames: Uint8Array[] = [];
  await during();
  for (let frame = socket.receive(); frame !== undefined; frame = socket.receive()) {
    frames.push(frame.slice());
  }
  return frames;
}

const scenarios: Readonly<Record<string, () => Promise<void>>> = {
  async "start, renew, stop"() {
    const kind = new IpKind(
      config("10.9.0.5", 24),
      testContext({ addressLifetime: 2 }),
    );
    assert.equal((await kind.monitor(never())).state, "stopped");
    await kind.start(never());
    assert.equal(where("10.9.0.5"), "v0 2");
    assert.deepEqual(await kind.monitor(never()), { state: "running" });
    await wait(3_200);
    assert.match(where("10.9.0.5"), /^v0 [12]$/, "renewed beyond its lifetime");
    assert.deepEqual(await kind.stop(never(), false), { clean: true });
    assert.equal(where("10.9.0.5"), "");
    assert.equal(where("10.9.0.1"), "v0 Infinity", "the machine's own address stays");
    assert.deepEqual(await kind.stop(never(), false), { clean: true });
  },

  async "the address dies with its agent"() {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", new URL(import.meta.url).pathname, "hold for ever"],
      stdin: "null",
      stdout: "null",
    }).spawn();
    try {
      await eventually("the address", () => where("10.9.0.6") !== "");
      child.kill("SIGKILL");
      assert.notEqual(where("10.9.0.6"), "");
      await eventually("the end of the address", () => where("10.9.0.6") === "");
    } finally {
      await child.status;
    }
  },

  async "hold for ever"() {
    const kind = new IpKind(config("10.9.0.6", 24), testContext({ addressLifetime: 2 }));
    await kind.start(never());
    await wait(60_000);
  },

  async "no renewal without a lease"() {
    let lease = true;
    const kind = new IpKind(
      config("10.9.0.5", 24),
      testContext({ addressLifetime: 2, leaseHolds: () => lease }),
    );
    await kind.start(never());
    lease = false;
    const calls = await heard(0x0806, () => wait(700));
    assert.equal(calls.length, 0, "clients are not called here without a lease");
    await eventually("the end of the address", () => where("10.9.0.5") === "");
    lease = true;
    await eventually("the address", () => where("10.9.0.5") !== "");
    await kind.stop(never(), false);
  },

  async "suspend and resume"() {
    const kind = new IpKind(config("10.9.0.5", 24), testContext());
    await kind.start(never());
    kind.suspend();
    assert.equal(where("10.9.0.5"), "");
    assert.equal((await kind.monitor(never())).state, "stopped");
    await wait(1_600);
    assert.equal(where("10.9.0.5"), "", "nothing renews a suspended address");
    const frames = await heard(0x0806, () => Promise.resolve(kind.resume()));
    assert.match(where("10.9.0.5"), /^v0/);
    assert.equal(frames.length, 2, "announced again");
    kind.suspend();
    kind.suspend();
    await kind.stop(never(), true);
    assert.equal(where("10.9.0.5"), "");
  },

  async "announced in both forms, again and again"() {
    const kind = new IpKind(config("10.9.0.5", 24), testContext());
    const frames = await heard(0x0806, async () => {
      await kind.start(never());
      await wait(1_150);
    });
    await kind.stop(never(), false);
    assert.equal(frames.length, 12, "at once and five times more, request and reply");
    const mac = formatMac(interfaceByName("v0")!.mac!);
    frames.forEach((frame, nth) => {
      assert.equal(frame[21], nth % 2 === 0 ? 1 : 2, "ARP request, then reply");
      assert.equal(formatMac(frame.subarray(22, 28)), mac);
      assert.equal(formatIp(frame.subarray(28, 32)), "10.9.0.5");
      assert.equal(formatIp(frame.subarray(38, 42)), "10.9.0.5");
    });
  },

  async "IPv6 without a wait, announced by neighbour advertisement"() {
    const kind = new IpKind(config("fd00:9::5", 64), testContext());
    const frames = await heard(0x86dd, async () => {
      await kind.start(never());
      const entry = listAddresses().find(({ address }) => address === "fd00:9::5");
      assert.equal(entry?.tentative, false);
      await wait(50);
    });
    await kind.stop(never(), false);
    assert.equal(where("fd00:9::5"), "");
    const told = frames.filter((frame) => frame[20] === 58 && frame[54] === 136);
    assert.ok(told.some((frame) => formatIp(frame.subarray(62, 78)) === "fd00:9::5"));
  },

  async "waits for the old owner, if that may still be there"() {
    const other = interfaceByName("v1")!;
    addAddress(other.index, "10.9.0.5", 24);
    const context = testContext({ probeDuplicates: true });
    const limit = abortAfter(700);
    await assert.rejects(
      new IpKind(config("10.9.0.5", 24), context).start(limit.signal),
      new RegExp(`10\\.9\\.0\\.5 is in use by ${formatMac(other.mac!)}`),
    );
    limit.clear();
    assert.match(context.lines.join(), /is in use by .*, waiting for it to go/);
    const kind = new IpKind(config("10.9.0.5", 24), context);
    const start = kind.start(never());
    await wait(300);
    assert.match(where("10.9.0.5"), /^v1/);
    removeAddress("10.9.0.5");
    await start;
    assert.match(where("10.9.0.5"), /^v0/);
    await kind.stop(never(), false);
  },

  async "an address that somebody took away comes back, and it is said"() {
    const context = testContext({ addressLifetime: 2 });
    const kind = new IpKind(config("10.9.0.5", 24), context);
    await kind.start(never());
    removeAddress("10.9.0.5");
    assert.match((await kind.monitor(never())).reason ?? "", /10\.9\.0\.5 is not on v0/);
    await eventually("the address", () => where("10.9.0.5") !== "");
    assert.match(context.lines.join(), /was gone from v0, it is back/);
    await kind.stop(never(), false);
  },

  async "the interface: found, named, missing, down, loopback"() {
    const start = (change: Partial<IpResource>, address = "10.9.0.5") =>
      new IpKind(config(address, 24, change), testContext()).start(never());
    await assert.rejects(start({}, "192.0.2.5"), /no interface .* in the network of 192\.0\.2\.5/);
    await assert.rejects(start({ interface: "eth77" }), /no interface eth77 on this node/);
    await assert.rejects(start({ interface: "down0" }), /down0 is down; bring it up/);
    const named = new IpKind(config("192.0.2.5", 32, { interface: "v1" }), testContext());
    await named.start(never());
    assert.match(where("192.0.2.5"), /^v1/);
    await named.stop(never(), false);
    const local = new IpKind(config("127.0.0.9", 8), testContext());
    await local.start(never());
    assert.match(where("127.0.0.9"), /^lo/);
    await local.stop(never(), false);
  },

  async "leftovers of an earlier run are swept"() {
    addAddress(interfaceByName("v0")!.index, "10.9.0.5", 24);
    addAddress(interfaceByName("v1")!.index, "fd00:9::5", 64);
    const swept = await sweepLeftovers(
      [config("10.9.0.5", 24), config("fd00:9::5", 64), config("10.9.0.77", 24)],
      "/none",
    );
    assert.deepEqual(swept, {
      removed: [
        "removed ip:10.9.0.5/24, left on v0 by an earlier run",
        "removed ip:fd00:9::5/64, left on v1 by an earlier run",
      ],
      failed: [],
    });
    assert.equal(where("10.9.0.5") + where("fd00:9::5"), "");
    assert.equal(where("10.9.0.1"), "v0 Infinity");
  },
};

const scenario = scenarios[Deno.args[0] ?? ""];
if (scenario === undefined) throw new Error(`no scenario ${Deno.args[0]}`);
await scenario();
