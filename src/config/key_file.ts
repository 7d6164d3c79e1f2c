/**
 * The cluster's key file: text, one key a line, `ID HEX`, with `#` comments. The first key seals
 * what this node sends; every key opens what it receives. So a key is changed without a pause: add
 * the new one below the old on every node, then move it to the top on every node, then remove the
 * old one.
 *
 * @module
 */

import { formatProblem, type Problem, Problems, WHOLE_FILE } from "./problem.ts";

/** The keys of a cluster, by key id. */
export interface ClusterKeys {
  /** Id of the key that seals. */
  readonly active: number;
  /** All keys, the active one included; 32 bytes or more each. */
  readonly keys: ReadonlyMap<number, Uint8Array>;
}

/** What a look at the key file on this machine found. */
export type KeyFileCheck =
  | { readonly state: "good"; readonly keys: ClusterKeys }
  /** There is no such file here. */
  | { readonly state: "absent" }
  /** This user may not look, so nothing is known. */
  | { readonly state: "unchecked"; readonly why: string }
  | { readonly state: "bad"; readonly problems: readonly Problem[] };

/** The least length of a key, in bytes: that of the digest it keys (RFC 2104, section 3). */
export const KEY_BYTES = 32;
/** Key ids travel in 32 bits. */
export const MAX_KEY_ID = 0xffff_ffff;

const MAX_BYTES = 1 << 16;
const NOT_REGULAR = "is not a regular file; make one with bascule config key";

/** Reads the text of a key file. Errors never show key material. */
export function parseKeys(
  text: string,
): { readonly keys?: ClusterKeys; readonly problems: Problem[] } {
  const problems = new Problems();
  const keys = new Map<number, Uint8Array>();
  let active: number | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    const at = { line: index + 1, column: 1, key: "" };
    const content = line.replace(/#.*$/, "").trim();
    if (content === "") continue;
    const match = /^(\d{1,10})\s+((?:[0-9A-Fa-f]{2})+)$/.exec(content);
    if (match === null) {
      problems.error(at, "not a key; write a number, a space and an even number of hex digits");
      continue;
    }
    const [, idText = "", hex = ""] = match;
    const id = Number(idText);
    const bytes = Uint8Array.fromHex(hex);
    if (id > MAX_KEY_ID) {
      problems.error(at, `key id ${idText} is not between 0 and ${MAX_KEY_ID}`);
    } else if (keys.has(id)) {
      problems.error(at, `key id ${id} is used twice; give every key its own`);
    } else if (bytes.length < KEY_BYTES) {
      problems.error(
        at,
        `the key has ${bytes.length} bytes and needs ${KEY_BYTES}; ` +
          "make one with bascule config key",
      );
    } else {
      keys.set(id, bytes);
      active ??= id;
    }
  }
  if (active === undefined && !problems.failed) {
    problems.error(WHOLE_FILE, "holds no key; make one with bascule config key");
  }
  const list = problems.list();
  return active === undefined || problems.failed
    ? { problems: list }
    : { keys: { active, keys }, problems: list };
}

/** Looks at a key file: its type, owner and mode, then its content. */
export function checkKeyFile(path: string): KeyFileCheck {
  let file: Deno.FsFile;
  try {
    // Before the open, which would wait for the other end of a named pipe.
    if (!Deno.statSync(path).isFile) return bad(NOT_REGULAR);
    file = Deno.openSync(path, { read: true });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { state: "absent" };
    if (error instanceof Deno.errors.PermissionDenied) {
      return { state: "unchecked", why: "permission denied" };
    }
    return bad(`cannot be opened, ${error instanceof Error ? error.message : String(error)}`);
  }
  try {
    const why = whyUntrusted(file.statSync());
    if (why !== undefined) return bad(why);
    const { keys, problems } = parseKeys(readAll(file));
    return keys === undefined ? { state: "bad", problems } : { state: "good", keys };
  } finally {
    file.close();
  }
}

/**
 * The keys, for who cannot go on without.
 *
 * @throws {Error} whose message has every problem, one a line, each with the path of the file
 */
export function loadKeys(path: string): ClusterKeys {
  const check = checkKeyFile(path);
  switch (check.state) {
    case "good":
      return check.keys;
    case "absent":
      throw new Error(`${path}: does not exist; make one with bascule config key ${path}`);
    case "unchecked":
      throw new Error(`${path}: ${check.why}; run as root or as the owner of the file`);
    case "bad":
      throw new Error(check.problems.map((problem) => formatProblem(path, problem)).join("\n"));
  }
}

/** Makes a key file with one random key, mode 0600. Throws if the file exists already. */
export function createKeyFile(path: string): void {
  const file = Deno.openSync(path, { write: true, createNew: true, mode: 0o600 });
  try {
    const key = crypto.getRandomValues(new Uint8Array(KEY_BYTES)).toHex();
    const text =
      "# The key of a bascule cluster. Copy this file to every node, and keep it secret.\n" +
      `1 ${key}\n`;
    writeAll(file, new TextEncoder().encode(text));
    file.syncSync();
  } catch (error) {
    Deno.removeSync(path);
    throw error;
  } finally {
    file.close();
  }
}

function bad(message: string): KeyFileCheck {
  const problems = new Problems();
  problems.error(WHOLE_FILE, message);
  return { state: "bad", problems: problems.list() };
}

function whyUntrusted(info: Deno.FileInfo): string | undefined {
  if (!info.isFile) return NOT_REGULAR;
  const mode = (info.mode ?? 0) & 0o7777;
  if ((mode & 0o077) !== 0) {
    return `has mode ${mode.toString(8).padStart(4, "0")}, so others can use the key; chmod 600 it`;
  }
  const user = Deno.uid();
  if (info.uid !== 0 && info.uid !== user) {
    return `belongs to user ${info.uid}, who can read and change it; chown it to ${user}`;
  }
  if (info.size > MAX_BYTES) return `has ${info.size} bytes, which is no key file`;
  return undefined;
}

function readAll(file: Deno.FsFile): string {
  const buffer = new Uint8Array(MAX_BYTES);
  let length = 0;
  while (length < buffer.length) {
    const read = file.readSync(buffer.subarray(length));
    if (read === null) break;
    length += read;
  }
  return new TextDecoder().decode(buffer.subarray(0, length));
}

function writeAll(file: Deno.FsFile, bytes: Uint8Array): void {
  let written = 0;
  while (written < bytes.length) written += file.writeSync(bytes.subarray(written));
}
