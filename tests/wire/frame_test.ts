import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import fc from "fast-check";
import type { Frame, Heartbeat, Message } from "../../src/cluster/types.ts";
import { MAX_DATAGRAM, openFrame, sealFrame } from "../../src/wire/frame.ts";
import { frames } from "./arbitraries.ts";

const CLUSTER = "web";
const KEY = new TextEncoder().encode("a key of thirty-two bytes or more");
const OTHER_KEY = new TextEncoder().encode("another key of thirty-two bytes..");
const KEYS = new Map([[7, KEY]]);

const HEARTBEAT: Heartbeat = {
  type: "HEARTBEAT",
  heard: { b: { incarnation: 3, seq: 90 } },
  asks: { web: 4 },
  grants: { db: { node: "b", incarnation: 3, epoch: 9, seq: 88 } },
  known: { "group:web": { version: 5, ballot: { n: 8, node: "a", incarnation: 2 } } },
  configHash: "c0ffee",
  voterId: "5eed",
  phase: "running",
  replicas: {
    data: {
      replicaId: "ab12",
      disk: "UpToDate",
      generation: "9f",
      epoch: 4,
      unclean: false,
      blank: "no",
    },
  },
  deadtime: 1000,
  lacks: 0,
  holds: 1,
  speaks: { least: 1, newest: 1 },
  failed: { mail: { reason: "process:mail failed 3 times", count: 1 } },
  reach: { "192.0.2.254": true },
};
const FRAME: Frame = { node: "a", incarnation: 2, seq: 41, protocol: 1, body: HEARTBEAT };

/** A genuine datagram, key and all, with any body: what a broken or hostile key holder could send. */
function sealBody(body: string | Uint8Array, change?: (view: DataView) => void): Uint8Array {
  const honest = sealFrame(7, KEY, CLUSTER, FRAME);
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const total = 40 + 1 + bytes.length + 32;
  const datagram = new Uint8Array(total);
  datagram.set(honest.subarray(0, 41));
  datagram.set(bytes, 41);
  const view = new DataView(datagram.buffer);
  view.setUint32(36, bytes.length);
  change?.(view);
  const mac = createHmac("sha256", KEY).update(datagram.subarray(0, total - 32)).digest();
  datagram.set(mac, total - 32);
  return datagram;
}

function refusal(datagram: Uint8Array, keys = KEYS, cluster = CLUSTER): string | undefined {
  return openFrame(keys, cluster, datagram).error;
}

Deno.test("a frame comes out as it went in", () => {
  fc.assert(fc.property(frames, fc.nat(0xffff_ffff), (frame, keyId) => {
    const opened = openFrame(
      new Map([[keyId, KEY]]),
      CLUSTER,
      sealFrame(keyId, KEY, CLUSTER, frame),
    );
    assert.equal(opened.error, undefined);
    assert.equal(opened.keyId, keyId);
    assert.equal(JSON.stringify(opened.frame), JSON.stringify(frame));
  }));
});

Deno.test("the layout is the documented one", () => {
  const datagram = sealFrame(7, KEY, CLUSTER, FRAME);
  const view = new DataView(datagram.buffer);
  assert.equal(new TextDecoder().decode(datagram.subarray(0, 4)), "BSCL");
  assert.deepEqual([view.getUint16(4), view.getUint16(6), view.getUint32(8)], [1, 1, 7]);
  assert.deepEqual([view.getBigUint64(20), view.getBigUint64(28)], [2n, 41n]);
  assert.equal(datagram[40], "a".charCodeAt(0));
  assert.equal(datagram.length, 40 + 1 + view.getUint32(36) + 32);
});

Deno.test("every single flipped bit is refused", () => {
  const datagram = sealFrame(7, KEY, CLUSTER, FRAME);
  for (let bit = 0; bit < datagram.length * 8; bit++) {
    datagram[bit >> 3]! ^= 1 << (bit & 7);
    assert.notEqual(refusal(datagram), undefined, `bit ${bit} flipped and the frame was taken`);
    datagram[bit >> 3]! ^= 1 << (bit & 7);
  }
  assert.equal(refusal(datagram), undefined);
});

