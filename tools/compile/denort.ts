/**
 * Where `deno compile` would find its runtime, `denort`, without the network. Deno otherwise fetches
 * it from its own download site, which many machines cannot reach, and waits long for the answer.
 *
 * @module
 */

/** What decides where denort may be; the real values come from `currentSurroundings`. */
export interface Surroundings {
  /** Value of DENORT_BIN: the runtime's path as the user set it. */
  readonly denortBin: string | undefined;
  /** Deno's cache folder. */
  readonly denoDir: string;
  /** Version of deno, as `2.9.6`. */
  readonly version: string;
  /** Target triple, as `x86_64-unknown-linux-gnu`. */
  readonly target: string;
}

/** The surroundings of this process. */
export async function currentSurroundings(): Promise<Surroundings> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json"],
    stdin: "null",
    stderr: "null",
  }).output();
  const info: { denoDir: string } = JSON.parse(new TextDecoder().decode(stdout));
  return {
    denortBin: Deno.env.get("DENORT_BIN"),
    denoDir: info.denoDir,
    version: Deno.version.deno,
    target: Deno.build.target,
  };
}

/**
 * The path of a denort that is on this machine already, or undefined.
 *
 * @throws when DENORT_BIN names no file: the user meant it
 */
export function findDenort(at: Surroundings): string | undefined {
  if (at.denortBin !== undefined && at.denortBin !== "") {
    if (!isFile(at.denortBin)) {
      throw new Error(`DENORT_BIN is ${at.denortBin}, which is no file; correct or unset it`);
    }
    return at.denortBin;
  }
  const cached = `${at.denoDir}/dl/release/v${at.version}/denort-${at.target}.zip`;
  return isFile(cached) ? cached : undefined;
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return false;
    }
    throw error;
  }
}
