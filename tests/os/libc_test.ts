import assert from "node:assert/strict";
import { bootId, boottimeMs, monotonicMs } from "../../src/os/clock.ts";
import { ERRNO, errnoName, errnoText } from "../../src/os/errno.ts";
import { check, cString, lastErrno, libc, negErrno, OsError } from "../../src/os/libc.ts";
import { Slab } from "../../src/os/memory.ts";

Deno.test("errors name the call, the subject, the number and its text", () => {
  const error = new OsError("bind", -ERRNO.EADDRINUSE, "/run/x.sock");
  assert.equal(error.message, "bind /run/x.sock: EADDRINUSE (Address already in use)");
  assert.deepEqual([error.code, error.errno, error.syscall, error.name], [
    "EADDRINUSE",
    98,
    "bind",
    "OsError",
  ]);
  assert.ok(error instanceof Error);
  assert.equal(new OsError("pause", 4).message, "pause: EINTR (Interrupted system call)");
  assert.equal(errnoName(-95), "EOPNOTSUPP");
  assert.equal(errnoName(4321), "E4321");
  assert.equal(errnoText(4321), "E4321 (unknown error)");
});

Deno.test("a failed call leaves its number, as a result or as an exception", () => {
  assert.equal(negErrno(libc.close(-1)), -ERRNO.EBADF);
  assert.equal(lastErrno(), ERRNO.EBADF);
  assert.equal(negErrno(5), 5);
  assert.throws(
    () => check(libc.open(cString("/nonexistent/file"), 0, 0), "open", "/nonexistent/file"),
    { code: "ENOENT", message: "open /nonexistent/file: ENOENT (No such file or directory)" },
  );
});

Deno.test("a string with a zero byte is refused instead of cut", () => {
  assert.throws(() => cString("/etc/passwd\0.txt"), RangeError);
  assert.deepEqual([...cString("é")], [0xc3, 0xa9, 0]);
});

Deno.test("the clocks go forward and agree with each other", () => {
  const monotonic = monotonicMs();
  const boottime = boottimeMs();
  assert.ok(monotonic > 0 && boottime >= monotonic - 1);
  const uptime = Number(Deno.readTextFileSync("/proc/uptime").split(" ")[0]) * 1000;
  assert.ok(Math.abs(uptime - boottime) < 10_000, "milliseconds since the boot");
  let last = monotonic;
  for (let i = 0; i < 1000; i++) {
    const now = monotonicMs();
    assert.ok(now >= last);
    last = now;
  }
  assert.ok(last > monotonic, "finer than a thousand readings");
  assert.match(bootId(), /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
});

Deno.test("a slab is page-aligned, zeroed, and knows its bounds", () => {
  const slab = Slab.allocate(5000);
  try {
    assert.equal(slab.address % 4096, 0);
    assert.ok(slab.length >= 8192 && slab.length === slab.bytes.length);
    assert.ok(slab.bytes.every((byte) => byte === 0));
    slab.bytes[4097] = 0xab;
    assert.equal(slab.view.getUint8(4097), 0xab);
    assert.equal(slab.at(100, 20), slab.address + 100);
    assert.equal(slab.at(slab.length, 0), slab.address + slab.length);
    assert.throws(() => slab.at(slab.length, 1), /outside/);
    assert.throws(() => slab.at(NaN, 1), RangeError);
  } finally {
    slab.free();
  }
  assert.throws(() => slab.at(0, 1), /freed/);
  slab.free();
  assert.throws(() => Slab.allocate(0), RangeError);
});
