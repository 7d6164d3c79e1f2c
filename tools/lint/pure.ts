/**
 * Lint plugin that keeps the pure folders pure: what decides (cluster, volume, nbd, wire) gets events
 * and returns effects, so that production and the simulator run the same code and a failing run can
 * be replayed from its seed. A clock, a random number or a promise of its own would end that.
 *
 * `bascule/pure` holds in the pure folders, `bascule/ffi` everywhere.
 *
 * @module
 */

/** Folders (and one file) whose code must be a function of its inputs alone. */
export const PURE_PATHS = /(^|\/)src\/(?:(?:cluster|volume|nbd|wire)\/|config\/types\.ts$)/;

/** The one folder that may call foreign functions. */
const FFI_HOME = /(^|\/)src\/os\//;

/** Built-in modules that compute and nothing else: the names a pure file may import; null: all. */
export const PURE_BUILTINS: Readonly<Record<string, readonly string[] | null>> = {
  "node:zlib": ["crc32"],
  "node:crypto": [
    "createHash",
    "createCipheriv",
    "createDecipheriv",
    "createHmac",
    "hkdfSync",
    "timingSafeEqual",
    "Hash",
    "Hmac",
  ],
  "node:buffer": null,
};

const CLOCK = "take the time from the event that carries it";
const TIMER = "return an effect that asks for a timer";
const EFFECT = "return an effect and let the agent carry it out";
const CHANCE = "take the random value from the event or the seed that carries it";
const SYNC = "make it a plain function and take the later result as an event";

/** Globals that reach outside: the mend for each. No local name may shadow these. */
const FORBIDDEN: ReadonlyMap<string, string> = new Map([
  ["Deno", EFFECT],
  ["Promise", SYNC],
  ["Date", CLOCK],
  ["Temporal", CLOCK],
  ["performance", CLOCK],
  ["crypto", "import createHash or createHmac from node:crypto, or take randomness from an event"],
  ["console", "return an effect that says what happened"],
  ["globalThis", "name the function you need, if it is a pure one"],
  ["setTimeout", TIMER],
  ["setInterval", TIMER],
  ["setImmediate", TIMER],
  ["clearTimeout", TIMER],
  ["clearInterval", TIMER],
  ["clearImmediate", TIMER],
  ["queueMicrotask", SYNC],
  ["fetch", EFFECT],
  ["WebSocket", EFFECT],
  ["Worker", EFFECT],
  ["eval", "write the code out"],
  ["FinalizationRegistry", "free it by an explicit call: when garbage is collected is chance"],
  ["WeakRef", "hold a plain reference: when garbage is collected is chance"],
]);

/** Globals whose names are ordinary words too: forbidden unless the file declares the name. */
const FORBIDDEN_UNLESS_LOCAL: ReadonlyMap<string, string> = new Map([
  ["window", EFFECT],
  ["self", EFFECT],
  ["process", EFFECT],
  ["navigator", EFFECT],
  ["location", EFFECT],
  ["require", "import it"],
  ["alert", EFFECT],
  ["confirm", EFFECT],
  ["prompt", EFFECT],
]);

/** A syntax node seen without its kind: what a rule looks at whatever the node is. */
interface AnyNode {
  readonly type: string;
  readonly range: [number, number];
  readonly [key: string]: unknown;
}

function asNode(value: unknown): AnyNode | undefined {
  return typeof value === "object" && value !== null && "type" in value
    ? value as AnyNode
    : undefined;
}

