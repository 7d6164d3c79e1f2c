/**
 * Versions of the cluster protocol: what an agent can speak, and what all speak now.
 *
 * Each agent says in its heartbeats which versions it speaks. The version in force stands in the
 * cluster's record; once every configured node says that it speaks a newer one, the leader raises it.
 * It is never lowered, since what was recorded under a newer version may be unreadable to an older
 * program. So nodes are upgraded one after the other, and the new version begins when the last one
 * has been.
 */

import type { ClusterRecord, ProtocolRange } from "./types.ts";

/** This program does not speak what the cluster speaks; the message says the mend. */
export class UnfitProgram extends Error {
  override readonly name = "UnfitProgram";
}

/** What this program speaks. */
export const SPOKEN: ProtocolRange = { least: 1, newest: 1 };

/** The version of a record: those of the first version do not say it. */
export function protocolOf(record: ClusterRecord | null): number {
  return record?.protocol ?? 1;
}

/**
 * The error for a program that is too old, or too new, for a cluster whose record this voter has
 * accepted; null: it fits.
 */
export function unfitFor(record: ClusterRecord | null, speaks: ProtocolRange): string | null {
  const inForce = protocolOf(record);
  if (record === null || (speaks.least <= inForce && inForce <= speaks.newest)) return null;
  const spoken = speaks.least === speaks.newest
    ? `version ${speaks.newest}`
    : `versions ${speaks.least} to ${speaks.newest}`;
  return `the cluster speaks version ${inForce} of its protocol and this program ${spoken}; ` +
    (inForce > speaks.newest
      ? "install the newer program again"
      : "install a version in between on every node first");
}
