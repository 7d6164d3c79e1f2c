import { Buffer } from "node:buffer";
import assert from "node:assert/strict";
import fc from "fast-check";
import { MAX_PAYLOAD, NBD_CMD, NBD_ERROR, NbdClient } from "../../src/nbd/mod.ts";
import type {
  NbdClientEvents,
  NbdClientOptions,
  NbdExportInfo,
  NbdPending,
} from "../../src/nbd/mod.ts";
import {
  bytes,
  contextData,
  DATA,
  GREETING,
  hex,
  infoData,
  option,
  reply,
  request,
  text,
} from "./fixtures.ts";
import { MemoryServer } from "./memory_server.ts";

class Events implements NbdClientEvents {
  readonly sent: Uint8Array[] = [];
  info: NbdExportInfo | undefined;
  readonly finished: NbdPending[] = [];
  readonly failures: string[] = [];
  send(part: Uint8Array): void {
    this.sent.push(part);
  }
  ready(info: NbdExportInfo): void {
    this.info = info;
  }
  done(pending: NbdPending): void {
    this.finished.push(pending);
  }
  failed(reason: string): void {
    this.failures.push(reason);
  }
  /** Everything sent since the last call, in hex. */
  take(): string {
    return hex(bytes(...this.sent.splice(0)));
  }
}

function startClient(options: NbdClientOptions) {
  const events = new Events();
  return { events, client: new NbdClient(options, events) };
}

const isReady = (events: Events) => events.info !== undefined;

const INFO_EXPORT = "0000 0000000000100000 0d6d";

Deno.test("the client negotiates step by step, byte for byte", () => {
  const { events, client } = startClient({ exportName: "data", contexts: ["base:allocation"] });
  assert.equal(events.take(), "");
  client.consume(bytes(GREETING));
  assert.equal(events.take(), hex(bytes("00000003", option(8))));
  client.consume(reply(8, 1));
  assert.equal(events.take(), hex(option(10, contextData("data", "base:allocation"))));
  client.consume(bytes(reply(10, 4, "00000007", text("base:allocation")), reply(10, 1)));
  assert.equal(events.take(), hex(option(7, infoData("data", 3))));
  client.consume(bytes(
    reply(7, 3, INFO_EXPORT),
    reply(7, 3, "0003 00000200 00001000 00100000"),
    reply(7, 3, "4711 00"),
    reply(7, 1),
  ));
  assert.deepEqual(events.info, {
    size: 1 << 20,
    flags: 0x0d6d,
    structured: true,
    extended: false,
    contexts: new Map([[7, "base:allocation"]]),
    minimumBlock: 512,
    preferredBlock: 4096,
    maximumPayload: 1 << 20,
  });
  client.disconnect();
  assert.equal(events.take(), hex(request(NBD_CMD.DISC, { cookie: "0000000000000001" })));
});

Deno.test("the client makes do with less", () => {
  // No structured replies, no GO.
  const { events, client } = startClient({ exportName: "data", contexts: ["base:allocation"] });
  client.consume(bytes(GREETING, reply(8, 0x80000001), reply(7, 0x80000001)));
  assert.ok(events.take().endsWith(hex(option(1, text("data")))));
  client.consume(bytes("0000000000100000 0001"));
  assert.equal(events.info?.structured, false);
  assert.equal(events.info?.maximumPayload, MAX_PAYLOAD);

  // Neither fixed newstyle nor the omission of zeroes.
  const old = startClient({ exportName: "data" });
  old.client.consume(bytes("4e42444d41474943 49484156454f5054 0000"));
  assert.equal(old.events.take(), hex(bytes("00000000", option(1, text("data")))));
  old.client.consume(bytes("0000000000100000 0001", new Uint8Array(123)));
  assert.ok(!isReady(old.events));
  old.client.consume(bytes("00"));
  assert.equal(old.events.info?.size, 1 << 20);
});

Deno.test("a refused export fails with the server's words, after an ABORT", () => {
  const { events, client } = startClient({ exportName: "none", structured: false });
  client.consume(bytes(GREETING, reply(7, 0x80000006, text("no such thing"))));
  assert.ok(events.take().endsWith(hex(option(2))));
  assert.deepEqual(events.failures, [`export "none" is refused: no such thing`]);
});