/** Whether `node` names a property, a label or a module's export rather than a variable. */
function isMereName(node: AnyNode, parent: AnyNode): boolean {
  const at = (key: string) => asNode(parent[key])?.range[0] === node.range[0];
  switch (parent.type) {
    case "MemberExpression":
      return parent.computed !== true && at("property");
    case "TSQualifiedName":
      return at("right");
    case "Property":
      return parent.computed !== true && parent.shorthand !== true && at("key");
    case "MethodDefinition":
    case "TSAbstractMethodDefinition":
    case "PropertyDefinition":
    case "TSAbstractPropertyDefinition":
    case "AccessorProperty":
    case "TSPropertySignature":
    case "TSMethodSignature":
      return parent.computed !== true && at("key");
    case "TSEnumMember":
      return at("id");
    case "LabeledStatement":
    case "BreakStatement":
    case "ContinueStatement":
      return true;
    case "ImportSpecifier":
      return at("imported") && asNode(parent.local)?.range[0] !== node.range[0];
    case "ExportSpecifier":
      return at("exported") && asNode(parent.local)?.range[0] !== node.range[0];
    case "ImportAttribute":
    case "MetaProperty":
    case "TSNamedTupleMember":
      return true;
    default:
      return false;
  }
}

const DECLARING: ReadonlySet<string> = new Set([
  "VariableDeclarator",
  "FunctionDeclaration",
  "FunctionExpression",
  "TSDeclareFunction",
  "ArrowFunctionExpression",
  "ClassDeclaration",
  "ClassExpression",
  "CatchClause",
  "ImportSpecifier",
  "ImportDefaultSpecifier",
  "ImportNamespaceSpecifier",
  "TSInterfaceDeclaration",
  "TSTypeAliasDeclaration",
  "TSEnumDeclaration",
  "TSTypeParameter",
  "TSFunctionType",
  "TSConstructorType",
  "TSCallSignatureDeclaration",
  "TSConstructSignatureDeclaration",
  "TSEmptyBodyFunctionExpression",
  "TSMethodSignature",
]);

/** Whether the file itself gives the name a meaning at this node. */
function isDeclaration(node: AnyNode): boolean {
  let child = node;
  let parent = asNode(node.parent);
  while (parent !== undefined && !DECLARING.has(parent.type)) {
    if (parent.type === "Property") {
      if (asNode(parent.value)?.range[0] !== child.range[0]) return false;
    } else if (parent.type === "AssignmentPattern") {
      if (asNode(parent.left)?.range[0] !== child.range[0]) return false;
    } else if (
      !/^(ObjectPattern|ArrayPattern|RestElement|TSParameterProperty)$/.test(parent.type)
    ) {
      return false;
    }
    child = parent;
    parent = asNode(parent.parent);
  }
  if (parent === undefined) return false;
  const start = child.range[0];
  const isParameter = Array.isArray(parent.params) &&
    parent.params.some((param) => asNode(param)?.range[0] === start);
  return isParameter ||
    ["id", "local", "name", "param"].some((key) => asNode(parent[key])?.range[0] === start);
}

