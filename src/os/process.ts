/**
 * Process groups: what supervising a child needs and Deno does not offer.
 *
 * Start the child with `new Deno.Command(…, { detached: true })`: Deno then calls setsid(2) in it, so
 * that its pid is also the number of its session and process group, and {@link killGroup} reaches
 * everything it started, save what made a session of its own.
 *
 * When the agent is killed with SIGKILL nothing can be done at that moment: PR_SET_PDEATHSIG could
 * only be set from inside the child, and it watches a thread, not a process. Under systemd the
 * service's control group is emptied when the agent dies (KillMode=control-group). Elsewhere the
 * children live on, adopted by init, and the next start of the agent must sweep them:
 * {@link findMarked} finds every process that inherited a variable from the child's environment,
 * whatever group it is in, and {@link identityOf} tells a recorded process from a later one that
 * got the same pid.
 *
 * @module
 */
import { bootId } from "./clock.ts";
import { ERRNO, type ErrnoName } from "./errno.ts";
import { check, lastErrno, libc, OsError } from "./libc.ts";

/** The signals in use, by number (the same on both architectures). */
export const SIGNAL = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGKILL: 9,
  SIGTERM: 15,
  SIGCONT: 18,
  SIGSTOP: 19,
} as const;

/** Names one process for ever: pids are used again, this is not. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks between the boot and the start of the process. */
  readonly startTime: string;
  /** Of the boot in which it was started. */
  readonly bootId: string;
}

interface ProcessStat {
  readonly state: string;
  readonly group: number;
  readonly startTime: string;
}

function statOf(pid: number): ProcessStat | undefined {
  let text: string;
  try {
    text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  } catch (error) {
    // ESRCH when it ends between open and read.
    if (error instanceof Deno.errors.NotFound || hasCode(error, "ESRCH")) return undefined;
    throw error;
  }
  // The name in parentheses may itself contain spaces and parentheses.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0]!, group: Number(fields[2]), startTime: fields[19]! };
}

function hasCode(error: unknown, code: ErrnoName): boolean {
  return error instanceof Error && (error as { code?: unknown }).code === code;
}

/** The identity of a running process; undefined when there is none with this pid. */
export function identityOf(pid: number): ProcessIdentity | undefined {
  const stat = statOf(pid);
  return stat && { pid, startTime: stat.startTime, bootId: bootId() };
}

/** Does this very process still run? A zombie, which only waits to be reaped, does not. */
export function isRunning(identity: ProcessIdentity): boolean {
  const stat = statOf(identity.pid);
  return stat !== undefined && stat.startTime === identity.startTime &&
    !isDead(stat) && identity.bootId === bootId();
}

function isDead(stat: ProcessStat): boolean {
  return stat.state === "Z" || stat.state === "X";
}

/** Whether a process leads its own process group; one that has ended counts as well. */
export function leadsGroup(pid: number): boolean {
  const stat = statOf(pid);
  return stat === undefined || isDead(stat) || stat.group === pid;
}

/**
 * Send a signal to all processes of a group. False when the group has none; true may also mean
 * zombies that their parent has not reaped (see {@link groupMembers}). Throws an OsError (EPERM), and a RangeError for group numbers that would mean "everybody" or the caller's own.
 */
export function killGroup(group: number, signal: keyof typeof SIGNAL): boolean {
  if (!Number.isInteger(group) || group <= 1) {
    throw new RangeError(`${group} is not a process group that may be killed`);
  }
  if (libc.kill(-group, SIGNAL[signal]) >= 0) return true;
  if (lastErrno() === ERRNO.ESRCH) return false;
  throw new OsError("kill", lastErrno(), `process group ${group} with ${signal}`);
}

/** Send a signal to this process only, if it still is the one that is meant. */
export function killProcess(identity: ProcessIdentity, signal: keyof typeof SIGNAL): boolean {
  if (!isRunning(identity)) return false;
  const result = libc.kill(identity.pid, SIGNAL[signal]);
  if (result < 0 && lastErrno() === ERRNO.ESRCH) return false;
  check(result, "kill", `process ${identity.pid} with ${signal}`);
  return true;
}

function allPids(): number[] {
  const pids: number[] = [];
  for (const entry of Deno.readDirSync("/proc")) {
    if (/^[0-9]+$/.test(entry.name)) pids.push(Number(entry.name));
  }
  return pids;
}

/** Pids of the group's processes that still run, zombies left out. */
export function groupMembers(group: number): number[] {
  // Asking the kernel is much faster than looking at every process, and often enough.
  if (group > 1 && libc.kill(-group, 0) < 0 && lastErrno() === ERRNO.ESRCH) return [];
  return allPids().filter((pid) => {
    const stat = statOf(pid);
    return stat !== undefined && stat.group === group && !isDead(stat);
  });
}

/**
 * Running processes, other than this one, that were started with `variable` set to `value` in their
 * environment, or inherited it. Those of other users are seen by root only.
 */
export function findMarked(variable: string, value: string): ProcessIdentity[] {
  const mark = `${variable}=${value}`;
  const found: ProcessIdentity[] = [];
  for (const pid of allPids()) {
    if (pid === Deno.pid) continue;
    let environment: string;
    try {
      environment = new TextDecoder().decode(Deno.readFileSync(`/proc/${pid}/environ`));
    } catch {
      continue; // it has ended, or belongs to someone else
    }
    if (!environment.split("\0").includes(mark)) continue;
    const identity = identityOf(pid);
    if (identity !== undefined && isRunning(identity)) found.push(identity);
  }
  return found;
}
