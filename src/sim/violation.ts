/** What is thrown when a checker finds that something promised is not so. */

/** A promise was broken. The message says which, where and when. */
export class Violation extends Error {
  override readonly name = "Violation";

  /** @param promise the short name of what was promised, such as `P3` */
  constructor(readonly promise: string, message: string, cause?: unknown) {
    super(`${promise}: ${message}`, cause === undefined ? undefined : { cause });
  }
}
