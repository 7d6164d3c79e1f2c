/**
 * `deno task mutate`: breaks the rules of the protocol one at a time, in a copy of the production code,
 * and shows after how many worlds the simulator finds each. Exit code 1 if it misses one.
 *
 * `--list` names the mutations, one a line; names (or numbers) as arguments run these alone; `--jobs N`
 * runs so many at a time (default: one a core).
 */

import { checkPatches, type Mutation } from "./mutation.ts";
import { MUTATIONS } from "./mutations.ts";
import { withMutatedTree } from "./mutated_tree.ts";
import type { Hunt } from "./hunt.ts";

/** Simulated minutes of trouble in each world. */
const MINUTES = 5;
const FIRST_SEED = 1;

const ROOT = new URL("../../", import.meta.url).pathname;

/** Runs worlds in the tree in `folder`. */
async function runHunt(
  folder: string,
  from: number,
  worlds: number,
  { mode, focus = [], world }: Mutation,
): Promise<Hunt> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--quiet", "--no-check", "--config", `${folder}/deno.json`],
      `${folder}/tools/mutate/hunt.ts`,
      ...[from, worlds, MINUTES].map(String),
      ...[
        world === undefined ? mode ?? "any" : "any",
        focus.join(","),
        JSON.stringify(world ?? null),
      ],
    ],
    stdin: "null",
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (code !== 0) throw new Error(`${folder}: ${decode(stderr)}`);
  return JSON.parse(decode(stdout)) as Hunt;
}

/**
 * Hunts one mutation. A world that breaks a promise without the mutation too proves nothing and is
 * passed over. Throws if the patches do not apply or the hunt cannot be run.
 */
export function huntMutation(mutation: Mutation): Promise<Hunt> {
  const { seeds } = mutation;
  return withMutatedTree(mutation, async (folder) => {
    let tried = 0;
    for (let from = FIRST_SEED; tried < seeds;) {
      const found = await runHunt(folder, from, seeds - tried, mutation);
      tried += found.tried;
      if (found.seed === null) break;
      const { violation } = await runHunt(ROOT, found.seed, 1, mutation);
      if (violation === null) return { ...found, tried };
      from = found.seed + 1;
    }
    return { tried, seed: null, violation: null };
  });
}

function row(mutation: Mutation, { tried, seed, violation }: Hunt): string {
  const { number, name, seeds, patches } = mutation;
  const found = seed === null
    ? `SURVIVES ${seeds} worlds`
    : `found after ${tried} of ${seeds} worlds`;
  return [
    String(number).padStart(3),
    name.padEnd(30),
    patches[0]!.file.padEnd(28),
    found.padEnd(30),
    violation?.split("\n")[0] ?? "",
  ].join("  ");
}

/** A line for whoever still reads. */
function say(line: string): void {
  try {
    Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
    Deno.exit(1);
  }
}

function chosen(words: readonly string[]): readonly Mutation[] {
  if (words.length === 0) return MUTATIONS;
  return words.map((word) => {
    const found = MUTATIONS.find(({ name, number }) => name === word || String(number) === word);
    if (found === undefined) throw new Error(`no mutation is called ${word}; --list names them`);
    return found;
  });
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--list")) {
    for (const { number, name } of MUTATIONS) say(`${String(number).padStart(3)} ${name}`);
    return 0;
  }
  const jobsAt = args.indexOf("--jobs");
  const jobs = jobsAt < 0 ? navigator.hardwareConcurrency : Number(args[jobsAt + 1]);
  const words = args.filter((_, index) => jobsAt < 0 || (index !== jobsAt && index !== jobsAt + 1));
  const queue = [...chosen(words)];
  // A patch that no longer applies is said before hours have passed.
  for (const mutation of queue) checkPatches(mutation);
  let survivors = 0;
  const worker = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      try {
        const found = await huntMutation(next);
        if (found.seed === null) survivors++;
        say(row(next, found));
      } catch (error) {
        // One that is no program any more proves nothing; the others are hunted all the same.
        survivors++;
        say(`${next.number} ${next.name}: ${error instanceof Error ? error.message : error}`);
      }
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  say(`${survivors} survive`);
  return survivors === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
