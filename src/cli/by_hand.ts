/**
 * What only a person may decide: `bascule confirm-off` and `bascule volume promote --force`. Both say
 * what they risk and ask before they do anything.
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { optional } from "@optique/core/modifiers";
import { argument, option } from "@optique/core/primitives";
import { string } from "@optique/core/valueparser";
import type { Config, GroupConfig } from "../config/types.ts";
import type { StatusDocument } from "../status/types.ts";
import { askAgent, runtimeDirectory } from "./ask_agent.ts";
import { CommandError, defineCommand, EXIT } from "./command.ts";
import { type GlobalOptions, localNode, openConfig } from "./options.ts";
import { askLine, printLine } from "./output.ts";

const yesOption = optional(option("--yes", { description: message`Do not ask.` }));

/** The command `confirm-off`. */
export const confirmOffCommand = defineCommand(
  "confirm-off",
  message`State that a node is switched off, where no fence command could confirm it.`,
  object({
    target: argument(string({ metavar: "NODE" }), {
      description: message`The other node of the pair.`,
    }),
    yes: yesOption,
  }),
  runConfirmOff,
);

/** The command `volume promote`. */
export const volumePromoteCommand = defineCommand(
  "promote",
  message`Make this node's replica the one that counts, whatever the others hold.`,
  object({
    volume: argument(string({ metavar: "VOLUME" }), {
      description: message`A volume of the configuration; its whole group is promoted.`,
    }),
    force: optional(option("--force", {
      description: message`What this replica lacks is given up.`,
    })),
    yes: yesOption,
  }),
  runPromote,
);

/** Exit code 0 when it is done; otherwise throws a {@link CommandError}. */
export async function runConfirmOff(
  options: GlobalOptions & { readonly target: string; readonly yes: boolean | undefined },
): Promise<number> {
  const { target } = options;
  printLine(`You state that ${target} is off: no power, or reset by power just now.`);
  printLine(
    `If it still runs, both nodes serve: the data part, and the writes of one side are lost.`,
  );
  confirm(`Is ${target} off?`, options.yes === true);
  await askAgent(runtimeDirectory(options), "POST", "/v1/command", {
    type: "confirmOff",
    node: target,
  });
  printLine(`${target} counts as off until it is heard again`);
  return EXIT.done;
}

/** Exit code 0 when the group runs here; otherwise throws a {@link CommandError}. */
export async function runPromote(
  options: GlobalOptions & {
    readonly volume: string;
    readonly force: boolean | undefined;
    readonly yes: boolean | undefined;
  },
): Promise<number> {
  const config = openConfig(options);
  const node = localNode(config, options).name;
  const group = groupOf(config, options.volume);
  const directory = runtimeDirectory(options);
  const status = await askAgent(directory, "GET", "/v1/status") as StatusDocument;
  for (const line of promotionRisk(status, group, node)) printLine(line);
  if (options.force !== true) {
    throw new CommandError(
      `volume ${options.volume}: nothing was done; if these are the data to go on with, ` +
        `add --force`,
      EXIT.usage,
    );
  }
  confirm(`Go on with the data of ${node}, and give up the rest?`, options.yes === true);
  await askAgent(directory, "POST", "/v1/command", { type: "promote", group: group.name });
  printLine(`${group.name} runs on ${node}, with the data of ${node} under a lineage of their own`);
  return EXIT.done;
}

function groupOf(config: Config, volume: string): GroupConfig {
  const group = config.groups.find(({ resources }) =>
    resources.some((each) => each.kind === "volume" && each.volume === volume)
  );
  if (group !== undefined) return group;
  const known = config.volumes.some(({ name }) => name === volume);
  const names = config.volumes.map(({ name }) => name).join(", ");
  throw new CommandError(
    known
      ? `volume ${volume}: no group has it; add "volume:${volume}" to the resources of a group`
      : `${config.file}: there is no volume ${volume}; ${
        names === "" ? "none is named" : `name one of ${names}`
      }`,
    EXIT.usage,
  );
}

/** What is known of what a forced promotion gives up, and what follows from it. */
export function promotionRisk(status: StatusDocument, group: GroupConfig, node: string): string[] {
  const seen = status.groups.find(({ name }) => name === group.name);
  const lines = [
    `group ${group.name}: ${seen?.owner ?? "nobody"} is the owner on record, in epoch ` +
    `${seen?.epoch ?? 0}; it is ${seen?.state ?? "unknown"}`,
  ];
  for (const { name, upToDate, disk, role } of status.volumes) {
    if (!group.resources.some((each) => each.kind === "volume" && each.volume === name)) continue;
    const others = upToDate.filter((each) => each !== node);
    const here = upToDate.includes(node);
    lines.push(
      `volume ${name}: the replica here is ${disk}, ${role}; ` +
        (upToDate.length === 0
          ? "who holds every write is not known here"
          : `every acknowledged write is on ${upToDate.join(" and ")}`),
    );
    if (!here) {
      lines.push(
        `  LOST if you go on: what ${
          others.join(" or ") || "another replica"
        } acknowledged after ` +
          `this replica left the in-sync set`,
      );
    } else if (others.length > 0) {
      lines.push(
        `  this node's record says that its replica has everything; the record itself may be old, ` +
          `if ${others.join(" and ")} went on without this node`,
      );
    }
  }
  for (const { name, state, heardAgo } of status.nodes) {
    if (name === node || state === "online") continue;
    const ago = heardAgo === null || heardAgo === undefined
      ? "not heard since the agent started here"
      : `last heard ${Math.round(heardAgo / 1000)} s ago`;
    lines.push(`node ${name}: ${state}, ${ago}`);
  }
  lines.push(
    "Afterwards replicas of the old lineage are not written to: each stays as it is, StandAlone, until",
    '"bascule volume discard" on its node gives its data up. Nodes that cannot be reached now freeze',
    "what they still run as soon as they hear of it; until then both may serve.",
  );
  return lines;
}

/** Asks on the terminal; without one only `--yes` will do. */
export function confirm(question: string, yes: boolean): void {
  if (yes) return;
  if (!Deno.stdin.isTerminal()) {
    throw new CommandError(
      "nothing was done: there is no terminal to ask on; add --yes",
      EXIT.usage,
    );
  }
  if (askLine(`${question} Type yes: `) !== "yes") throw new CommandError("nothing was done");
}
