/**
 * The single-file executable: launcher, deno, bundle, trailer. launcher.c reads the same layout.
 *
 * @module
 */

const OPTIONS_BYTES = 1024;
const TRAILER_BYTES = 4 * 8 + 2 * OPTIONS_BYTES + 8 + 16;
const MAGIC = "bascule-file-01\0";

/** Where mapped parts may start: a multiple of every page size that Linux has on these machines. */
const PART_ALIGNMENT = 65536;

/**
 * Arguments between `deno` and the program. The program is whole, so deno shall read no
 * configuration, lock file or package from wherever it is started, and keep no cache.
 */
const DENO_OPTIONS = [
  "run",
  "--quiet",
  "--allow-all",
  "--no-config",
  "--no-lock",
  "--no-remote",
  "--no-npm",
  "--no-code-cache",
  "--ext=js",
];

/**
 * Set for deno alone; the bundle's first lines put back what the user had. Deno shall ask no server
 * for newer versions of itself, read no package.json, put no `node` on the PATH of what the agent
 * starts, and keep its caches in memory: a path below a device can never be created.
 */
export const DENO_ENVIRONMENT: Readonly<Record<string, string>> = {
  DENO_NO_UPDATE_CHECK: "1",
  DENO_NO_PACKAGE_JSON: "1",
  DENO_DISABLE_NODE_SHIM: "1",
  DENO_DIR: "/dev/null/deno",
};

const COMPILER_FLAGS = [
  "-O2",
  "-static",
  "-nostdlib",
  "-ffreestanding",
  "-fno-stack-protector",
  "-fno-pie",
  "-no-pie",
  "-fno-asynchronous-unwind-tables",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-Wl,-z,noexecstack",
  "-Wl,--build-id=none",
  "-s",
];

/**
 * Compiles the launcher with the system's C compiler.
 *
 * @throws naming the Debian packages to install when there is no compiler
 */
export async function compileLauncher(): Promise<Uint8Array> {
  const source = new URL("launcher.c", import.meta.url).pathname;
  const output = await Deno.makeTempFile({ prefix: "bascule-launcher-" });
  try {
    const command = new Deno.Command("cc", {
      args: [...COMPILER_FLAGS, "-o", output, source],
      stdin: "null",
      env: { LC_ALL: "C" },
    });
    const { success, stderr } = await command.output().catch((error: unknown) => {
      if (error instanceof Deno.errors.NotFound) {
        throw new Error("no C compiler: apt-get install gcc libc6-dev");
      }
      throw error;
    });
    if (!success) {
      throw new Error(
        `cannot compile ${source} (needs the Debian packages gcc and libc6-dev):\n` +
          new TextDecoder().decode(stderr).trim(),
      );
    }
    return await Deno.readFile(output);
  } finally {
    await Deno.remove(output).catch(() => {});
  }
}

/** NUL-separated words in a field of fixed size, closed by an empty word. */
function wordField(words: readonly string[]): Uint8Array {
  const field = new Uint8Array(OPTIONS_BYTES);
  const text = new TextEncoder().encode(words.map((word) => `${word}\0`).join(""));
  if (text.length >= OPTIONS_BYTES) {
    throw new Error(`deno's options take ${text.length} bytes, the field holds ${OPTIONS_BYTES}`);
  }
  field.set(text);
  return field;
}

/** Bytes of zeros that follow `size` so that the next part is aligned. */
function padding(size: number): Uint8Array {
  return new Uint8Array((PART_ALIGNMENT - size % PART_ALIGNMENT) % PART_ALIGNMENT);
}

/** The parts of an executable file. */
export interface Parts {
  /** The compiled launcher, an ELF file. */
  readonly launcher: Uint8Array;
  /** The deno executable, an ELF file. */
  readonly deno: Uint8Array;
  /** One ES module, self-contained. */
  readonly program: string;
}

/** Joins the parts, in the order in which they are to be written. */
export function joinParts({ launcher, deno, program }: Parts): Uint8Array[] {
  const code = new TextEncoder().encode(program);
  const beforeDeno = padding(launcher.length);
  const denoOffset = launcher.length + beforeDeno.length;
  const bundleOffset = denoOffset + deno.length;

  const trailer = new Uint8Array(TRAILER_BYTES);
  const view = new DataView(trailer.buffer);
  view.setBigUint64(0, BigInt(denoOffset), true);
  view.setBigUint64(8, BigInt(deno.length), true);
  view.setBigUint64(16, BigInt(bundleOffset), true);
  view.setBigUint64(24, BigInt(code.length), true);
  trailer.set(wordField(DENO_OPTIONS), 32);
  trailer.set(
    wordField(Object.entries(DENO_ENVIRONMENT).map(([name, value]) => `${name}=${value}`)),
    32 + OPTIONS_BYTES,
  );
  const size = bundleOffset + code.length + TRAILER_BYTES;
  view.setBigUint64(32 + 2 * OPTIONS_BYTES, BigInt(size), true);
  trailer.set(new TextEncoder().encode(MAGIC), TRAILER_BYTES - MAGIC.length);
  return [launcher, beforeDeno, deno, code, trailer];
}

/** Writes `parts` to an executable file, whole or not at all: a running older one is not disturbed. */
export async function writeExecutable(path: string, parts: readonly Uint8Array[]): Promise<void> {
  const draft = `${path}.${Deno.pid}.tmp`;
  try {
    const file = await Deno.open(draft, { write: true, createNew: true, mode: 0o755 });
    try {
      for (const part of parts) {
        for (let done = 0; done < part.length;) done += await file.write(part.subarray(done));
      }
      await file.sync();
    } finally {
      file.close();
    }
    await Deno.rename(draft, path);
  } catch (error) {
    await Deno.remove(draft).catch(() => {});
    throw error;
  }
}
