/** `bascule simulate -c FILE --crash NODE@TIME …`: what would happen if. */

import { object } from "@optique/core/constructs";
import { message, text } from "@optique/core/message";
import { multiple, optional } from "@optique/core/modifiers";
import { option } from "@optique/core/primitives";
import { string } from "@optique/core/valueparser";
import { parseDuration } from "../config/units.ts";
import { type Happening, HappeningError, HAPPENINGS, parseHappening } from "../sim/happenings.ts";
import { type Entry, MOST_BLOCKS, type Outage, seconds, whatIf } from "../sim/what_if.ts";
import { CommandError, EXIT } from "./command.ts";
import { type GlobalOptions, openConfig } from "./options.ts";
import { formatTable, printLine } from "./output.ts";

/** What the command line lets happen, by kind. */
export type Happenings = Readonly<Record<Happening, readonly string[]>> & {
  readonly until?: string | undefined;
};

const BRIEF: Readonly<Record<Happening, string>> = {
  crash: "The agent is killed; +TIME starts it again after that.",
  power: "The machine loses power.",
  stop: "The agent is ended in order.",
  restart: "The agent is started.",
  cut: "Nothing passes any more; NODE>NODE: in one direction; /r: of replication; * is any node.",
  heal: "It passes again; all: everything does.",
  pause: "The agent is not scheduled.",
  freeze: "The machine stands still with its clock, as a paused virtual machine does.",
  "fail-disk": "The disk of a volume fails.",
  standby: "An operator puts a node in standby.",
  unstandby: "An operator ends that.",
  move: "An operator moves a group.",
  cleanup: "An operator cleans a group up.",
};

function happening(kind: Happening) {
  return multiple(option(`--${kind}`, string({ metavar: HAPPENINGS[kind] }), {
    description: message`${text(BRIEF[kind])}`,
  }));
}

/** Parser of the options that let something happen. */
export const happeningOptions = object("What if, on your own configuration; TIME such as 5s", {
  crash: happening("crash"),
  power: happening("power"),
  stop: happening("stop"),
  restart: happening("restart"),
  cut: happening("cut"),
  heal: happening("heal"),
  pause: happening("pause"),
  freeze: happening("freeze"),
  "fail-disk": happening("fail-disk"),
  standby: happening("standby"),
  unstandby: happening("unstandby"),
  move: happening("move"),
  cleanup: happening("cleanup"),
  until: optional(option("--until", string({ metavar: "TIME" }), {
    description: message`Look on for so long; default: 30 deadtimes after the last thing happened.`,
  })),
});

/** Whether the command line lets anything happen. */
export function isWhatIf(happenings: Happenings): boolean {
  return Object.values(happenings).some((each) => typeof each === "string" || each?.length);
}

/** Plays it and shows the timeline. Exit code 0 unless a promise was broken. */
export function runWhatIf(
  happenings: Happenings,
  options: GlobalOptions & { readonly seed: number; readonly trace: boolean },
): number {
  const config = openConfig(options);
  const faults = faultsOf(happenings, options);
  const last = Math.max(0, ...faults.map(({ at }) => at));
  const until = happenings.until === undefined
    ? last + 30 * config.cluster.deadtime
    : duration(`--until ${happenings.until}`, happenings.until);
  if (until < last) {
    throw new CommandError(
      `--until ${happenings.until}: something happens later, at ${seconds(last)}; look on longer`,
      EXIT.usage,
    );
  }
  printLine(
    `${config.file}, simulated: times since all ran well. Services start and stop at once, volumes ` +
      `have at most ${MOST_BLOCKS * 4} KiB: a resync takes longer in truth.`,
  );
  const width = Math.max(...config.nodes.map(({ name }) => name.length), "clients".length);
  const { trace } = options;
  const end = whatIf(config, { happenings: faults, until, seed: options.seed }, (entry) => {
    if (trace || entry.level !== "debug") printLine(formatEntry(entry, width));
  });
  printLine("");
  const rows = [
    ...end.nodes.map(({ name, state }) => ["node", name, state]),
    ...end.groups.map(({ name, state }) => ["group", name, state]),
    ...end.volumes.map(({ name, state }) => ["volume", name, state]),
    ...config.groups.map(({ name }) => ["outage", name, outageOf(name, end.outages, until)]),
  ];
  for (const line of formatTable([`after ${seconds(until)}`, "", ""], rows)) printLine(line);
  if (end.violation === null) return EXIT.done;
  if (config.cluster.quorum === "survivor") {
    printLine(`This is what quorum = "survivor" does not promise: ${end.violation}`);
    return EXIT.done;
  }
  printLine(`A promise was broken: ${end.violation}`);
  return EXIT.failed;
}

function faultsOf(happenings: Happenings, options: GlobalOptions) {
  const config = openConfig(options);
  try {
    return (Object.keys(HAPPENINGS) as Happening[]).flatMap((kind) =>
      happenings[kind].map((words) => parseHappening(kind, words, config))
    ).sort((one, other) => one.at - other.at);
  } catch (error) {
    if (error instanceof HappeningError) throw new CommandError(error.message, EXIT.usage);
    throw error;
  }
}

function duration(where: string, words: string): number {
  const parsed = parseDuration(words);
  if ("error" in parsed) throw new CommandError(`${where}: ${parsed.error}`, EXIT.usage);
  return parsed.value;
}

function formatEntry({ at, who, rule, text: said, level, known }: Entry, width: number): string {
  const reasons = Object.entries(known).map(([key, value]) =>
    `${key}=${typeof value === "number" ? Math.round(value) : value}`
  );
  const mark = level === "error" ? "ERROR " : "";
  return [
    (at / 1000).toFixed(3).padStart(8),
    who.padEnd(width),
    rule.padEnd(16),
    `${mark}${said}${reasons.length === 0 ? "" : ` {${reasons.join(", ")}}`}`,
  ].join("  ").trimEnd();
}

function outageOf(group: string, outages: readonly Outage[], until: number): string {
  const own = outages.filter((each) => each.group === group);
  if (own.length === 0) return "none";
  const total = own.reduce((sum, { from, to }) => sum + Math.min(to, until) - from, 0);
  const each = own.map(({ from, to, before, after }) =>
    to === Infinity
      ? `from ${seconds(from)} on (${before} → nobody)`
      : `${seconds(to - from)} from ${seconds(from)} on (${before} → ${after})`
  );
  return `${seconds(total)} in all: ${each.join(", ")}`;
}
