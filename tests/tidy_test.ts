import assert from "node:assert/strict";
import { checkPatches } from "../tools/mutate/mutation.ts";
import { MUTATIONS } from "../tools/mutate/mutations.ts";
import { codeOf, filesUnder, type Import, importsOf, ROOT, textOf } from "./source_tree.ts";

const FILES = filesUnder();
const isText = (path: string) => /\.(ts|js|c|h|sh|md|json|toml|html|css|txt)$|\/run$/.test(path);
const SOURCES = FILES.filter((path) => /^(src\/.*|main)\.ts$/.test(path));
const IMPORTS = SOURCES.flatMap(importsOf);

const PURE = ["cluster", "volume", "nbd", "wire"];
const isPure = (path: string) =>
  PURE.some((folder) => path.startsWith(`src/${folder}/`)) || path === "src/config/types.ts";

/**
 * Which folders of src a folder may import from, beside itself. Arrows run one way: the command line
 * starts the agent, the agent runs the pure parts, and the operating system is at the bottom.
 */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  cluster: [...PURE, "config"],
  volume: [...PURE, "config"],
  nbd: [...PURE, "config"],
  wire: [...PURE, "config"],
  config: PURE,
  os: [],
  resource: [...PURE, "config", "os"],
  status: [...PURE, "config", "os", "resource"],
  agent: [...PURE, "config", "os", "resource", "status"],
  sim: [...PURE, "config", "resource"],
  cli: [...PURE, "config", "resource", "status", "agent", "sim", "demo"],
  demo: [...PURE, "config", "resource", "status", "agent", "cli"],
};

/** The folder of src that a path is in; "main" for main.ts. */
function partOf(path: string): string {
  return /^src\/([^/]+)\//.exec(path)?.[1] ?? (path === "main.ts" ? "main" : "");
}

function assertNone(problems: readonly string[], rule: string): void {
  assert.ok(problems.length === 0, `${rule}:\n  ${problems.join("\n  ")}`);
}

