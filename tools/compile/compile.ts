/**
 * `deno task compile`: makes dist/bascule, one executable file that needs no deno, no cache and no
 * network where it runs.
 *
 * With `denort` on this machine that is `deno compile`; without, an equivalent file: a small launcher,
 * the deno executable and the bundled program (launcher.c says how it starts). The program is bundled
 * first either way, so both forms run the same code and a worker is `new Worker(import.meta.url)`.
 *
 * @module
 */
import { bundle } from "./bundle.ts";
import { currentSurroundings, findDenort, type Surroundings } from "./denort.ts";
import {
  compileLauncher,
  DENO_ENVIRONMENT,
  joinParts,
  writeExecutable,
} from "./executable_file.ts";

/** Longest that `deno compile` may take, in milliseconds, before the launcher is used instead. */
const DENO_COMPILE_DEADLINE = 120_000;

/** What to compile. */
export interface CompileOptions {
  /** Folder with deno.json. */
  readonly root: string;
  /** Path of the main module. */
  readonly entry: string;
  /** Path of the executable to write; its folder is made. */
  readonly output: string;
  /** Where denort may be. */
  readonly surroundings: Surroundings;
  /** Told, one line each, what is done and why. */
  readonly say: (line: string) => void;
}

/**
 * Makes the executable.
 *
 * @returns which of the two forms it has
 * @throws with the reason and the mend when neither can be made
 */
export async function compile(options: CompileOptions): Promise<"deno compile" | "launcher"> {
  const { root, entry, output, say } = options;
  await Deno.mkdir(output.replace(/\/?[^/]*$/, "") || ".", { recursive: true });
  const denort = findDenort(options.surroundings);
  if (denort !== undefined) {
    const problem = await denoCompile(options);
    if (problem === undefined) {
      say(`${output}: made by deno compile with ${denort}`);
      return "deno compile";
    }
    say(`deno compile did not work with ${denort}: ${problem}`);
  }
  const deno = await readDeno();
  const program = await bundle(root, entry, Object.keys(DENO_ENVIRONMENT));
  const launcher = await compileLauncher();
  await writeExecutable(output, joinParts({ launcher, deno, program }));
  say(`${output}: launcher, deno ${Deno.version.deno} and program in one file`);
  return "launcher";
}

/** Runs `deno compile` on the bundle; returns what went wrong, if anything. */
async function denoCompile(options: CompileOptions): Promise<string | undefined> {
  const folder = await Deno.makeTempDir({ prefix: "bascule-compile-" });
  try {
    const script = `${folder}/bascule.js`;
    await Deno.writeTextFile(script, await bundle(options.root, options.entry, []));
    const made = `${folder}/bascule`;
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["compile", "--quiet", "--allow-all", "--no-config", "--output", made, script],
      cwd: folder,
      stdin: "null",
      env: { NO_COLOR: "1" },
      signal: AbortSignal.timeout(DENO_COMPILE_DEADLINE),
    }).output();
    if (!success) return new TextDecoder().decode(stderr).trim() || "it failed or took too long";
    await writeExecutable(options.output, [await Deno.readFile(made)]);
    return undefined;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The deno executable that runs this very program. */
async function readDeno(): Promise<Uint8Array> {
  const path = Deno.execPath();
  const bytes = await Deno.readFile(path);
  if (new DataView(bytes.buffer).getUint32(0) !== 0x7f454c46) {
    throw new Error(`${path} is no ELF executable; run this task with the deno from npm on Linux`);
  }
  return bytes;
}

if (import.meta.main) {
  const write = (stream: { writeSync(p: Uint8Array): number }, line: string) =>
    stream.writeSync(new TextEncoder().encode(`${line}\n`));
  const root = new URL("../../", import.meta.url).pathname.replace(/\/$/, "");
  try {
    await compile({
      root,
      entry: Deno.args[0] ?? `${root}/main.ts`,
      output: Deno.args[1] ?? `${root}/dist/bascule`,
      surroundings: await currentSurroundings(),
      say: (line) => write(Deno.stdout, line),
    });
  } catch (error) {
    write(Deno.stderr, `compile: ${error instanceof Error ? error.message : error}`);
    Deno.exitCode = 1;
  }
}
