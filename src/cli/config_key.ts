/**
 * `bascule config key`: makes the file with the key that the nodes of a cluster share.
 *
 * @module
 */

import { dirname } from "node:path";
import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { withDefault } from "@optique/core/modifiers";
import { argument } from "@optique/core/primitives";
import { path } from "@optique/run/valueparser";
import { createKeyFile } from "../config/key_file.ts";
import { CommandError, defineCommand, EXIT } from "./command.ts";
import { printLine } from "./output.ts";

/** Where the annotated configuration expects the key. */
export const DEFAULT_KEY_FILE = "/etc/bascule/key";

/** The command `config key`. */
export const configKeyCommand = defineCommand(
  "key",
  message`Make a key file with a new random key; never overwrites one.`,
  object({
    file: withDefault(
      argument(path({ metavar: "FILE" }), {
        description: message`The file to make; default: ${DEFAULT_KEY_FILE}.`,
      }),
      DEFAULT_KEY_FILE,
    ),
  }),
  runConfigKey,
);

/** Exit code 0 when the file was made; otherwise throws a {@link CommandError}. */
export function runConfigKey({ file }: { readonly file: string }): Promise<number> {
  try {
    createKeyFile(file);
  } catch (error) {
    throw new CommandError(`key file ${file} ${whyNotMade(file, error)}`);
  }
  printLine(`${file}: made, mode 0600; copy it to every node and keep it secret`);
  return Promise.resolve(EXIT.done);
}

function whyNotMade(file: string, error: unknown): string {
  if (error instanceof Deno.errors.AlreadyExists) {
    return "exists already and is left as it is; name another file";
  }
  if (error instanceof Deno.errors.NotFound) {
    return `cannot be made, ${dirname(file)} does not exist; mkdir -p ${dirname(file)}`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "cannot be made, permission denied; become root or name another file";
  }
  return `cannot be made, ${error instanceof Error ? error.message : String(error)}`;
}
