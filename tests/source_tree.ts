/**
 * The repository's files as text, for the tests that look after its order.
 *
 * @module
 */

/** The repository's root, without a slash at the end. */
export const ROOT: string = new URL("../", import.meta.url).pathname.replace(/\/$/, "");

/** Folders that no one writes by hand. */
const NOT_SOURCE = new Set([".git", "dist", "node_modules"]);

/** Paths, from the root, of every file under `folder`, sorted. */
export function filesUnder(folder = ""): string[] {
  const found: string[] = [];
  for (const entry of Deno.readDirSync(`${ROOT}/${folder}`)) {
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory && !NOT_SOURCE.has(entry.name)) found.push(...filesUnder(path));
    else if (entry.isFile && !path.endsWith(".tmp")) found.push(path);
  }
  return found.sort();
}

/** A file's text, by its path from the root. */
export function textOf(path: string): string {
  return Deno.readTextFileSync(`${ROOT}/${path}`);
}

/**
 * TypeScript with comments, and the insides of strings and regular expressions, blanked out: what is
 * left is code. Expressions inside template strings stay. Lines keep their numbers.
 */
export function codeOf(source: string): string {
  const token =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`|\$\{|[{}]|(?<=[=(,:;!&|?[{}\n]\s*|\breturn\s+)\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*/g;
  const blank = (text: string) => text.replace(/[^\n]/g, " ");
  /** What each open brace belongs to: a template's expression, or plain code. */
  const braces: ("template" | "code")[] = [];
  let code = "";
  let at = 0;
  const skipTemplateText = () => {
    const end = /(?:\\[\s\S]|\$(?!\{)|[^`\\$])*(`|\$\{|$)/y;
    end.lastIndex = at;
    const match = end.exec(source);
    code += blank(match?.[0] ?? "");
    at = match === null ? source.length : end.lastIndex;
    if (match?.[1] === "${") braces.push("template");
  };
  while (at < source.length) {
    token.lastIndex = at;
    const match = token.exec(source);
    if (match === null) return code + source.slice(at);
    code += source.slice(at, match.index);
    at = token.lastIndex;
    const [text] = match;
    if (text === "`") skipTemplateText();
    else if (text === "{" || text === "${") {
      braces.push("code");
      code += text;
    } else if (text === "}") {
      code += text;
      if (braces.pop() === "template") skipTemplateText();
    } else code += blank(text);
  }
  return code;
}

/** An import or re-export of a file. */
export interface Import {
  /** The file that has it, from the root. */
  readonly from: string;
  /** A path from the root when the specifier was relative, else the specifier. */
  readonly to: string;
  /** Whether it vanishes when types are erased. */
  readonly typeOnly: boolean;
}

/** The static imports and re-exports of a TypeScript file. */
export function importsOf(path: string): Import[] {
  const statement =
    /^\s*(?:import|export)\s+(type\s+)?(?:[\w*$\s{},]+?\s+from\s+)?["']([^"'\n]+)["']/gm;
  return [...textOf(path).matchAll(statement)].map(([, type, specifier = ""]) => ({
    from: path,
    to: specifier.startsWith(".")
      ? new URL(specifier, `file:///${path}`).pathname.slice(1)
      : specifier,
    typeOnly: type !== undefined,
  }));
}
