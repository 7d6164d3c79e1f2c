/**
 * TOML text as a tree in which every value knows its line, column and key path. The parser gives a
 * syntax tree in file order; here dotted keys, `[tables]` and inline tables become one shape.
 *
 * @module
 */

import { type AST, ParseError, parseTOML } from "toml-eslint-parser";
import type { Place, Problems } from "./problem.ts";

/** A value with its place. */
export type TomlValue = TomlScalar | TomlArray | TomlTable;

/** A string, number, boolean or date. */
export type TomlScalar =
  & { readonly at: Place }
  & (
    | { readonly kind: "string"; readonly value: string }
    | { readonly kind: "integer" | "float"; readonly value: number }
    | { readonly kind: "boolean"; readonly value: boolean }
    | { readonly kind: "date"; readonly value: Date }
  );

/** An array, or the tables of a `[[header]]`. */
export interface TomlArray {
  readonly kind: "array";
  readonly at: Place;
  readonly items: TomlValue[];
}

/** A table, however it was written. */
export interface TomlTable {
  readonly kind: "table";
  readonly at: Place;
  /** In file order. */
  readonly entries: Map<string, TomlEntry>;
}

/** A key of a table: where the key stands, and its value. */
export interface TomlEntry {
  readonly at: Place;
  readonly value: TomlValue;
}

type KeyNode = AST.TOMLBare | AST.TOMLQuoted;

/** Deeper nesting is refused: no configuration needs it, and the tree is walked by recursion. */
const MAX_DEPTH = 32;

/** The parser's messages that are better said in other words. */
const PLAIN_WORDS: Readonly<Record<string, string>> = {
  "Unspecified values are invalid": "the value after the equals sign is missing",
  "Expected equal (=) token": "a key must be followed by = and a value",
  "Defining a key multiple times is invalid":
    "this key or table is defined twice; keep one of the two",
  "Unterminated string constant": "this string has no closing quote",
  "Unterminated array": "this array has no closing ]",
  "Unterminated inline table": "this inline table has no closing }",
  "Unexpected character": "not TOML from here on; text needs quotes, a comment needs #",
  "Unexpected token": "not TOML from here on; text needs quotes, a comment needs #",
  "Must be a newline": "one key a line; start a new line here",
};

/** Reads TOML 1.0. Returns nothing if the text is not TOML; the problem then tells why. */
export function readToml(text: string, problems: Problems): TomlTable | undefined {
  let program: AST.TOMLProgram;
  try {
    program = parseTOML(text, { tomlVersion: "1.0" });
  } catch (error) {
    if (!(error instanceof ParseError)) throw error;
    reportSyntax(text, error, problems);
    return undefined;
  }
  return new TreeBuilder(problems).build(program);
}

/** What the parser says when it has read past the end of a header without `]`. */
const OPEN_HEADER = [
  "Unterminated table-key",
  "The key, equals sign, and value must be on the same line",
];

/**
 * Records a syntax error. A missing value and a header without its end, which the parser notices
 * at the start of the next line only, are reported where they are.
 */
