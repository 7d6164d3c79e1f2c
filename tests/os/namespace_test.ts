import assert from "node:assert/strict";
import { parseIp } from "../../src/os/address.ts";
import {
  arpAnnouncement,
  arpGratuitousReply,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV6,
  neighbourAdvertisement,
} from "../../src/os/frames.ts";
import type { InterfaceAddress, NetworkInterface } from "../../src/os/netlink.ts";
import { namespacesMissing, type Side, withCable } from "./namespace.ts";

type ListedInterface = Omit<NetworkInterface, "mac"> & { readonly mac: string | null };
type ListedAddress = Omit<InterfaceAddress, "validLifetime"> & {
  /** null stands for Infinity in JSON. */
  readonly validLifetime: number | null;
};

const missing = namespacesMissing();

/** A test in namespaces; where there are none, the list of tests says that it was not run. */
function testInNamespaces(name: string, run: (a: Side, b: Side) => Promise<void>): void {
  if (missing === undefined) {
    Deno.test(name, () => withCable(run));
  } else {
    Deno.test.ignore(`not run here (${missing}): ${name}`, () => {});
  }
}

async function addressOn(side: Side, address: string): Promise<ListedAddress | undefined> {
  const all = await side.run<ListedAddress[]>({ do: "addresses" });
  return all.find((entry) => entry.address === address);
}

async function cableOf(side: Side): Promise<ListedInterface> {
  const all = await side.run<ListedInterface[]>({ do: "interfaces" });
  return all.find((entry) => entry.name === side.cable)!;
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`waited in vain: ${what}`);
}

testInNamespaces("interfaces and addresses are listed, added, renewed, deleted", async (a) => {
  const interfaces = await a.run<ListedInterface[]>({ do: "interfaces" });
  const lo = interfaces.find((entry) => entry.name === "lo")!;
  assert.deepEqual([lo.loopback, lo.up, lo.index], [true, true, 1]);
  const cable = await cableOf(a);
  assert.match(cable.mac!, /^[0-9a-f]{12}$/);
  assert.deepEqual([cable.loopback, cable.up, cable.mtu], [false, true, 1500]);
  await until("carrier", async () => (await cableOf(a)).running);

  const on = a.cable;
  const v4 = { on, address: "10.77.0.10", prefix: 24 } as const;
  await a.run({ do: "add", ...v4, options: { validLifetime: 60, label: `${on}:x`.slice(0, 15) } });
  let found = (await addressOn(a, v4.address))!;
  assert.ok(found.validLifetime! > 50 && found.validLifetime! <= 60);
  assert.deepEqual([found.family, found.prefix, found.label], [4, 24, `${on}:x`.slice(0, 15)]);
  assert.match(
    await a.ip("-4", "address", "show", "dev", on),
    /10\.77\.0\.10\/24 brd 10\.77\.0\.255/,
  );
  await a.run({ do: "add", ...v4, options: { validLifetime: 600, preferredLifetime: 300 } });
  found = (await addressOn(a, v4.address))!;
  assert.ok(found.validLifetime! > 500);
  assert.ok(found.preferredLifetime > 250 && found.preferredLifetime <= 300);
  await a.run({ do: "add", ...v4 });
  assert.equal((await addressOn(a, v4.address))!.validLifetime, null);

  const v6 = { on, address: "fd77::10", prefix: 64 } as const;
  await a.run({ do: "add", ...v6, options: { validLifetime: 60 } });
  found = (await addressOn(a, v6.address))!;
  assert.deepEqual([found.family, found.tentative, found.duplicate], [6, false, false]);
  await a.run({ do: "add", ...v6, options: { validLifetime: 600 } });
  assert.ok((await addressOn(a, v6.address))!.validLifetime! > 500);

  for (const which of [v4, v6]) {
    assert.equal(await a.run({ do: "delete", ...which }), true);
    assert.equal(await addressOn(a, which.address), undefined);
    assert.equal(await a.run({ do: "delete", ...which }), false);
  }
  await assert.rejects(
    a.run({
      do: "add",
      on: "lo",
      address: "10.77.0.10",
      prefix: 24,
      options: { label: "x".repeat(40) },
    }),
    /^Error: netlink add address 10\.77\.0\.10\/24 to interface 1.*(EINVAL|ERANGE)/,
  );
});

testInNamespaces("an address whose lifetime is not renewed goes away by itself", async (a) => {
  await a.run({
    do: "add",
    on: a.cable,
    address: "10.77.0.10",
    prefix: 24,
    options: { validLifetime: 1 },
  });
  assert.ok(await addressOn(a, "10.77.0.10") !== undefined);
  await until("it is gone", async () => await addressOn(a, "10.77.0.10") === undefined);
});

