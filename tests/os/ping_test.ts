import assert from "node:assert/strict";
import fc from "fast-check";
import { decodeEchoReply, encodeEchoRequest, internetChecksum } from "../../src/os/ping.ts";

const TOKEN = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);

Deno.test("an echo request has a checksum that sums up to nothing, and comes back with its number", () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (number) => {
    const request = encodeEchoRequest(4, number, TOKEN);
    assert.equal(internetChecksum(request), 0);
    const reply = Uint8Array.from(request);
    reply[0] = 0;
    assert.equal(decodeEchoReply(4, reply, TOKEN), number);
    assert.equal(decodeEchoReply(4, request, TOKEN), undefined, "the request itself is no answer");
    assert.equal(decodeEchoReply(6, reply, TOKEN), undefined);
    reply[8]! ^= 1;
    assert.equal(decodeEchoReply(4, reply, TOKEN), undefined, "another's answer");
  }));
});

Deno.test("the checksum is that of RFC 1071", () => {
  const example = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  assert.equal(internetChecksum(example), ~0xddf2 & 0xffff);
});

Deno.test("what is no answer, whatever its bytes, is passed over", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
    assert.equal(decodeEchoReply(4, bytes, TOKEN), undefined);
    assert.equal(decodeEchoReply(6, bytes, TOKEN), undefined);
  }));
});
