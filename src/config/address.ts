/**
 * IP addresses, prefixes and `HOST:PORT` endpoints. Names are not resolved: a name server that is
 * down must not decide whether a cluster starts, so every address is an IP literal.
 *
 * @module
 */

import type { IpNetwork } from "./types.ts";

/** An IP address. */
export interface IpAddress {
  readonly family: 4 | 6;
  /** 4 or 16 bytes, network order. */
  readonly bytes: readonly number[];
  /** Canonical text: dotted decimal, or RFC 5952. */
  readonly text: string;
}

/** Where a socket listens. */
export interface Endpoint {
  readonly ip: IpAddress;
  readonly port: number;
  /** Canonical text: `192.0.2.1:6940` or `[2001:db8::1]:6940`. */
  readonly text: string;
}

/** An address within its network. */
export interface IpPrefix {
  readonly ip: IpAddress;
  readonly prefix: number;
}

/** The outcome of reading an address: the value, or what is wrong with the text. */
export type Read<T> = { readonly value: T } | { readonly error: string };

/** Reads an IPv4 (dotted decimal, no leading zeros) or IPv6 (RFC 4291, no zone) address. */
export function parseIp(text: string): IpAddress | undefined {
  const bytes = text.includes(":") ? parseV6(text) : parseV4(text);
  if (bytes === undefined) return undefined;
  return bytes.length === 4
    ? { family: 4, bytes, text: bytes.join(".") }
    : { family: 6, bytes, text: formatV6(bytes) };
}

/**
 * Reads `HOST:PORT`, HOST being an IPv4 address or an IPv6 address in brackets. `any`: may it be the
 * unspecified address, which stands for all addresses of a node?
 */
export function parseEndpoint(text: string, { any = false } = {}): Read<Endpoint> {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  if (match === null) {
    const hint = parseIp(text)?.family === 6
      ? `[${text}]:PORT`
      : "192.0.2.1:6940 or [2001:db8::1]:6940";
    return { error: `${quote(text)} is not HOST:PORT; write ${hint}` };
  }
  const [, bracketed, plain, portText = ""] = match;
  const host = bracketed ?? plain ?? "";
  const ip = parseIp(host);
  if (ip === undefined || (ip.family === 6) !== (bracketed !== undefined)) {
    const mend = host.includes("%")
      ? "zones are not supported; write a global address"
      : "names are not looked up; write the address itself";
    return { error: `${quote(host)} is not an IP address, and ${mend}` };
  }
  const port = Number(portText);
  if (port < 1 || port > 65535) return { error: `port ${portText} is not between 1 and 65535` };
  const unusable = any && isUnspecified(ip) ? undefined : whyNoHost(ip);
  if (unusable !== undefined) {
    return { error: `${ip.text} ${unusable}; write the node's own address` };
  }
  const canonical = ip.family === 4 ? `${ip.text}:${port}` : `[${ip.text}]:${port}`;
  return { value: { ip, port, text: canonical } };
}

/** Reads `NETWORK/PREFIX`, or a single address, which is a network of its own. */
export function parseNetwork(text: string): Read<IpNetwork> {
  const slash = text.indexOf("/");
  const ip = parseIp(slash < 0 ? text : text.slice(0, slash));
  if (ip === undefined) {
    return { error: `${quote(text)} is not NETWORK/PREFIX; write for example 192.0.2.0/24` };
  }
  const bits = ip.bytes.length * 8;
  if (slash < 0) return { value: { bytes: ip.bytes, prefix: bits } };
  const prefixText = text.slice(slash + 1);
  const prefix = /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : NaN;
  if (!(prefix >= 0 && prefix <= bits)) {
    return {
      error: `prefix length ${quote(prefixText)} is not between 0 and ${bits} (IPv${ip.family})`,
    };
  }
  const network = networkBytes(ip.bytes, prefix);
  if (network.some((byte, index) => byte !== ip.bytes[index])) {
    const whole = ip.family === 4 ? network.join(".") : formatV6(network);
    return { error: `${quote(text)} names a host in the network; write ${whole}/${prefix}` };
  }
  return { value: { bytes: network, prefix } };
}

/** Is this address, 4 or 16 bytes, in the network? */
export function inNetwork(bytes: readonly number[], network: IpNetwork): boolean {
  if (bytes.length !== network.bytes.length) return false;
  const masked = networkBytes(bytes, network.prefix);
  return masked.every((byte, index) => byte === network.bytes[index]);
}

/** Is it an address that only this machine itself can reach: 127.0.0.0/8 or ::1? */
export function isLoopback(ip: IpAddress): boolean {
  return ip.family === 4 ? ip.bytes[0] === 127 : ip.text === "::1";
}

function isUnspecified(ip: IpAddress): boolean {
  return ip.bytes.every((byte) => byte === 0);
}

function networkBytes(bytes: readonly number[], prefix: number): number[] {
  return bytes.map((byte, index) => {
    const bits = Math.min(8, Math.max(0, prefix - index * 8));
    return byte & (0xff << (8 - bits)) & 0xff;
  });
}

