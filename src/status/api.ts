/**
 * What an agent says and takes from outside: an HTTP API on a unix socket, for root and for the
 * command line on the same machine.
 *
 * - `api.ts` (here): the server; `client.ts`: who asks it;
 * - `types.ts`: the status document; `journal.ts`: the decisions, kept; `logging.ts`: the log.
 *
 * ```
 * GET  /v1/status            the status document
 * GET  /v1/config            the configuration: what runs, what the file holds, how they differ
 * GET  /v1/events?after=N    {events: […], last}: journal entries above N, oldest first
 * POST /v1/command           an operator's command as JSON; answers when it is done: {} or {error}
 * ```
 *
 * Errors are `{error}` with a fitting HTTP status; a command that the cluster refuses is a 409.
 *
 * @module
 */

import type { OperatorCommand } from "../cluster/types.ts";
import { VOLUME_OPERATIONS, type VolumeOperation } from "../volume/types.ts";
import { flag, name, object, oneOf, optional, ShapeError } from "../wire/shape.ts";
import type { Journal } from "./journal.ts";
import type { ConfigStatus, StatusDocument } from "./types.ts";

/** Name of the socket in the runtime directory. */
export const SOCKET = "agent.sock";
/** A command is answered within this time, in milliseconds, done or not. */
export const COMMAND_TIMEOUT = 60_000;

const LOCK = "agent.lock";
const MAX_BODY = 64 * 1024;
/** sun_path is 108 bytes with its NUL, unix(7). */
const MAX_PATH = 107;

/** What an operator asks of a volume on the node that answers. */
export interface VolumeCommand {
  readonly type: "volume";
  readonly volume: string;
  readonly what: VolumeOperation;
}

/** What the agent gives. */
export interface StatusProvider {
  /** The document as of now. */
  status(): StatusDocument;
  /** Which configuration runs and how the file, read now, differs from it. */
  config(): ConfigStatus;
  /** Resolves to null when it is done, else to why it was refused. */
  command(command: OperatorCommand | VolumeCommand): Promise<string | null>;
  readonly journal: Pick<Journal, "after" | "last">;
}

/** Why the API cannot be served, and the mend. */
export class ApiError extends Error {
  override readonly name = "ApiError";
}

/** A running API. */
export interface StatusApi {
  /** Path of the socket. */
  readonly path: string;
  /** Answers what is under way, then removes the socket. */
  close(): Promise<void>;
}

/**
 * Serves the API in `runtimeDir`, which is created if it is missing. A socket left by an agent that
 * is gone is replaced.
 *
 * @throws {ApiError} if another agent serves there, or the path is too long for a socket
 */
export function serveApi(
  runtimeDir: string,
  provider: StatusProvider,
  options: { readonly commandTimeout?: number } = {},
): StatusApi {
  const path = `${runtimeDir}/${SOCKET}`;
  if (new TextEncoder().encode(path).length > MAX_PATH) {
    throw new ApiError(
      `${path} is too long for a socket, the most is ${MAX_PATH} bytes; choose a shorter ` +
        "directory with paths.runtime or --runtime-dir",
    );
  }
  Deno.mkdirSync(runtimeDir, { recursive: true, mode: 0o755 });
  const lock = Deno.openSync(`${runtimeDir}/${LOCK}`, { create: true, write: true, mode: 0o600 });
  try {
    if (!lock.tryLockSync(true)) {
      throw new ApiError(
        `another agent serves ${path}; stop it, or give this one its own directory with ` +
          "--runtime-dir",
      );
    }
    removeStale(path);
    const timeout = options.commandTimeout ?? COMMAND_TIMEOUT;
    const server = listenPrivately(path, (request) => answer(request, provider, timeout));
    return {
      path,
      async close() {
        await server.shutdown();
        lock.close();
      },
    };
  } catch (error) {
    lock.close();
    throw error;
  }
}

