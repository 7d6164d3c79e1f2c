/**
 * The program's entry: parses the command line and hands over. The one bundled file is also what
 * the data-plane workers load; a worker must not run the command line, and has no use for its modules,
 * so that each side imports its own.
 *
 * @module
 */

if ("WorkerGlobalScope" in globalThis) {
  const { serveAsWorker } = await import("./src/agent/worker.ts");
  await serveAsWorker();
} else {
  const { runCli } = await import("./src/cli/cli.ts");
  Deno.exit(await runCli(Deno.args));
}
