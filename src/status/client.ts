/** Asks the agent of this machine over its unix socket. */

import { COMMAND_TIMEOUT, SOCKET } from "./api.ts";

/** Longer than any answer takes, in milliseconds: the agent bounds its commands itself. */
const PATIENCE = COMMAND_TIMEOUT + 5_000;

/** No agent could be asked. */
export class AgentUnreachable extends Error {
  override readonly name = "AgentUnreachable";
}

/** The agent answered that it will not, or cannot. */
export class AgentRefused extends Error {
  override readonly name = "AgentRefused";

  /** @param status HTTP status of the answer */
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

/**
 * Asks the agent and gives the JSON of its answer.
 *
 * @throws {AgentUnreachable} with the socket and the mend
 * @throws {AgentRefused} with what the agent said
 */
export async function request(
  runtimeDir: string,
  method: "GET" | "POST",
  path: string,
  body?: unknown,
): Promise<unknown> {
  const socket = `${runtimeDir}/${SOCKET}`;
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), PATIENCE);
  // Deno checks the path of a proxy only when it connects.
  const client = Deno.createHttpClient({ proxy: { transport: "unix", path: socket } });
  try {
    const response = await fetch(`http://agent${path}`, {
      client,
      method,
      signal: limit.signal,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const answer: unknown = await response.json();
    if (response.ok) return answer;
    throw new AgentRefused(
      errorIn(answer) ?? `the agent answered ${response.status}`,
      response.status,
    );
  } catch (error) {
    if (error instanceof AgentRefused) throw error;
    throw new AgentUnreachable(whyUnreachable(socket, error, limit.signal.aborted), {
      cause: error,
    });
  } finally {
    clearTimeout(timer);
    client.close();
  }
}

function errorIn(answer: unknown): string | undefined {
  if (typeof answer !== "object" || answer === null || !("error" in answer)) return undefined;
  return typeof answer.error === "string" ? answer.error : undefined;
}

function whyUnreachable(socket: string, error: unknown, late: boolean): string {
  if (late) return `the agent at ${socket} did not answer within ${PATIENCE / 1000} s; see its log`;
  const text = error instanceof Error ? String(error.cause ?? error) : String(error);
  if (/permission denied/i.test(text)) {
    return `permission denied at ${socket}; run this as root, or as the agent's user`;
  }
  if (/os error (2|20|111)\b/.test(text)) {
    return `no agent answers at ${socket}; start it with bascule run`;
  }
  return `the agent at ${socket} did not answer: ${text}`;
}
