/** Why an agent cannot start or go on, told to an operator: what, where and the mend; no stack. */
export class AgentError extends Error {
  override readonly name = "AgentError";
}

/**
 * Runs what needs files in a directory. What the operating system refuses becomes an
 * {@linkcode AgentError} that names the directory and the mend; other errors pass as they are.
 *
 * @param what what the directory is for, e.g. `the agent's state`
 * @param option the option that names another one
 */
export function inDirectory<T>(directory: string, what: string, option: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") {
      throw error;
    }
    throw new AgentError(
      `${directory} cannot hold ${what} (${error.message}): run this as root, free space or mend ` +
        `the disk, or name another directory with ${option}`,
      { cause: error },
    );
  }
}
