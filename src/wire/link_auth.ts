/**
 * The mutual challenge that opens a replication link: both ends prove that they hold the cluster's
 * key before any other byte is believed.
 *
 * ```
 * initiator                              acceptor
 *   HELLO    versions, cluster, key id,
 *            node, volume, nonce   ──────▶
 *            ◀──────  CHALLENGE  version, node, nonce, proof of the acceptor
 *   PROOF    proof of the initiator ─────▶
 * ```
 *
 * A proof is HMAC-SHA256 over a label of the role and everything said so far: both names, both
 * nonces, the volume and the offered versions. So a proof sent back to its sender fails (other
 * label), a recorded one fails (other nonce), and nobody in between can talk both ends into an older
 * version. An acceptor that will not go on says REFUSED with a code, for the other side's log only.
 *
 * Where both ends want it, what follows the challenge is encrypted (link_seal.ts), with two keys that
 * HKDF-SHA256 makes of the cluster's key for this connection: salt SHA-256(HELLO, CHALLENGE), info
 * "bascule link 1 seal " and the role of the sender.
 *
 * Every message, all numbers big-endian: 4 magic "BSLK", 1 type, 1 zero, 2 bytes that follow. Then
 *
 * ```
 * 1 HELLO      2 oldest version, 2 newest version, 4 key id, 8 cluster hash, 32 nonce,
 *              1 n, n node, 1 v, v volume, 1 flags: 1 = what follows is to be encrypted
 * 2 CHALLENGE  2 version, 32 nonce, 1 n, n node, 32 proof
 * 3 PROOF      32 proof
 * 4 REFUSED    1 code
 * ```
 */

