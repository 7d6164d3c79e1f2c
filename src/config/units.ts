/**
 * Durations and sizes as people write them: `"200ms"`, `"1.5s"`, `"20GiB"`.
 *
 * @module
 */

/** A number, or what is wrong with the text. */
export type Parsed = { readonly value: number } | { readonly error: string };

const MILLISECONDS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

const BYTES: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
};

/** Longest duration a timer can wait for, in milliseconds: almost 25 days. */
export const MAX_DURATION = 2 ** 31 - 1;

/** Milliseconds from `"200ms"`, `"1s"`, `"2m"`, `"1h"`; whole, at most {@link MAX_DURATION}. */
export function parseDuration(text: string): Parsed {
  const parts = split(text);
  if (parts === undefined) {
    return { error: `${quote(text)} is not a duration; write a number and a unit, as in "200ms"` };
  }
  const { number, digits, unit } = parts;
  if (unit === "") {
    return { error: `${quote(text)} has no unit; write "${number}ms" or "${number}s"` };
  }
  const factor = Object.hasOwn(MILLISECONDS, unit) ? MILLISECONDS[unit] : undefined;
  if (factor === undefined) {
    return { error: `${quote(unit)} is not a unit of time; use one of ms, s, m, h` };
  }
  const value = multiply(digits, factor);
  if (value === undefined) {
    return { error: `${quote(text)} is not a whole number of milliseconds; round it` };
  }
  if (value > MAX_DURATION) {
    return { error: `${quote(text)} is too long; the longest duration is 24 days ("576h")` };
  }
  return { value };
}

/** Bytes from `"20GiB"`, `"512MiB"`, `"1TB"`; always whole and a safe integer. */
export function parseSize(text: string): Parsed {
  const parts = split(text);
  if (parts === undefined) {
    return { error: `${quote(text)} is not a size; write a number and a unit, as in "20GiB"` };
  }
  const { number, digits, unit } = parts;
  if (unit === "") {
    return { error: `${quote(text)} has no unit; write "${number}GiB" or "${number}MiB"` };
  }
  const factor = Object.hasOwn(BYTES, unit) ? BYTES[unit] : undefined;
  if (factor === undefined) {
    const known = Object.keys(BYTES);
    const sameLetters = known.find((name) => name.toLowerCase() === unit.toLowerCase());
    const hint = sameLetters ? `write ${sameLetters}` : `use one of ${known.join(", ")}`;
    return { error: `${quote(unit)} is not a unit of size; ${hint}` };
  }
  const value = multiply(digits, factor);
  if (value === undefined) {
    return { error: `${quote(text)} is not a whole number of bytes; use a smaller unit` };
  }
  if (value > Number.MAX_SAFE_INTEGER) {
    return { error: `${quote(text)} is too large; the largest size is 8191TiB` };
  }
  return { value };
}

/** The shortest exact spelling of a duration in milliseconds that {@link parseDuration} reads. */
export function formatDuration(milliseconds: number): string {
  return format(milliseconds, ["h", "m", "s"], MILLISECONDS) ?? `${milliseconds}ms`;
}

/** The shortest exact spelling of a size in bytes, in binary units, for {@link parseSize}. */
export function formatSize(bytes: number): string {
  return format(bytes, ["TiB", "GiB", "MiB", "KiB"], BYTES) ?? `${bytes}B`;
}

function format(value: number, units: string[], factors: Readonly<Record<string, number>>) {
  if (value === 0) return undefined;
  for (const unit of units) {
    const factor = factors[unit] ?? 1;
    if (value % factor === 0) return `${value / factor}${unit}`;
  }
  return undefined;
}

function split(text: string) {
  const match = /^(\d{1,16})(?:\.(\d{1,9}))?\s*([A-Za-zµ]*)$/.exec(text.trim());
  if (match === null) return undefined;
  const [, whole = "", fraction = "", unit = ""] = match;
  const number = fraction === "" ? whole : `${whole}.${fraction}`;
  return { number, digits: { whole, fraction }, unit };
}

/** Exact: decimal fractions do not pass through floating point. Undefined if not whole. */
function multiply(
  digits: { readonly whole: string; readonly fraction: string },
  factor: number,
): number | undefined {
  const scale = 10n ** BigInt(digits.fraction.length);
  const product = BigInt(digits.whole + digits.fraction) * BigInt(factor);
  return product % scale === 0n ? Number(product / scale) : undefined;
}

function quote(text: string): string {
  return JSON.stringify(text);
}
