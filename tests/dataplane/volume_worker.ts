/** The data plane as the program has it, without the command line around it. */
import { serveDataPlane } from "../../src/agent/dataplane/worker.ts";

serveDataPlane();
