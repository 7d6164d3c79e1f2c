import assert from "node:assert/strict";
import fc from "fast-check";
import {
  createChallenge,
  type LinkChallenge,
  type LinkKeys,
  type LinkNames,
  type LinkStep,
} from "../../src/wire/link_auth.ts";

const KEY = new TextEncoder().encode("a key of thirty-two bytes or more");
const KEYS: LinkKeys = { active: 7, keys: new Map([[7, KEY]]) };
const A: LinkNames = { cluster: "web", node: "a", peers: ["b"], volumes: ["data"] };
const B: LinkNames = { cluster: "web", node: "b", peers: ["a"], volumes: ["mail", "data"] };
const NONCE_A = new Uint8Array(32).fill(0xaa);
const NONCE_B = new Uint8Array(32).fill(0xbb);

interface Ends {
  readonly keysA?: LinkKeys;
  readonly keysB?: LinkKeys;
  readonly a?: Partial<LinkNames>;
  readonly b?: Partial<LinkNames>;
}

function initiator(ends: Ends = {}, nonce = NONCE_A): LinkChallenge {
  return createChallenge("initiator", ends.keysA ?? KEYS, { ...A, ...ends.a }, nonce);
}

function acceptor(ends: Ends = {}, nonce = NONCE_B): LinkChallenge {
  return createChallenge("acceptor", ends.keysB ?? KEYS, { ...B, ...ends.b }, nonce);
}

/** All of a conversation: what each said, and where each ended. */
function converse(ends: Ends = {}): { a: LinkStep; b: LinkStep } {
  const [one, two] = [initiator(ends), acceptor(ends)];
  const first = two.consume(one.opening);
  const a = one.consume(first.send);
  const b = first.verdict === "more" && a.verdict === "ok" ? two.consume(a.send) : first;
  return { a, b };
}

/** The three honest messages. */
function transcript(): { hello: Uint8Array; challenge: Uint8Array; proof: Uint8Array } {
  const [one, two] = [initiator(), acceptor()];
  const challenge = two.consume(one.opening).send;
  return { hello: one.opening, challenge, proof: one.consume(challenge).send };
}

function reasonOf(step: LinkStep): string {
  return step.verdict === "refused" ? step.reason : step.verdict;
}

Deno.test("two nodes with one key come together and learn each other's names", () => {
  const { a, b } = converse();
  assert.ok(a.verdict === "ok" && b.verdict === "ok");
  assert.deepEqual([a.peer, a.volume, a.version], ["b", "data", 2]);
  assert.deepEqual([b.peer, b.volume, b.version], ["a", "data", 2]);
});

Deno.test("bytes may come in any pieces, and what follows is handed on", () => {
  const { hello, challenge, proof } = transcript();
  const frames = new Uint8Array([1, 2, 3, 4, 5]);
  fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 20 }), (sizes) => {
    const two = acceptor();
    const all = new Uint8Array([...hello, ...proof, ...frames]);
    const said: number[] = [];
    let at = 0;
    let step: LinkStep | undefined;
    for (let turn = 0; step?.verdict !== "ok"; turn++) {
      const size = sizes[turn % sizes.length]!;
      step = two.consume(all.subarray(at, at + size));
      assert.notEqual(step.verdict, "refused");
      said.push(...step.send);
      at += size;
    }
    assert.deepEqual(Uint8Array.from(said), challenge);
    assert.deepEqual([...step.rest, ...all.subarray(at)], [...frames]);
  }));
});

Deno.test("every mismatch is refused with its own reason, on both sides", () => {
  const other = { active: 7, keys: new Map([[7, new Uint8Array(32).fill(1)]]) };
  const later = { active: 9, keys: new Map([[7, KEY], [9, KEY]]) };
  const cases: readonly (readonly [Ends, string, string])[] = [
    [{ a: { cluster: "mail" } }, "cluster", "cluster"],
    [{ keysA: later }, "key", "key"],
    [{ keysA: other }, "proof", "more"],
    [{ keysB: other }, "proof", "more"],
    [{ a: { volumes: ["logs"] } }, "volume", "volume"],
    [{ b: { peers: ["c"] } }, "node", "node"],
    [{ a: { peers: ["c"] } }, "node", "more"],
    [{ a: { node: "b" } }, "self", "self"],
    [{ b: { node: "c" } }, "node", "more"],
  ];
  for (const [ends, a, b] of cases) {
    const met = converse(ends);
    assert.deepEqual([reasonOf(met.a), reasonOf(met.b)], [a, b], JSON.stringify(ends));
  }
});

Deno.test("a refused initiator learns what to mend", () => {
  const { a } = converse({ a: { volumes: ["logs"] } });
  assert.ok(a.verdict === "refused");
  assert.match(a.detail, /does not serve this volume; compare the configuration files/);
});

Deno.test("a key that is not the acceptor's active one is good while it holds it", () => {
  const both = { active: 8, keys: new Map([[7, KEY], [8, new Uint8Array(32)]]) };
  const { a, b } = converse({ keysB: both });
  assert.deepEqual([a.verdict, b.verdict], ["ok", "ok"]);
});

Deno.test("an initiator without the key cannot use the acceptor's words against itself", () => {
  const { hello, challenge, proof } = transcript();
  // Reflection: HELLO sent back to its sender's own acceptor.
  const own = createChallenge("acceptor", KEYS, { ...A, peers: ["a", "b"] }, NONCE_B);
  assert.equal(reasonOf(own.consume(hello)), "self");
  // The acceptor's proof in the place of the initiator's.
  const two = acceptor();
  two.consume(hello);
  const borrowed = proof.slice();
  borrowed.set(challenge.subarray(challenge.length - 32), borrowed.length - 32);
  assert.equal(reasonOf(two.consume(borrowed)), "proof");
});

