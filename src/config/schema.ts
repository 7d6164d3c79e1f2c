/**
 * Reads typed fields out of TOML tables and collects every problem on the way: missing keys, wrong
 * types, unknown keys. A reader returns nothing when it has recorded an error, so that callers
 * check what is there and go on.
 *
 * @module
 */

import type { Place, Problems } from "./problem.ts";
import { didYouMean } from "./suggest.ts";
import type { TomlTable, TomlValue } from "./toml.ts";
import { formatDuration, type Parsed, parseDuration, parseSize } from "./units.ts";

/** Turns a TOML value into a `T`, or records an error and returns nothing. */
export type Reader<T> = (value: TomlValue, problems: Problems) => T | undefined;

/** A value that was read, with its place for later checks against other values. */
export interface Field<T> {
  readonly value: T;
  readonly at: Place;
}

/** Reads the keys of one table; made by {@link readTable}. */
export class TableReader {
  readonly #table: TomlTable;
  readonly #problems: Problems;
  readonly #known = new Set<string>();

  constructor(table: TomlTable, problems: Problems) {
    this.#table = table;
    this.#problems = problems;
  }

  /** A key that must be there. `example` completes the mend: `add KEY = EXAMPLE`. */
  required<T>(key: string, reader: Reader<T>, example: string): Field<T> | undefined {
    if (!this.#table.entries.has(key)) {
      const at = { ...this.#table.at, key: pathTo(this.#table, key) };
      this.#problems.error(at, `this key is missing; add ${key} = ${example}`);
    }
    return this.optional(key, reader);
  }

  /** A key that may be left out. */
  optional<T>(key: string, reader: Reader<T>): Field<T> | undefined {
    this.#known.add(key);
    const entry = this.#table.entries.get(key);
    if (entry === undefined) return undefined;
    const value = reader(entry.value, this.#problems);
    return value === undefined ? undefined : { value, at: entry.value.at };
  }

  /** A table that must be there. */
  section(key: string): TomlTable | undefined {
    if (!this.#table.entries.has(key)) {
      const at = { ...this.#table.at, key: pathTo(this.#table, key) };
      this.#problems.error(at, `this table is missing; add [${at.key}]`);
    }
    return this.optional(key, table)?.value;
  }

  /** A key that people may well write, and that is an error for a reason better than "unknown". */
  refused(key: string, why: string): void {
    const entry = this.#table.entries.get(key);
    if (entry === undefined) return;
    this.#known.add(key);
    this.#problems.error(entry.at, why);
  }

  /** Reports the keys that nobody asked for. */
  finish(): void {
    for (const [key, entry] of this.#table.entries) {
      if (this.#known.has(key)) continue;
      const known = [...this.#known];
      const hint = didYouMean(key, known) || `; the keys here are ${known.join(", ")}`;
      this.#problems.error(entry.at, `unknown key${hint}`);
    }
  }
}

/** Reads a table whose keys are fixed; keys that `body` does not ask for are errors. */
export function readTable<T>(
  table: TomlTable,
  problems: Problems,
  body: (reader: TableReader) => T,
): T {
  const reader = new TableReader(table, problems);
  const result = body(reader);
  reader.finish();
  return result;
}

/** A text without NUL, which neither paths nor arguments of a process can hold. */
export const text: Reader<string> = (value, problems) => {
  if (value.kind !== "string") return wrongType(value, "a string in quotes", problems);
  if (!value.value.includes("\0")) return value.value;
  return fail(value, "the text holds a NUL character; remove it", problems);
};

/** `true` or `false`. */
export const boolean: Reader<boolean> = (value, problems) =>
  value.kind === "boolean" ? value.value : wrongType(value, "true or false", problems);

/** A table. */
export const table: Reader<TomlTable> = (value, problems) =>
  value.kind === "table" ? value : wrongType(value, "a table", problems);

/** A whole number within bounds, both included. */
export function integer(minimum: number, maximum: number): Reader<number> {
  return (value, problems) => {
    if (value.kind !== "integer") return wrongType(value, "a whole number", problems);
    const number = value.value;
    if (number >= minimum && number <= maximum) return number;
    return fail(value, `${number} is not between ${minimum} and ${maximum}`, problems);
  };
}

/** One of a few words. `later` explains words that are known but cannot be chosen. */
export function choice<const T extends string>(
  words: readonly T[],
  later: Readonly<Record<string, string>> = {},
): Reader<T> {
  return (value, problems) => {
    const word = text(value, problems);
    if (word === undefined) return undefined;
    const found = words.find((candidate) => candidate === word);
    if (found !== undefined) return found;
    const why = Object.hasOwn(later, word) ? later[word] : undefined;
    if (why !== undefined) return fail(value, why, problems);
    const list = words.map((candidate) => JSON.stringify(candidate)).join(" or ");
    return fail(value, `${JSON.stringify(word)} is not known here; write ${list}`, problems);
  };
}

/** A duration in milliseconds, not shorter than `minimum`. */
export function duration(minimum = 1): Reader<number> {
  return (value, problems) => {
    const milliseconds = withUnit(value, parseDuration, `"200ms"`, problems);
    if (milliseconds === undefined || milliseconds >= minimum) return milliseconds;
    const shortest = formatDuration(minimum);
    return fail(
      value,
      `${formatDuration(milliseconds)} is too short; the shortest is ${shortest}`,
      problems,
    );
  };
}

/** A size in bytes. */
export const size: Reader<number> = (value, problems) =>
  withUnit(value, parseSize, `"20GiB"`, problems);

/** An absolute path, returned without doubled or trailing slashes and without `.` components. */
export const absolutePath: Reader<string> = (value, problems) => {
  const path = text(value, problems);
  if (path === undefined) return undefined;
  const why = whyNotAbsolute(path);
  return why === undefined ? normalPath(path) : fail(value, why, problems);
};

/** What is wrong with a path that should be absolute and plain, or nothing. */
export function whyNotAbsolute(path: string): string | undefined {
  if (!path.startsWith("/")) return `${JSON.stringify(path)} is not absolute; start it with /`;
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x1f\x7f]/.test(path)) return "the path holds a control character; remove it";
  if (path.split("/").includes("..")) return `${JSON.stringify(path)} holds ".."; write it out`;
  return undefined;
}

/** The path without doubled or trailing slashes and `.` components. */
export function normalPath(path: string): string {
  return "/" + path.split("/").filter((part) => part !== "" && part !== ".").join("/");
}

/** An array of at least `minimum` items, each read by `item`. Wrong items are left out. */
export function array<T>(item: Reader<T>, minimum: number, what: string): Reader<readonly T[]> {
  return (value, problems) => {
    if (value.kind !== "array") return wrongType(value, `an array of ${what}`, problems);
    if (value.items.length < minimum) {
      return fail(value, `the array is empty; name at least ${minimum} of the ${what}`, problems);
    }
    return value.items
      .map((element) => item(element, problems))
      .filter((element) => element !== undefined);
  };
}

/** An item of an array together with its place. */
export function placed<T>(reader: Reader<T>): Reader<Field<T>> {
  return (value, problems) => {
    const result = reader(value, problems);
    return result === undefined ? undefined : { value: result, at: value.at };
  };
}

/** Records an error at a value. */
export function fail(value: TomlValue, message: string, problems: Problems): undefined {
  problems.error(value.at, message);
  return undefined;
}

/** The path of a key within a table. */
export function pathTo(parent: TomlTable, key: string): string {
  return parent.at.key === "" ? key : `${parent.at.key}.${key}`;
}

function wrongType(value: TomlValue, expected: string, problems: Problems): undefined {
  const article = /^[aio]/.test(value.kind) ? "an" : "a";
  return fail(value, `this is ${article} ${value.kind}; write ${expected}`, problems);
}

function withUnit(
  value: TomlValue,
  parse: (text: string) => Parsed,
  example: string,
  problems: Problems,
): number | undefined {
  if (value.kind !== "string" && value.kind !== "integer" && value.kind !== "float") {
    return wrongType(value, `a string such as ${example}`, problems);
  }
  const parsed = parse(String(value.value));
  return "error" in parsed ? fail(value, parsed.error, problems) : parsed.value;
}
