/**
 * A world and what is done to it, as lines of JSON: its options first, then one fault a line. Such a
 * file replays a run even when seeds draw otherwise than they did.
 */

import { FAULT_NAMES, type TimedFault } from "./faults.ts";
import { type Options, PLAIN } from "./options.ts";

/** What a file holds. */
export interface SavedWorld {
  readonly options: Options;
  readonly faults: readonly TimedFault[];
}

/** A line that cannot be read; the message names it. */
export class WorldFileError extends Error {
  override readonly name = "WorldFileError";
}

/** The lines of a world, without line ends. */
export function worldLines({ options, faults }: SavedWorld): string[] {
  return [JSON.stringify({ options }), ...faults.map((fault) => JSON.stringify(fault))];
}

/**
 * Reads a world. Options that it does not name are as they were before there were any.
 *
 * @param file its name, for messages. Throws a {@linkcode WorldFileError}.
 */
export function parseWorld(text: string, file: string): SavedWorld {
  let options: Options | undefined;
  const faults: TimedFault[] = [];
  text.split("\n").forEach((line, index) => {
    if (line.trim() === "") return;
    const where = `${file}:${index + 1}`;
    const value = parseLine(line, where);
    if (options === undefined) {
      options = readOptions(value["options"], where);
      return;
    }
    const { at, fault } = value;
    if (typeof at !== "number" || !FAULT_NAMES.has(fault as string)) {
      throw new WorldFileError(
        `${where}: this is no fault; a line is {"at": MILLISECONDS, "fault": NAME, …}, and the names ` +
          `are ${[...FAULT_NAMES].join(", ")}`,
      );
    }
    faults.push(value as unknown as TimedFault);
  });
  if (options === undefined) {
    throw new WorldFileError(`${file}: it is empty; make one with --seed N --save FILE`);
  }
  return { options, faults };
}

function parseLine(line: string, where: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new WorldFileError(`${where}: not an object of JSON; make one with --seed N --save FILE`);
}

function readOptions(value: unknown, where: string): Options {
  if (typeof value !== "object" || value === null) {
    throw new WorldFileError(`${where}: the first line holds {"options": …}; see --save`);
  }
  const given = value as Partial<Options>;
  for (const [key, known] of Object.entries(PLAIN)) {
    const each = given[key as keyof Options];
    if (each === undefined || typeof each === typeof known) continue;
    throw new WorldFileError(`${where}: ${key} is a ${typeof known}, not ${JSON.stringify(each)}`);
  }
  return { ...PLAIN, ...given, weights: { ...PLAIN.weights, ...given.weights } };
}
