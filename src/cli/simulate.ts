/**
 * `bascule simulate`: whole clusters in simulated time, with everything going wrong, and a check that
 * no promise was broken. One seed is one world and can be replayed exactly.
 *
 * @module
 */
import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { optional, withDefault } from "@optique/core/modifiers";
import { flag, option } from "@optique/core/primitives";
import { float, integer } from "@optique/core/valueparser";
import { selfCommand } from "../agent/self.ts";
import { describeOptions, drawOptions } from "../sim/options.ts";
import { type Outcome, simulate } from "../sim/simulation.ts";
import { CommandError, defineCommand, EXIT } from "./command.ts";
import { printLine } from "./output.ts";

/** Options of `simulate`. */
export interface SimulateOptions {
  readonly seed?: number | undefined;
  readonly trace: boolean;
  readonly seeds: number;
  readonly from?: number | undefined;
  readonly jobs: number;
  /** Simulated minutes in which things go wrong. */
  readonly minutes: number;
  /** One of several processes: it takes every n-th seed and reports each as a line of JSON. */
  readonly stride?: number | undefined;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** The command `simulate`. */
export const simulateCommand = defineCommand(
  "simulate",
  message`Run whole clusters in simulated time, let everything go wrong, and check every promise.`,
  object({
    seed: optional(option("--seed", integer({ min: 0 }), {
      description: message`Replay this one world.`,
    })),
    trace: withDefault(
      flag("--trace", { description: message`Show the timeline of the one world.` }),
      false as boolean,
    ),
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
    stride: optional(option("--stride", integer({ min: 1 }), { hidden: true })),
  }),
  runSimulate,
);

/** Exit code 0 only if no promise was broken. */
export async function runSimulate(options: SimulateOptions): Promise<number> {
  const { seed, stride } = options;
  if (stride !== undefined) return reportBatch(options, stride);
  if (seed !== undefined) return replay(seed, options);
  const from = options.from ?? crypto.getRandomValues(new Uint32Array(1))[0]!;
  printLine(`${options.seeds} worlds from seed ${from} on, ${options.minutes} minutes each`);
  const total = { seeds: 0, simulated: 0, violations: 0 };
  const count = (outcome: Outcome) => {
    total.seeds++;
    total.simulated += outcome.simulated;
    if (outcome.violation === null) return;
    total.violations++;
    printLine(`seed ${outcome.seed}: ${outcome.violation}`);
    printLine(`  ${describeOptions(drawOptions(outcome.seed, options.minutes * MINUTE))}`);
    const minutes = options.minutes === 10 ? "" : ` --minutes ${options.minutes}`;
    printLine(`  replay: bascule simulate --seed ${outcome.seed}${minutes} --trace`);
  };
  const jobs = Math.min(options.jobs, options.seeds);
  if (jobs === 1) {
    for (let i = 0; i < options.seeds; i++) {
      count(simulate(drawOptions(from + i, options.minutes * MINUTE)));
    }
  } else await fanOut({ ...options, jobs }, from, count);
  const { seeds, simulated, violations } = total;
  printLine(
    `${seeds} seeds, ${(simulated / HOUR).toFixed(1)} simulated hours, ${violations} violations`,
  );
  return violations === 0 ? EXIT.done : EXIT.failed;
}

/** One world, with its timeline if wanted. */
function replay(seed: number, { trace, minutes }: SimulateOptions): number {
  const drawn = drawOptions(seed, minutes * MINUTE);
  printLine(describeOptions(drawn));
  const { violation, simulated, answered, recovery } = simulate(drawn, trace ? printLine : null);
  printLine(
    `1 seed, ${(simulated / HOUR).toFixed(1)} simulated hours, ${answered} requests answered, ` +
      `all well ${(recovery / 1000).toFixed(1)} s after the end of trouble, ` +
      `${violation === null ? 0 : 1} violations`,
  );
  if (violation === null) return EXIT.done;
  printLine(violation);
  return EXIT.failed;
}

/** The part of one of several processes; it ends when nobody listens any more. */
function reportBatch({ seeds, from = 0, minutes }: SimulateOptions, stride: number): number {
  const encoder = new TextEncoder();
  for (let i = 0; i < seeds; i += stride) {
    const outcome = simulate(drawOptions(from + i, minutes * MINUTE));
    try {
      // Far shorter than a pipe's atomic write.
      Deno.stdout.writeSync(encoder.encode(JSON.stringify(shortened(outcome)) + "\n"));
    } catch (error) {
      if (error instanceof Deno.errors.BrokenPipe) return EXIT.failed;
      throw error;
    }
  }
  return EXIT.done;
}

/** An outcome whose violation, perhaps with a stack, fits a line. */
function shortened(outcome: Outcome): Outcome {
  return { ...outcome, violation: outcome.violation?.slice(0, 1000) ?? null };
}

/** Spreads the seeds over processes of this program. */
async function fanOut(
  { seeds, jobs, minutes }: SimulateOptions,
  from: number,
  count: (outcome: Outcome) => void,
): Promise<void> {
  const [program, ...before] = selfCommand();
  const children = Array.from({ length: jobs }, (_, job) =>
    new Deno.Command(program!, {
      args: [
        ...before,
        "simulate",
        ...["--seeds", `${seeds - job}`, "--from", `${from + job}`],
        ...["--minutes", `${minutes}`, "--stride", `${jobs}`],
      ],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn());
  await Promise.all(children.map(async (child) => {
    let rest = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) count(JSON.parse(line) as Outcome);
    }
    const { code } = await child.status;
    if (code !== 0) {
      throw new CommandError(`simulate: a process ended with code ${code}; see above`);
    }
  }));
}
