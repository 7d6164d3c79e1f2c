/**
 * What a command of the command line is made of.
 *
 * A command is one file: the parser of its own options, a function `run…(options)` that does the
 * work and resolves to an exit code, and {@link defineCommand}, which ties the two together. It
 * joins the program by one import and one line in `commands.ts`. The global options come in beside
 * its own.
 *
 * @module
 */

import { or } from "@optique/core/constructs";
import type { Message } from "@optique/core/message";
import { map } from "@optique/core/modifiers";
import type { Parser } from "@optique/core/parser";
import { command } from "@optique/core/primitives";
import type { GlobalOptions } from "./options.ts";

/** Exit codes. Scripts rely on them. */
export const EXIT = { done: 0, failed: 1, usage: 2 } as const;

/** Does what the command line asks for; resolves to the exit code. */
export type Action = (globals: GlobalOptions) => Promise<number>;

/** A command, ready for `commands.ts`. */
export type Command = Parser<"sync", { readonly action: Action }, unknown>;

/** Ends a command: its lines go to standard error, its code is the exit code. */
export class CommandError extends Error {
  override readonly name = "CommandError";

  /**
   * @param message one or more lines; the first says what, where and the mend
   * @param exitCode see {@link EXIT}
   */
  constructor(message: string, readonly exitCode: number = EXIT.failed) {
    super(message);
  }
}

/** A command from its name, a line for the help, the parser of its options, and its work. */
export function defineCommand<Options extends object>(
  name: string,
  brief: Message,
  options: Parser<"sync", Options, unknown>,
  run: (options: Options & GlobalOptions) => Promise<number>,
): Command {
  const action = map(options, (own) => ({
    action: ((globals) => run({ ...own, ...globals })) satisfies Action,
  }));
  return command(name, action, { brief });
}

/** Commands under a common first word, such as `config key`. */
export function commandFamily(
  name: string,
  brief: Message,
  members: readonly Command[],
): Command {
  return command(name, or(...members), { brief });
}