Deno.test("a recorded conversation opens nothing a second time", () => {
  const { hello, challenge, proof } = transcript();
  const two = acceptor({}, new Uint8Array(32).fill(0xbc));
  assert.equal(two.consume(hello).verdict, "more");
  assert.equal(reasonOf(two.consume(proof)), "proof");
  const one = initiator({}, new Uint8Array(32).fill(0xab));
  assert.equal(reasonOf(one.consume(challenge)), "proof");
});

Deno.test("an equal nonce is refused", () => {
  const one = initiator({}, NONCE_A);
  assert.equal(reasonOf(acceptor({}, NONCE_A).consume(one.opening)), "self");
});

Deno.test("no single flipped bit of the conversation is overlooked by both", () => {
  const { hello, challenge, proof } = transcript();
  for (const [part, whole] of [hello, challenge, proof].entries()) {
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const spoiled = whole.slice();
      spoiled[bit >> 3]! ^= 1 << (bit & 7);
      const [one, two] = [initiator(), acceptor()];
      const b1 = two.consume(part === 0 ? spoiled : hello);
      const a = part === 1
        ? one.consume(spoiled)
        : b1.verdict === "more" && b1.send.length > 0
        ? one.consume(b1.send)
        : b1;
      const b2 = a.verdict === "ok" && b1.verdict === "more" && b1.send.length > 0
        ? two.consume(part === 2 ? spoiled : a.send)
        : b1;
      assert.ok(!(a.verdict === "ok" && b2.verdict === "ok"), `message ${part}, bit ${bit}`);
      if (part < 2) assert.notEqual(a.verdict, "ok", `initiator, message ${part}, bit ${bit}`);
    }
  }
});

Deno.test("the newest version that both speak is used, and without one a peer is refused", () => {
  const chosen = (oldest: number, newest: number) => {
    const step = offered(oldest, newest);
    if (step.verdict !== "more") return reasonOf(step);
    return new DataView(step.send.buffer, step.send.byteOffset).getUint16(8);
  };
  const offered = (oldest: number, newest: number) => {
    const hello = initiator().opening.slice();
    const view = new DataView(hello.buffer);
    view.setUint16(8, oldest);
    view.setUint16(10, newest);
    return acceptor().consume(hello);
  };
  assert.equal(chosen(1, 1), 1);
  assert.equal(chosen(1, 2), 2);
  assert.equal(chosen(1, 4), 2);
  assert.equal(chosen(2, 4), 2);
  assert.equal(reasonOf(offered(3, 4)), "version");
  assert.equal(reasonOf(offered(0, 0)), "version");
  assert.equal(reasonOf(offered(4, 1)), "version");
});

Deno.test("an encrypted link has keys of its own each time, and both ends must want it", () => {
  const sealed = () => {
    const [one, two] = [
      initiator({ a: { encrypt: true } }, crypto.getRandomValues(new Uint8Array(32))),
      acceptor({ b: { encrypt: true } }, crypto.getRandomValues(new Uint8Array(32))),
    ];
    const a = one.consume(two.consume(one.opening).send);
    const b = two.consume(a.send);
    assert.ok(a.verdict === "ok" && b.verdict === "ok" && a.seal && b.seal);
    assert.deepEqual(a.seal.send, b.seal.receive);
    assert.deepEqual(a.seal.receive, b.seal.send);
    assert.notDeepEqual(a.seal.send, a.seal.receive);
    return a.seal.send;
  };
  assert.notDeepEqual(sealed(), sealed());
  const { a } = converse();
  assert.ok(a.verdict === "ok" && a.seal === null);
  const wants = initiator({ a: { encrypt: true } });
  assert.equal(reasonOf(acceptor().consume(wants.opening)), "encryption");
  const plain = initiator();
  const refused = acceptor({ b: { encrypt: true } }).consume(plain.opening);
  assert.equal(reasonOf(refused), "encryption");
  assert.match((plain.consume(refused.send) as { detail: string }).detail, /encrypt = true/);
});

Deno.test("noise is refused or waited on, never accepted, never thrown about", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(12), (noise, keep) => {
    const { hello } = transcript();
    const start = new Uint8Array([...hello.subarray(0, keep), ...noise]);
    for (const side of [initiator(), acceptor()]) {
      assert.notEqual(side.consume(start).verdict, "ok");
    }
    const two = acceptor();
    two.consume(hello);
    assert.notEqual(two.consume(noise).verdict, "ok");
  }));
});

Deno.test("a peer of another protocol is refused at its first byte", () => {
  const step = acceptor().consume(new TextEncoder().encode("G"));
  assert.equal(reasonOf(step), "protocol");
  assert.ok(step.send.length > 0);
});

Deno.test("wrong use is refused loudly", () => {
  assert.throws(() => initiator({}, new Uint8Array(31)), /nonce/);
  assert.throws(() => initiator({ a: { volumes: [] } }), /one volume/);
  assert.throws(() => initiator({ keysA: { active: 1, keys: new Map() } }), /active key/);
  assert.throws(() => initiator({ a: { node: "x".repeat(256) } }), /255 bytes/);
  const two = acceptor();
  two.consume(new Uint8Array([1]));
  assert.throws(() => two.consume(new Uint8Array([1])), /over/);
});
