/** Many worlds at a time, spread over processes of this program. */

import { selfCommand } from "../agent/self.ts";
import { drawOptions } from "../sim/options.ts";
import { type Outcome, simulate } from "../sim/simulation.ts";
import { CommandError, EXIT } from "./command.ts";

/** Which worlds. */
export interface Batch {
  readonly seeds: number;
  /** The first seed. */
  readonly from: number;
  /** Processes at a time. */
  readonly jobs: number;
  /** Simulated milliseconds of trouble in each world. */
  readonly duration: number;
  /** The command line of this program, for its processes. */
  readonly program?: readonly string[];
}

/** Runs the worlds; `count` is called with each outcome, without its list of faults. */
export async function runBatch(batch: Batch, count: (outcome: Outcome) => void): Promise<void> {
  const jobs = Math.min(batch.jobs, batch.seeds);
  if (jobs > 1) return await fanOut({ ...batch, jobs }, count);
  for (let i = 0; i < batch.seeds; i++) {
    count(simulate(drawOptions(batch.from + i, batch.duration)));
  }
}

/** The part of one of several processes; it ends when nobody listens any more. */
export function reportBatch({ seeds, from, duration }: Batch, stride: number): number {
  const encoder = new TextEncoder();
  for (let i = 0; i < seeds; i += stride) {
    const outcome = simulate(drawOptions(from + i, duration));
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
  return { ...outcome, faults: [], violation: outcome.violation?.slice(0, 1000) ?? null };
}

/** Spreads the seeds over processes of this program. */
async function fanOut(
  { seeds, jobs, from, duration, program: self = selfCommand() }: Batch,
  count: (outcome: Outcome) => void,
): Promise<void> {
  const [program, ...before] = self;
  let counted = 0;
  const children = Array.from({ length: jobs }, (_, job) =>
    new Deno.Command(program!, {
      args: [
        ...before,
        "simulate",
        ...["--seeds", `${seeds - job}`, "--from", `${from + job}`],
        ...["--minutes", `${duration / 60_000}`, "--stride", `${jobs}`],
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
      for (const line of lines) {
        counted++;
        count(JSON.parse(line) as Outcome);
      }
    }
    const { code } = await child.status;
    if (code !== 0) {
      throw new CommandError(`simulate: a process ended with code ${code}; see above`);
    }
  }));
  if (counted === seeds) return;
  throw new CommandError(`simulate: ${counted} of ${seeds} worlds were reported by ${program}`);
}
