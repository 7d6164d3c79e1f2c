/**
 * `bascule version`.
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import meta from "../../deno.json" with { type: "json" };
import { defineCommand, EXIT } from "./command.ts";
import { printLine } from "./output.ts";

/** The version of this program. */
export const VERSION: string = meta.version;

/** The command `version`. */
export const versionCommand = defineCommand(
  "version",
  message`Show the versions of bascule and of what it runs on.`,
  object({}),
  runVersion,
);

/** Always exit code 0. */
export function runVersion(): Promise<number> {
  printLine(`bascule ${VERSION} (Deno ${Deno.version.deno}, V8 ${Deno.version.v8})`);
  return Promise.resolve(EXIT.done);
}
