/**
 * Codecs of everything that leaves a node: pure functions between typed values and bytes.
 *
 * - `frame.ts` (here): authenticated UDP frames between agents, heartbeats and register messages;
 * - `link_auth.ts`: the mutual challenge that opens a replication link;
 * - `replication.ts`: the frames on that link;
 * - `voter_log.ts`: the append-only log in which a voter keeps its promises;
 * - `messages.ts`, `shape.ts`: complete checks of what was received, so that the core may trust it.
 *
 * An agent frame is one datagram, all numbers big-endian:
 *
 * ```
 * offset size
 *  0     4   magic "BSCL"
 *  4     2   protocol version, 1 so far
 *  6     2   n: bytes of the node name, 1..255
 *  8     4   key id
 * 12     8   cluster: first 8 bytes of SHA-256(cluster name)
 * 20     8   incarnation of the sender, at most 2^53 - 1
 * 28     8   seq, at most 2^53 - 1
 * 36     4   m: bytes of the body
 * 40     n   node name, UTF-8
 * 40+n   m   body: the message as JSON, UTF-8
 * 40+n+m 32  HMAC-SHA256 (RFC 2104) with the key of that id over everything before
 * ```
 *
 * The MAC is checked before any of the body is parsed. Replays and older incarnations are genuine
 * frames: dropping them is the core's business.
 *
 * @module
 */

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { Frame } from "../cluster/types.ts";
import { checkMessage } from "./messages.ts";
import { name, ShapeError } from "./shape.ts";

/** Largest datagram in bytes; below the 65 507 that UDP over IPv4 carries. */
export const MAX_DATAGRAM = 60 * 1024;
/** Newest version of the protocol that this codec reads and writes; a frame says its own. */
export const FRAME_VERSION = 1;

const MAGIC = 0x4253434c;
const HEADER_BYTES = 40;
const MAC_BYTES = 32;
const NODE_MAX = 255;
const CLUSTER_BYTES = 8;

/** Why a datagram was not taken, in the order of the checks. */
export type FrameError = "short" | "magic" | "version" | "cluster" | "key" | "hmac" | "body";

/** A genuine frame, or why it is none. */
export type OpenedFrame =
  | { readonly frame: Frame; readonly keyId: number; readonly error?: never }
  | { readonly frame?: never; readonly error: FrameError; readonly detail: string };

/** First 8 bytes of SHA-256 of the cluster's name: tells clusters apart on a shared network. */
export function clusterHash(clusterName: string): Uint8Array {
  return createHash("sha256").update(clusterName, "utf8").digest().subarray(0, CLUSTER_BYTES);
}

/**
 * The datagram of a frame. `keyId` is 0..2^32 − 1. Throws on a frame that no receiver would take:
 * larger than {@linkcode MAX_DATAGRAM}, a name that is empty or over 255 bytes, unsafe numbers.
 */
export function sealFrame(
  keyId: number,
  key: Uint8Array,
  clusterName: string,
  frame: Frame,
): Uint8Array {
  const encoder = new TextEncoder();
  const node = encoder.encode(frame.node);
  const body = encoder.encode(JSON.stringify(frame.body));
  const total = HEADER_BYTES + node.length + body.length + MAC_BYTES;
  if (node.length < 1 || node.length > NODE_MAX) {
    throw new Error(`a frame's node name has 1 to ${NODE_MAX} bytes, this has ${node.length}`);
  }
  if (total > MAX_DATAGRAM) {
    throw new Error(
      `a ${frame.body.type} frame of ${total} bytes exceeds the ${MAX_DATAGRAM} of a datagram`,
    );
  }
  if (!Number.isInteger(keyId) || keyId < 0 || keyId > 0xffff_ffff) {
    throw new Error(`a key id is a whole number from 0 to 2^32 - 1, not ${keyId}`);
  }
  for (const value of [frame.incarnation, frame.seq]) {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new Error(`incarnation and seq of a frame are whole numbers, not ${value}`);
    }
  }
  const datagram = new Uint8Array(total);
  const view = new DataView(datagram.buffer);
  view.setUint32(0, MAGIC);
  view.setUint16(4, frame.protocol);
  view.setUint16(6, node.length);
  view.setUint32(8, keyId);
  datagram.set(clusterHash(clusterName), 12);
  view.setBigUint64(20, BigInt(frame.incarnation));
  view.setBigUint64(28, BigInt(frame.seq));
  view.setUint32(36, body.length);
  datagram.set(node, HEADER_BYTES);
  datagram.set(body, HEADER_BYTES + node.length);
  datagram.set(macOf(key, datagram.subarray(0, total - MAC_BYTES)), total - MAC_BYTES);
  return datagram;
}

