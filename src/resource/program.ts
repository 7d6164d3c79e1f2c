/** Where a program is, as execvp(3) looks for it. */

/** There is no such program. */
export class Missing extends Error {
  override readonly name = "Missing";
}

/**
 * The path of a program. Throws {@linkcode Missing}, or Deno's PermissionDenied for one that may not be
 * executed.
 *
 * @param path directories, separated by colons, in which a name without a slash is looked for
 * @param directory what a relative path with a slash starts from; default: the current one
 */
export function findProgram(program: string, path: string, directory = "."): string {
  const candidates = program.includes("/")
    ? [program.startsWith("/") ? program : `${directory}/${program}`]
    : path.split(":").map((each) => `${each === "" ? "." : each}/${program}`);
  let refused = false;
  for (const candidate of candidates) {
    const info = statOf(candidate);
    if (info === null || !info.isFile) continue;
    if (((info.mode ?? 0) & 0o111) !== 0) return candidate;
    refused = true;
  }
  if (refused) throw new Deno.errors.PermissionDenied(`${program} is not executable`);
  throw new Missing(`${program} is not there`);
}

function statOf(path: string): Deno.FileInfo | null {
  try {
    return Deno.statSync(path);
  } catch {
    return null;
  }
}
