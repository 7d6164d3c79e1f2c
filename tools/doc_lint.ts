/**
 * `deno task doc`: every exported symbol is documented.
 *
 * Reads what `deno doc --json` found rather than `deno doc --lint`, which also asks for a comment on
 * each field and a written type on each constant; here a name and its type may speak for a field.
 * What must be documented: exported symbols, and the public methods of exported classes and
 * interfaces, unless a class takes them from an interface or base class that documents them.
 * Each folder under src needs one file that opens with an `@module` comment.
 *
 * @module
 */

/** A place that lacks documentation. */
export interface Gap {
  /** Path from the root of the repository, with the line, counted from 1, where there is one. */
  readonly where: string;
  /** What is missing there. */
  readonly what: string;
}

interface Location {
  readonly filename: string;
  readonly line: number;
}

interface Method {
  readonly name: string;
  readonly kind?: string;
  readonly accessibility?: string;
  readonly isOverride?: boolean;
  readonly jsDoc?: { readonly doc?: string };
  readonly location: Location;
}

interface Declaration {
  readonly kind: string;
  readonly declarationKind: string;
  readonly jsDoc?: { readonly doc?: string; readonly tags?: readonly unknown[] };
  readonly location: Location;
  readonly def?: {
    readonly methods?: readonly Method[];
    readonly implements?: readonly unknown[];
    readonly extends?: unknown;
  };
}

/** The part of `deno doc --json`, version 2, that this check reads. */
export interface DocOutput {
  readonly version: number;
  readonly nodes: Readonly<
    Record<string, {
      readonly symbols?: readonly {
        readonly name: string;
        readonly declarations: readonly Declaration[];
      }[];
    }>
  >;
}

/** The methods of one declaration that nobody documents. */
function undocumentedMethods(declaration: Declaration): Method[] {
  const { def, kind } = declaration;
  if (kind !== "class" && kind !== "interface") return [];
  const inherits = def?.implements !== undefined || typeof def?.extends === "string";
  if (kind === "class" && inherits) return [];
  return (def?.methods ?? []).filter((method) =>
    method.jsDoc === undefined &&
    method.isOverride !== true &&
    (method.accessibility ?? "public") === "public" &&
    (method.kind ?? "method") === "method" &&
    !method.name.startsWith("[")
  );
}

/**
 * The gaps in what `deno doc --json` printed.
 *
 * @param rootUrl URL of the repository's root, ending in a slash
 */
export function findGaps(output: DocOutput, rootUrl: string): Gap[] {
  if (output.version !== 2) {
    throw new Error(`deno doc printed version ${output.version}, doc_lint.ts reads version 2`);
  }
  const gaps: Gap[] = [];
  const report = (location: Location, what: string) => {
    const path = decodeURI(location.filename.replace(rootUrl, ""));
    gaps.push({ where: `${path}:${location.line + 1}`, what });
  };
  for (const module of Object.values(output.nodes)) {
    for (const symbol of module.symbols ?? []) {
      const exported = symbol.declarations.filter((d) =>
        d.declarationKind === "export" && d.kind !== "reference"
      );
      const first = exported[0];
      if (first === undefined) continue;
      // Overloads and merged declarations are one symbol: one comment is enough.
      if (!exported.some((d) => d.jsDoc?.doc !== undefined || d.jsDoc?.tags !== undefined)) {
        report(first.location, `exported ${first.kind} ${symbol.name} has no docstring`);
      }
      const documented = new Set<string>();
      for (const declaration of exported) {
        for (const method of undocumentedMethods(declaration)) {
          const overloads = (declaration.def?.methods ?? []).filter((m) => m.name === method.name);
          if (documented.has(method.name) || overloads.some((m) => m.jsDoc !== undefined)) continue;
          documented.add(method.name);
          report(method.location, `method ${symbol.name}.${method.name} has no docstring`);
        }
      }
    }
  }
  return gaps.sort((a, b) => a.where < b.where ? -1 : a.where > b.where ? 1 : 0);
}

/** Every TypeScript file under `folder`, fixtures aside, in the order of their paths. */
function sources(folder: string): string[] {
  const found: string[] = [];
  for (const entry of Deno.readDirSync(folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory && entry.name !== "fixtures") found.push(...sources(path));
    else if (entry.isFile && path.endsWith(".ts")) found.push(path);
  }
  return found.sort();
}

/** Folders directly under src none of whose files opens with an `@module` comment. */
function foldersWithoutModuleComment(src: string): Gap[] {
  return [...Deno.readDirSync(src)].filter((entry) => entry.isDirectory).flatMap((entry) => {
    const files = sources(`${src}/${entry.name}`);
    const explained = files.some((file) => Deno.readTextFileSync(file).includes("* @module"));
    return files.length === 0 || explained
      ? []
      : [{ where: `src/${entry.name}`, what: "no file has an @module comment" }];
  });
}

/** Checks the whole repository; returns the exit code. */
function main(): number {
  const rootUrl = new URL("../", import.meta.url);
  const root = rootUrl.pathname.replace(/\/$/, "");
  const files = [...sources(`${root}/src`), ...sources(`${root}/tools`)];
  const result = new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", "--quiet", ...files],
    cwd: root,
    stdin: "null",
  }).outputSync();
  const say = (text: string) => Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
  if (!result.success) {
    say(new TextDecoder().decode(result.stderr).trim());
    say("doc lint: deno doc could not read the sources; the first line above says why");
    return 1;
  }
  const output: DocOutput = JSON.parse(new TextDecoder().decode(result.stdout));
  const gaps = [...findGaps(output, rootUrl.href), ...foldersWithoutModuleComment(`${root}/src`)];
  for (const gap of gaps) say(`${gap.where}: ${gap.what}`);
  if (gaps.length > 0) {
    say(`doc lint: ${gaps.length} gaps in ${files.length} files; add a /** comment */ to each`);
    return 1;
  }
  return 0;
}

if (import.meta.main) Deno.exitCode = main();