function reportSyntax(text: string, error: ParseError, problems: Problems): void {
  const lines = text.split(/\r?\n/);
  const line = lines[error.lineNumber - 1] ?? "";
  const previous = lines[error.lineNumber - 2] ?? "";
  const endOfPrevious = { line: error.lineNumber - 1, column: previous.length + 1, key: "" };
  if (line.slice(0, error.column).trim() === "") {
    if (/=\s*(#.*)?$/.test(previous)) {
      return problems.error(endOfPrevious, "the value after the equals sign is missing");
    }
    if (/^\s*\[[^\]]*$/.test(previous) && OPEN_HEADER.includes(error.message)) {
      return problems.error(endOfPrevious, "this table header has no closing ]");
    }
  }
  const here = { line: error.lineNumber, column: error.column + 1, key: "" };
  problems.error(here, PLAIN_WORDS[error.message] ?? error.message);
}

class TreeBuilder {
  readonly #problems: Problems;

  constructor(problems: Problems) {
    this.#problems = problems;
  }

  build(program: AST.TOMLProgram): TomlTable {
    const root = newTable({ line: 1, column: 1, key: "" });
    for (const node of program.body[0].body) {
      if (node.type === "TOMLKeyValue") this.#addKeyValue(root, node, 1);
      else this.#addHeader(root, node);
    }
    return root;
  }

  #addHeader(root: TomlTable, node: AST.TOMLTable): void {
    const keys = node.key.keys;
    if (keys.length > MAX_DEPTH) return this.#tooDeep(placeOf(node, ""));
    let table = root;
    for (const [index, key] of keys.entries()) {
      const last = index === keys.length - 1;
      table = last && node.kind === "array" ? appendTable(table, key) : childTable(table, key);
    }
    for (const child of node.body) this.#addKeyValue(table, child, keys.length);
  }

  #addKeyValue(into: TomlTable, node: AST.TOMLKeyValue, depth: number): void {
    const keys = node.key.keys;
    if (depth + keys.length > MAX_DEPTH) return this.#tooDeep(placeOf(node, into.at.key));
    let table = into;
    for (const key of keys.slice(0, -1)) table = childTable(table, key);
    const last = keys[keys.length - 1] as KeyNode;
    const path = join(table.at.key, nameOf(last));
    const value = this.#value(node.value, path, depth + keys.length);
    if (value !== undefined) {
      table.entries.set(nameOf(last), { at: placeOf(last, path), value });
    }
  }

  #value(node: AST.TOMLContentNode, path: string, depth: number): TomlValue | undefined {
    const at = placeOf(node, path);
    if (depth > MAX_DEPTH) {
      this.#tooDeep(at);
      return undefined;
    }
    switch (node.type) {
      case "TOMLArray":
        return {
          kind: "array",
          at,
          items: node.elements
            .map((element, index) => this.#value(element, `${path}[${index}]`, depth + 1))
            .filter((item) => item !== undefined),
        };
      case "TOMLInlineTable": {
        const table = newTable(at);
        for (const child of node.body) this.#addKeyValue(table, child, depth + 1);
        return table;
      }
      case "TOMLValue":
        return scalar(node, at);
    }
  }

  #tooDeep(at: Place): void {
    this.#problems.error(at, `nested more than ${MAX_DEPTH} levels deep; nothing here needs that`);
  }
}

function scalar(node: AST.TOMLValue, at: Place): TomlScalar {
  switch (node.kind) {
    case "string":
      return { kind: "string", at, value: node.value };
    case "integer":
    case "float":
      return { kind: node.kind, at, value: node.value };
    case "boolean":
      return { kind: "boolean", at, value: node.value };
    default:
      return { kind: "date", at, value: node.value };
  }
}

function newTable(at: Place): TomlTable {
  return { kind: "table", at, entries: new Map() };
}

/** The table under a key, made if missing; of an array of tables the newest one. */
function childTable(parent: TomlTable, key: KeyNode): TomlTable {
  const existing = parent.entries.get(nameOf(key))?.value;
  const table = existing?.kind === "array" ? existing.items.at(-1) : existing;
  if (table !== undefined) {
    if (table.kind !== "table") {
      throw new Error(`TOML parser let ${table.at.key} be both ${table.kind} and table`);
    }
    return table;
  }
  const at = placeOf(key, join(parent.at.key, nameOf(key)));
  const made = newTable(at);
  parent.entries.set(nameOf(key), { at, value: made });
  return made;
}

function appendTable(parent: TomlTable, key: KeyNode): TomlTable {
  const existing = parent.entries.get(nameOf(key))?.value;
  const at = placeOf(key, join(parent.at.key, nameOf(key)));
  const array: TomlArray = existing?.kind === "array" ? existing : { kind: "array", at, items: [] };
  if (array !== existing) parent.entries.set(nameOf(key), { at, value: array });
  const table = newTable({ ...at, key: `${at.key}[${array.items.length}]` });
  array.items.push(table);
  return table;
}

function nameOf(key: KeyNode): string {
  return key.type === "TOMLBare" ? key.name : key.value;
}

function placeOf(node: { readonly loc: AST.SourceLocation }, key: string): Place {
  return { line: node.loc.start.line, column: node.loc.start.column + 1, key };
}

function join(path: string, name: string): string {
  const quoted = /^[A-Za-z0-9_-]+$/.test(name) ? name : JSON.stringify(name);
  return path === "" ? quoted : `${path}.${quoted}`;
}
