import assert from "node:assert/strict";
import { ERRNO } from "../../src/os/errno.ts";
import { openDisk } from "../../src/os/files.ts";
import { libc } from "../../src/os/libc.ts";
import { Slab } from "../../src/os/memory.ts";
import { ENGINES, Harness, testBoth } from "./harness.ts";

function withFile(run: (fd: number, path: string) => void): void {
  const path = Deno.makeTempFileSync();
  const fd = openDisk(path);
  try {
    run(fd, path);
  } finally {
    libc.close(fd);
    Deno.removeSync(path);
  }
}

testBoth("writes and reads back, short only at the end of the file", (h) =>
  withFile((fd, path) => {
    const slab = h.slab(16384);
    for (let i = 0; i < 8192; i++) slab.bytes[i] = i % 251;
    assert.equal(h.do((tag) => h.engine.write(fd, slab, 0, 8192, 4096, false, tag)), 8192);
    assert.equal(h.do((tag) => h.engine.flush(fd, tag)), 0);
    const file = Deno.readFileSync(path);
    assert.equal(file.length, 12288);
    assert.deepEqual(file.subarray(4096), slab.bytes.slice(0, 8192));
    assert.equal(h.do((tag) => h.engine.read(fd, slab, 8192, 8192, 8192, tag)), 4096);
    assert.deepEqual(slab.bytes.slice(8192, 12288), slab.bytes.slice(4096, 8192));
    assert.equal(h.do((tag) => h.engine.read(fd, slab, 0, 512, 12288, tag)), 0);
  }));

testBoth("positions beyond 4 GiB reach the kernel whole", (h) =>
  withFile((fd, path) => {
    const slab = h.slab(4096);
    const position = 5 * 2 ** 40 + 4096 * 3;
    slab.bytes.fill(7, 0, 512);
    const write = h.do((tag) => h.engine.write(fd, slab, 0, 512, position, true, tag));
    if (write === -ERRNO.EFBIG) {
      // A file system with a smaller limit: stay above 32 bits all the same.
      const lower = 2 ** 33 + 4096;
      assert.equal(h.do((tag) => h.engine.write(fd, slab, 0, 512, lower, true, tag)), 512);
      assert.equal(Deno.statSync(path).size, lower + 512);
      return;
    }
    assert.equal(write, 512);
    assert.equal(Deno.statSync(path).size, position + 512);
    assert.equal(h.do((tag) => h.engine.read(fd, slab, 512, 512, position, tag)), 512);
    assert.ok(slab.bytes.subarray(512, 1024).every((byte) => byte === 7));
    assert.equal(h.do((tag) => h.engine.discard(fd, 4096, 2 ** 41, tag)), 0);
  }));

testBoth("direct access takes the slab's memory as it is", (h) =>
  withFile((plain, path) => {
    const slab = h.slab(16384);
    slab.bytes.fill(5, 0, 8192);
    assert.equal(h.do((tag) => h.engine.write(plain, slab, 0, 8192, 0, true, tag)), 8192);
    const fd = openDisk(path, { direct: true });
    try {
      assert.equal(h.do((tag) => h.engine.read(fd, slab, 8192, 4096, 4096, tag)), 4096);
      assert.ok(slab.bytes.subarray(8192, 12288).every((byte) => byte === 5));
      assert.equal(h.do((tag) => h.engine.write(fd, slab, 12288, 4096, 0, true, tag)), 4096);
      assert.ok(Deno.readFileSync(path).subarray(0, 4096).every((byte) => byte === 0));
    } finally {
      libc.close(fd);
    }
  }));

testBoth("discard and zero make zeroes and keep the size", (h) =>
  withFile((fd, path) => {
    const slab = h.slab(65536);
    slab.bytes.fill(1);
    assert.equal(h.do((tag) => h.engine.write(fd, slab, 0, 65536, 0, true, tag)), 65536);
    assert.equal(h.do((tag) => h.engine.discard(fd, 4096, 4096, tag)), 0);
    const kept = h.do((tag) => h.engine.zero(fd, 16384, 4096, true, tag));
    // FALLOC_FL_ZERO_RANGE is optional (tmpfs has none); the caller then writes zeroes.
    assert.ok(kept === 0 || kept === -ERRNO.EOPNOTSUPP);
    assert.equal(h.do((tag) => h.engine.zero(fd, 32768, 8192, false, tag)), 0);
    const file = Deno.readFileSync(path);
    assert.equal(file.length, 65536);
    for (let page = 0; page < 16; page++) {
      const zero = page === 1 || (page === 4 && kept === 0) || page === 8 || page === 9;
      assert.ok(file.subarray(page * 4096, page * 4096 + 4096).every((b) => b === (zero ? 0 : 1)));
    }
  }));

