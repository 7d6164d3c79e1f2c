/**
 * Complete checks of values that came from outside: a shape either rebuilds the value from its known
 * parts alone or throws {@linkcode ShapeError}. Rebuilding is what keeps `__proto__` and surprises of
 * the sender out: nothing of the parsed JSON survives but strings, numbers and booleans.
 */

/** What is wrong, and where in the value. */
export class ShapeError extends Error {
  override readonly name = "ShapeError";
}

/** Checks a value found at `path` and gives it back rebuilt. Throws {@linkcode ShapeError}. */
export type Shape<T> = (value: unknown, path: string) => T;

/** A field that may be absent. Absent and `undefined` are the same; `null` is not. */
export interface OptionalField<T> {
  readonly optional: Shape<T>;
}

type Field = Shape<unknown> | OptionalField<unknown>;
type Built<F extends Record<string, Field>> =
  & { [K in keyof F as F[K] extends Shape<unknown> ? K : never]: ValueOf<F[K]> }
  & { [K in keyof F as F[K] extends Shape<unknown> ? never : K]?: ValueOf<F[K]> };
type ValueOf<F> = F extends Shape<infer T> ? T : F extends OptionalField<infer T> ? T : never;

/** Longest name of a node, group, volume or register, in UTF-16 units. */
export const NAME_MAX = 255;
/** Longest free text (reasons), in UTF-16 units. */
export const TEXT_MAX = 4096;
/** Most entries of one map or list. */
export const ENTRIES_MAX = 1024;

function refuse(path: string, wanted: string, value: unknown): never {
  const shown = typeof value === "string"
    ? `a string of ${value.length} characters`
    : value === null
    ? "null"
    : Array.isArray(value)
    ? `a list of ${value.length}`
    : typeof value === "number" || typeof value === "boolean"
    ? String(value)
    : `of type ${typeof value}`;
  throw new ShapeError(`${path} must be ${wanted}, it is ${shown}`);
}

/** A string of `min` to `max` UTF-16 units. */
export function text(min: number, max: number): Shape<string> {
  return (value, path) =>
    typeof value === "string" && value.length >= min && value.length <= max
      ? value
      : refuse(path, `a string of ${min} to ${max} characters`, value);
}

/** A name: never empty, never long, and never `__proto__`, which no map can hold safely. */
export const name: Shape<string> = (value, path) => {
  const checked = text(1, NAME_MAX)(value, path);
  if (checked === "__proto__") throw new ShapeError(`${path} must not be "__proto__"`);
  return checked;
};

/** A whole number from 0 to 2^53 − 1. */
export const count: Shape<number> = (value, path) =>
  Number.isSafeInteger(value) && (value as number) >= 0
    ? (value as number) + 0
    : refuse(path, "a whole number from 0 to 2^53 - 1", value);

/** `true` or `false`. */
export const flag: Shape<boolean> = (value, path) =>
  typeof value === "boolean" ? value : refuse(path, "true or false", value);

/** One of a few words. */
export function oneOf<const W extends string>(...words: readonly W[]): Shape<W> {
  return (value, path) =>
    words.includes(value as W) ? value as W : refuse(path, `one of ${words.join(", ")}`, value);
}

/** The shape, or `null`. */
export function orNull<T>(shape: Shape<T>): Shape<T | null> {
  return (value, path) => value === null ? null : shape(value, path);
}

/** A field that may be absent. */
export function optional<T>(shape: Shape<T>): OptionalField<T> {
  return { optional: shape };
}

/** A list of at most {@linkcode ENTRIES_MAX}. */
export function list<T>(shape: Shape<T>): Shape<readonly T[]> {
  return (value, path) => {
    if (!Array.isArray(value) || value.length > ENTRIES_MAX) {
      refuse(path, `a list of at most ${ENTRIES_MAX}`, value);
    }
    return value.map((item, index) => shape(item, `${path}[${index}]`));
  };
}

/**
 * A map from names to values, rebuilt without a prototype, so that looking up `constructor` in it
 * finds nothing that the sender did not put there.
 */
export function map<K extends string, T>(
  key: Shape<K>,
  shape: Shape<T>,
): Shape<Readonly<Record<K, T>>> {
  return (value, path) => {
    const source = plainObject(value, path);
    const names = Object.keys(source);
    if (names.length > ENTRIES_MAX) {
      throw new ShapeError(`${path} must have at most ${ENTRIES_MAX} entries, has ${names.length}`);
    }
    const built = Object.create(null) as Record<K, T>;
    for (const found of names) {
      const checked = key(found, `a key of ${path}`);
      built[checked] = shape(source[found], `${path}.${found}`);
    }
    return built;
  };
}

/**
 * An object with these fields. `unknown` fields are dropped where they are mere hints of a newer
 * peer, and refused where the value is stored: a voter keeps exactly what it accepted, or nothing.
 */
export function object<const F extends Record<string, Field>>(
  fields: F,
  unknown: "drop" | "refuse",
): Shape<Built<F>> {
  const names = Object.keys(fields);
  return (value, path) => {
    const source = plainObject(value, path);
    const built: Record<string, unknown> = {};
    for (const found of names) {
      const field = fields[found]!;
      const there = Object.hasOwn(source, found) ? source[found] : undefined;
      if (typeof field === "function") {
        if (there === undefined) throw new ShapeError(`${path}.${found} is missing`);
        built[found] = field(there, `${path}.${found}`);
      } else if (there !== undefined) {
        built[found] = field.optional(there, `${path}.${found}`);
      }
    }
    if (unknown === "refuse") {
      const extra = Object.keys(source).find((found) => !Object.hasOwn(fields, found));
      if (extra !== undefined) {
        throw new ShapeError(`${path} has the unknown field ${extra.slice(0, NAME_MAX)}`);
      }
    }
    return built as Built<F>;
  };
}

function plainObject(value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    refuse(path, "an object", value);
  }
  return value as Record<string, unknown>;
}
