/**
 * Asks by ARP broadcast, forty times a second, who has the moving address, and writes a line of JSON
 * whenever others answer than before. Run on the client: what it sees is what a client would see.
 *
 * Arguments: interface, own address, address asked for.
 *
 * @module
 */
import { formatMac, parseIp } from "../../src/os/address.ts";
import { arpProbe, ETHERTYPE_ARP } from "../../src/os/frames.ts";
import { interfaceByName } from "../../src/os/netlink.ts";
import { PacketSocket } from "../../src/os/packet.ts";

/** Between two questions, milliseconds. A kernel answers within one. */
const PERIOD = 25;
const REPLY = 2;

/** Who answered one question. */
export interface Answers {
  /** Of the wall clock, milliseconds. */
  readonly at: number;
  readonly macs: readonly string[];
}

/** Hardware address of whoever says, to the client alone, that it has `ip`. */
function answerer(frame: Uint8Array, own: Uint8Array, ip: Uint8Array): string | undefined {
  const same = (at: number, wanted: Uint8Array) =>
    wanted.every((byte, i) => frame[at + i] === byte);
  if (frame.length < 42 || frame[21] !== REPLY || !same(0, own) || !same(28, ip)) return undefined;
  return formatMac(frame.slice(22, 28));
}

async function main(): Promise<void> {
  const [name = "", self = "", asked = ""] = Deno.args;
  const on = interfaceByName(name)!;
  const ip = parseIp(asked);
  const question = arpProbe(on.mac!, ip);
  // With the own address in it, it is a client's question and not the probe of a rival.
  question.set(parseIp(self), 28);
  using socket = new PacketSocket(on, ETHERTYPE_ARP);
  let before = "";
  for (;;) {
    socket.send(question);
    await new Promise((resolve) => setTimeout(resolve, PERIOD));
    const macs = new Set<string>();
    for (let frame = socket.receive(); frame !== undefined; frame = socket.receive()) {
      const mac = answerer(frame, on.mac!, ip);
      if (mac !== undefined) macs.add(mac);
    }
    const answers: Answers = { at: Date.now(), macs: [...macs].sort() };
    const now = answers.macs.join();
    if (now === before) continue;
    before = now;
    const line = new TextEncoder().encode(`${JSON.stringify(answers)}\n`);
    for (let sent = 0; sent < line.length;) sent += Deno.stdout.writeSync(line.subarray(sent));
  }
}

if (import.meta.main) await main();
