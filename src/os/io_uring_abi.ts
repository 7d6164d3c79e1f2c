/**
 * Numbers of the io_uring interface, from the kernel's `include/uapi/linux/io_uring.h`.
 *
 * @module
 */

/** System call numbers, the same on every architecture. */
export const SYS = { setup: 425, enter: 426, register: 427 } as const;

/** io_uring_setup(2) flags. */
export const SETUP = {
  CQSIZE: 1 << 3,
  CLAMP: 1 << 4,
  SUBMIT_ALL: 1 << 7,
  COOP_TASKRUN: 1 << 8,
  TASKRUN_FLAG: 1 << 9,
  SINGLE_ISSUER: 1 << 12,
  DEFER_TASKRUN: 1 << 13,
} as const;

/** Feature bits that the kernel answers with. */
export const FEATURE = {
  SINGLE_MMAP: 1 << 0,
  NODROP: 1 << 1,
  SUBMIT_STABLE: 1 << 2,
  FAST_POLL: 1 << 5,
  EXT_ARG: 1 << 8,
} as const;

/** io_uring_enter(2) flags. */
export const ENTER = { GETEVENTS: 1 << 0, EXT_ARG: 1 << 3 } as const;

/** Bits of the submission ring's flags word. */
export const SQ_FLAG = { CQ_OVERFLOW: 1 << 1, TASKRUN: 1 << 2 } as const;

/** Where mmap(2) finds the rings and the array of submission entries. */
export const MAP_OFFSET = { RINGS: 0, SQES: 0x10000000 } as const;

/** io_uring_register(2) operations. */
export const REGISTER = { PROBE: 8 } as const;

/** Operation codes. */
export const OP = {
  NOP: 0,
  FSYNC: 3,
  POLL_ADD: 6,
  SENDMSG: 9,
  TIMEOUT: 11,
  ACCEPT: 13,
  ASYNC_CANCEL: 14,
  CONNECT: 16,
  FALLOCATE: 17,
  CLOSE: 19,
  READ: 22,
  WRITE: 23,
  SEND: 26,
  RECV: 27,
} as const;

/** FSYNC with this flag is fdatasync(2). */
export const FSYNC_DATASYNC = 1;

/** Word indexes (32 bit) of a submission queue entry of 64 bytes. */
export const SQE = {
  /** opcode, flags << 8, ioprio << 16 */
  OP: 0,
  FD: 1,
  OFFSET: 2,
  ADDRESS: 4,
  LENGTH: 6,
  OP_FLAGS: 7,
  USER_DATA: 8,
  WORDS: 16,
} as const;

/** Byte offsets in `struct io_uring_params` (120 bytes). */
export const PARAMS = {
  SIZE: 120,
  SQ_ENTRIES: 0,
  CQ_ENTRIES: 4,
  FLAGS: 8,
  FEATURES: 20,
  SQ_HEAD: 40,
  SQ_TAIL: 44,
  SQ_MASK: 48,
  SQ_FLAGS: 56,
  SQ_DROPPED: 60,
  SQ_ARRAY: 64,
  CQ_HEAD: 80,
  CQ_TAIL: 84,
  CQ_MASK: 88,
  CQ_OVERFLOW: 96,
  CQ_CQES: 100,
} as const;
