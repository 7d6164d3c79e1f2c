/** A command of an operator while it is carried out. */

import type { Forced } from "./drafts.ts";
import { needsRead } from "./register.ts";
import type { Change } from "./register_state.ts";
import type { ClusterState } from "./state.ts";
import type { OperatorCommand, RegisterName } from "./types.ts";

/** A command that is not answered yet. */
export interface PendingCommand {
  readonly id: number;
  readonly command: OperatorCommand;
  readonly at: number;
  /** It is given up then. */
  readonly deadline: number;
  /** For `move`: where to, once that is settled. */
  target: string | null;
  /** For `cleanup`: the count that its record must reach. */
  cleanups: number | null;
  /** The register that it is about to change; null: it waits for others, or for a read. */
  wants: RegisterName | null;
  /** What it waits for, where it can say so. */
  waitsFor: string | null;
  /** For `promote`: the lineage that its record must have, and what its epoch must exceed. */
  forced: Forced | null;
  /** For `promote`: it has begun an era. */
  eraBegun: boolean;
}

/** What a command needs next. */
export type Progress =
  | { readonly done: true; readonly error?: string }
  | { readonly register: RegisterName; readonly change: Change }
  | "waiting";

/** Whether what is known of a register is as new as the command: an older one may answer wrongly. */
export function isCurrent(
  state: ClusterState,
  name: RegisterName,
  { at }: PendingCommand,
): boolean {
  const register = state.registers.get(name)!;
  if (register.confirmedAt < at) register.wantRead = true;
  return !needsRead(register);
}
