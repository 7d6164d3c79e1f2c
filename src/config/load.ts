/**
 * Reads the configuration from disk. Everything else about it is pure; see `parse.ts`.
 *
 * @module
 */

import { parseConfig, type ParsedConfig } from "./parse.ts";
import { Problems, WHOLE_FILE } from "./problem.ts";
import type { PathsConfig } from "./types.ts";

/** A configuration is a few kilobytes; whatever is larger is another file. */
const MAX_BYTES = 1 << 20;

/**
 * Reads and checks a configuration file. A file that cannot be read is a problem like any other.
 *
 * @param paths directories from the command line, which go before those of the file
 */
export function loadConfig(path: string, paths: Partial<PathsConfig> = {}): ParsedConfig {
  const problems = new Problems();
  const text = readText(path, problems);
  return text === undefined ? { problems: problems.list() } : parseConfig(text, path, paths);
}

function readText(path: string, problems: Problems): string | undefined {
  try {
    const size = Deno.statSync(path).size;
    if (size > MAX_BYTES) {
      problems.error(WHOLE_FILE, `the file has ${size} bytes; is this a bascule configuration?`);
      return undefined;
    }
    return new TextDecoder("utf-8", { fatal: true }).decode(Deno.readFileSync(path));
  } catch (error) {
    problems.error(WHOLE_FILE, whyUnreadable(error));
    return undefined;
  }
}

function whyUnreadable(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) {
    return "no such file; name the right one with --config";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "permission denied; make the file readable or become root";
  }
  if (error instanceof TypeError) return "the file is not UTF-8 text; save it as UTF-8";
  return `cannot be read, ${error instanceof Error ? error.message : String(error)}`;
}
