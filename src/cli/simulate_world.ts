/** One world: replayed from its seed or a file, with its timeline, shrunk, saved. */

import { describeFault } from "../sim/faults.ts";
import { describeOptions } from "../sim/options.ts";
import { shrink } from "../sim/shrink.ts";
import { simulate } from "../sim/simulation.ts";
import { parseWorld, type SavedWorld, WorldFileError, worldLines } from "../sim/world_file.ts";
import { CommandError, EXIT } from "./command.ts";
import { count, printLine } from "./output.ts";

const HOUR = 3_600_000;

/** What to do with the world. */
export interface WorldOptions {
  readonly trace: boolean;
  readonly shrink: boolean;
  /** File to write the world to. */
  readonly save: string | undefined;
}

/** Reads a saved world. Throws a `CommandError` that says what is wrong with the file. */
export function readWorld(file: string): SavedWorld {
  try {
    return parseWorld(Deno.readTextFileSync(file), file);
  } catch (error) {
    if (error instanceof WorldFileError) throw new CommandError(error.message, EXIT.usage);
    const why = error instanceof Deno.errors.NotFound ? "no such file" : `${error}`;
    throw new CommandError(`${file}: ${why}; make one with --seed N --save FILE`, EXIT.usage);
  }
}

/** Runs it. `faults: null`: they are drawn. Exit code 0 only if no promise was broken. */
export function runWorld(
  world: { readonly options: SavedWorld["options"]; readonly faults: SavedWorld["faults"] | null },
  { trace, shrink: shrinks, save }: WorldOptions,
): number {
  const { options } = world;
  printLine(describeOptions(options));
  const outcome = simulate(options, { trace: trace ? printLine : null, faults: world.faults });
  const { violation, simulated, answered, recovery, starts } = outcome;
  printLine(
    `1 seed, ${(simulated / HOUR).toFixed(1)} simulated hours, ` +
      `${outcome.faults.length} faults, ${starts} starts of groups, ${answered} requests answered, ` +
      `all well ${(recovery / 1000).toFixed(1)} s after the end of trouble, ` +
      `${violation === null ? 0 : 1} violations`,
  );
  if (violation !== null) printLine(violation);
  let { faults } = outcome;
  if (shrinks && violation === null) printLine("there is nothing to shrink: no promise was broken");
  else if (shrinks) faults = shrinkWorld({ options, faults }, violation!);
  if (save !== undefined) saveWorld({ options, faults }, save);
  return violation === null ? EXIT.done : EXIT.failed;
}

function shrinkWorld({ options, faults }: SavedWorld, violation: string): SavedWorld["faults"] {
  const shrunk = shrink(options, faults, violation, {
    progress: (left) => printLine(`  ${left} of ${count(faults.length, "fault")} left`),
  });
  printLine(
    `${count(shrunk.faults.length, "fault")} of ${faults.length} break the same promise, ` +
      `found in ${count(shrunk.runs, "run")}: ${shrunk.violation}`,
  );
  for (const fault of shrunk.faults) printLine(`  ${fault.at.toFixed(1)}  ${describeFault(fault)}`);
  printLine("as a file for --faults:");
  for (const line of worldLines({ options, faults: shrunk.faults })) printLine(line);
  return shrunk.faults;
}

function saveWorld(world: SavedWorld, file: string): void {
  try {
    Deno.writeTextFileSync(file, worldLines(world).join("\n") + "\n");
  } catch (error) {
    throw new CommandError(`${file}: cannot be written, ${error}; name another with --save`);
  }
  printLine(`replay: bascule simulate --faults ${file} --trace`);
}
