/**
 * Error values of replies. The protocol allows eight; what the system reports is mapped to the
 * nearest of them ("Error values" in the specification).
 */
import { NBD_CMD_FLAG } from "./constants.ts";

/** Error values of replies; numerically equal to Linux errno. */
export const NBD_ERROR = {
  OK: 0,
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

/** One of the values of {@link NBD_ERROR}. */
export type NbdError = typeof NBD_ERROR[keyof typeof NBD_ERROR];

/** Linux errno values that do not go over the wire as they are. */
const EACCES = 13;
const EFBIG = 27;
const EROFS = 30;
const EDQUOT = 122;

/**
 * The value to send for a Linux errno (positive; 0 is success). `commandFlags` are those of the
 * request: EOVERFLOW may only answer a DF read, ENOTSUP only a FAST_ZERO request. What has no
 * equal on the wire (ENODEV, ETIMEDOUT, …) is a fault of the device, hence EIO.
 */
export function nbdError(errno: number, commandFlags = 0): NbdError {
  switch (errno) {
    case 0:
      return NBD_ERROR.OK;
    case NBD_ERROR.EPERM:
    case EACCES:
    case EROFS:
      return NBD_ERROR.EPERM;
    case NBD_ERROR.ENOMEM:
      return NBD_ERROR.ENOMEM;
    case NBD_ERROR.EINVAL:
      return NBD_ERROR.EINVAL;
    case NBD_ERROR.ENOSPC:
    case EDQUOT:
    case EFBIG:
      return NBD_ERROR.ENOSPC;
    case NBD_ERROR.EOVERFLOW:
      return (commandFlags & NBD_CMD_FLAG.DF) !== 0 ? NBD_ERROR.EOVERFLOW : NBD_ERROR.EINVAL;
    case NBD_ERROR.ENOTSUP:
      return (commandFlags & NBD_CMD_FLAG.FAST_ZERO) !== 0 ? NBD_ERROR.ENOTSUP : NBD_ERROR.EINVAL;
    case NBD_ERROR.ESHUTDOWN:
      return NBD_ERROR.ESHUTDOWN;
    default:
      return NBD_ERROR.EIO;
  }
}

const NO_WORDS = new Uint8Array(0);

/** Words for people, by error value; made once. */
const WORDS: readonly (Uint8Array | undefined)[] = Object.entries({
  EPERM: "the export is read-only",
  EIO: "the volume has been frozen for too long, or its disk failed",
  ENOSPC: "the range ends beyond the volume",
  EOVERFLOW: "the request is longer than the maximum payload",
  ENOTSUP: "zeroing would take as long here as writing zeroes",
  ESHUTDOWN: "the volume goes to another node, connect again",
}).reduce<Uint8Array[]>((words, [name, text]) => {
  words[NBD_ERROR[name as keyof typeof NBD_ERROR]] = new TextEncoder().encode(text);
  return words;
}, []);

/** Longest of {@link nbdErrorWords}, in bytes. */
export const LONGEST_WORDS = WORDS.reduce((most, words) => Math.max(most, words?.length ?? 0), 0);

/** What an error means here, UTF-8, for the message of an error chunk; may be empty. */
export function nbdErrorWords(error: NbdError): Uint8Array {
  return WORDS[error] ?? NO_WORDS;
}

const NAMES = new Map<number, string>(
  Object.entries(NBD_ERROR).map(([name, value]) => [value, name]),
);

/** `EIO`, `EINVAL`, …; a value that the protocol does not define reads as EINVAL, as it demands. */
export function nbdErrorName(error: number): string {
  return NAMES.get(error) ?? "EINVAL";
}
