/**
 * How this program starts itself again, for children that are part of it.
 *
 * @module
 */

/** Set by the one-file executable's launcher to its own path: there, `Deno.execPath()` is the runtime. */
const EXECUTABLE = "BASCULE_EXECUTABLE";

/** The command line that runs this very program, without arguments. */
export function selfCommand(): string[] {
  const executable = Deno.env.get(EXECUTABLE);
  if (executable) return [executable];
  return [Deno.execPath(), "run", "-A", "--quiet", Deno.mainModule];
}