/** Reads `ADDRESS/PREFIX` of a host, so not the address of the network or its broadcast. */
export function parsePrefix(text: string): Read<IpPrefix> {
  const slash = text.indexOf("/");
  const ip = parseIp(slash < 0 ? text : text.slice(0, slash));
  if (ip === undefined) {
    return { error: `${quote(text)} is not ADDRESS/PREFIX; write for example 192.0.2.3/24` };
  }
  const bits = ip.bytes.length * 8;
  const prefixText = slash < 0 ? "" : text.slice(slash + 1);
  if (prefixText === "") {
    const usual = ip.family === 4 ? 24 : 64;
    return { error: `${quote(text)} has no prefix length; write for example ${ip.text}/${usual}` };
  }
  const prefix = /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : NaN;
  if (!(prefix >= 1 && prefix <= bits)) {
    return {
      error: `prefix length ${quote(prefixText)} is not between 1 and ${bits} (IPv${ip.family})`,
    };
  }
  const unusable = whyNoHost(ip) ?? whyNoHostIn(ip, prefix);
  if (unusable !== undefined) return { error: `${ip.text} ${unusable}; choose a host's address` };
  return { value: { ip, prefix } };
}

/** Why no host can own this address anywhere, or nothing. */
export function whyNoHost(ip: IpAddress): string | undefined {
  const [first = 0, second = 0] = ip.bytes;
  if (isUnspecified(ip)) return "is the unspecified address";
  if (ip.bytes.every((byte) => byte === 255)) return "is the broadcast address";
  if (ip.family === 4) {
    if (first === 0) return "is in 0.0.0.0/8, which no host can have";
    if (first >= 224 && first < 240) return "is a multicast address";
    if (first >= 240) return "is in the reserved range 240.0.0.0/4";
    return undefined;
  }
  if (first === 0xff) return "is a multicast address";
  const mapped = ip.bytes.slice(0, 10).every((byte) => byte === 0) &&
    ip.bytes[10] === 0xff && ip.bytes[11] === 0xff;
  if (mapped) return `is an IPv4 address in disguise, ${ip.bytes.slice(12).join(".")}`;
  if (first === 0xfe && (second & 0xc0) === 0x80) {
    return "is link-local, which means nothing without a zone";
  }
  return undefined;
}

/** Why no host can own this address in a network of that prefix (RFC 919, 3021, 4291 §2.6.1). */
function whyNoHostIn(ip: IpAddress, prefix: number): string | undefined {
  const hostBits = ip.bytes.length * 8 - prefix;
  if (hostBits < 2) return undefined;
  const host = ip.bytes.map((byte, index) => {
    const networkBits = Math.min(8, Math.max(0, prefix - index * 8));
    return { byte, mask: 0xff >> networkBits };
  });
  if (host.every(({ byte, mask }) => (byte & mask) === 0)) {
    return ip.family === 4
      ? `is the network address of its /${prefix}`
      : `is the subnet-router anycast address of its /${prefix}`;
  }
  if (ip.family === 4 && host.every(({ byte, mask }) => (byte & mask) === mask)) {
    return `is the broadcast address of its /${prefix}`;
  }
  return undefined;
}

function parseV4(text: string): number[] | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const bytes = parts.map((part) => /^(0|[1-9]\d{0,2})$/.test(part) ? Number(part) : 256);
  return bytes.every((byte) => byte <= 255) ? bytes : undefined;
}

function parseV6(text: string): number[] | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const left = parseGroups(halves[0] ?? "", halves.length === 1);
  const right = halves.length === 2 ? parseGroups(halves[1] ?? "", true) : [];
  if (left === undefined || right === undefined) return undefined;
  const gap = 16 - left.length - right.length;
  if (halves.length === 2 ? gap < 2 : gap !== 0) return undefined;
  return [...left, ...Array.from({ length: gap }, () => 0), ...right];
}

/** Groups of 16 bits; the last may be a dotted IPv4 address if it ends the whole text. */
function parseGroups(text: string, endsAddress: boolean): number[] | undefined {
  if (text === "") return [];
  const bytes: number[] = [];
  const groups = text.split(":");
  for (const [index, group] of groups.entries()) {
    if (endsAddress && index === groups.length - 1 && group.includes(".")) {
      const v4 = parseV4(group);
      if (v4 === undefined) return undefined;
      bytes.push(...v4);
    } else {
      if (!/^[0-9A-Fa-f]{1,4}$/.test(group)) return undefined;
      const value = parseInt(group, 16);
      bytes.push(value >> 8, value & 0xff);
    }
  }
  return bytes.length <= 16 ? bytes : undefined;
}

/** RFC 5952: lower case, no leading zeros, the first longest run of zero groups as `::`. */
function formatV6(bytes: readonly number[]): string {
  const groups = Array.from(
    { length: 8 },
    (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0),
  );
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > length) [start, length] = [i, end - i];
  }
  const hex = groups.map((group) => group.toString(16));
  if (start < 0) return hex.join(":");
  return `${hex.slice(0, start).join(":")}::${hex.slice(start + length).join(":")}`;
}

function quote(text: string): string {
  return JSON.stringify(text);
}
