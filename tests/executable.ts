/**
 * The executable that tests of the whole program run: dist/bascule, made when it is missing or older
 * than what it is made of, and once only however many test files ask for it at the same time.
 *
 * @module
 */
import { compile } from "../tools/compile/compile.ts";
import { currentSurroundings } from "../tools/compile/denort.ts";

const ROOT = new URL("../", import.meta.url).pathname.replace(/\/$/, "");
const SOURCES = ["src", "main.ts", "deno.json", "deno.lock", "tools/compile"];

/** When `path` or anything in it last changed, in milliseconds since the epoch; 0 if it is missing. */
function lastChange(path: string): number {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
  let newest = info.mtime?.getTime() ?? 0;
  if (info.isDirectory) {
    for (const entry of Deno.readDirSync(path)) {
      newest = Math.max(newest, lastChange(`${path}/${entry.name}`));
    }
  }
  return newest;
}

async function buildIfOld(): Promise<string> {
  const executable = `${ROOT}/dist/bascule`;
  await Deno.mkdir(`${ROOT}/dist`, { recursive: true });
  // The kernel drops the lock with its owner, so a test run that was killed blocks nobody.
  const lock = await Deno.open(`${ROOT}/dist/.lock`, { create: true, write: true });
  try {
    await lock.lock(true);
    const changed = Math.max(...SOURCES.map((source) => lastChange(`${ROOT}/${source}`)));
    if (lastChange(executable) >= changed) return executable;
    await compile({
      root: ROOT,
      entry: `${ROOT}/main.ts`,
      output: executable,
      surroundings: await currentSurroundings(),
      say: () => {},
    });
    // Dated as its sources were when the build began, so that a change during the build makes it old
    // again; a millisecond later, since the conversion to seconds may round down.
    await Deno.utime(executable, (changed + 1) / 1000, (changed + 1) / 1000);
    return executable;
  } finally {
    lock.close();
  }
}

let built: Promise<string> | undefined;

/**
 * The path of an executable made from the sources as they are.
 *
 * @throws with the compiler's message when it cannot be made
 */
export function basculeExecutable(): Promise<string> {
  built ??= buildIfOld();
  return built;
}
