/**
 * `bascule demo`: a two-node cluster with a witness on this machine, a real takeover, a resync, and a
 * count of what was lost. Its service and its client are this program too, in hidden roles.
 *
 * @module
 */
import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { multiple, optional } from "@optique/core/modifiers";
import { flag, option } from "@optique/core/primitives";
import { choice, integer, string } from "@optique/core/valueparser";
import { selfCommand } from "../agent/self.ts";
import { VOLUME } from "../demo/configuration.ts";
import { runLoadClient } from "../demo/load_client.ts";
import { enterPrivateNamespaces, insidePrivateNamespaces } from "../demo/namespaces.ts";
import { serveRecords } from "../demo/record_service.ts";
import { SERVICE_PORT, serviceHost } from "../demo/stage.ts";
import { runStory } from "../demo/story.ts";
import { CommandError, defineCommand, EXIT } from "./command.ts";
import { printLine } from "./output.ts";

/** Options of `demo`. */
export interface DemoOptions {
  readonly loopback: boolean;
  readonly role?: "service" | "client" | undefined;
  readonly target: readonly string[];
  readonly records?: number | undefined;
}

/** The command `demo`. */
export const demoCommand = defineCommand(
  "demo",
  message`Show a failover on this machine: two nodes, a witness, a client; nothing lost.`,
  object({
    loopback: optional(flag("--loopback", {
      description: message`Stay on loopback, without namespaces and without the virtual address.`,
    })),
    role: optional(option("--role", choice(["service", "client"]), { hidden: true })),
    target: multiple(option("--target", string({ metavar: "HOST" }), { hidden: true })),
    records: optional(option("--records", integer({ min: 1 }), { hidden: true })),
  }),
  (options) => runDemo({ ...options, loopback: options.loopback ?? false }),
);

/** Exit code 0 only if every acknowledged write was found again. */
export async function runDemo(options: DemoOptions): Promise<number> {
  if (options.role === "service") {
    const { BASCULE_NODE: node = "", BASCULE_RUNTIME_DIR: runtime = "" } = Deno.env.toObject();
    await serveRecords(`${runtime}/${VOLUME}.sock`, VOLUME, serviceHost(node), SERVICE_PORT);
    return EXIT.done;
  }
  if (options.role === "client") {
    await runLoadClient(options.target, SERVICE_PORT, options.records ?? 1);
    return EXIT.done;
  }
  if (insidePrivateNamespaces()) return await story("namespaces");
  if (options.loopback) return await story("loopback");
  const outcome = await enterPrivateNamespaces([...selfCommand(), "demo"]);
  if ("code" in outcome) return outcome.code;
  printLine(
    `No network namespaces here (${outcome.refused}); the demonstration stays on loopback.`,
  );
  return await story("loopback");
}

async function story(where: "namespaces" | "loopback"): Promise<number> {
  try {
    return await runStory(where) ? EXIT.done : EXIT.failed;
  } catch (error) {
    throw new CommandError(`demo: ${error instanceof Error ? error.message : String(error)}`);
  }
}
