/** A Worker of the program, whatever its name says, without the command line around it. */
import { serveAsWorker } from "../../src/agent/worker.ts";

await serveAsWorker();
