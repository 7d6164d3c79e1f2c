/**
 * `bascule volume resize`: this node's replica gets the size that the configuration says.
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { optional } from "@optique/core/modifiers";
import { argument, option } from "@optique/core/primitives";
import { string } from "@optique/core/valueparser";
import { DiskError } from "../agent/dataplane/disk.ts";
import { resizeReplica } from "../agent/volume_resize.ts";
import { formatSize, parseSize } from "../config/units.ts";
import { CommandError, defineCommand, EXIT } from "./command.ts";
import { type GlobalOptions, localNode, openConfig } from "./options.ts";
import { printLine } from "./output.ts";
import { findVolume } from "./volume.ts";

/** The command `volume resize`. */
export const volumeResizeCommand = defineCommand(
  "resize",
  message`Grow this node's replica to the size in the configuration, while its agent is stopped.`,
  object({
    volume: argument(string({ metavar: "VOLUME" }), {
      description: message`A volume of the configuration.`,
    }),
    from: optional(option("--from", string({ metavar: "SIZE" }), {
      description: message`Its present size, where that is no whole number of MiB.`,
    })),
  }),
  runVolumeResize,
);

/** Exit code 0 when the replica has the size. */
export function runVolumeResize(
  options: GlobalOptions & { readonly volume: string; readonly from: string | undefined },
): Promise<number> {
  const config = openConfig(options);
  const node = localNode(config, options).name;
  const volume = findVolume(config, options.volume);
  const from = options.from === undefined ? undefined : parseSize(options.from);
  if (from !== undefined && "error" in from) {
    throw new CommandError(`--from: ${from.error}`, EXIT.usage);
  }
  try {
    const done = resizeReplica(volume, node, from?.value);
    const size = formatSize(done.after);
    printLine(
      done.unchanged
        ? `volume ${volume.name}: the replica has ${size} already`
        : `volume ${volume.name}: replica ${done.replicaId} grown from ${
          formatSize(done.before)
        } ` +
          `to ${size}; what is new reads as zeroes`,
    );
    const others = volume.replicas.filter((replica) => replica.node !== node);
    if (others.length > 0) {
      printLine(
        `next: bascule run here; then move its group here, and do the same on ` +
          others.map((replica) => replica.node).join(", "),
      );
    }
    return Promise.resolve(EXIT.done);
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    throw new CommandError(`volume ${volume.name}: ${error.message}`);
  }
}
