/**
 * The command line. {@link runCli} parses it and hands over to a command: `commands.ts` lists them,
 * `command.ts` says what one is, `options.ts` holds what they share. Standard output carries what
 * was asked for; errors go to standard error, first one line with what, where and the mend.
 *
 * @module
 */

import { object, or } from "@optique/core/constructs";
import { runParserSync } from "@optique/core/facade";
import { formatMessage, type Message, message } from "@optique/core/message";
import { map } from "@optique/core/modifiers";
import { CommandError, EXIT } from "./command.ts";
import { commands } from "./commands.ts";
import { globalOptions } from "./options.ts";
import { printError, printLine } from "./output.ts";
import { VERSION } from "./version.ts";

/**
 * Runs the command line `args` (without the program's name) and resolves to the exit code: 0 done,
 * 1 failed, 2 bad usage or bad configuration. Never rejects.
 */
export async function runCli(args: readonly string[]): Promise<number> {
  try {
    return await parse(args)();
  } catch (error) {
    if (error instanceof CommandError) {
      printError(error.message);
      return error.exitCode;
    }
    printError(`bascule: ${error instanceof Error ? error.message : String(error)}`);
    if (error instanceof Error && error.stack !== undefined) printError(error.stack);
    return EXIT.failed;
  }
}

/** The whole grammar; its value is the work to do. */
const program = map(
  object({
    globals: globalOptions,
    command: or(...commands),
  }),
  ({ globals, command }) => () => command.action(globals),
);

/** The work that a command line asks for; for help and for mistakes, to return their exit code. */
function parse(args: readonly string[]): () => Promise<number> {
  const end = (exitCode: number) => () => Promise.resolve(exitCode);
  return runParserSync<typeof program, () => Promise<number>, () => Promise<number>>(
    program,
    "bascule",
    args,
    {
      brief: message`Two machines that stand in for each other: addresses, services and disks.`,
      help: { command: true, option: true, onShow: () => end(EXIT.done) },
      version: { value: VERSION, option: true, onShow: () => end(EXIT.done) },
      completion: { command: { names: ["completions"] }, onShow: end },
      showDefault: true,
      aboveError: "none",
      stdout: printLine,
      stderr: () => {},
      onError: (_, error) => {
        printError(`bascule: ${oneLine(error)} See bascule --help.`);
        return end(EXIT.usage);
      },
    },
  );
}

function oneLine(error: Message): string {
  return formatMessage(error).replace(/\s*\n\s*/g, " ");
}
