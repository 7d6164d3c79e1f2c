import assert from "node:assert/strict";
import { parseIp, parseMac } from "../../src/os/address.ts";
import {
  arpAnnouncement,
  arpClaimant,
  arpGratuitousReply,
  arpProbe,
  duplicateAddressSolicitation,
  neighbourAdvertisement,
  neighbourClaimant,
} from "../../src/os/frames.ts";

const MAC = parseMac("02:00:5e:10:00:01");
const OTHER = parseMac("02:00:5e:10:00:02");
const IP4 = parseIp("192.0.2.10");
const IP6 = parseIp("2001:db8::1234:5678");

function check(frame: Uint8Array, ...parts: string[]): void {
  assert.equal(frame.toHex(), parts.join("").replaceAll(" ", ""));
}

Deno.test("gratuitous ARP, request and reply form, byte for byte", () => {
  check(
    arpAnnouncement(MAC, IP4),
    "ffffffffffff 02005e100001 0806",
    "0001 0800 06 04 0001",
    "02005e100001 c000020a 000000000000 c000020a",
  );
  check(
    arpGratuitousReply(MAC, IP4),
    "ffffffffffff 02005e100001 0806",
    "0001 0800 06 04 0002",
    "02005e100001 c000020a 02005e100001 c000020a",
  );
});

Deno.test("an ARP probe claims nothing", () => {
  check(
    arpProbe(MAC, IP4),
    "ffffffffffff 02005e100001 0806",
    "0001 0800 06 04 0001",
    "02005e100001 00000000 000000000000 c000020a",
  );
});

// The checksums were computed by other means, over the pseudo-header of RFC 8200, 8.1.
Deno.test("unsolicited neighbour advertisement, byte for byte", () => {
  const frame = neighbourAdvertisement(MAC, IP6);
  check(
    frame,
    "333300000001 02005e100001 86dd",
    "60000000 0020 3a ff",
    "20010db8000000000000000012345678",
    "ff020000000000000000000000000001",
    "88 00 c9c3 20000000",
    "20010db8000000000000000012345678",
    "02 01 02005e100001",
  );
  assert.equal(onesComplementSum(frame), 0xffff);
});

Deno.test("the solicitation of duplicate address detection, byte for byte", () => {
  const frame = duplicateAddressSolicitation(MAC, IP6);
  check(
    frame,
    "3333ff345678 02005e100001 86dd",
    "60000000 0018 3a ff",
    "00000000000000000000000000000000",
    "ff0200000000000000000001ff345678",
    "87 00 8d96 00000000",
    "20010db8000000000000000012345678",
  );
  assert.equal(onesComplementSum(frame), 0xffff);
});

/** What a receiver adds up (RFC 4443, 2.3): all ones when the checksum is right. */
function onesComplementSum(frame: Uint8Array): number {
  const view = new DataView(frame.buffer);
  const length = view.getUint16(18);
  let sum = length + frame[20]!;
  for (let at = 22; at < 54 + length; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum % 65536) + Math.floor(sum / 65536);
  return sum;
}

Deno.test("who claims an address: announcements, answers and other probes, not one's own", () => {
  for (const claim of [arpAnnouncement(OTHER, IP4), arpGratuitousReply(OTHER, IP4)]) {
    assert.deepEqual(arpClaimant(claim, MAC, IP4), OTHER);
    assert.equal(arpClaimant(claim, OTHER, IP4), undefined);
    assert.equal(arpClaimant(claim, MAC, parseIp("192.0.2.11")), undefined);
    for (let length = 0; length < 42; length++) {
      assert.equal(arpClaimant(claim.subarray(0, length), MAC, IP4), undefined);
    }
  }
  assert.deepEqual(arpClaimant(arpProbe(OTHER, IP4), MAC, IP4), OTHER);
  // Someone else who merely asks where the address is does not claim it.
  const question = arpAnnouncement(OTHER, parseIp("192.0.2.99"));
  question.set(IP4, 38);
  assert.equal(arpClaimant(question, MAC, IP4), undefined);
  assert.equal(arpClaimant(neighbourAdvertisement(OTHER, IP6), MAC, IP4), undefined);

  for (
    const claim of [neighbourAdvertisement(OTHER, IP6), duplicateAddressSolicitation(OTHER, IP6)]
  ) {
    assert.deepEqual(neighbourClaimant(claim, MAC, IP6), OTHER);
    assert.equal(neighbourClaimant(claim, OTHER, IP6), undefined);
    assert.equal(neighbourClaimant(claim, MAC, parseIp("2001:db8::1")), undefined);
    for (let length = 0; length < 78; length++) {
      assert.equal(neighbourClaimant(claim.subarray(0, length), MAC, IP6), undefined);
    }
    const routed = claim.slice();
    routed[21] = 254;
    assert.equal(neighbourClaimant(routed, MAC, IP6), undefined, "came through a router");
  }
  // An ordinary solicitation, from an address, is a question and no claim.
  const ordinary = duplicateAddressSolicitation(OTHER, IP6);
  ordinary[37] = 1;
  assert.equal(neighbourClaimant(ordinary, MAC, IP6), undefined);
});

Deno.test("frames refuse addresses of the wrong family", () => {
  assert.throws(() => arpProbe(MAC, IP6), RangeError);
  assert.throws(() => neighbourAdvertisement(MAC, IP4), RangeError);
  assert.throws(() => arpProbe(IP4, IP4), RangeError);
});
