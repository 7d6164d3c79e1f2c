/**
 * `bascule check`: everything that is wrong with a configuration, each with its line and the mend,
 * and the parts that could not be checked on this machine by name.
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { checkKeyFile } from "../config/key_file.ts";
import { loadConfig } from "../config/load.ts";
import { formatProblem } from "../config/problem.ts";
import { checkTlsFiles } from "../config/tls_files.ts";
import type { Config } from "../config/types.ts";
import { defineCommand, EXIT } from "./command.ts";
import { type GlobalOptions, localNode } from "./options.ts";
import { count, printError, printLine } from "./output.ts";

/** The command `check`. */
export const checkCommand = defineCommand(
  "check",
  message`Check the configuration, the key file, and the certificates of exports.`,
  object({}),
  runCheck,
);

/** Exit code 0 without errors, warnings or not; 2 with errors. */
export function runCheck(options: GlobalOptions): Promise<number> {
  const { config, problems } = loadConfig(options.config, options.paths);
  for (const problem of problems) printError(formatProblem(options.config, problem));
  if (config === undefined) {
    const errors = problems.filter((problem) => problem.severity === "error").length;
    printError(`${options.config}: ${count(errors, "error")}; the key file was not checked`);
    return Promise.resolve(EXIT.usage);
  }
  if (options.node !== undefined) localNode(config, options);
  if (!reportKeyFile(config.cluster.keyFile)) return Promise.resolve(EXIT.usage);
  if (!reportTlsFiles(config)) return Promise.resolve(EXIT.usage);
  reportFencePrograms(config);
  printLine(`${options.config}: good; ${summary(config)}`);
  return Promise.resolve(EXIT.done);
}

/** Says what is wrong with the key file. Returns false if it is there and unusable. */
function reportKeyFile(path: string): boolean {
  const check = checkKeyFile(path);
  switch (check.state) {
    case "good":
      return true;
    case "absent":
      printError(
        `warning: key file ${path} does not exist here; make one with bascule config key ${path}`,
      );
      return true;
    case "unchecked":
      printError(`warning: key file ${path} was not checked, ${check.why}; check as root`);
      return true;
    case "bad":
      for (const problem of check.problems) printError(formatProblem(path, problem));
      return false;
  }
}

/** Says what is wrong with the certificates of exports. Returns false if one of them is unusable. */
function reportTlsFiles({ volumes }: Config): boolean {
  const all = volumes.flatMap((volume) => volume.export.tcp?.tls ?? []);
  const distinct = new Map(all.map((tls) => [`${tls.certificate}\0${tls.key}`, tls]));
  const findings = [...distinct.values()].flatMap((tls) => checkTlsFiles(tls, new Date()));
  for (const { severity, text } of findings) {
    printError(severity === "warning" ? `warning: ${text}` : text);
  }
  return findings.every(({ severity }) => severity === "warning");
}

/** Names fence programs that are not here, where the agent would have to run them. */
function reportFencePrograms({ nodes, cluster }: Config): void {
  if (cluster.quorum !== "fencing") return;
  const programs = nodes.flatMap(({ name, fence }) =>
    fence.map(({ command }) => ({ name, program: command[0]! }))
  );
  for (const { name, program } of programs) {
    let executable = false;
    try {
      const { isFile, mode } = Deno.statSync(program);
      executable = isFile && ((mode ?? 0) & 0o111) !== 0;
    } catch {
      // Whatever keeps it from being looked at keeps it from being run.
    }
    if (executable) continue;
    printError(
      `warning: nodes.${name}.fence: ${program} is no program on this machine, so ${name} could not be ` +
        "fenced from here; install it, and try it before it is needed",
    );
  }
}

function summary(config: Config): string {
  const parts = [
    count(config.nodes.length, "node"),
    count(config.volumes.length, "volume"),
    count(config.groups.length, "group"),
  ];
  return `cluster ${config.cluster.name}, ${parts.join(", ")}, hash ${config.hash.slice(0, 12)}`;
}