testBoth("errors come as results, with the kernel's number", (h) => {
  const slab = h.slab(4096);
  const path = Deno.makeTempFileSync();
  const fd = openDisk(path, { readOnly: true });
  try {
    assert.equal(h.do((tag) => h.engine.write(fd, slab, 0, 16, 0, false, tag)), -ERRNO.EBADF);
    assert.equal(h.do((tag) => h.engine.write(fd, slab, 0, 16, 0, true, tag)), -ERRNO.EBADF);
    assert.equal(h.do((tag) => h.engine.discard(fd, 0, 16, tag)), -ERRNO.EBADF);
  } finally {
    libc.close(fd);
    Deno.removeSync(path);
  }
  assert.equal(h.do((tag) => h.engine.read(4000, slab, 0, 16, 0, tag)), -ERRNO.EBADF);
});

testBoth("arguments that would corrupt memory are refused", (h) => {
  const slab = h.slab(4096);
  assert.throws(() => h.engine.read(0, slab, 1, slab.length, 0, 1), RangeError);
  assert.throws(() => h.engine.read(0, slab, -1, 4, 0, 1), RangeError);
  assert.throws(() => h.engine.read(0, slab, 0, 4, -4, 1), RangeError);
  assert.throws(() => h.engine.read(0, slab, 0, 4, 0, -1), RangeError);
  assert.throws(() => h.engine.read(0, slab, 0, 4, 0, 2 ** 31), RangeError);
  assert.throws(() => h.engine.read(-1, slab, 0, 4, 0, 1), RangeError);
  assert.throws(() => h.engine.recv(0, slab, 0, 0, 1), RangeError);
  assert.equal(h.engine.pending, 0);
  const freed = Slab.allocate(1);
  freed.free();
  assert.throws(() => h.engine.read(0, freed, 0, 1, 0, 1), RangeError);
});

for (const [name, create] of ENGINES) {
  Deno.test(`${name}: many more operations than ring entries all finish, once each`, () => {
    const h = new Harness(create(8));
    try {
      withFile((fd) => {
        const slab = h.slab(600 * 512);
        for (let i = 0; i < 600; i++) slab.bytes.fill(i % 256, i * 512, i * 512 + 512);
        const writes = Array.from(
          { length: 600 },
          (_, i) => h.start((tag) => h.engine.write(fd, slab, i * 512, 512, i * 512, false, tag)),
        );
        assert.equal(h.engine.pending, 600);
        assert.ok(h.collect(...writes).every((result) => result === 512));
        slab.bytes.fill(0);
        const reads = Array.from(
          { length: 600 },
          (_, i) => h.start((tag) => h.engine.read(fd, slab, i * 512, 512, i * 512, tag)),
        );
        assert.ok(h.collect(...reads).every((result) => result === 512));
        for (let i = 0; i < 600; i++) assert.equal(slab.bytes[i * 512 + 511], i % 256);
        assert.equal(h.engine.pending, 0);
      });
    } finally {
      h.end();
    }
  });
}

testBoth("an exception from the callback loses no other result", (h) =>
  withFile((fd) => {
    const slab = h.slab(4096);
    const tags = [1, 2, 3, 4].map(() =>
      h.start((tag) => h.engine.write(fd, slab, 0, 512, 0, false, tag))
    );
    const seen: number[] = [];
    let thrown = 0;
    for (let i = 0; i < 50 && seen.length < 4; i++) {
      try {
        h.engine.wait(100, (tag, result) => {
          seen.push(tag);
          h.onDone(tag, result);
          throw new Error("from the callback");
        });
      } catch {
        thrown++;
      }
    }
    assert.deepEqual(seen.toSorted(), tags);
    assert.equal(thrown, 4);
  }));

testBoth("wait gives up after its time, and refuses to nest", (h) =>
  withFile((fd) => {
    // A signal may end a wait early (closing a ring sends the kernel's own), but not many do.
    const start = performance.now();
    let waits = 0;
    for (; performance.now() - start < 29; waits++) {
      assert.equal(h.engine.wait(30, h.onDone), 0);
    }
    assert.ok(waits > 0 && waits < 10, `${waits} waits`);
    const tag = h.start((t) => h.engine.flush(fd, t));
    let nested: unknown;
    while (!h.results.has(tag)) {
      h.engine.wait(1000, (t, result) => {
        h.onDone(t, result);
        try {
          h.engine.wait(0, h.onDone);
        } catch (error) {
          nested = error;
        }
      });
    }
    assert.match(String(nested), /inside its own callback/);
  }));
