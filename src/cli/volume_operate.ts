/**
 * What an operator tells the replica of this node: `bascule volume connect`, `disconnect`, `discard`
 * and `verify`.
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { optional } from "@optique/core/modifiers";
import { argument, option } from "@optique/core/primitives";
import { string } from "@optique/core/valueparser";
import type { StatusDocument, VolumeStatus } from "../status/types.ts";
import type { SplitView, VolumeOperation } from "../volume/types.ts";
import { askAgent, runtimeDirectory } from "./ask_agent.ts";
import { confirm } from "./by_hand.ts";
import { CommandError, defineCommand, EXIT } from "./command.ts";
import { type GlobalOptions, localNode, openConfig } from "./options.ts";
import { count, printLine } from "./output.ts";
import { findVolume } from "./volume.ts";

const volume = argument(string({ metavar: "VOLUME" }), {
  description: message`A volume of the configuration.`,
});

/** The command `volume connect`. */
export const volumeConnectCommand = defineCommand(
  "connect",
  message`Connect the replicas again, at once.`,
  object({ volume }),
  async (options) => {
    await tell(options, "connect");
    printLine(`volume ${options.volume}: it connects; see bascule volume status`);
    return EXIT.done;
  },
);

/** The command `volume disconnect`. */
export const volumeDisconnectCommand = defineCommand(
  "disconnect",
  message`Cut the replica of this node off, until connect or a restart of the agent.`,
  object({ volume }),
  async (options) => {
    await tell(options, "disconnect");
    printLine(`volume ${options.volume}: disconnected; what is written now is resynced later`);
    return EXIT.done;
  },
);

/** The command `volume discard`. */
export const volumeDiscardCommand = defineCommand(
  "discard",
  message`Give up what this node's replica holds for what the other one holds.`,
  object({
    volume,
    yes: optional(option("--yes", { description: message`Do not ask.` })),
  }),
  runDiscard,
);

/** The command `volume verify`. */
export const volumeVerifyCommand = defineCommand(
  "verify",
  message`Compare all blocks of both replicas, while clients go on; on the Primary's node.`,
  object({
    volume,
    repair: optional(option("--repair", {
      description: message`Copy what differs to the other replica.`,
    })),
    cancel: optional(option("--cancel", { description: message`End the one that runs.` })),
  }),
  runVerify,
);

/** Exit code 0 when the data are given up; otherwise throws a {@link CommandError}. */
export async function runDiscard(
  options: GlobalOptions & { readonly volume: string; readonly yes: boolean | undefined },
): Promise<number> {
  const config = openConfig(options);
  const node = localNode(config, options).name;
  const { name } = findVolume(config, options.volume);
  const status = await askAgent(runtimeDirectory(options), "GET", "/v1/status") as StatusDocument;
  const found = status.volumes.find((one) => one.name === name);
  for (const line of splitLines(found, node)) printLine(line);
  if (found?.split !== undefined) {
    confirm(`Give up what ${node} wrote to ${name} on its own?`, options.yes === true);
  }
  await tell(options, "discard");
  printLine(`volume ${name}: the replica of ${node} becomes a copy of the other's within seconds`);
  return EXIT.done;
}

/** Exit code 0 when it has begun or ended; otherwise throws a {@link CommandError}. */
export async function runVerify(
  options: GlobalOptions & {
    readonly volume: string;
    readonly repair: boolean | undefined;
    readonly cancel: boolean | undefined;
  },
): Promise<number> {
  if (options.cancel === true && options.repair === true) {
    throw new CommandError("--repair begins a verify and --cancel ends one; name one", EXIT.usage);
  }
  const name = options.volume;
  if (options.cancel === true) {
    await tell(options, "verify-cancel");
    printLine(`volume ${name}: the verify is over`);
    return EXIT.done;
  }
  await tell(options, options.repair === true ? "verify-repair" : "verify");
  printLine(`volume ${name}: the verify runs; bascule volume status ${name} shows how far it is`);
  return EXIT.done;
}

/** What is known of two replicas that both have data of their own. */
export function splitLines(found: VolumeStatus | undefined, node: string): string[] {
  const split = found?.split;
  if (found === undefined || split === undefined) return [];
  const blocks = split.blocks === null
    ? "how many blocks differ is not known, all of them may"
    : `at most ${count(split.blocks, "block")} of 4 KiB differ`;
  const peer = found.peers[0]?.node ?? "the other node";
  return [
    `volume ${found.name}: both replicas have data of their own (${split.reason}); ${blocks}`,
    `  ${node}: ${viewText(split.own)}`,
    `  ${peer}: ${viewText(split.peer)}`,
  ];
}

function viewText({ dirtyBlocks, lastWrite, primarySince }: SplitView): string {
  const at = (time: number) => time === 0 ? "not known" : new Date(time).toISOString();
  return `${count(dirtyBlocks, "block")} written since, the last about ${at(lastWrite)}; ` +
    `Primary since ${at(primarySince)}`;
}

async function tell(
  options: GlobalOptions & { readonly volume: string },
  what: VolumeOperation,
): Promise<void> {
  const config = openConfig(options);
  const { name } = findVolume(config, options.volume);
  const command = { type: "volume", volume: name, what };
  await askAgent(runtimeDirectory(options), "POST", "/v1/command", command);
}
