/**
 * How this program starts itself again, for children that are part of it.
 *
 * @module
 */

/** The command line that runs this very program, without arguments. */
export function selfCommand(): string[] {
  const runtime = Deno.execPath();
  // The one-file executable is its own runtime; a Deno from a package is called deno.
  if (!runtime.endsWith("/deno")) return [runtime];
  return [runtime, "run", "-A", "--quiet", Deno.mainModule];
}