Deno.test("a server that breaks the protocol fails the client once", () => {
  const ready = bytes(GREETING, reply(8, 1), reply(7, 3, INFO_EXPORT), reply(7, 1));
  const cookie = "0000000000000001";
  const cases: Record<string, Uint8Array> = {
    "oldstyle greeting": bytes("4e42444d41474943 0000420281861253 0000"),
    "reply to another option": bytes(GREETING, reply(3, 1)),
    "bad reply magic": bytes(GREETING, "0003e889045565aa", new Uint8Array(12)),
    "no INFO_EXPORT": bytes(GREETING, reply(8, 1), reply(7, 1)),
    "huge reply": bytes(GREETING, "0003e889045565a9 00000008 00000001 00010001"),
    "unknown cookie": bytes(ready, "67446698 00000000 0000000000000002"),
    "simple reply to a READ": bytes(ready, "67446698 00000000", cookie),
    "bad magic": bytes(ready, "67446699 00000000", cookie),
    "data outside": bytes(ready, "668e33ef 0001 0001", cookie, "00000009 0000000000000fff 00"),
    "data past the end": bytes(ready, "668e33ef 0001 0001", cookie, "00000009 0000000000001040 00"),
    "hole past the end": bytes(
      ready,
      "668e33ef 0001 0002",
      cookie,
      "0000000c 0000000000001020 00000040",
    ),
    "empty data": bytes(ready, "668e33ef 0001 0001", cookie, "00000008 0000000000001000"),
    "not all data": bytes(ready, "668e33ef 0001 0000", cookie, "00000000"),
    "unknown chunk": bytes(ready, "668e33ef 0001 0042", cookie, "00000000"),
    "error without error": bytes(ready, "668e33ef 0001 8001", cookie, "00000006 00000000 0000"),
    "overlong message": bytes(ready, "668e33ef 0001 8001", cookie, "00000006 00000005 0001"),
    "huge chunk": bytes(ready, "668e33ef 0001 8001", cookie, "ffffffff"),
  };
  for (const [what, stream] of Object.entries(cases)) {
    const { events, client } = startClient({ exportName: "data" });
    client.consume(stream.subarray(0, ready.length));
    if (events.info !== undefined) {
      client.submit({ type: NBD_CMD.READ, offset: 4096, data: new Uint8Array(64) });
    }
    client.consume(stream.subarray(ready.length));
    client.consume(new Uint8Array(100));
    assert.equal(events.failures.length, 1, what);
    assert.deepEqual(events.finished, [], what);
    assert.throws(() => client.submit({ type: NBD_CMD.FLUSH }));
  }
});

/** A client and a server, joined; bytes flow, in pieces of `step`, when `pump` is called. */
function join(options: NbdClientOptions, step = 1 << 16) {
  const memory = new Uint8Array(DATA.size);
  const toClient: Uint8Array[] = [];
  const server = new MemoryServer(DATA, memory, (part) => toClient.push(part));
  const { events, client } = startClient(options);
  const pump = (reverse = false) => {
    for (let turns = 0; turns < 1000; turns++) {
      for (const part of events.sent.splice(0)) {
        for (let at = 0; at < part.length; at += step) {
          const end = Math.min(part.length, at + step);
          assert.equal(server.session.consume(part, at, end), end);
        }
      }
      server.answer(reverse);
      for (const part of toClient.splice(0)) {
        for (let at = 0; at < part.length; at += step) client.consume(part.subarray(at, at + step));
      }
      if (events.sent.length === 0 && toClient.length === 0) return;
    }
    throw new Error("client and server do not come to rest");
  };
  server.session.start();
  pump();
  return { memory, server, events, client, pump };
}

const ALL: NbdClientOptions = {
  exportName: "",
  contexts: ["base:allocation", "x-bascule:dirty"],
};

