/**
 * `bascule maintenance`: work on the cluster without the cluster answering.
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { argument } from "@optique/core/primitives";
import { choice } from "@optique/core/valueparser";
import type { StatusDocument } from "../status/types.ts";
import { askAgent, runtimeDirectory } from "./ask_agent.ts";
import { defineCommand, EXIT } from "./command.ts";
import type { GlobalOptions } from "./options.ts";
import { printLine } from "./output.ts";

/** The command `maintenance`. */
export const maintenanceCommand = defineCommand(
  "maintenance",
  message`Switch the cluster's decisions off and on: in maintenance nothing is started, stopped or moved, nothing fails over, and all is still watched and shown. A lost lease freezes as ever. An agent that is stopped in maintenance takes its groups down with it, and they stay down until maintenance ends.`,
  object({
    what: argument(choice(["on", "off", "status"], { metavar: "on|off|status" }), {
      description: message`What to do; status says which of the two it is.`,
    }),
  }),
  runMaintenance,
);

/** Exit code 0 when it is done; otherwise throws a `CommandError`. */
export async function runMaintenance(
  options: GlobalOptions & { readonly what: "on" | "off" | "status" },
): Promise<number> {
  const directory = runtimeDirectory(options);
  if (options.what === "status") {
    const document = await askAgent(directory, "GET", "/v1/status") as StatusDocument;
    printLine(`maintenance is ${document.maintenance ? "on" : "off"}`);
    return EXIT.done;
  }
  const on = options.what === "on";
  await askAgent(directory, "POST", "/v1/command", { type: "maintenance", on });
  printLine(
    on
      ? "maintenance is on: nothing is started, stopped or moved until bascule maintenance off"
      : "maintenance is off: the cluster decides again",
  );
  return EXIT.done;
}
