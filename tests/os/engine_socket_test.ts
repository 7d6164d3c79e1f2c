import assert from "node:assert/strict";
import fc from "fast-check";
import { createEngine } from "../../src/os/engine.ts";
import { ERRNO } from "../../src/os/errno.ts";
import { createEvent, drainEvent, signalEvent } from "../../src/os/eventfd.ts";
import { libc } from "../../src/os/libc.ts";
import {
  encodeInetSockaddr,
  encodeUnixSockaddr,
  listenTcp,
  listenUnix,
  localEndpoint,
  peerEndpoint,
  socketPair,
  tcpSocket,
  unixSocket,
} from "../../src/os/sockets.ts";
import { ENGINES, Harness, openDescriptors, testBoth } from "./harness.ts";

testBoth("bytes go across, and the end of the stream is a zero", (h) => {
  const [a, b] = socketPair();
  const slab = h.slab(8192);
  slab.bytes.set([1, 2, 3, 4, 5]);
  const received = h.start((tag) => h.engine.recv(b, slab, 4096, 100, tag));
  h.expectPending(received);
  assert.equal(h.do((tag) => h.engine.send(a, slab, 0, 5, tag)), 5);
  assert.deepEqual(h.collect(received), [5]);
  assert.deepEqual([...slab.bytes.subarray(4096, 4101)], [1, 2, 3, 4, 5]);
  assert.equal(h.do((tag) => h.engine.sendTwo(a, slab, 3, 2, slab, 0, 2, tag)), 4);
  assert.equal(h.do((tag) => h.engine.recvAll(b, slab, 4096, 4, tag)), 4);
  assert.deepEqual([...slab.bytes.subarray(4096, 4100)], [4, 5, 1, 2]);
  h.engine.close(a);
  assert.equal(h.do((tag) => h.engine.recv(b, slab, 0, 10, tag)), 0);
  assert.equal(h.do((tag) => h.engine.send(b, slab, 0, 10, tag)), -ERRNO.EPIPE);
  h.engine.close(b);
});

testBoth("a send larger than the socket buffer completes when all is sent", (h) => {
  const [a, b] = socketPair();
  const size = 3_000_000;
  const out = h.slab(size);
  const into = h.slab(size);
  for (let i = 0; i < size; i++) out.bytes[i] = (i * 7) % 253;
  const send = h.start((tag) => h.engine.send(a, out, 0, size, tag));
  h.expectPending(send);
  const all = h.start((tag) => h.engine.recvAll(b, into, 0, size, tag));
  assert.deepEqual(h.collect(send, all), [size, size]);
  assert.equal(difference(out.bytes.subarray(0, size), into.bytes.subarray(0, size)), 0);
  // The rest of an exact receive that the peer cuts off is told by its length.
  const cut = h.start((tag) => h.engine.recvAll(b, into, 0, 100, tag));
  assert.equal(h.do((tag) => h.engine.send(a, out, 0, 40, tag)), 40);
  h.expectPending(cut);
  h.engine.close(a);
  assert.deepEqual(h.collect(cut), [40]);
  h.engine.close(b);
});

testBoth("a descriptor that is given away is open, and nothing of it is reported any more", (h) => {
  const [a, b] = socketPair();
  const slab = h.slab(4096);
  const received = h.start((tag) => h.engine.recv(b, slab, 0, 100, tag));
  assert.throws(() => h.engine.disown(b), /operations under way/);
  assert.equal(h.do((tag) => h.engine.send(a, slab, 0, 5, tag)), 5);
  assert.deepEqual(h.collect(received), [5]);
  h.engine.disown(b);
  const other = new Harness(createEngine({ prefer: h.engine.name }).engine);
  try {
    // The next owner has it alone; its first engine sleeps on.
    const there = other.slab(4096);
    const waiting = other.start((tag) => other.engine.recv(b, there, 0, 100, tag));
    other.expectPending(waiting);
    assert.equal(h.do((tag) => h.engine.send(a, slab, 0, 7, tag)), 7);
    assert.deepEqual(other.collect(waiting), [7]);
    assert.equal(h.engine.wait(20, () => assert.fail("something was reported")), 0);
    other.engine.close(b);
  } finally {
    other.end();
  }
  h.engine.close(a);
});

function difference(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return a.length - b.length;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return i + 1;
  return 0;
}

testBoth("queued sends and receives keep their order", (h) => {
  const [a, b] = socketPair();
  const out = h.slab(1 << 20);
  const into = h.slab(1 << 20);
  for (let i = 0; i < out.length; i++) out.bytes[i] = (i >> 8) ^ i;
  // More than fits, in pieces of two sizes, with empty ones between.
  const sends: number[] = [];
  let at = 0;
  while (at < out.length) {
    const size = Math.min(sends.length % 3 === 0 ? 70_000 : 333, out.length - at);
    const offset = at;
    sends.push(h.start((tag) => h.engine.send(a, out, offset, size, tag)));
    if (sends.length % 5 === 0) {
      sends.push(h.start((tag) => h.engine.send(a, out, 0, 0, tag)));
    }
    at += size;
  }
  const receives: number[] = [];
  for (let offset = 0; offset < into.length; offset += 65536) {
    receives.push(h.start((tag) => h.engine.recvAll(b, into, offset, 65536, tag)));
  }
  assert.ok(h.collect(...receives).every((result) => result === 65536));
  assert.equal(h.collect(...sends).reduce((sum, result) => sum + result, 0), out.length);
  assert.equal(difference(out.bytes, into.bytes), 0);
  h.engine.close(a);
  h.engine.close(b);
});