/** Words that, as code, reach outside a pure file; the linter knows more, and knows names apart. */
const IMPURE_CODE =
  /(?<![.\w$])(?:Deno|async|await|Promise|Date|performance|console|globalThis|set(?:Timeout|Interval|Immediate)|queueMicrotask|fetch|FinalizationRegistry|WeakRef)\b(?!\s*\??:)|\bMath\s*\.\s*random|\bimport\s*(?:\(|\.\s*meta)|(?<![.\w$])crypto\s*\./;

const PURE_BUILTINS = ["node:zlib", "node:crypto", "node:buffer"];

Deno.test("pure folders hold no word that reaches outside", () => {
  const problems = SOURCES.filter(isPure).flatMap((path) =>
    codeOf(textOf(path)).split("\n").flatMap((line, index) => {
      const found = IMPURE_CODE.exec(line);
      return found === null ? [] : [`${path}:${index + 1}: ${found[0]}`];
    })
  );
  assertNone(problems, "a pure file must depend on its inputs alone");
});

Deno.test("pure folders import pure files and pure built-ins only", () => {
  const problems = IMPORTS.filter(({ from, to }) =>
    isPure(from) && !isPure(to) && !PURE_BUILTINS.includes(to)
  ).map(({ from, to }) => `${from} imports ${to}`);
  assertNone(problems, "a pure file must import nothing impure");
});

Deno.test("the check by text sees code, and only code", () => {
  const seen = (source: string) => IMPURE_CODE.test(codeOf(source));
  for (
    const source of [
      "const a = Deno.args;",
      "x(async () => 1);",
      "let d: Date;",
      "`text ${Date.now()} text`",
      "`${ { a: `${await b}` } }`",
      '/[/"]/; Math.random()',
      "import.meta.url",
    ]
  ) assert.ok(seen(source), source);
  for (
    const source of [
      "// Deno and await",
      "/* async\n Promise */",
      "\"Deno.args\" + 'await'",
      "`await ${a} Promise \\` Date ${b}`",
      'const r = /await "/; f(r);',
      "interface A { Date: number; performance?: string }",
      "a.fetch(1); a.crypto.b;",
    ]
  ) assert.ok(!seen(source), source);
});

Deno.test("deno lint, as configured, refuses a planted impurity", async () => {
  const folder = await Deno.makeTempDir({ prefix: "bascule-test-" });
  try {
    await Deno.mkdir(`${folder}/src/cluster`, { recursive: true });
    const planted = `${folder}/src/cluster/planted.ts`;
    const lint = async (source: string) => {
      await Deno.writeTextFile(planted, source);
      const { code, stderr, stdout } = await new Deno.Command(Deno.execPath(), {
        args: ["lint", "--config", `${ROOT}/deno.json`, planted],
        stdin: "null",
        env: { NO_COLOR: "1" },
      }).output();
      return { code, said: new TextDecoder().decode(stderr) + new TextDecoder().decode(stdout) };
    };
    const impure = await lint("/** Now. */\nexport const now = (): number => Date.now();\n");
    assert.equal(impure.code, 1, impure.said);
    assert.match(impure.said, /bascule\/pure/);
    const pure = await lint(
      "/** Next. */\nexport const next = (now: number): number => now + 1;\n",
    );
    assert.equal(pure.code, 0, pure.said);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the arrows between folders run one way", () => {
  const problems = IMPORTS.flatMap(({ from, to }) => {
    if (!/^(src|tests|tools)\/|^main\.ts$/.test(to)) return [];
    const [here, there] = [partOf(from), partOf(to)];
    if (here === there && here !== "") return [];
    const allowed = here === "main" ? ["cli", "agent"] : ARROWS[here];
    if (allowed === undefined) return [`${from}: src/${here} is not in the table of arrows`];
    return allowed.includes(there) ? [] : [`${from} imports ${to}`];
  });
  assertNone(problems, "an import against the arrows; move the code or pass the value in");
});

/** The first cycle of imports among `imports`, as paths, or undefined. */
function findCycle(imports: readonly Import[]): string[] | undefined {
  const next = Map.groupBy(imports, (edge) => edge.from);
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (path: string): string[] | undefined => {
    if (done.has(path)) return undefined;
    const seen = trail.indexOf(path);
    if (seen >= 0) return [...trail.slice(seen), path];
    trail.push(path);
    for (const edge of next.get(path) ?? []) {
      const cycle = visit(edge.to);
      if (cycle !== undefined) return cycle;
    }
    trail.pop();
    done.add(path);
    return undefined;
  };
  for (const path of next.keys()) {
    const cycle = visit(path);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

Deno.test("no file needs itself, at any distance, to be loaded", () => {
  assert.deepEqual(findCycle(IMPORTS.filter((edge) => !edge.typeOnly)), undefined);
  const edge = (from: string, to: string): Import => ({ from, to, typeOnly: false });
  assert.deepEqual(findCycle([edge("a", "b"), edge("b", "c"), edge("c", "b")]), ["b", "c", "b"]);
});

Deno.test("foreign functions are called in src/os only", () => {
  const callers = FILES.filter((path) =>
    path.endsWith(".ts") && !path.startsWith("src/os/") && !path.includes("/fixtures/") &&
    /\bdlopen\b/.test(codeOf(textOf(path)))
  );
  assertNone(callers, "Deno.dlopen belongs in src/os");
});

Deno.test("files are small and named for what they are", () => {
  const long = FILES.filter((path) => /\.(ts|js|c|h|sh|html|css|toml)$|\/run$/.test(path))
    .map((path) => ({ path, lines: textOf(path).split("\n").length - 1 }))
    .filter(({ lines }) => lines > 500);
  assertNone(long.map(({ path, lines }) => `${path} has ${lines} lines`), "at most 500 lines");
  const vague = FILES.filter((path) => /(^|[/_.-])(utils?|helpers?|misc)([/_.-]|$)/.test(path));
  assertNone(vague, "name a file by the one thing it is about");
});

Deno.test("no package.json: deno would resolve imports by it", () => {
  assertNone(FILES.filter((path) => /(^|\/)package(-lock)?\.json$/.test(path)), "remove");
});

Deno.test("each part has its tests, in the folder of the same name", () => {
  const parts = new Set(
    SOURCES.filter((path) => !path.endsWith("/types.ts") && path !== "main.ts").map(partOf),
  );
  const untested = [...parts].filter((part) =>
    !FILES.some((path) => path.startsWith(`tests/${part}/`) && path.endsWith("_test.ts"))
  );
  assertNone(untested.map((part) => `src/${part} has no tests/${part}/…_test.ts`), "missing tests");
  const unheard = FILES.filter((path) =>
    /^tests\/.*test.*\.ts$/.test(path) && /Deno\s*\.\s*test\s*\(/.test(codeOf(textOf(path))) &&
    !path.endsWith("_test.ts")
  );
  assertNone(unheard, "deno runs tests only in files that end with _test.ts");
});

Deno.test("the README says why each npm package is there", () => {
  const config: { imports: Record<string, string> } = JSON.parse(textOf("deno.json"));
  const section = /\n## Dependencies\n([\s\S]*?)(?=\n## |$)/.exec(textOf("README.md"))?.[1] ?? "";
  const rows = [...section.matchAll(/^\| `([^`]+)` \|[^|]*\S[^|]*\|[^|]*\S[^|]*\|$/gm)];
  const explained = rows.map(([, name]) => name).sort();
  const imported = Object.entries(config.imports).filter(([, to]) => to.startsWith("npm:"))
    .map(([name]) => name).sort();
  assert.deepEqual(explained, imported);
  const used = new Set(
    FILES.filter((path) => path.endsWith(".ts")).flatMap(importsOf).map(({ to }) => to),
  );
  const idle = imported.filter((name) =>
    ![...used].some((specifier) => specifier === name || specifier.startsWith(`${name}/`))
  );
  assertNone(idle, "mapped in deno.json, imported nowhere");
});

Deno.test("nothing is left for later, and nothing speaks of a place that readers do not have", () => {
  const later = new RegExp(
    `\\b(${["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"].join("|")})\\b`,
  );
  const elsewhere = new RegExp(`(?<![\\w.])/${"wo" + "rk"}/`);
  const documents = new Set(FILES.map((path) => path.replace(/^.*\//, "")));
  const problems = FILES.filter(isText).flatMap((path) =>
    textOf(path).split("\n").flatMap((line, index) => {
      const where = `${path}:${index + 1}`;
      const missing = [...line.matchAll(/\b[A-Z][A-Z_-]+\.md\b/g)].map(([name]) => name)
        .filter((name) => !documents.has(name));
      return [
        ...(later.test(line) ? [`${where}: finish it`] : []),
        ...(elsewhere.test(line) ? [`${where}: a path of one machine`] : []),
        ...missing.map((name) => `${where}: ${name} is not in the repository`),
      ];
    })
  );
  assertNone(problems, "to be mended");
});

Deno.test("every mutation still fits the code that it changes", () => {
  for (const mutation of MUTATIONS) checkPatches(mutation);
  const names = MUTATIONS.flatMap(({ name, number }) => [name, String(number)]);
  assert.equal(new Set(names).size, names.length, "names and numbers are unique");
});

Deno.test("each task of deno.json runs something that exists", () => {
  const { tasks }: { tasks: Record<string, string> } = JSON.parse(textOf("deno.json"));
  const problems = Object.entries(tasks).flatMap(([name, command]) =>
    [...command.matchAll(/[\w/]+\.ts/g)].filter(([path]) => !FILES.includes(path))
      .map(([path]) => `task ${name} runs ${path}`)
  );
  assertNone(problems, "missing scripts");
});

Deno.test("no test runs alone, and none is switched off but by what a machine lacks", () => {
  const problems = FILES.filter((path) => {
    if (!path.startsWith("tests/") || path === "tests/tidy_test.ts") return false;
    return /\.test\s*\.\s*only\b|\bonly\s*:\s*true/.test(codeOf(textOf(path))) ||
      /\.test\s*\.\s*ignore\((?!\s*[`"]not run here \()/.test(textOf(path));
  });
  assertNone(problems, "remove .only; .ignore is for tests named `not run here (…)`");
});
