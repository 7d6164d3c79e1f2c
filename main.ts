/**
 * The program's entry: parses the command line and hands over. The one bundled file is also what
 * the data-plane workers load, so a worker must not run the command line.
 *
 * @module
 */

import { serveDataPlane } from "./src/agent/dataplane/worker.ts";
import { runCli } from "./src/cli/cli.ts";

if ("WorkerGlobalScope" in globalThis) serveDataPlane();
else Deno.exit(await runCli(Deno.args));