Deno.test("every truncation and every appended byte is refused as short", () => {
  const datagram = sealFrame(7, KEY, CLUSTER, FRAME);
  for (let size = 0; size < datagram.length; size++) {
    assert.equal(refusal(datagram.subarray(0, size)), "short", `${size} bytes`);
  }
  const longer = new Uint8Array(datagram.length + 1);
  longer.set(datagram);
  assert.equal(refusal(longer), "short");
});

Deno.test("foreign frames are told apart by what is wrong with them", () => {
  const datagram = sealFrame(7, KEY, CLUSTER, FRAME);
  assert.equal(refusal(sealFrame(7, KEY, "mail", FRAME)), "cluster");
  assert.equal(refusal(datagram, new Map([[8, KEY]])), "key");
  assert.equal(refusal(datagram, new Map([[7, OTHER_KEY]])), "hmac");
  assert.equal(refusal(sealBody("{}", (view) => view.setUint32(0, 0x42534d4c))), "magic");
  assert.equal(refusal(sealBody("{}", (view) => view.setUint16(4, 2))), "version");
});

Deno.test("a frame under the second of two keys is taken", () => {
  const keys = new Map([[7, KEY], [8, OTHER_KEY]]);
  const opened = openFrame(keys, CLUSTER, sealFrame(8, OTHER_KEY, CLUSTER, FRAME));
  assert.equal(opened.frame === undefined ? undefined : opened.keyId, 8);
});

Deno.test("a view into a larger buffer is read from its own offset", () => {
  const datagram = sealFrame(7, KEY, CLUSTER, FRAME);
  const slab = new Uint8Array(datagram.length + 64).fill(0xee);
  slab.set(datagram, 17);
  assert.equal(refusal(slab.subarray(17, 17 + datagram.length)), undefined);
});

Deno.test("nothing under a wrong key is ever parsed or thrown about", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
    assert.notEqual(refusal(noise), undefined);
    assert.equal(refusal(sealBody(noise), new Map([[7, OTHER_KEY]])), "hmac");
  }));
});

Deno.test("noise under the right key is refused as a body, never thrown", () => {
  fc.assert(fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.json()), (noise) => {
    assert.equal(refusal(sealBody(noise)), "body");
  }));
});

Deno.test("a body with one spoiled value is refused", () => {
  const spoiled = [NaN, -1, 1.5, 2 ** 53, "1", null, [], {}, true, "x".repeat(5000)];
  fc.assert(fc.property(frames, fc.nat(), fc.constantFrom(...spoiled), (frame, pick, bad) => {
    const body = JSON.parse(JSON.stringify(frame.body)) as Message;
    const leaves = numbersIn(body);
    fc.pre(leaves.length > 0);
    const leaf = leaves[pick % leaves.length]!;
    leaf.holder[leaf.key] = bad;
    assert.equal(refusal(sealBody(JSON.stringify(body))), "body", JSON.stringify(body));
  }));
});

interface Leaf {
  readonly holder: Record<string, unknown>;
  readonly key: string;
}

function numbersIn(value: unknown): Leaf[] {
  if (typeof value !== "object" || value === null) return [];
  const holder = value as Record<string, unknown>;
  return Object.keys(holder).flatMap((key) =>
    typeof holder[key] === "number" ? [{ holder, key }] : numbersIn(holder[key])
  );
}

Deno.test("a missing field is refused and names itself", () => {
  for (const field of Object.keys(HEARTBEAT)) {
    const body = { ...HEARTBEAT } as Record<string, unknown>;
    delete body[field];
    const opened = openFrame(KEYS, CLUSTER, sealBody(JSON.stringify(body)));
    assert.equal(opened.error, "body");
    assert.match(opened.detail, new RegExp(`${field} is missing`));
  }
});