testInNamespaces("the interface of a network is found by the addresses in it", async (a) => {
  const find = (address: string, prefix: number) =>
    a.run<string | null>({ do: "find", address, prefix });
  await a.ip("link", "add", "other", "type", "veth", "peer", "name", "other-end");
  await a.ip("link", "set", "other", "up");
  await a.ip("address", "add", "10.78.0.1/16", "dev", "other");
  await a.ip("address", "add", "10.77.0.1/24", "dev", a.cable);
  await a.ip("address", "add", "fd77::1/64", "dev", a.cable, "nodad");
  assert.equal(await find("10.77.0.10", 24), a.cable);
  assert.equal(await find("10.78.9.9", 16), "other");
  assert.equal(await find("fd77::ffff", 64), a.cable);
  assert.equal(await find("192.0.2.1", 24), null);
  assert.equal(await find("fd78::1", 64), null);
  // A leftover of the very address on a wrong interface does not outweigh the network.
  await a.ip("address", "add", "10.77.0.10/32", "dev", "other");
  assert.equal(await find("10.77.0.10", 24), a.cable);
});

testInNamespaces(
  "announcements arrive byte for byte and move the neighbour's entry",
  async (a, b) => {
    const mac = Uint8Array.fromHex((await cableOf(a)).mac!);
    for (
      const [address, prefix, etherType] of [
        ["10.77.0.10", 24, ETHERTYPE_ARP],
        ["fd77::10", 64, ETHERTYPE_IPV6],
      ] as const
    ) {
      const ip = parseIp(address);
      const peer = etherType === ETHERTYPE_ARP ? "10.77.0.2" : "fd77::2";
      await b.run({ do: "add", on: b.cable, address: peer, prefix });
      const entry = [address, "lladdr", "02:00:00:00:00:99", "dev", b.cable, "nud", "stale"];
      await b.ip("neighbour", "replace", ...entry);
      await a.run({ do: "add", on: a.cable, address, prefix });
      await b.run({ do: "listen", on: b.cable, etherType });
      assert.equal(await a.run({ do: "announce", on: a.cable, address }), true);
      const expected = etherType === ETHERTYPE_ARP
        ? [arpAnnouncement(mac, ip), arpGratuitousReply(mac, ip)]
        : [neighbourAdvertisement(mac, ip)];
      const heard: string[] = [];
      await until("the frames", async () => {
        heard.push(...await b.run<string[]>({ do: "heard" }));
        return expected.every((frame) => heard.includes(frame.toHex()));
      });
      const colons = mac.toHex().replace(/..(?=.)/g, "$&:");
      await until(
        "the neighbour entry",
        async () => (await b.ip("neighbour", "show", address)).includes(colons),
      );
    }
    assert.equal(await a.run({ do: "announce", on: "lo", address: "10.77.0.10" }), false);
  },
);

testInNamespaces("a duplicate is found where there is one, and only there", async (a, b) => {
  const other = (await cableOf(b)).mac!.replace(/..(?=.)/g, "$&:");
  await b.run({ do: "add", on: b.cable, address: "10.77.0.10", prefix: 24 });
  await b.run({ do: "add", on: b.cable, address: "fd77::10", prefix: 64 });
  for (const [taken, free] of [["10.77.0.10", "10.77.0.11"], ["fd77::10", "fd77::11"]] as const) {
    assert.equal(await a.run({ do: "duplicate", on: a.cable, address: taken }), other);
    assert.equal(await a.run({ do: "duplicate", on: a.cable, address: free }), null);
  }
  assert.equal(await a.run({ do: "duplicate", on: "lo", address: "10.77.0.10" }), null);
});

testInNamespaces(
  "ping targets answer, in both families, until their machine is cut off",
  async (a, b) => {
    await b.ip("address", "add", "10.77.0.2/24", "dev", b.cable);
    await b.ip("address", "add", "fd77::2/64", "dev", b.cable, "nodad");
    await a.ip("address", "add", "10.77.0.1/24", "dev", a.cable);
    await a.ip("address", "add", "fd77::1/64", "dev", a.cable, "nodad");
    const targets = ["10.77.0.2", "fd77::2", "10.77.0.9"];
    const last = async () => (await a.run<Record<string, boolean>[]>({ do: "reach" })).at(-1);
    await a.run({ do: "ping", targets });
    await until("two answer, one does not", async () => {
      const reach = await last();
      return reach?.[targets[0]!] === true && reach[targets[1]!] === true &&
        reach[targets[2]!] === false;
    });
    await b.ip("link", "set", b.cable, "down");
    await until("none answers", async () => Object.values((await last())!).every((is) => !is));
    await b.ip("link", "set", b.cable, "up");
    await until("the first answers again", async () => (await last())?.[targets[0]!] === true);
    await a.run({ do: "ping", targets: ["10.77.0.9"] });
    assert.deepEqual(await last(), { "10.77.0.9": false });
  },
);
