import assert from "node:assert/strict";
import { createEngine } from "../../src/os/engine.ts";
import { ERRNO } from "../../src/os/errno.ts";
import { IoUring } from "../../src/os/io_uring.ts";
import { FEATURE, OP, SETUP } from "../../src/os/io_uring_abi.ts";
import { probeIoUring } from "../../src/os/io_uring_probe.ts";
import { HAS_IO_URING } from "./harness.ts";

const noop = () => {};

/** Where there is no io_uring, harness.ts adds a line to the list of tests that says so. */
function test(name: string, run: () => void): void {
  if (HAS_IO_URING) Deno.test(name, run);
}

test("probe says yes and which flags, or no and why", () => {
  const probe = IoUring.probe();
  assert.equal(probe.usable, true, probe.reason);
  assert.match(probe.reason, /CQSIZE/);
  const ring = new IoUring(8);
  try {
    const without = ring.features & ~FEATURE.EXT_ARG;
    const lacking = probeIoUring(ring.fd, without, ring.setupFlags);
    assert.equal(lacking.usable, false);
    assert.match(lacking.reason, /IORING_FEAT_EXT_ARG/);
    assert.match(probeIoUring(-1, ring.features, 0).reason, /^io_uring_register: E/);
  } finally {
    ring.close();
  }
});

test("createEngine takes io_uring unless told otherwise, and says why", () => {
  const first = createEngine();
  assert.equal(first.engine.name, "io_uring");
  assert.match(first.reason, /^io_uring: /);
  const plain = createEngine({ prefer: "epoll" });
  assert.equal(plain.engine.name, "epoll");
  assert.match(plain.reason, /asked for/);
  first.engine.destroy(0, noop);
  plain.engine.destroy(0, noop);
});

test("setup goes down the ladder of flags until the kernel agrees", () => {
  const nonsense = 1 << 30;
  const ring = new IoUring(8, [nonsense, nonsense | SETUP.CLAMP, SETUP.CQSIZE]);
  try {
    assert.equal(ring.setupFlags & SETUP.CQSIZE, SETUP.CQSIZE);
    assert.equal(ring.setupFlags & SETUP.DEFER_TASKRUN, 0);
    assert.equal(ring.prepare(OP.NOP, -1, 0, 0, 0, 0, 42), true);
    assert.equal(ring.submitAndWait(1, 1000), 1);
    const seen: number[][] = [];
    ring.forEachCompletion((tag, result) => seen.push([tag, result]));
    assert.deepEqual(seen, [[42, 0]]);
  } finally {
    ring.close();
  }
  assert.throws(() => new IoUring(8, [nonsense]), {
    message: "io_uring_setup: EINVAL (Invalid argument)",
  });
});

for (const ladder of [undefined, [SETUP.CQSIZE]]) {
  test(`completions beyond the ring are kept, ${ladder ? "plain" : "deferred"} ring`, () => {
    const ring = new IoUring(4, ladder);
    try {
      // The completion ring holds 16; nothing is read until far more are submitted.
      let prepared = 0;
      const seen = new Set<number>();
      const see = (tag: number) => {
        assert.ok(!seen.has(tag));
        seen.add(tag);
      };
      for (; prepared < 100; prepared++) {
        if (!ring.prepare(OP.NOP, -1, 0, 0, 0, 0, prepared)) break;
      }
      assert.ok(prepared > 16, `only ${prepared} accepted`);
      for (let i = 0; i < 100 && seen.size < prepared; i++) {
        ring.submitAndWait(0, 0);
        ring.forEachCompletion(see);
      }
      assert.equal(seen.size, prepared);
      assert.equal(ring.unsubmitted, 0);
    } finally {
      ring.close();
    }
  });
}

test("a wait ends with ETIME; fractions of a millisecond count", () => {
  const ring = new IoUring(4);
  try {
    assert.equal(ring.submitAndWait(1, 0.5), -ERRNO.ETIME);
    ring.prepare(OP.NOP, -1, 0, 0, 0, 0, 1);
    assert.equal(ring.submitAndWait(1, Infinity), 1);
    ring.forEachCompletion(noop);
    assert.equal(ring.submitAndWait(0, 0), 0);
    assert.equal(ring.ready, 0);
  } finally {
    ring.close();
    ring.close();
  }
});

test("cancel reaches the operation with the tag", () => {
  const ring = new IoUring(4);
  try {
    ring.prepare(OP.POLL_ADD, ring.fd, 0, 0, 0, 0, 7);
    ring.submitAndWait(0, 0);
    ring.prepareCancel(7, 8);
    const seen = new Map<number, number>();
    for (let i = 0; i < 10 && seen.size < 2; i++) {
      ring.submitAndWait(1, 1000);
      ring.forEachCompletion((tag, result) => seen.set(tag, result));
    }
    assert.deepEqual([...seen].toSorted(), [[7, -ERRNO.ECANCELED], [8, 0]]);
  } finally {
    ring.close();
  }
});