for (const [name, create] of ENGINES) {
  Deno.test(`${name}: any mix of pieces arrives whole and in order`, () => {
    const piece = fc.tuple(fc.integer({ min: 0, max: 40_000 }), fc.integer({ min: 0, max: 300 }));
    const property = fc.property(
      fc.array(piece, { minLength: 1, maxLength: 60 }),
      fc.array(fc.integer({ min: 1, max: 50_000 }), { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 8, max: 64 }),
      (pieces, reads, entries) => {
        const h = new Harness(create(entries));
        try {
          const total = pieces.reduce((sum, [x, y]) => sum + x + y, 0);
          const out = h.slab(total + 1);
          const into = h.slab(total + 1);
          for (let i = 0; i < total; i++) out.bytes[i] = (i * 31 + (i >> 8)) & 255;
          const [a, b] = socketPair();
          let at = 0;
          const sends = pieces.map(([x, y]) => {
            const from = at;
            at += x + y;
            return h.start((tag) => h.engine.sendTwo(a, out, from, x, out, from + x, y, tag));
          });
          let got = 0;
          for (let i = 0; got < total; i++) {
            const length = Math.min(reads[i % reads.length]!, total - got);
            const result = h.do((tag) => h.engine.recv(b, into, got, length, tag));
            assert.ok(result > 0 && result <= length);
            got += result;
          }
          assert.deepEqual(h.collect(...sends), pieces.map(([x, y]) => x + y));
          assert.equal(difference(out.bytes.subarray(0, total), into.bytes.subarray(0, total)), 0);
          h.engine.close(a);
          h.engine.close(b);
        } finally {
          h.end();
        }
      },
    );
    fc.assert(property, { numRuns: 25 });
  });
}

testBoth("TCP: listen, connect, accept, over IPv4 and IPv6", (h) => {
  for (const host of ["127.0.0.1", "::1"]) {
    const listener = listenTcp(host, 0);
    const port = localEndpoint(listener)!.port;
    const accepted = h.start((tag) => h.engine.accept(listener, tag));
    h.expectPending(accepted);
    const sockaddr = encodeInetSockaddr(host, port);
    const client = tcpSocket(sockaddr, { userTimeout: 3000, keepalive: 1500 });
    assert.equal(h.do((tag) => h.engine.connect(client, sockaddr, tag)), 0);
    const [server] = h.collect(accepted) as [number];
    assert.ok(server > 2);
    assert.deepEqual(peerEndpoint(server), localEndpoint(client));
    const slab = h.slab(4096);
    slab.bytes.fill(9, 0, 100);
    assert.equal(h.do((tag) => h.engine.send(client, slab, 0, 100, tag)), 100);
    assert.equal(h.do((tag) => h.engine.recvAll(server, slab, 200, 100, tag)), 100);
    assert.equal(slab.bytes[299], 9);
    for (const fd of [listener, client, server]) h.engine.close(fd);
    const late = tcpSocket(sockaddr);
    assert.equal(h.do((tag) => h.engine.connect(late, sockaddr, tag)), -ERRNO.ECONNREFUSED);
    h.engine.close(late);
  }
});