/** Where an import leads from `importer`: a path, or the specifier itself if it is not relative. */
export function importTarget(importer: string, specifier: string): string {
  if (!/^\.{1,2}\//.test(specifier)) return specifier;
  return new URL(specifier, `file://${importer.startsWith("/") ? "" : "/"}${importer}`).pathname;
}

const pureRule: Deno.lint.Rule = {
  create(ctx) {
    if (!PURE_PATHS.test(ctx.filename)) return {};
    const refuse = (node: { readonly range: [number, number] }, what: string, hint: string) =>
      ctx.report({
        range: node.range,
        message: `${what} in a pure folder: its code must depend on its inputs alone`,
        hint,
      });
    const locals = new Set<string>();
    const ordinary: { node: AnyNode; name: string; mend: string }[] = [];

    const checkImport = (node: AnyNode) => {
      const source = asNode(node.source);
      if (source === undefined || typeof source.value !== "string") return;
      const target = importTarget(ctx.filename, source.value);
      const names = PURE_BUILTINS[target];
      if (names === undefined) {
        if (!PURE_PATHS.test(target)) {
          refuse(
            source,
            `import of "${source.value}"`,
            "import from a pure folder or src/config/types.ts, or have the agent pass the value in",
          );
        }
        return;
      }
      if (names === null) return;
      const specifiers = Array.isArray(node.specifiers) ? node.specifiers.map(asNode) : [];
      if (specifiers.length === 0) refuse(node, `unnamed use of "${target}"`, "import names");
      for (const specifier of specifiers) {
        if (specifier === undefined) continue;
        const imported = asNode(specifier.imported) ?? asNode(specifier.local);
        const name = String(imported?.name ?? imported?.value ?? "");
        const named = specifier.type === "ImportSpecifier" || specifier.type === "ExportSpecifier";
        if (!named || !names.includes(name)) {
          refuse(
            specifier,
            `import of ${named ? name : "everything"} from "${target}"`,
            `only ${names.join(", ")} may be imported from there`,
          );
        }
      }
    };
    const checkAsync = (node: { readonly range: [number, number]; readonly async: boolean }) => {
      if (node.async) refuse(node, "async function", SYNC);
    };

    return {
      ImportDeclaration: (node) => checkImport(node as unknown as AnyNode),
      ExportAllDeclaration: (node) => checkImport(node as unknown as AnyNode),
      ExportNamedDeclaration: (node) => checkImport(node as unknown as AnyNode),
      ImportExpression: (node) => refuse(node, "import()", "import it at the top of the file"),
      TSImportType: (node) =>
        refuse(node, "import() type", "import the type at the top of the file"),
      TSImportEqualsDeclaration: (node) => refuse(node, "import =", "use an import declaration"),
      MetaProperty(node) {
        if (ctx.sourceCode.getText(node).startsWith("import")) {
          refuse(node, "import.meta", "take the value as a parameter");
        }
      },
      FunctionDeclaration: checkAsync,
      FunctionExpression: checkAsync,
      ArrowFunctionExpression: checkAsync,
      AwaitExpression: (node) => refuse(node, "await", SYNC),
      ForOfStatement(node) {
        if (node.await) refuse(node, "for await", SYNC);
      },
      VariableDeclaration(node) {
        if (String(node.kind) === "await using") refuse(node, "await using", SYNC);
      },
      Identifier(identifier) {
        const node = identifier as unknown as AnyNode;
        const parent = asNode(node.parent);
        const name = String(node.name);
        if (parent === undefined || isMereName(node, parent)) return;
        if (isDeclaration(node)) locals.add(name);
        const mend = FORBIDDEN.get(name);
        if (mend !== undefined) refuse(node, name, mend);
        const otherMend = FORBIDDEN_UNLESS_LOCAL.get(name);
        if (otherMend !== undefined) ordinary.push({ node, name, mend: otherMend });
        if (name === "Math" && mathIsChance(node, parent)) refuse(parent, "Math.random", CHANCE);
      },
      "Program:exit"() {
        for (const { node, name, mend } of ordinary) {
          if (!locals.has(name)) refuse(node, name, mend);
        }
      },
    };
  },
};

/** Whether this use of `Math` is, or could be, its random number generator. */
function mathIsChance(node: AnyNode, parent: AnyNode): boolean {
  if (parent.type === "TSTypeQuery") return false;
  if (parent.type !== "MemberExpression" || asNode(parent.object)?.range[0] !== node.range[0]) {
    return true; // Math handed on whole may be asked for random anywhere
  }
  const property = asNode(parent.property);
  return parent.computed === true || property?.name === "random";
}

const ffiRule: Deno.lint.Rule = {
  create(ctx) {
    if (FFI_HOME.test(ctx.filename) || /(^|\/)tests\/.*\/fixtures\//.test(ctx.filename)) return {};
    const refuse = (node: { readonly range: [number, number] }) =>
      ctx.report({
        range: node.range,
        message: "Deno.dlopen outside src/os: every foreign call belongs behind that one boundary",
        hint: "add a typed function to src/os and call that",
      });
    return {
      MemberExpression(node) {
        const property = asNode(node.property);
        if (property?.name === "dlopen" || property?.value === "dlopen") refuse(node.property);
      },
      Property(node) {
        const key = asNode(node.key);
        if (asNode(node.parent)?.type !== "ObjectPattern") return;
        if (key?.name === "dlopen" || key?.value === "dlopen") refuse(node.key);
      },
    };
  },
};

/** The plugin, as deno.json names it. */
const plugin: Deno.lint.Plugin = {
  name: "bascule",
  rules: { pure: pureRule, ffi: ffiRule },
};
export default plugin;