Deno.test("bodies that would hurt the core are refused", () => {
  const ballot = { n: 1, node: "a", incarnation: 1 };
  const group = { version: 1, epoch: 1, owner: null, volumes: {} };
  const cluster = {
    version: 1,
    voters: [],
    votersVersion: 1,
    lineage: "",
    standby: [],
    maintenance: false,
  };
  const accept = { type: "ACCEPT", votersVersion: 1, ballot };
  const cases: readonly (readonly [string, unknown])[] = [
    ["an unknown type", { type: "PROMOTE" }],
    ["a type from Object.prototype", { type: "constructor" }],
    ["a list", []],
    ["an unknown register", { ...accept, register: "volume:x", proposal: { value: group } }],
    ["an empty group", { ...accept, register: "group:", proposal: { value: group } }],
    ["a group's value for the cluster", {
      ...accept,
      register: "cluster",
      proposal: { value: group },
    }],
    ["the cluster's value for a group", {
      ...accept,
      register: "group:g",
      proposal: { value: cluster },
    }],
    ["takes in the cluster's register", {
      ...accept,
      register: "cluster",
      proposal: { value: cluster, takes: { node: "a", incarnation: 1, epoch: 1 } },
    }],
    ["a stored value with an unknown field", {
      ...accept,
      register: "group:g",
      proposal: { value: { ...group, fence: true } },
    }],
    ["a list of too many", { ...HEARTBEAT, asks: entries(1025) }],
    ["a list in place of a map", { ...HEARTBEAT, asks: [1, 2] }],
  ];
  for (const [what, body] of cases) {
    assert.equal(refusal(sealBody(JSON.stringify(body))), "body", what);
  }
  const polluted = JSON.stringify(HEARTBEAT).replace('"asks":{', '"asks":{"__proto__":{"x":1},');
  assert.equal(refusal(sealBody(polluted)), "body");
  assert.equal(refusal(sealBody("[".repeat(50_000))), "body");
  assert.equal(({} as Record<string, unknown>)["x"], undefined);
});

function entries(many: number): Record<string, number> {
  return Object.fromEntries(Array.from({ length: many }, (_, index) => [`g${index}`, index]));
}

Deno.test("unknown fields of a newer agent's heartbeat are dropped", () => {
  const opened = openFrame(
    KEYS,
    CLUSTER,
    sealBody(JSON.stringify({ ...HEARTBEAT, load: 3, __proto__: undefined })),
  );
  assert.equal(opened.error, undefined);
  assert.equal(Object.hasOwn(opened.frame.body, "load"), false);
});

Deno.test("maps of a received frame hold nothing that was not sent", () => {
  const opened = openFrame(KEYS, CLUSTER, sealFrame(7, KEY, CLUSTER, FRAME));
  const body = opened.frame?.body as Heartbeat;
  assert.equal(body.asks["constructor"], undefined);
  assert.equal(body.failed["toString"], undefined);
});

Deno.test("a sender hears at once of a frame that nobody would take", () => {
  const failed = Object.fromEntries(
    Array.from({ length: 30 }, (_, index) => [
      `g${index}`,
      { reason: "x".repeat(2500), count: 1 },
    ]),
  );
  assert.throws(
    () => sealFrame(7, KEY, CLUSTER, { ...FRAME, body: { ...HEARTBEAT, failed } }),
    new RegExp(`exceeds the ${MAX_DATAGRAM}`),
  );
  assert.throws(() => sealFrame(7, KEY, CLUSTER, { ...FRAME, node: "" }), /node name/);
  assert.throws(() => sealFrame(7, KEY, CLUSTER, { ...FRAME, seq: 2 ** 53 }), /whole numbers/);
  assert.throws(() => sealFrame(-1, KEY, CLUSTER, FRAME), /key id/);
});
