/** What an operator may want of a volume here: connect, disconnect, discard, verify. */

import { PEER, type VolumeContext } from "./context.ts";
import type { SourceLink } from "./source_link.ts";
import type { TargetLink } from "./target_link.ts";
import type { VolumeOperation } from "./types.ts";
import type { Walks } from "./walks.ts";

/** The parts that an operator's wish concerns. */
export interface OperateParts {
  readonly source: SourceLink;
  readonly target: TargetLink;
  readonly walks: Walks;
}

/** Carries it out or begins it; `done` is told why it cannot be, or null. */
export function operate(
  context: VolumeContext,
  { source, target, walks }: OperateParts,
  what: VolumeOperation,
  done: (error: string | null) => void,
): void {
  const { parting, superblock, init, role } = context;
  if (!context.hasPeer) return done("the volume has one replica only");
  const peer = init.peers[PEER]!;
  const primary = role === "Primary";
  context.changed = true;
  switch (what) {
    case "connect":
      parting.disconnected = false;
      if (primary) source.reconsider();
      return done(null);
    case "disconnect":
      parting.disconnected = true;
      context.note("warning", "disconnected", "disconnected by an operator", { peer });
      if (primary) source.reconsider();
      else target.end();
      return done(null);
    case "discard":
      if (primary) {
        return done(`it is Primary here: move its group to ${peer} first, or discard there`);
      }
      if (parting.split === null) {
        return done(
          "nothing is known of other data: see bascule volume status; " +
            `if ${peer} was not met yet, connect first`,
        );
      }
      return superblock.update({ discard: true }, () => {
        context.note("warning", "discard", `the data here are given up for those of ${peer}`, {
          ownBlocks: context.bitmap.count,
        });
        context.changed = true;
        done(null);
      });
    default:
      if (!primary) return done(`the Primary leads a verify: ask on ${peer}`);
      return done(
        what === "verify-cancel"
          ? walks.verify.cancel()
          : walks.verify.begin(what === "verify-repair"),
      );
  }
}