testBoth("unix sockets: several accepts, several connections", (h) => {
  const directory = Deno.makeTempDirSync();
  try {
    const path = `${directory}/s`;
    const listener = listenUnix(path);
    assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
    const accepts = [1, 2, 3].map(() => h.start((tag) => h.engine.accept(listener, tag)));
    const clients = [1, 2, 3].map(() => unixSocket());
    const sockaddr = encodeUnixSockaddr(path);
    for (const fd of clients) {
      assert.equal(h.do((tag) => h.engine.connect(fd, sockaddr, tag)), 0);
    }
    const servers = h.collect(...accepts);
    assert.equal(new Set(servers).size, 3);
    for (const fd of [listener, ...clients, ...servers]) h.engine.close(fd);
    const late = unixSocket();
    assert.equal(h.do((tag) => h.engine.connect(late, sockaddr, tag)), -ERRNO.ECONNREFUSED);
    h.engine.close(late);
    const none = unixSocket();
    const missing = encodeUnixSockaddr(`${path}.none`);
    assert.equal(h.do((tag) => h.engine.connect(none, missing, tag)), -ERRNO.ENOENT);
    h.engine.close(none);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

testBoth("close cancels what is pending, reports it, and then closes", (h) => {
  const before = openDescriptors();
  const [a, b] = socketPair();
  const listener = listenTcp("127.0.0.1", 0);
  const slab = h.slab(4_000_000);
  const recvs = [
    h.start((tag) => h.engine.recv(a, slab, 0, 100, tag)),
    h.start((tag) => h.engine.recvAll(a, slab, 100, 100, tag)),
  ];
  const sends = [
    h.start((tag) => h.engine.send(a, slab, 0, 3_000_000, tag)),
    h.start((tag) => h.engine.send(a, slab, 0, 1_000, tag)),
    h.start((tag) => h.engine.sendTwo(a, slab, 0, 10, slab, 0, 300_000, tag)),
  ];
  const accept = h.start((tag) => h.engine.accept(listener, tag));
  const poll = h.start((tag) => h.engine.pollIn(b, tag));
  h.collect(poll); // the first bytes of the send are there
  h.expectPending(...recvs, ...sends, accept);
  h.engine.close(a);
  assert.throws(() => {
    h.engine.recv(a, slab, 0, 1, 0);
    // Already closed (epoll closes at once): the number is unknown, so the kernel refuses it.
  }, /close|EBADF/);
  h.engine.close(listener);
  for (const result of h.collect(...recvs, ...sends, accept)) {
    assert.equal(result, -ERRNO.ECANCELED);
  }
  h.engine.close(b);
  h.engine.wait(0, h.onDone);
  assert.equal(h.engine.pending, 0);
  const own = openDescriptors() - before;
  assert.ok(own <= 0, `${own} descriptors left open`);
});

testBoth("cancel leaves the descriptor usable for receiving", (h) => {
  const [a, b] = socketPair();
  const slab = h.slab(4096);
  const first = h.start((tag) => h.engine.recv(a, slab, 0, 100, tag));
  h.expectPending(first);
  h.engine.cancel(a);
  const second = h.start((tag) => h.engine.recv(a, slab, 200, 100, tag));
  assert.deepEqual(h.collect(first), [-ERRNO.ECANCELED]);
  slab.bytes[0] = 77;
  assert.equal(h.do((tag) => h.engine.send(b, slab, 0, 1, tag)), 1);
  assert.deepEqual(h.collect(second), [1]);
  assert.equal(slab.bytes[200], 77);
  h.engine.cancel(a);
  h.engine.cancel(4001);
  h.engine.close(a);
  h.engine.close(b);
});

testBoth("a descriptor number that comes back starts afresh", (h) => {
  const slab = h.slab(4096);
  for (let round = 0; round < 20; round++) {
    const [a, b] = socketPair();
    const stale = h.start((tag) => h.engine.recv(a, slab, 0, 10, tag));
    assert.equal(h.do((tag) => h.engine.send(a, slab, 20, 3, tag)), 3);
    assert.equal(h.do((tag) => h.engine.recv(b, slab, 40, 10, tag)), 3);
    h.engine.close(a);
    assert.deepEqual(h.collect(stale), [-ERRNO.ECANCELED]);
    h.engine.close(b);
  }
});

testBoth("pollIn reports an event signalled from another thread", async (h) => {
  const event = createEvent();
  try {
    const poll = h.start((tag) => h.engine.pollIn(event, tag));
    h.expectPending(poll);
    const source = `
      const libc = Deno.dlopen("libc.so.6", {
        write: { parameters: ["i32", "buffer", "usize"], result: "i32" },
      });
      libc.symbols.write(${event}, new Uint32Array([1, 0]), 8);
      libc.close();
      self.postMessage("signalled");
    `;
    const worker = new Worker(`data:text/javascript,${encodeURIComponent(source)}`, {
      type: "module",
    });
    const signalled = new Promise((resolve) => worker.onmessage = resolve);
    // The engine blocks this thread meanwhile, as it does in a data-plane worker.
    assert.equal(h.collect(poll)[0]! & 1, 1);
    await signalled;
    worker.terminate();
    assert.equal(drainEvent(event), true);
    assert.equal(drainEvent(event), false);
    const again = h.start((tag) => h.engine.pollIn(event, tag));
    h.expectPending(again);
    signalEvent(event);
    signalEvent(event);
    assert.equal(h.collect(again)[0]! & 1, 1);
    // Level, not edge: a signal from before the poll is seen.
    assert.equal(h.do((tag) => h.engine.pollIn(event, tag)) & 1, 1);
    drainEvent(event);
  } finally {
    h.engine.close(event);
  }
});

for (const [name, create] of ENGINES) {
  Deno.test(`${name}: destroy reports everything and leaves no descriptor`, () => {
    const before = openDescriptors();
    const h = new Harness(create());
    const [a, b] = socketPair();
    const slab = h.slab(4096);
    const tags = [a, b].map((fd) => h.start((tag) => h.engine.recv(fd, slab, 0, 10, tag)));
    h.expectPending(...tags);
    h.end();
    assert.deepEqual(tags.map((tag) => h.results.get(tag)), [-ERRNO.ECANCELED, -ERRNO.ECANCELED]);
    assert.throws(() => h.engine.wait(0, h.onDone), /after destroy/);
    assert.throws(() => h.engine.flush(a, 1), /after destroy/);
    assert.equal(h.engine.destroy(0, h.onDone), 0);
    libc.close(a);
    libc.close(b);
    assert.equal(openDescriptors(), before);
  });
}
