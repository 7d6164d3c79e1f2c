/**
 * Runs inside a network namespace of a test: carries out one JSON command per line of its standard
 * input and answers each with one line.
 *
 * @module
 */
import { Pinger } from "../../src/agent/pinger.ts";
import { parseConfig } from "../../src/config/parse.ts";
import { announceAddress, findDuplicate, PacketSocket } from "../../src/os/packet.ts";
import {
  addAddress,
  type AddAddressOptions,
  deleteAddress,
  findInterfaceFor,
  interfaceByName,
  listAddresses,
  listInterfaces,
  type NetworkInterface,
} from "../../src/os/netlink.ts";

/** What the test may ask for. */
export type Command =
  | { readonly do: "interfaces" | "addresses" }
  | {
    readonly do: "add";
    readonly on: string;
    readonly address: string;
    readonly prefix: number;
    readonly options?: AddAddressOptions;
  }
  | {
    readonly do: "delete";
    readonly on: string;
    readonly address: string;
    readonly prefix: number;
  }
  | { readonly do: "find"; readonly address: string; readonly prefix: number }
  | { readonly do: "announce" | "duplicate"; readonly on: string; readonly address: string }
  | { readonly do: "listen"; readonly on: string; readonly etherType: number }
  | { readonly do: "heard" }
  /** Follows these ping targets from now on, asked every 200 ms. */
  | { readonly do: "ping"; readonly targets: readonly string[] }
  /** What it has said of them, oldest first. */
  | { readonly do: "reach" };

const SAMPLE = new URL("../../config/bascule.toml", import.meta.url).pathname;

function named(name: string): NetworkInterface {
  const found = interfaceByName(name);
  if (found === undefined) throw new Error(`no interface ${name}`);
  return found;
}

let listener: PacketSocket | undefined;
const reaches: unknown[] = [];
const pinger = new Pinger({
  reach: (targets) => void reaches.push(targets),
  unable: (family, reason) => void reaches.push(`unable ${family}: ${reason}`),
});

async function carryOut(command: Command): Promise<unknown> {
  switch (command.do) {
    case "interfaces":
      return listInterfaces().map((entry) => ({ ...entry, mac: entry.mac?.toHex() ?? null }));
    case "addresses":
      return listAddresses();
    case "add": {
      const { index } = named(command.on);
      addAddress(index, command.address, command.prefix, command.options);
      return null;
    }
    case "delete":
      return deleteAddress(named(command.on).index, command.address, command.prefix);
    case "find":
      return findInterfaceFor(command.address, command.prefix)?.name ?? null;
    case "announce":
      return announceAddress(named(command.on), command.address);
    case "duplicate":
      return await findDuplicate(named(command.on), command.address, { timeoutMs: 300 }) ?? null;
    case "listen":
      listener?.close();
      listener = new PacketSocket(named(command.on), command.etherType);
      return null;
    case "ping": {
      const { config } = parseConfig(Deno.readTextFileSync(SAMPLE), SAMPLE);
      const group = { ...config!.groups[0]!, ping: command.targets };
      const cluster = { ...config!.cluster, pingInterval: 200 };
      pinger.follow({ ...config!, cluster, groups: [group] });
      return null;
    }
    case "reach":
      return reaches;
    case "heard": {
      const frames: string[] = [];
      for (;;) {
        const frame = listener?.receive();
        if (frame === undefined) return frames;
        frames.push(frame.toHex());
      }
    }
  }
}

async function main(): Promise<void> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of Deno.stdin.readable) {
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      const command = JSON.parse(text.slice(0, end)) as Command;
      text = text.slice(end + 1);
      let answer: unknown;
      try {
        answer = { value: await carryOut(command) };
      } catch (error) {
        answer = { error: error instanceof Error ? error.message : String(error) };
      }
      Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(answer)}\n`));
    }
  }
}

if (import.meta.main) await main();
