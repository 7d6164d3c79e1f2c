import assert from "node:assert/strict";
import {
  blockStatusBytes,
  encodeBlockStatusChunk,
  encodeDataChunk,
  encodeErrorChunk,
  encodeErrorOffsetChunk,
  encodeHoleChunk,
  encodeNoneChunk,
  encodeReadHeader,
  encodeReply,
  encodeSimpleReply,
  HeaderStyle,
  NBD_CMD,
  NBD_ERROR,
  nbdError,
  nbdErrorName,
  nbdErrorWords,
  REPLY_BYTES,
  REPLY_HEADER_BYTES,
} from "../../src/nbd/mod.ts";
import { bytes, hex, text, u16, u32 } from "./fixtures.ts";

const COOKIE = "deadbeef01020304";
/** A READ of 8 KiB at 4 GiB + 4 KiB. */
const READ = {
  type: NBD_CMD.READ as number,
  cookieHi: 0xdeadbeef,
  cookieLo: 0x01020304,
  offset: 0x100001000,
  length: 8192,
};
const at = (type: number) => ({ ...READ, type });

/** The bytes an encoder writes at 5, after checking that it writes nowhere else. */
function written(encode: (view: DataView, at: number) => number): string {
  const buffer = new Uint8Array(256).fill(0xa5);
  const length = encode(new DataView(buffer.buffer), 5);
  assert.ok(buffer.subarray(0, 5).every((byte) => byte === 0xa5));
  assert.ok(buffer.subarray(5 + length).every((byte) => byte === 0xa5));
  return hex(buffer.subarray(5, 5 + length));
}

const same = (
  encode: (view: DataView, at: number) => number,
  ...parts: (string | Uint8Array)[]
) => assert.equal(written(encode), hex(bytes(...parts)));

Deno.test("simple replies are byte-exact", () => {
  same(
    (view, at) => encodeSimpleReply(view, at, NBD_ERROR.EIO, 0xdeadbeef, 0x01020304),
    "67446698 00000005",
    COOKIE,
  );
});

Deno.test("structured chunks are byte-exact", () => {
  same((v, i) => encodeNoneChunk(v, i, READ), "668e33ef 0001 0000", COOKIE, "00000000");
  same(
    (v, i) => encodeDataChunk(v, i, READ, 0x100001200, 512, false),
    "668e33ef 0000 0001",
    COOKIE,
    "00000208 0000000100001200",
  );
  same(
    (v, i) => encodeHoleChunk(v, i, READ, 0x100002000, 4096, true),
    "668e33ef 0001 0002",
    COOKIE,
    "0000000c 0000000100002000 00001000",
  );
  same(
    (v, i) => encodeErrorChunk(v, i, READ, NBD_ERROR.EIO, text("bad disk")),
    "668e33ef 0001 8001",
    COOKIE,
    "0000000e 00000005 0008",
    text("bad disk"),
  );
  same(
    (v, i) => encodeErrorOffsetChunk(v, i, READ, NBD_ERROR.EIO, 0x100001200, text("no"), false),
    "668e33ef 0000 8002",
    COOKIE,
    "00000010 00000005 0002",
    text("no"),
    "0000000100001200",
  );
  const extents = Uint32Array.of(4096, 3, 0xfffff000, 0, 1, 1);
  same(
    (v, i) => encodeBlockStatusChunk(v, i, at(NBD_CMD.BLOCK_STATUS), 7, extents, 2, true),
    "668e33ef 0001 0005",
    COOKIE,
    "00000014 00000007 00001000 00000003 fffff000 00000000",
  );
  assert.equal(blockStatusBytes(2), 32 + 40);
});

Deno.test("a READ is answered in the form that was negotiated", () => {
  same((v, i) => encodeReadHeader(v, i, READ, HeaderStyle.Simple), "67446698 00000000", COOKIE);
  same(
    (v, i) => encodeReadHeader(v, i, READ, HeaderStyle.Structured),
    "668e33ef 0001 0001",
    COOKIE,
    "00002008 0000000100001000",
  );
});