import { createHash, createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { clusterHash } from "./frame.ts";
import { LINK_VERSIONS } from "./link_versions.ts";
import {
  CLUSTER_BYTES,
  concat,
  encode,
  type LinkRefusal,
  message,
  type MessageBytes,
  NAME_MAX,
  NOTHING,
  prefixed,
  PROOF_BYTES,
  Reader,
  REASONS,
  Refusal,
  sameBytes,
  takeMessage,
  Type,
  uint16,
  uint32,
} from "./link_messages.ts";

export { LINK_VERSIONS };
export type { LinkRefusal };

/** Bytes of a nonce; it must come from a cryptographic source and never be used twice. */
export const NONCE_BYTES = 32;

/** The keys that a node holds. The initiator proves with the active one. */
export interface LinkKeys {
  readonly active: number;
  readonly keys: ReadonlyMap<number, Uint8Array>;
}

/** Who speaks, and whom it will talk to. Names have 1 to 255 bytes of UTF-8. */
export interface LinkNames {
  readonly cluster: string;
  readonly node: string;
  /** Nodes that may be at the other end. */
  readonly peers: readonly string[];
  /** Initiator: the one volume that it wants. Acceptor: the volumes served here. */
  readonly volumes: readonly string[];
  /** What follows is to be encrypted; both ends must want the same. */
  readonly encrypt?: boolean;
}

/** Keys of an encrypted link, 32 bytes each. */
export interface SealKeys {
  readonly send: Uint8Array;
  readonly receive: Uint8Array;
}

/** What a step of the challenge came to. `send` goes out first, also when refused. */
export type LinkStep =
  | { readonly verdict: "more"; readonly send: Uint8Array }
  | {
    readonly verdict: "ok";
    readonly send: Uint8Array;
    readonly peer: string;
    readonly volume: string;
    readonly version: number;
    /** null: the link is not encrypted. */
    readonly seal: SealKeys | null;
    /** Bytes after the challenge: the first of the replication frames. */
    readonly rest: Uint8Array;
  }
  | {
    readonly verdict: "refused";
    readonly send: Uint8Array;
    readonly reason: LinkRefusal;
    readonly detail: string;
  };

/** One side of a challenge. */
export interface LinkChallenge {
  /** What this side says before it hears anything: HELLO, or nothing. */
  readonly opening: Uint8Array;
  /** Takes bytes as they come, in any pieces. After `ok` or `refused` it must not be called again. */
  consume(bytes: Uint8Array): LinkStep;
}

/**
 * One side of the challenge. `nonce` is {@linkcode NONCE_BYTES} fresh random bytes. Throws if the
 * keys lack the active one, a name does not fit, or an initiator asks for other than one volume.
 */
export function createChallenge(
  role: "initiator" | "acceptor",
  keys: LinkKeys,
  names: LinkNames,
  nonce: Uint8Array,
): LinkChallenge {
  if (nonce.length !== NONCE_BYTES) {
    throw new Error(`a nonce has ${NONCE_BYTES} bytes, not ${nonce.length}`);
  }
  for (const text of [names.node, ...names.volumes]) {
    const size = encode(text).length;
    if (size < 1 || size > NAME_MAX) {
      throw new Error(`a name on the link has 1 to ${NAME_MAX} bytes, this has ${size}`);
    }
  }
  return role === "initiator"
    ? new Initiator(keys, names, nonce.slice())
    : new Acceptor(keys, names, nonce.slice());
}

/** Gathers messages from pieces and hands them on one at a time. */
abstract class Side implements LinkChallenge {
  abstract readonly opening: Uint8Array;
  #buffer = new Uint8Array(0);
  #over = false;

  consume(bytes: Uint8Array): LinkStep {
    if (this.#over) throw new Error("this challenge is over: bytes after it are not its own");
    let send = NOTHING;
    try {
      this.#buffer = concat(this.#buffer, bytes);
      for (let message = this.#next(); message !== undefined; message = this.#next()) {
        const step = this.handle(message);
        send = concat(send, step.send);
        if (step.verdict === "ok") {
          this.#over = true;
          return { ...step, send, rest: this.#buffer };
        }
      }
      return { verdict: "more", send };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#over = true;
      return {
        verdict: "refused",
        send: concat(send, this.farewell(error.reason)),
        reason: error.reason,
        detail: error.detail,
      };
    }
  }

  protected abstract handle(message: MessageBytes): LinkStep;
  /** What the other side is told of a refusal. */
  protected abstract farewell(reason: LinkRefusal): Uint8Array;

  #next(): MessageBytes | undefined {
    const message = takeMessage(this.#buffer);
    if (message !== undefined) this.#buffer = this.#buffer.slice(message.whole.length);
    return message;
  }
}

class Initiator extends Side {
  readonly opening: Uint8Array;
  readonly #key: Uint8Array;
  readonly #names: LinkNames;
  readonly #nonce: Uint8Array;

  constructor(keys: LinkKeys, names: LinkNames, nonce: Uint8Array) {
    super();
    const key = keys.keys.get(keys.active);
    const volume = names.volumes[0];
    if (key === undefined) throw new Error(`the active key ${keys.active} is not among the keys`);
    if (names.volumes.length !== 1 || volume === undefined) {
      throw new Error(`an initiator asks for one volume, not ${names.volumes.length}`);
    }
    this.#key = key;
    this.#names = names;
    this.#nonce = nonce;
    this.opening = message(
      Type.Hello,
      uint16(LINK_VERSIONS.oldest),
      uint16(LINK_VERSIONS.newest),
      uint32(keys.active),
      clusterHash(names.cluster),
      nonce,
      prefixed(names.node),
      prefixed(volume),
      Uint8Array.of(names.encrypt === true ? FLAG_ENCRYPT : 0),
    );
  }

  protected override handle({ type, whole }: MessageBytes): LinkStep {
    const reader = new Reader(whole);
    if (type === Type.Refused) {
      const reason = REASONS[reader.uint8() - 1] ?? "protocol";
      throw new Refusal(reason, `the peer refused: ${ADVICE[reason]}`);
    }
    if (type !== Type.Challenge) {
      throw new Refusal("protocol", `message ${type} where CHALLENGE was due`);
    }
    const version = reader.uint16();
    const nonce = reader.bytes(NONCE_BYTES);
    const peer = reader.name();
    const claims = whole.subarray(0, reader.at);
    const proof = reader.bytes(PROOF_BYTES);
    reader.end();
    if (version < LINK_VERSIONS.oldest || version > LINK_VERSIONS.newest) {
      throw new Refusal("version", `the peer chose version ${version}, which was not offered`);
    }
    if (sameBytes(nonce, this.#nonce)) {
      throw new Refusal("self", "the peer sent back this node's own nonce");
    }
    const wanted = proofOf(this.#key, "acceptor", this.opening, claims);
    if (!timingSafeEqual(proof, wanted)) {
      throw new Refusal("proof", "the peer does not hold the same key under the same key id");
    }
    admit(peer, this.#names);
    return {
      verdict: "ok",
      send: message(Type.Proof, proofOf(this.#key, "initiator", this.opening, whole)),
      peer,
      volume: this.#names.volumes[0]!,
      version,
      seal: sealKeys(this.#key, this.opening, whole, "initiator", this.#names),
      rest: NOTHING,
    };
  }

  protected override farewell(): Uint8Array {
    return NOTHING;
  }
}

interface Due {
  readonly proof: Uint8Array;
  readonly peer: string;
  readonly volume: string;
  readonly version: number;
  readonly seal: SealKeys | null;
}

class Acceptor extends Side {
  readonly opening: Uint8Array = NOTHING;
  readonly #keys: LinkKeys;
  readonly #names: LinkNames;
  readonly #nonce: Uint8Array;
  /** Set once HELLO was taken: what the initiator's proof must be, and what it opens. */
  #due: Due | undefined;

  constructor(keys: LinkKeys, names: LinkNames, nonce: Uint8Array) {
    super();
    this.#keys = keys;
    this.#names = names;
    this.#nonce = nonce;
  }

  protected override handle({ type, whole }: MessageBytes): LinkStep {
    if (this.#due !== undefined) return this.#checkProof(type, whole, this.#due);
    if (type !== Type.Hello) throw new Refusal("protocol", `message ${type} where HELLO was due`);
    return this.#answerHello(whole);
  }

  #answerHello(whole: Uint8Array): LinkStep {
    const reader = new Reader(whole);
    const oldest = reader.uint16();
    const newest = reader.uint16();
    const keyId = reader.uint32();
    const cluster = reader.bytes(CLUSTER_BYTES);
    const nonce = reader.bytes(NONCE_BYTES);
    const peer = reader.name();
    const volume = reader.name();
    const flags = reader.uint8();
    reader.end();
    const version = Math.min(newest, LINK_VERSIONS.newest);
    if (version < Math.max(oldest, LINK_VERSIONS.oldest)) {
      throw new Refusal(
        "version",
        `the peer speaks versions ${oldest} to ${newest}, this node ${LINK_VERSIONS.oldest} to ` +
          `${LINK_VERSIONS.newest}`,
      );
    }
    if (!sameBytes(cluster, clusterHash(this.#names.cluster))) {
      throw new Refusal("cluster", "a peer of another cluster");
    }
    const key = this.#keys.keys.get(keyId);
    if (key === undefined) {
      throw new Refusal("key", `the peer's key id ${keyId} is not among this node's keys`);
    }
    if (sameBytes(nonce, this.#nonce)) {
      throw new Refusal("self", "the peer sent back this node's own nonce");
    }
    admit(peer, this.#names);
    if (!this.#names.volumes.includes(volume)) {
      throw new Refusal("volume", `${peer} asks for volume ${volume}, which is not served here`);
    }
    if (flags !== (this.#names.encrypt === true ? FLAG_ENCRYPT : 0)) {
      throw new Refusal(
        "encryption",
        `${peer} wants the link ${flags === 0 ? "plain" : "encrypted"}, this node does not; ` +
          "compare `encrypt` in the configuration files",
      );
    }
    const claims = message(
      Type.Challenge,
      PROOF_BYTES,
      uint16(version),
      this.#nonce,
      prefixed(this.#names.node),
    );
    const challenge = concat(claims, proofOf(key, "acceptor", whole, claims));
    const seal = sealKeys(key, whole, challenge, "acceptor", this.#names);
    this.#due = { proof: proofOf(key, "initiator", whole, challenge), peer, volume, version, seal };
    return { verdict: "more", send: challenge };
  }

  #checkProof(
    type: number,
    whole: Uint8Array,
    due: Due,
  ): LinkStep {
    if (type !== Type.Proof) throw new Refusal("protocol", `message ${type} where PROOF was due`);
    const reader = new Reader(whole);
    const proof = reader.bytes(PROOF_BYTES);
    reader.end();
    if (!timingSafeEqual(proof, due.proof)) {
      throw new Refusal("proof", `${due.peer} does not hold the key it named`);
    }
    const { peer, volume, version, seal } = due;
    return { verdict: "ok", send: NOTHING, peer, volume, version, seal, rest: NOTHING };
  }

  /** After CHALLENGE an honest peer is done with the challenge: it would take a code for a frame. */
  protected override farewell(reason: LinkRefusal): Uint8Array {
    if (this.#due !== undefined) return NOTHING;
    return message(Type.Refused, Uint8Array.of(REASONS.indexOf(reason) + 1));
  }
}

/** What a REFUSED code means to the one who is refused. */
const ADVICE: Readonly<Record<LinkRefusal, string>> = {
  protocol: "it did not understand this node",
  version: "it speaks no version that this node speaks; upgrade the older of the two",
  cluster: "it belongs to another cluster",
  key: "it does not have this node's active key; copy the key file to it",
  volume: "it does not serve this volume; compare the configuration files",
  node: "its configuration does not name this node as a replica; compare the configuration files",
  self: "it took this node for itself",
  proof: "it holds another key under this key id; compare the key files",
  encryption: "only one of the two has encrypt = true; compare the configuration files",
};

function admit(peer: string, names: LinkNames): void {
  if (peer === names.node) throw new Refusal("self", `the peer calls itself ${peer}, as this node`);
  if (!names.peers.includes(peer)) {
    throw new Refusal("node", `${peer} is none of the nodes expected here`);
  }
}

/** Flag of HELLO. */
const FLAG_ENCRYPT = 1;

function sealKeys(
  key: Uint8Array,
  hello: Uint8Array,
  challenge: Uint8Array,
  role: "initiator" | "acceptor",
  { encrypt }: LinkNames,
): SealKeys | null {
  if (encrypt !== true) return null;
  const salt = createHash("sha256").update(hello).update(challenge).digest();
  const keyOf = (sender: string) =>
    new Uint8Array(hkdfSync("sha256", key, salt, `bascule link 1 seal ${sender}`, 32));
  const [initiator, acceptor] = [keyOf("initiator"), keyOf("acceptor")];
  return role === "initiator"
    ? { send: initiator, receive: acceptor }
    : { send: acceptor, receive: initiator };
}

/** Labels keep the two directions, and every other use of the key, apart. */
function proofOf(
  key: Uint8Array,
  role: "initiator" | "acceptor",
  hello: Uint8Array,
  challenge: Uint8Array,
): Uint8Array {
  return createHmac("sha256", key)
    .update(`bascule link 1 ${role}\0`)
    .update(uint32(hello.length))
    .update(hello)
    .update(challenge)
    .digest();
}
