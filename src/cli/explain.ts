/**
 * `bascule explain`: why each group runs where it runs, or does not run.
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { optional, withDefault } from "@optique/core/modifiers";
import { argument, option } from "@optique/core/primitives";
import { integer, string } from "@optique/core/valueparser";
import type { JournalEntry } from "../status/journal.ts";
import type { GroupStatus, StatusDocument } from "../status/types.ts";
import { askAgent, runtimeDirectory } from "./ask_agent.ts";
import { CommandError, defineCommand, EXIT } from "./command.ts";
import type { GlobalOptions } from "./options.ts";
import { formatTable, printLine } from "./output.ts";

/** Entries of the journal that are looked through. */
const LOOKED_THROUGH = 1000;
/** Above every id that a journal gives. */
const BEYOND = 10 ** 14;

/** The command `explain`. */
export const explainCommand = defineCommand(
  "explain",
  message`Say for each group what is known, which rule applied, what speaks against each node, and what was decided last.`,
  object({
    group: optional(argument(string({ metavar: "GROUP" }), {
      description: message`Default: every group.`,
    })),
    last: withDefault(
      option("--last", integer({ metavar: "N", min: 0, max: LOOKED_THROUGH }), {
        description: message`How many decisions of this node's journal to show.`,
      }),
      10,
    ),
    json: optional(option("--json", { description: message`For programs: one document.` })),
  }),
  runExplain,
);

/** Exit code 0 when the agent answered and has the group; otherwise throws a {@link CommandError}. */
export async function runExplain(
  options: GlobalOptions & {
    readonly group: string | undefined;
    readonly last: number;
    readonly json: boolean | undefined;
  },
): Promise<number> {
  const directory = runtimeDirectory(options);
  const document = await askAgent(directory, "GET", "/v1/status") as StatusDocument;
  const groups = document.groups.filter(({ name }) => name === (options.group ?? name));
  if (options.group !== undefined && groups.length === 0) {
    const names = document.groups.map(({ name }) => name).join(", ");
    throw new CommandError(
      `there is no group ${options.group}; the configuration has ${names}`,
      EXIT.usage,
    );
  }
  const entries = await newestEntries(directory);
  const decisions = (name: string) =>
    options.last === 0 ? [] : entries.filter(({ group }) => group === name).slice(-options.last);
  if (options.json === true) {
    const all = groups.map((group) => ({ ...group, decisions: decisions(group.name) }));
    const { cluster, node, quorum, maintenance } = document;
    printLine(JSON.stringify({ cluster, node, quorum, maintenance, groups: all }, null, 2));
    return EXIT.done;
  }
  groups.forEach((group, index) => {
    if (index > 0) printLine("");
    for (const line of explainGroup(document, group, decisions(group.name))) printLine(line);
  });
  return EXIT.done;
}

async function newestEntries(directory: string): Promise<readonly JournalEntry[]> {
  const ask = async (after: number) =>
    await askAgent(directory, "GET", `/v1/events?after=${after}`) as {
      readonly events: readonly JournalEntry[];
      readonly last: number;
    };
  const { last } = await ask(BEYOND);
  return (await ask(Math.max(0, last - LOOKED_THROUGH))).events;
}

/** The lines about one group. */
export function explainGroup(
  { node, quorum, maintenance }: StatusDocument,
  group: GroupStatus,
  decisions: readonly JournalEntry[],
): string[] {
  const { name, owner, state, epoch, why, candidates = [], failures = {} } = group;
  const votes = `${quorum.votes} of ${quorum.expected} votes`;
  const lines = [
    `${name}: ${state}${owner === null ? "" : ` on ${owner}`}` +
    `${epoch === undefined ? "" : `, epoch ${epoch}`}`,
    `  seen from  ${node}, ${quorum.have ? "with a quorum" : "WITHOUT A QUORUM"} (${votes})` +
    (maintenance ? ", in maintenance" : ""),
  ];
  if (why !== undefined) {
    const next = why.to === undefined ? "" : ` ${why.to}`;
    lines.push(`  decision   ${why.action}${next}, by the rule ${why.rule}`);
    lines.push(`  because    ${why.text}`);
    if (Object.keys(why.known).length > 0) lines.push(`  known      ${shownFacts(why.known)}`);
  }
  const rows = candidates.map(({ node: candidate, against, reaches, of }, index) => [
    index === 0 ? "  candidates" : "",
    candidate,
    against ?? (candidate === owner ? "owns it" : "could take it"),
    of === 0 ? "" : reaches === null ? "pings not measured" : `reaches ${reaches} of ${of} targets`,
  ]);
  const [first, ...rest] = rows;
  if (first !== undefined) lines.push(...formatTable(first, rest));
  for (const [failed, { count, againIn }] of Object.entries(failures)) {
    const again = againIn === undefined
      ? "only a cleanup lets it try again"
      : `it may try again in ${Math.ceil(againIn / 1000)} s`;
    const times = count === 1 ? "once" : `${count} times`;
    lines.push(
      `  failed     on ${failed} ${times}: ${again}, or at once after bascule cleanup ${name}`,
    );
  }
  if (decisions.length > 0) lines.push(`  last decisions on ${node}`);
  for (const { time, rule, text, known } of decisions) {
    const facts = Object.keys(known).length === 0 ? "" : ` [${shownFacts(known)}]`;
    lines.push(`    ${time} ${rule}: ${text}${facts}`);
  }
  return lines;
}

function shownFacts(known: JournalEntry["known"]): string {
  return Object.entries(known).map(([key, value]) => `${key}=${value}`).join(", ");
}
