/**
 * The program's entry: parses the command line and hands over. The one bundled file is also what
 * the data-plane workers load, so a worker must not run the command line.
 *
 * @module
 */

import { runCli } from "./src/cli/cli.ts";

if (!("WorkerGlobalScope" in globalThis)) Deno.exit(await runCli(Deno.args));
