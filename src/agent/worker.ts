/** What the program's main module does in a Worker: the Worker's name tells what it is for. */
import { TLS_RELAY } from "./tls_relay_messages.ts";

/** Makes this Worker what its name says. Each part is imported where it is needed only. */
export async function serveAsWorker(): Promise<void> {
  if (globalThis.name === TLS_RELAY) {
    const { serveTlsRelay } = await import("./tls_relay_worker.ts");
    serveTlsRelay();
  } else {
    const { serveDataPlane } = await import("./dataplane/worker.ts");
    serveDataPlane();
  }
}