/** Whoever held the lock is gone; what it left is no more than a name. */
function removeStale(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** The socket is born with mode 0600: nobody else can connect in between. */
function listenPrivately(
  path: string,
  handler: (request: Request) => Promise<Response>,
): Deno.HttpServer<Deno.UnixAddr> {
  const before = Deno.umask(0o177);
  try {
    return Deno.serve({ path, onListen: () => {} }, handler);
  } finally {
    Deno.umask(before);
  }
}

async function answer(
  request: Request,
  provider: StatusProvider,
  commandTimeout: number,
): Promise<Response> {
  const url = new URL(request.url);
  const route = ROUTES.get(url.pathname);
  if (route === undefined) return refusal(404, `there is no ${url.pathname}`);
  if (request.method !== route.method) {
    return refusal(405, `${url.pathname} takes ${route.method}, not ${request.method}`);
  }
  try {
    return await route.answer({ request, url, provider, commandTimeout });
  } catch (error) {
    return refusal(500, error instanceof Error ? error.message : String(error));
  }
}

interface Asked {
  readonly request: Request;
  readonly url: URL;
  readonly provider: StatusProvider;
  readonly commandTimeout: number;
}

interface Route {
  readonly method: "GET" | "POST";
  answer(asked: Asked): Response | Promise<Response>;
}

const ROUTES: ReadonlyMap<string, Route> = new Map<string, Route>([
  ["/v1/status", { method: "GET", answer: ({ provider }) => Response.json(provider.status()) }],
  ["/v1/config", { method: "GET", answer: ({ provider }) => Response.json(provider.config()) }],
  ["/v1/events", { method: "GET", answer: answerEvents }],
  ["/v1/command", { method: "POST", answer: answerCommand }],
]);

function answerEvents({ url, provider }: Asked): Response {
  const after = url.searchParams.get("after") ?? "0";
  if (!/^\d{1,15}$/.test(after)) {
    return refusal(400, `after=${after} is no entry's id; write a whole number`);
  }
  const { journal } = provider;
  return Response.json({ events: journal.after(Number(after)), last: journal.last });
}

async function answerCommand({ request, provider, commandTimeout }: Asked): Promise<Response> {
  const body = await readBody(request);
  if (body === undefined) return refusal(413, `a command has at most ${MAX_BODY} bytes`);
  let command: OperatorCommand | VolumeCommand;
  try {
    command = checkCommand(JSON.parse(body));
  } catch (error) {
    if (error instanceof ShapeError) return refusal(400, error.message);
    if (error instanceof SyntaxError) return refusal(400, "the body is not JSON");
    throw error;
  }
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), commandTimeout);
  try {
    const error = await Promise.race([provider.command(command), late.promise]);
    if (error === undefined) {
      const seconds = commandTimeout / 1000;
      return refusal(504, `not done after ${seconds} s, and still under way; see bascule status`);
    }
    return error === null ? Response.json({}) : refusal(409, error);
  } finally {
    clearTimeout(timer);
  }
}

/** Checks what an operator asks for. Throws {@linkcode ShapeError}. */
export function checkCommand(value: unknown): OperatorCommand | VolumeCommand {
  const types = oneOf(
    "standby",
    "move",
    "cleanup",
    "maintenance",
    "push",
    "confirmOff",
    "promote",
    "volume",
  );
  const { type } = object({ type: types }, "drop")(value, "command");
  switch (type) {
    case "standby":
      return object({ type: oneOf("standby"), node: name, on: flag }, "refuse")(value, "command");
    case "move":
      return object({ type: oneOf("move"), group: name, to: optional(name) }, "refuse")(
        value,
        "command",
      );
    case "maintenance":
      return object({ type: oneOf("maintenance"), on: flag }, "refuse")(value, "command");
    case "push":
      return object({ type: oneOf("push"), hash: name }, "refuse")(value, "command");
    case "volume":
      return object({
        type: oneOf("volume"),
        volume: name,
        what: oneOf(...VOLUME_OPERATIONS),
      }, "refuse")(value, "command");
    case "cleanup":
      return object({ type: oneOf("cleanup"), group: name }, "refuse")(value, "command");
    case "confirmOff":
      return object({ type: oneOf("confirmOff"), node: name }, "refuse")(value, "command");
    case "promote":
      return object({ type: oneOf("promote"), group: name }, "refuse")(value, "command");
  }
}

/** The body as text; undefined when it is too large. */
async function readBody(request: Request): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let size = 0;
  let text = "";
  for await (const bytes of request.body ?? []) {
    size += bytes.length;
    if (size > MAX_BODY) return undefined;
    text += decoder.decode(bytes, { stream: true });
  }
  return text + decoder.decode();
}

function refusal(status: number, error: string): Response {
  return Response.json({ error }, { status });
}