Deno.test("client and server agree, whatever was negotiated", () => {
  for (const method of ["go", "export-name"] as const) {
    for (const structured of [false, true]) {
      const { events, client, pump, server } = join({ ...ALL, method, structured }, 7);
      assert.equal(events.info?.size, DATA.size);
      assert.equal(events.info?.structured, structured);
      assert.deepEqual([...events.info!.contexts.keys()], structured ? [1, 2] : []);
      client.submit({ type: NBD_CMD.WRITE, offset: 100, data: bytes("0102030405") });
      pump();
      const read = client.submit({
        type: NBD_CMD.READ,
        offset: 98,
        length: 8,
        data: new Uint8Array(8),
      });
      pump();
      assert.equal(hex(read.data), "0000010203040500");
      const refused = client.submit({ type: NBD_CMD.TRIM, offset: DATA.size, length: 1 });
      pump();
      assert.equal(refused.error, NBD_ERROR.EINVAL);
      assert.equal(events.finished.length, 3);
      client.disconnect();
      pump();
      assert.equal(server.ended, "finish");
    }
  }
});

Deno.test("many requests at once, answered in reverse, match a model of the disk", () => {
  const operation = fc.record({
    type: fc.constantFrom(NBD_CMD.WRITE, NBD_CMD.WRITE_ZEROES, NBD_CMD.READ, NBD_CMD.FLUSH),
    offset: fc.nat(60000),
    length: fc.integer({ min: 1, max: 9000 }),
    byte: fc.nat(255),
  });
  fc.assert(
    fc.property(
      fc.array(operation, { maxLength: 25 }),
      fc.boolean(),
      fc.boolean(),
      fc.integer({ min: 1, max: 5000 }),
      (operations, structured, sparse, step) => {
        const { memory, server, events, client, pump } = join({ ...ALL, structured }, step);
        server.sparse = sparse;
        const model = new Uint8Array(DATA.size);
        for (const { type, offset, length, byte } of operations) {
          if (type === NBD_CMD.WRITE) {
            client.submit({ type, offset, data: new Uint8Array(length).fill(byte) });
            model.fill(byte, offset, offset + length);
          } else if (type === NBD_CMD.WRITE_ZEROES) {
            client.submit({ type, offset, length });
            model.fill(0, offset, offset + length);
          } else if (type === NBD_CMD.READ) {
            // Garbage in the buffer must not survive where a hole is told.
            client.submit({ type, offset, length, data: new Uint8Array(length).fill(0xee) });
          } else {
            client.submit({ type });
          }
        }
        pump(true);
        assert.equal(events.finished.length, operations.length);
        assert.ok(Buffer.compare(memory, model) === 0);
        for (const { type, offset, length, data, error } of events.finished) {
          assert.equal(error, 0);
          // The server reads when it answers, after all writes.
          if (type !== NBD_CMD.READ) continue;
          assert.ok(Buffer.compare(data, model.subarray(offset, offset + length)) === 0);
        }
        assert.deepEqual(events.failures, []);
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("block status tells the extents of every context", () => {
  const { client, pump } = join(ALL);
  client.submit({ type: NBD_CMD.WRITE, offset: 4096, data: new Uint8Array(10).fill(1) });
  const status = client.submit({ type: NBD_CMD.BLOCK_STATUS, offset: 2048, length: 8192 });
  const one = client.submit({ type: NBD_CMD.BLOCK_STATUS, flags: 8, offset: 2048, length: 8192 });
  pump();
  const extents = (context: string) => [
    { context, offset: 2048, length: 2048, flags: 3 },
    { context, offset: 4096, length: 4096, flags: 0 },
    { context, offset: 8192, length: 2048, flags: 3 },
  ];
  assert.deepEqual(status.extents, [
    ...extents("base:allocation"),
    ...extents("x-bascule:dirty"),
  ]);
  assert.equal(one.extents.length, 2);
});

Deno.test("a READ that fails is an error in both reply forms, and the connection goes on", () => {
  for (const structured of [false, true]) {
    const { server, client, pump } = join({ ...ALL, structured });
    server.badOffset = 512;
    const bad = client.submit({ type: NBD_CMD.READ, offset: 512, data: new Uint8Array(512) });
    const good = client.submit({ type: NBD_CMD.READ, offset: 0, data: new Uint8Array(512) });
    pump();
    assert.deepEqual([bad.error, good.error], [NBD_ERROR.EIO, 0]);
  }
});
