/**
 * Addresses as the kernel and the wire want them: bytes in network order, and back to text.
 *
 * @module
 */

/** Four bytes of a dotted quad; undefined when the text is none (no leading zeroes, as RFC 6943). */
export function parseIpv4(text: string): Uint8Array<ArrayBuffer> | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (const [index, part] of parts.entries()) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined;
    bytes[index] = Number(part);
  }
  return bytes;
}

/** Sixteen bytes of an IPv6 address in any form of RFC 4291, without zone; else undefined. */
export function parseIpv6(text: string): Uint8Array<ArrayBuffer> | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = groups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? groups(halves[1]!, true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const gap = 16 - head.length - tail.length;
  // "::" stands for at least one group of zeroes.
  if (halves.length === 1 ? gap !== 0 : gap < 2) return undefined;
  return Uint8Array.from([...head, ...new Array<number>(gap).fill(0), ...tail]);
}

function groups(text: string, mayEndInQuad: boolean): number[] | undefined {
  if (text === "") return [];
  const bytes: number[] = [];
  const parts = text.split(":");
  for (const [index, part] of parts.entries()) {
    if (mayEndInQuad && index === parts.length - 1 && part.includes(".")) {
      const quad = parseIpv4(part);
      if (quad === undefined) return undefined;
      bytes.push(...quad);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined;
      const value = parseInt(part, 16);
      bytes.push(value >> 8, value & 0xff);
    }
  }
  return bytes;
}

/** Four or sixteen bytes of an IP address. Throws a RangeError for anything else. */
export function parseIp(text: string): Uint8Array<ArrayBuffer> {
  const bytes = parseIpv4(text) ?? parseIpv6(text);
  if (bytes === undefined) throw new RangeError(`"${text}" is not an IPv4 or IPv6 address`);
  return bytes;
}

/** Text of an address of four or sixteen bytes; IPv6 in the one form of RFC 5952. */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16) {
    throw new RangeError(`an IP address has 4 or 16 bytes, not ${bytes.length}`);
  }
  const words = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!);
  // The longest run of zero groups (two at least, the first of equals) becomes "::".
  let start = -1;
  let longest = 1;
  for (let i = 0; i < 8; i++) {
    let run = 0;
    while (i + run < 8 && words[i + run] === 0) run++;
    if (run > longest) [start, longest] = [i, run];
  }
  const hex = (part: number[]) => part.map((word) => word.toString(16)).join(":");
  if (start < 0) return hex(words);
  return `${hex(words.slice(0, start))}::${hex(words.slice(start + longest))}`;
}

/** Six bytes of `02:00:5e:10:00:01`. Throws a RangeError for anything else. */
export function parseMac(text: string): Uint8Array<ArrayBuffer> {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) {
    throw new RangeError(`"${text}" is not an Ethernet address`);
  }
  return Uint8Array.from(text.split(":"), (part) => parseInt(part, 16));
}

/** `02:00:5e:10:00:01` for six bytes. */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}