Deno.test("replies without data: simple on success, errors in the negotiated form", () => {
  const { OK, EIO } = NBD_ERROR;
  const words = nbdErrorWords(EIO);
  assert.ok(words.length > 0);
  for (const type of [1, 3, 4, 5, 6]) {
    for (const structured of [HeaderStyle.Simple, HeaderStyle.Structured]) {
      same((v, i) => encodeReply(v, i, at(type), OK, structured), "67446698 00000000", COOKIE);
    }
  }
  for (const type of [0, 1, 3, 4, 5, 6, 7, 99]) {
    same(
      (v, i) => encodeReply(v, i, at(type), EIO, HeaderStyle.Simple),
      "67446698 00000005",
      COOKIE,
    );
    same(
      (v, i) => encodeReply(v, i, at(type), EIO, HeaderStyle.Structured),
      "668e33ef 0001 8001",
      COOKIE,
      u32(6 + words.length) + "00000005" + u16(words.length),
      words,
    );
  }
  for (const type of [0, 7]) {
    assert.throws(
      () => written((v, i) => encodeReply(v, i, at(type), OK, HeaderStyle.Structured)),
      /carries data/,
    );
  }
  assert.equal(REPLY_HEADER_BYTES, 40);
  for (const error of Object.values(NBD_ERROR)) {
    if (error === OK) continue;
    const buffer = new DataView(new ArrayBuffer(REPLY_BYTES));
    assert.ok(encodeReply(buffer, 0, at(1), error, HeaderStyle.Extended) <= REPLY_BYTES);
  }
});

Deno.test("encoders refuse what the protocol forbids", () => {
  const { EIO, OK } = NBD_ERROR;
  const wrong: ((v: DataView, i: number) => number)[] = [
    (v, i) => encodeDataChunk(v, i, READ, READ.offset - 1, 2, true),
    (v, i) => encodeDataChunk(v, i, READ, READ.offset, 0, true),
    (v, i) => encodeDataChunk(v, i, READ, READ.offset + 8191, 2, true),
    (v, i) => encodeHoleChunk(v, i, READ, READ.offset, 8193, true),
    (v, i) => encodeErrorOffsetChunk(v, i, READ, EIO, READ.offset + 8192),
    (v, i) => encodeErrorChunk(v, i, READ, OK),
    (v, i) => encodeErrorChunk(v, i, READ, EIO, new Uint8Array(4097)),
    (v, i) => encodeBlockStatusChunk(v, i, READ, 1, new Uint32Array(2), 0, true),
    (v, i) => encodeBlockStatusChunk(v, i, READ, 1, new Uint32Array(2), 2, true),
    (v, i) => encodeBlockStatusChunk(v, i, READ, 1, new Uint32Array(2), (1 << 20) + 1, true),
  ];
  for (const [index, encode] of wrong.entries()) {
    assert.throws(() => written(encode), Error, `case ${index}`);
  }
});

Deno.test("errno becomes one of the protocol's eight values", () => {
  const DF = 4;
  const FAST_ZERO = 16;
  const table: [number, number, string][] = [
    [0, 0, "OK"],
    [1, 0, "EPERM"],
    [13, 0, "EPERM"], // EACCES
    [30, 0, "EPERM"], // EROFS
    [5, 0, "EIO"],
    [12, 0, "ENOMEM"],
    [22, 0, "EINVAL"],
    [28, 0, "ENOSPC"],
    [122, 0, "ENOSPC"], // EDQUOT
    [27, 0, "ENOSPC"], // EFBIG
    [75, 0, "EINVAL"],
    [75, DF, "EOVERFLOW"],
    [95, 0, "EINVAL"],
    [95, DF, "EINVAL"],
    [95, FAST_ZERO, "ENOTSUP"],
    [108, 0, "ESHUTDOWN"],
    [19, 0, "EIO"], // ENODEV
    [110, 0, "EIO"], // ETIMEDOUT
    [61, 0, "EIO"], // ENODATA: a bad sector
  ];
  for (const [errno, flags, name] of table) {
    assert.equal(nbdErrorName(nbdError(errno, flags)), name, `errno ${errno}, flags ${flags}`);
  }
  assert.equal(nbdErrorName(4711), "EINVAL");
});
