/**
 * Being scheduled in time on a busy machine: a heartbeat that waits for the processor is a death that
 * did not happen. Memory is not locked besides: V8 gives pages back with madvise(2), which the kernel
 * refuses for locked ones, and then ends the process.
 *
 * @module
 */
import { errnoName } from "./errno.ts";
import { lastErrno, libc } from "./libc.ts";

const SCHED_RR = 2;
/** Threads and children that are started later are ordinary ones. */
const SCHED_RESET_ON_FORK = 0x40000000;
/** Above all ordinary processes, below whatever has a higher real-time priority for good reasons. */
const PRIORITY = 10;

/**
 * Runs the threads that this process has now in real time (SCHED_RR); threads and processes that are
 * started later are ordinary, so call it before them. Gives null, or the name of the error (`EPERM`)
 * when this is not permitted; then everything stays as it was.
 */
export function runInRealTime(): string | null {
  const parameter = new Int32Array([PRIORITY]);
  const policy = SCHED_RR | SCHED_RESET_ON_FORK;
  // Threads that work for the main one, at garbage collection above all, must not keep it waiting.
  for (const { name } of Deno.readDirSync("/proc/self/task")) {
    if (libc.sched_setscheduler(Number(name), policy, parameter) >= 0) continue;
    const errno = errnoName(lastErrno());
    // A thread that ended meanwhile needs nothing.
    if (errno !== "ESRCH") return errno;
  }
  return null;
}