/** Checks a datagram and gives the frame in it. Never throws, whatever the bytes. */
export function openFrame(
  keys: ReadonlyMap<number, Uint8Array>,
  clusterName: string,
  datagram: Uint8Array,
): OpenedFrame {
  const size = datagram.length;
  if (size < HEADER_BYTES + MAC_BYTES || size > MAX_DATAGRAM) {
    return refused("short", `${size} bytes, not ${HEADER_BYTES + MAC_BYTES} to ${MAX_DATAGRAM}`);
  }
  const view = new DataView(datagram.buffer, datagram.byteOffset, size);
  if (view.getUint32(0) !== MAGIC) return refused("magic", "not a frame of this protocol");
  const version = view.getUint16(4);
  if (version < 1 || version > FRAME_VERSION) {
    const mend = version > FRAME_VERSION ? "; upgrade this node" : "";
    return refused(
      "version",
      `protocol version ${version}, this agent reads 1 to ${FRAME_VERSION}${mend}`,
    );
  }
  const nodeBytes = view.getUint16(6);
  const bodyBytes = view.getUint32(36);
  const stated = HEADER_BYTES + nodeBytes + bodyBytes + MAC_BYTES;
  if (stated !== size) return refused("short", `${size} bytes, the header says ${stated}`);
  const cluster = datagram.subarray(12, 12 + CLUSTER_BYTES);
  if (!timingSafeEqual(cluster, clusterHash(clusterName))) {
    return refused("cluster", "a frame of another cluster");
  }
  const keyId = view.getUint32(8);
  const key = keys.get(keyId);
  if (key === undefined) return refused("key", `key id ${keyId} is not among this node's keys`);
  const signed = datagram.subarray(0, size - MAC_BYTES);
  if (!timingSafeEqual(macOf(key, signed), datagram.subarray(size - MAC_BYTES))) {
    return refused("hmac", `authentication failed under key id ${keyId}`);
  }
  const incarnation = view.getBigUint64(20);
  const seq = view.getBigUint64(28);
  if (incarnation > Number.MAX_SAFE_INTEGER || seq > Number.MAX_SAFE_INTEGER) {
    return refused("body", `incarnation ${incarnation} or seq ${seq} is above 2^53 - 1`);
  }
  if (nodeBytes < 1 || nodeBytes > NODE_MAX) {
    return refused("body", `a node name of ${nodeBytes} bytes`);
  }
  const node = decoded(signed.subarray(HEADER_BYTES, HEADER_BYTES + nodeBytes));
  const json = decoded(signed.subarray(HEADER_BYTES + nodeBytes));
  if (node === undefined || json === undefined) return refused("body", "the text is not UTF-8");
  try {
    const frame: Frame = {
      node: name(node, "node"),
      incarnation: Number(incarnation),
      seq: Number(seq),
      protocol: version,
      body: checkMessage(JSON.parse(json)),
    };
    return { frame, keyId };
  } catch (error) {
    if (error instanceof ShapeError) return refused("body", error.message);
    if (error instanceof SyntaxError) return refused("body", "the body is not JSON");
    throw error;
  }
}

function decoded(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function macOf(key: Uint8Array, signed: Uint8Array): Uint8Array {
  return createHmac("sha256", key).update(signed).digest();
}

function refused(error: FrameError, detail: string): OpenedFrame {
  return { error, detail };
}
