/**
 * A mutation: a small, exact change of production code that breaks a rule of the protocol. The simulator
 * has to find it; one that it does not find is a checker or a fault that is missing.
 */

import type { QuorumMode } from "../../src/config/types.ts";
import type { TimedFault } from "../../src/sim/faults.ts";
import type { FaultName, Options } from "../../src/sim/options.ts";

/** Replaces `before`, which the file must hold exactly once. */
export interface Patch {
  readonly file: string;
  readonly before: string;
  readonly after: string;
}

/** A world in which a rule matters that drawn ones seldom need: where it differs from a plain one. */
export interface DirectedWorld {
  readonly options: Partial<Options>;
  /** What goes wrong, each time; nothing: what the options draw. */
  readonly faults?: readonly TimedFault[];
}

/** See the module comment. */
export interface Mutation {
  /** Of the protocol's list; above 100: of our own. */
  readonly number: number;
  readonly name: string;
  readonly patches: readonly Patch[];
  /** It has to be found within so many worlds, from seed 1 on. */
  readonly seeds: number;
  /** Only worlds of this quorum mode are run; default: all. */
  readonly mode?: QuorumMode;
  /** Only these faults happen, and often; default: as each world draws them. */
  readonly focus?: readonly FaultName[];
  /** This world is run, with chance of another seed each time; default: drawn ones. */
  readonly world?: DirectedWorld;
}

/** Thrown when the code that a mutation changes is no longer what the mutation expects. */
export class StalePatch extends Error {
  override readonly name = "StalePatch";
}

/** The text of a file with a patch applied. Throws a {@linkcode StalePatch}. */
export function applyPatch(text: string, { file, before, after }: Patch): string {
  const parts = text.split(before);
  if (parts.length !== 2) {
    throw new StalePatch(
      `${file} holds the following ${parts.length - 1} times, not once; ` +
        `write the mutation anew for the code as it is now:\n${before}`,
    );
  }
  if (before === after) throw new StalePatch(`${file}: a patch changes nothing:\n${before}`);
  return parts.join(after);
}

/** Throws a {@linkcode StalePatch} if the code that a mutation changes is no longer as it expects. */
export function checkPatches({ patches }: Mutation): void {
  const texts = new Map<string, string>();
  for (const patch of patches) {
    const { file } = patch;
    const text = texts.get(file) ??
      Deno.readTextFileSync(new URL(`../../${file}`, import.meta.url));
    texts.set(file, applyPatch(text, patch));
  }
}
