/** Entry of a volume's Worker: takes its orders' beginning by message, then serves without end. */
import { closeQuietly } from "../../os/libc.ts";
import { openVolume } from "../../volume/volume.ts";
import { DataPlane, type OpenVolume } from "./data_plane.ts";
import type { WorkerInit, WorkerMessage } from "./messages.ts";

/** What a Worker's global scope has, as far as it is used here. */
interface WorkerScope {
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  postMessage(message: WorkerMessage): void;
}

/**
 * Makes this Worker a data plane. Called by the main module when it finds itself in a Worker; `open`
 * is for tests.
 */
export function serveDataPlane(open: OpenVolume = openVolume): void {
  const scope = globalThis as unknown as WorkerScope;
  scope.onmessage = ({ data }) => {
    scope.onmessage = null;
    if (!isInit(data)) throw new Error("a data plane was started with something else");
    try {
      startPlane(data, (message) => scope.postMessage(message)).run(open);
      scope.postMessage({ type: "ended" });
    } catch (error) {
      scope.postMessage({ type: "fatal", reason: reasonOf(error) });
    }
  };
  scope.postMessage({ type: "loaded" });
}

function startPlane(init: WorkerInit, post: (message: WorkerMessage) => void): DataPlane {
  try {
    return new DataPlane(init, post);
  } catch (error) {
    closeQuietly(init.orders);
    throw error;
  }
}

function isInit(data: unknown): data is WorkerInit {
  return typeof data === "object" && data !== null && "type" in data &&
    data.type === "bascule-data-plane";
}

/** What an operator can act upon is said in one line; a fault of the program with its place. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "DiskError" || error.name === "OsError") return error.message;
  return error.stack ?? error.message;
}
