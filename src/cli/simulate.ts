/**
 * `bascule simulate`: whole clusters in simulated time, with everything going wrong, and a check that
 * no promise was broken. One seed is one world and can be replayed exactly; what went wrong in it can
 * be saved, and shrunk to what is needed to break the promise. With `-c FILE` and things to let happen
 * it shows what the user's own cluster would do.
 *
 * @module
 */
import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { optional, withDefault } from "@optique/core/modifiers";
import { flag, option } from "@optique/core/primitives";
import { float, integer } from "@optique/core/valueparser";
import { path } from "@optique/run/valueparser";
import { describeOptions, drawOptions } from "../sim/options.ts";
import type { Outcome } from "../sim/simulation.ts";
import { CommandError, defineCommand, EXIT } from "./command.ts";
import { printLine } from "./output.ts";
import { type Batch, reportBatch, runBatch } from "./simulate_batch.ts";
import { readWorld, runWorld } from "./simulate_world.ts";
import { happeningOptions, type Happenings, isWhatIf, runWhatIf } from "./what_if.ts";
import type { GlobalOptions } from "./options.ts";

/** Options of `simulate`. */
export interface SimulateOptions {
  readonly seed?: number | undefined;
  /** A saved world. */
  readonly faults?: string | undefined;
  readonly trace: boolean;
  readonly shrink: boolean;
  readonly save?: string | undefined;
  readonly seeds: number;
  readonly from?: number | undefined;
  readonly jobs: number;
  /** Simulated minutes in which things go wrong. */
  readonly minutes: number;
  /** One of several processes: it takes every n-th seed and reports each as a line of JSON. */
  readonly stride?: number | undefined;
  readonly happenings: Happenings;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** The command `simulate`. */
export const simulateCommand = defineCommand(
  "simulate",
  message`Run whole clusters in simulated time, let everything go wrong, and check every promise.`,
  object({
    seeds: withDefault(
      option("--seeds", integer({ min: 1 }), {
        description: message`So many worlds.`,
      }),
      200,
    ),
    from: optional(option("--from", integer({ min: 0 }), {
      description: message`The first seed; default: a random one.`,
    })),
    jobs: withDefault(
      option("--jobs", integer({ min: 1, max: 256 }), {
        description: message`Processes at a time.`,
      }),
      navigator.hardwareConcurrency,
    ),
    minutes: withDefault(
      option("--minutes", float({ min: 0.1 }), {
        description: message`Simulated minutes of trouble in each world.`,
      }),
      10,
    ),
    seed: optional(option("--seed", integer({ min: 0 }), {
      description: message`Replay this one world.`,
    })),
    faults: optional(option("--faults", path({ metavar: "FILE" }), {
      description: message`Replay a world that was saved with what went wrong in it.`,
    })),
    trace: withDefault(
      flag("--trace", { description: message`Show the timeline of the one world.` }),
      false as boolean,
    ),
    shrink: withDefault(
      flag("--shrink", {
        description:
          message`Leave out what is not needed to break the promise that the one world breaks.`,
      }),
      false as boolean,
    ),
    save: optional(option("--save", path({ metavar: "FILE" }), {
      description: message`Write the one world and what goes wrong in it to a file.`,
    })),
    stride: optional(option("--stride", integer({ min: 1 }), { hidden: true })),
    happenings: happeningOptions,
  }),
  runSimulate,
);

/** Exit code 0 only if no promise was broken. */
export async function runSimulate(options: SimulateOptions & GlobalOptions): Promise<number> {
  const { seed, faults, stride, trace, shrink, save, seeds, jobs } = options;
  const duration = options.minutes * MINUTE;
  const { happenings } = options;
  if (isWhatIf(happenings)) return runWhatIf(happenings, { ...options, seed: seed ?? 1 });
  const wanted = [trace && "--trace", shrink && "--shrink", save !== undefined && "--save"]
    .find((each) => each !== false);
  if (wanted !== undefined && seed === undefined && faults === undefined) {
    throw new CommandError(
      `${wanted} is about one world; name it with --seed N or --faults FILE`,
      EXIT.usage,
    );
  }
  if (seed !== undefined && faults !== undefined) {
    throw new CommandError(
      "--seed draws a world and --faults reads one; leave one of them out",
      EXIT.usage,
    );
  }
  const one = { trace, shrink, save };
  if (faults !== undefined) return runWorld(readWorld(faults), one);
  if (seed !== undefined) {
    return runWorld({ options: drawOptions(seed, duration), faults: null }, one);
  }
  const from = options.from ?? crypto.getRandomValues(new Uint32Array(1))[0]!;
  const batch: Batch = { seeds, from, jobs, duration };
  return stride === undefined ? await runSeeds(batch) : reportBatch(batch, stride);
}

async function runSeeds(batch: Batch): Promise<number> {
  const { seeds, from, duration } = batch;
  const minutes = duration / MINUTE;
  printLine(`${seeds} worlds from seed ${from} on, ${minutes} minutes each`);
  const began = performance.now();
  const total = { seeds: 0, simulated: 0, violations: 0, faults: 0, starts: 0, answered: 0 };
  await runBatch(batch, (outcome: Outcome) => {
    total.seeds++;
    total.simulated += outcome.simulated;
    total.faults += outcome.faultCount;
    total.starts += outcome.starts;
    total.answered += outcome.answered;
    if (outcome.violation === null) return;
    total.violations++;
    printLine(`seed ${outcome.seed}: ${outcome.violation}`);
    printLine(`  ${describeOptions(drawOptions(outcome.seed, duration))}`);
    const length = minutes === 10 ? "" : ` --minutes ${minutes}`;
    printLine(`  replay: bascule simulate --seed ${outcome.seed}${length} --trace`);
  });
  const { simulated, violations, faults, starts, answered } = total;
  const each = (number: number) => Math.round(number / total.seeds);
  const speed = total.seeds / (performance.now() - began) * MINUTE;
  printLine(
    `${speed.toFixed(0)} seeds a minute; on average ${each(faults)} faults, ${
      each(starts)
    } starts ` +
      `of groups and ${each(answered)} answered requests in each`,
  );
  printLine(
    `${total.seeds} seeds, ${(simulated / HOUR).toFixed(1)} simulated hours, ` +
      `${violations} violations`,
  );
  return violations === 0 ? EXIT.done : EXIT.failed;
}
