/**
 * Asks a ring whether this kernel's io_uring is new enough.
 *
 * @module
 */
import { FEATURE, OP, REGISTER, SETUP, SYS } from "./io_uring_abi.ts";
import { libc, negErrno } from "./libc.ts";
import { errnoText } from "./errno.ts";
import { Slab } from "./memory.ts";

/** What {@link probeIoUring} found. */
export interface IoUringProbe {
  /** Everything needed is there. */
  readonly usable: boolean;
  /** For the log: what is missing, or which flags are in use. */
  readonly reason: string;
  /** IORING_FEAT_* bits. */
  readonly features: number;
  /** IORING_SETUP_* bits that this kernel accepts. */
  readonly setupFlags: number;
}

const PROBE_OPS = 256;
const OP_SUPPORTED = 1;

function namesOf(bits: number, table: Readonly<Record<string, number>>): string[] {
  return Object.entries(table).filter(([, bit]) => (bits & bit) !== 0).map(([name]) => name);
}

/** Check the features and, by IORING_REGISTER_PROBE, every operation the engine uses. */
export function probeIoUring(fd: number, features: number, setupFlags: number): IoUringProbe {
  const answer = (usable: boolean, reason: string) => ({ usable, reason, features, setupFlags });
  const missing = Object.entries(FEATURE).filter(([, bit]) => (features & bit) === 0);
  if (missing.length > 0) {
    const names = missing.map(([name]) => `IORING_FEAT_${name}`).join(", ");
    return answer(false, `the kernel's io_uring lacks ${names} (Linux 5.11 has them)`);
  }
  // struct io_uring_probe: 16 bytes, then 8 for each operation { u8 op, u8 resv, u16 flags, u32 }.
  const slab = Slab.allocate(16 + PROBE_OPS * 8);
  try {
    const result = negErrno(
      libc.syscall(SYS.register, fd, REGISTER.PROBE, slab.address, PROBE_OPS, 0, 0),
    );
    if (result < 0) return answer(false, `io_uring_register: ${errnoText(result)}`);
    for (const [name, op] of Object.entries(OP)) {
      if ((slab.view.getUint16(16 + op * 8 + 2, true) & OP_SUPPORTED) === 0) {
        return answer(false, `the kernel's io_uring lacks IORING_OP_${name}`);
      }
    }
  } finally {
    slab.free();
  }
  return answer(true, namesOf(setupFlags, SETUP).join("|"));
}
